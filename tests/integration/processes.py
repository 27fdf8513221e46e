"""What tests ask about processes of the operating system."""

import asyncio
from collections.abc import Callable
from pathlib import Path


def exists(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped does not."""
    return state(pid) not in ("Z", "X", None)


def state(pid: int) -> str | None:
    """The kernel's letter for what the process does (R runs, S sleeps, T is stopped, Z has ended); None when there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return status.rpartition(")")[2].split()[0]


async def until(condition: Callable[[], bool], *, within_s: float) -> None:
    """Waits for the condition; TimeoutError after `within_s` seconds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)
