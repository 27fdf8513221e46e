"""The ceiling of push: an aiohttp client loop that posts bodies and reads the answers. `python -m tests.bench.bare_poster URL IN_FLIGHT COUNT BYTES`.

Prints seconds by the clock and of its own processor time.
"""

import asyncio
import sys
import time

import aiohttp
import uvloop


async def main(url: str, in_flight: int, count: int, size: int) -> None:
    """Post so many bodies of so many bytes, `in_flight` at a time."""
    nths = iter(range(count))
    body = b"x" * size
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def post() -> None:
            for _ in nths:
                async with http.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                    await answer.read()

        began, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(post() for _ in range(in_flight)))
        print(time.monotonic() - began, time.process_time() - cpu)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
