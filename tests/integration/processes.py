"""What tests ask about processes of the operating system."""

import asyncio
from collections.abc import Callable
from pathlib import Path


def exists(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


async def until(condition: Callable[[], bool], *, within_s: float) -> None:
    """Waits for the condition; TimeoutError after `within_s` seconds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)
