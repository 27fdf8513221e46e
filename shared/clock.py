"""One clock for all services: gives the time as aware UTC or epoch seconds; only a local stack can move it.

A local stack names a clock file (WA_CLOCK_FILE); every process that maps it sees a jump at its next reading.
Without the file, as in production, the clock is the system's and nothing can move it.
"""

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

_FILE = struct.Struct("<qq")
"""The offset, and the time at which the clock stands (0: it runs); microseconds."""
_NUMBER = struct.Struct("<q")
_OFFSET_AT, _STANDS_AT = 0, 8
_MICROS = 1_000_000


class Clock(Protocol):
    """What every service reads the time from."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        ...

    def time(self) -> float:
        """Return the time in seconds since the epoch."""
        ...


@runtime_checkable
class MovableClock(Clock, Protocol):
    """A clock that can be moved forward."""

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`, which must not be negative (ValueError)."""
        ...


class SystemClock:
    """The system's wall clock."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return datetime.now(UTC)

    def time(self) -> float:
        """Return the time in seconds since the epoch."""
        return time.time()


class FileClock:
    """The wall clock plus an offset that all processes share through a memory-mapped file; it can also be made to stand still.

    The file holds two numbers of 8 bytes, microseconds, signed, little-endian: the offset, and where the clock stands. A
    reading costs about 0.5 µs. Readings never go back: neither when the wall clock is set back, nor through `set_offset`.
    """

    def __init__(self, path: str | os.PathLike[str], start: datetime | None = None) -> None:
        """Map the file at `path`; create it atomically if it is missing.

        Args:
            path: the clock file; its folder must exist.
            start: the aware time that the clock shows when the file is created; the wall clock's if None.
                Without effect on a file that exists.

        Raises:
            ValueError: the file is not a clock file, or `start` is naive.
            OSError: the file can't be created or mapped.
        """
        self._path = Path(path)
        if start is not None and start.tzinfo is None:
            raise ValueError("start must be an aware datetime")
        if not self._path.exists():
            offset = 0.0 if start is None else start.timestamp() - time.time()
            _create(self._path, round(offset * _MICROS))
        with self._path.open("r+b") as file:
            if os.fstat(file.fileno()).st_size != _FILE.size:
                raise ValueError(f"{self._path} is not a clock file: it must hold {_FILE.size} bytes")
            self._map = mmap.mmap(file.fileno(), _FILE.size)
        self._latest = 0.0

    def time(self) -> float:
        """Return the time in seconds since the epoch; never less than an earlier reading of this object."""
        offset, stands = _FILE.unpack_from(self._map)
        reading = stands / _MICROS if stands else time.time() + offset / _MICROS
        self._latest = max(self._latest, reading)
        return self._latest

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    @property
    def offset_s(self) -> float:
        """The seconds by which this clock, while it runs, is ahead of the wall clock."""
        return self._number(_OFFSET_AT) / _MICROS

    def advance(self, seconds: float) -> None:
        """Move every process's clock forward; ValueError if `seconds` is negative. Concurrent calls add up."""
        if seconds < 0:
            raise ValueError("a clock can't be moved back")
        with self._locked():
            place = _STANDS_AT if self._number(_STANDS_AT) else _OFFSET_AT
            self._write(place, self._number(place) + round(seconds * _MICROS))

    def set_offset(self, seconds: float) -> None:
        """Set how far the clock is ahead of the wall clock; ValueError if less than it is already, or while it stands."""
        micros = round(seconds * _MICROS)
        with self._locked():
            if self._number(_STANDS_AT):
                raise ValueError("the clock stands still")
            if micros < self._number(_OFFSET_AT):
                raise ValueError("a clock can't be moved back")
            self._write(_OFFSET_AT, micros)

    def stand(self, at: datetime) -> None:
        """Let every process's clock stand still at the aware time `at`; ValueError if it shows a later time already."""
        if at.tzinfo is None:
            raise ValueError("at must be an aware datetime")
        with self._locked():
            if at.timestamp() < self.time():
                raise ValueError("a clock can't be moved back")
            self._write(_STANDS_AT, round(at.timestamp() * _MICROS))

    def run(self) -> None:
        """Let the clock go on from where it stands; without effect while it runs."""
        with self._locked():
            if stands := self._number(_STANDS_AT):
                # In this order: who reads in between still sees it stand.
                self._write(_OFFSET_AT, stands - round(time.time() * _MICROS))
                self._write(_STANDS_AT, 0)

    def close(self) -> None:
        """Release the mapping; the clock can't be read afterwards."""
        self._map.close()

    def _number(self, place: int) -> int:
        number: int = _NUMBER.unpack_from(self._map, place)[0]
        return number

    def _write(self, place: int, micros: int) -> None:
        _NUMBER.pack_into(self._map, place, micros)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, start: datetime) -> None:
        """Stand at `start`; ValueError if it is naive."""
        if start.tzinfo is None:
            raise ValueError("start must be an aware datetime")
        self._time = start.timestamp()

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return datetime.fromtimestamp(self._time, UTC)

    def time(self) -> float:
        """Return the time in seconds since the epoch."""
        return self._time

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`; ValueError if negative."""
        if seconds < 0:
            raise ValueError("a clock can't be moved back")
        self._time += seconds


def clock_from(path: str | os.PathLike[str] | None) -> Clock:
    """Return the clock shared through the file at `path`, or the system's if there is none."""
    return FileClock(path) if path else SystemClock()


def _create(path: Path, micros: int) -> None:
    """Create the file whole, or leave the one that another process created first."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    draft.write_bytes(_FILE.pack(micros, 0))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
