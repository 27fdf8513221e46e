"""The shared clock: jumps seen by every process, never back, cheap to read."""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.clock import FileClock, ManualClock, SystemClock, clock_from

START = datetime(2026, 9, 30, 22, 0, tzinfo=UTC)


def test_a_new_clock_file_shows_the_wall_clock(tmp_path: Path) -> None:
    clock = FileClock(tmp_path / "clock")
    assert abs(clock.time() - time.time()) < 0.5
    assert (tmp_path / "clock").read_bytes() == bytes(16)
    assert [p.name for p in tmp_path.iterdir()] == ["clock"]


def test_a_jump_is_seen_by_every_mapping_at_once(tmp_path: Path) -> None:
    mover, reader = FileClock(tmp_path / "clock"), FileClock(tmp_path / "clock")
    before = reader.time()
    mover.advance(86_400)
    assert 86_400 <= reader.time() - before < 86_401
    assert reader.offset_s == 86_400


def test_a_jump_is_seen_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    clock = FileClock(path)
    program = f"from shared.clock import FileClock; FileClock({str(path)!r}).advance(3600.5)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
    assert clock.offset_s == 3600.5


def test_readings_are_aware_and_in_utc(tmp_path: Path) -> None:
    for clock in (SystemClock(), FileClock(tmp_path / "clock"), ManualClock(START)):
        assert clock.now().utcoffset() == timedelta(0)
        assert abs(clock.now().timestamp() - clock.time()) < 0.5


def test_a_clock_is_never_moved_back(tmp_path: Path) -> None:
    clock = FileClock(tmp_path / "clock")
    clock.set_offset(10)
    with pytest.raises(ValueError, match="back"):
        clock.set_offset(9)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="back"):
        ManualClock(START).advance(-1)
    assert clock.offset_s == 10


def test_a_standing_clock_shows_its_time_in_every_process_until_it_runs_on(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    mover, reader = FileClock(path), FileClock(path)
    later = mover.now() + timedelta(days=3)
    mover.stand(later)
    assert reader.now() == mover.now() == later
    reader.advance(1.5)
    assert reader.now() == mover.now() == later + timedelta(seconds=1.5)
    mover.run()
    began, first = time.monotonic(), reader.time()
    while (passed := reader.time() - first) == 0:
        pass
    assert 0 < passed <= time.monotonic() - began
    assert 1.5 <= first - later.timestamp() < 60


def test_a_standing_clock_is_not_moved_back_either(tmp_path: Path) -> None:
    clock = FileClock(tmp_path / "clock")
    now = clock.now()
    with pytest.raises(ValueError, match="back"):
        clock.stand(now - timedelta(seconds=1))
    with pytest.raises(ValueError, match="aware"):
        clock.stand(datetime(2036, 1, 1))  # noqa: DTZ001 - the refusal of a naive time is what is tested
    clock.stand(now + timedelta(seconds=1))
    with pytest.raises(ValueError, match="stands"):
        clock.set_offset(9)


def test_readings_do_not_go_back_when_the_offset_does(tmp_path: Path) -> None:
    clock = FileClock(tmp_path / "clock")
    clock.advance(100)
    latest = clock.time()
    (tmp_path / "clock").write_bytes(bytes(16))
    assert clock.time() >= latest


def test_a_start_counts_only_for_the_one_who_creates_the_file(tmp_path: Path) -> None:
    first = FileClock(tmp_path / "clock", start=START)
    second = FileClock(tmp_path / "clock", start=START + timedelta(days=9))
    assert abs(first.time() - START.timestamp()) < 5
    assert abs(second.time() - first.time()) < 5


def test_concurrent_advances_all_count(tmp_path: Path) -> None:
    clocks = [FileClock(tmp_path / "clock") for _ in range(4)]

    def advance(clock: FileClock) -> None:
        for _ in range(50):
            clock.advance(1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(advance, clocks))
    assert clocks[0].offset_s == 200


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("not a clock")
    with pytest.raises(ValueError, match="not a clock file"):
        FileClock(tmp_path / "clock")


def test_a_naive_start_is_refused(tmp_path: Path) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the refusal of a naive time is what is tested
    with pytest.raises(ValueError, match="aware"):
        FileClock(tmp_path / "clock", start=naive)
    with pytest.raises(ValueError, match="aware"):
        ManualClock(naive)


def test_without_a_file_the_clock_is_the_systems(tmp_path: Path) -> None:
    assert isinstance(clock_from(None), SystemClock)
    assert isinstance(clock_from(""), SystemClock)
    assert isinstance(clock_from(str(tmp_path / "clock")), FileClock)


def test_a_reading_is_cheap(tmp_path: Path) -> None:
    clock = FileClock(tmp_path / "clock")

    def cost(read: Callable[[], float]) -> float:
        began = time.process_time()
        for _ in range(20_000):
            read()
        return time.process_time() - began

    # Some 20 of the system's own readings, 1 µs; beside them, so that a busy machine slows both.
    assert min(cost(clock.time) / cost(time.time) for _ in range(5)) < 50
