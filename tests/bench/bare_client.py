"""The ceiling of the sender: an aiohttp client loop that posts messages and reads the answers. `python -m tests.bench.bare_client URL TOKEN NUMBER COUNT`.

Prints seconds by the clock and of its own processor time.
"""

import asyncio
import sys
import time

import aiohttp
import msgspec
import uvloop

IN_FLIGHT = 100


async def main(url: str, token: str, number: str, count: int) -> None:
    """Post so many messages, `IN_FLIGHT` at a time."""
    nths = iter(range(count))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def post() -> None:
            for nth in nths:
                async with http.post(
                    f"{url}/v24.0/{number}/messages", data=_body(nth), headers=headers
                ) as answer:
                    if not msgspec.json.decode(await answer.read())["messages"][0]["id"]:
                        raise RuntimeError("not accepted")

        began, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(post() for _ in range(IN_FLIGHT)))
        print(time.monotonic() - began, time.process_time() - cpu)


def _body(nth: int) -> bytes:
    return msgspec.json.encode(
        {
            "messaging_product": "whatsapp",
            "to": f"+49152{nth:08}",
            "type": "template",
            "template": {"name": "order_update", "language": {"code": "en"}},
            "biz_opaque_callback_data": f"bare|{nth}",
        }
    )


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
