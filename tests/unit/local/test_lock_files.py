"""Lock files pin everything by hash and name no place to download from."""

import re
from pathlib import Path

import pytest

from deploy.local.paths import REPOSITORY

LOCKS = [*REPOSITORY.glob("requirements*.lock"), *(REPOSITORY / "deploy" / "local").glob("*.lock")]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.name))
def test_a_lock_file_names_no_host_and_pins_by_hash(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(
        r"^\s*-", re.sub(r"^\s+--hash=sha256:[0-9a-f]{64}( \\)?$", "", text, flags=re.M), flags=re.M
    )
    pins = re.findall(r"^[a-z0-9][a-z0-9_.-]*==\S+[^\n]*\\\n\s+--hash=", text, flags=re.M)
    assert len(pins) == len(re.findall(r"^[a-z0-9]", text, flags=re.M)) > 0


def test_the_images_run_what_is_tested() -> None:
    tested = pinned(REPOSITORY / "requirements.lock")
    shipped = pinned(REPOSITORY / "requirements-runtime.lock")
    assert shipped <= tested
    assert not any(pin.startswith("pytest==") for pin in shipped)


def pinned(lock: Path) -> set[str]:
    return set(re.findall(r"^([a-z0-9][a-z0-9_.-]*==\S+)", lock.read_text(), flags=re.M))
