"""The attacks, each against one port of this machine and for a bounded time: `python -m tests.siege.attacks NAME PORT SECONDS COUNT SEED`.

Those of whom the body is looked into are signed rightly: without the secret they end at the signature.
"""

import asyncio
import hmac
import os
import random
import resource
import sys
import zlib
from collections.abc import Awaitable, Callable

import uvloop

SECRET = "siege-secret"
_HOST = "127.0.0.1"
_HEAD = b"POST /webhooks HTTP/1.1\r\nHost: x\r\n"
_DRIP_S = 1.0
_WRONG_WITHIN_S = 120.0


class Attack:
    """Where it goes, and until when."""

    def __init__(self, port: int, seconds: float, count: int, seed: int) -> None:
        self._port, self._count = port, count
        self._end = asyncio.get_running_loop().time() + seconds
        self._sent = 0
        self.chance = random.Random(seed)

    @property
    def on(self) -> bool:
        """Whether it goes on."""
        return asyncio.get_running_loop().time() < self._end

    async def many(self, connections: int, each: Callable[[], Awaitable[None]]) -> None:
        """`each` again and again on so many connections at once; one that is cut is only the next one's beginning."""

        async def again() -> None:
            while self.on:
                try:
                    await each()
                except (OSError, asyncio.IncompleteReadError, TimeoutError):
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(again() for _ in range(connections)))

    async def drip(self, start: bytes) -> None:
        """Write `start`, then a byte now and then until the other side ends it."""
        reader, writer = await asyncio.open_connection(_HOST, self._port)
        ended = asyncio.ensure_future(reader.read(1))
        try:
            writer.write(start)
            while self.on and not ended.done():
                writer.write(b"a")
                await asyncio.wait({ended}, timeout=_DRIP_S)
        finally:
            ended.cancel()
            writer.close()

    async def part(self) -> None:
        """Half a body, then away."""
        _, writer = await asyncio.open_connection(_HOST, self._port)
        writer.write(_HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * self.chance.randrange(99_999))
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.02)

    async def posts(self, body: bytes, headers: bytes, most: int = sys.maxsize) -> None:
        """The same request on one connection until it ends, `most` at most in all."""
        reader, writer = await asyncio.open_connection(_HOST, self._port)
        request = _HEAD + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body
        try:
            while self.on and self._sent < most:
                self._sent += 1
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
                if b"connection: close" in head.lower():
                    return
        finally:
            writer.close()

    async def stand(self) -> None:
        """A connection and not a byte."""
        reader, writer = await asyncio.open_connection(_HOST, self._port)
        ended = asyncio.ensure_future(reader.read(1))
        try:
            while self.on and not ended.done():
                await asyncio.wait({ended}, timeout=_DRIP_S)
        finally:
            ended.cancel()
            writer.close()

    async def wrong(self) -> None:
        """So many wrong signatures, however long that takes."""
        self._end += _WRONG_WITHIN_S

        async def some() -> None:
            while self._sent < self._count and self.on:
                try:
                    await self.posts(
                        b"{}" * 150, b"X-Hub-Signature-256: sha256=" + b"0" * 64 + b"\r\n", self._count
                    )
                except (OSError, asyncio.IncompleteReadError):
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(some() for _ in range(32)))


def _signed(body: bytes) -> bytes:
    return b"X-Hub-Signature-256: sha256=%s\r\n" % hmac.digest(SECRET.encode(), body, "sha256").hex().encode()


async def _signed_posts(attack: Attack, body: bytes) -> None:
    headers = _signed(body)
    await attack.many(4, lambda: attack.posts(body, headers))


_DEEP = b'{"object":"whatsapp_business_account","entry":' + b'[{"changes":' * 100_000
_HUGE = b'{"object":"whatsapp_business_account","entry":[{"id":' + b"9" * 1_000_000 + b',"changes":[]}]}'


async def slow_headers(attack: Attack) -> None:
    """500 connections whose headers never end."""
    await attack.many(500, lambda: attack.drip(_HEAD + b"X-A: "))


async def slow_bodies(attack: Attack) -> None:
    """500 connections whose bodies of 3 MB never end."""
    start = _HEAD + b"Content-Length: 3000000\r\n\r\n" + b"x" * 60_000
    await attack.many(500, lambda: attack.drip(start))


async def partial_bodies(attack: Attack) -> None:
    """Bodies that break off."""
    await attack.many(20, attack.part)


async def wrong_signatures(attack: Attack) -> None:
    """100,000 of them, as fast as they are refused."""
    await attack.wrong()


async def deep_json(attack: Attack) -> None:
    """Signed, 100,000 levels deep."""
    await _signed_posts(attack, _DEEP)


async def huge_numbers(attack: Attack) -> None:
    """Signed, a number of a million digits."""
    await _signed_posts(attack, _HUGE)


async def noise(attack: Attack) -> None:
    """3 MB of noise each, unsigned."""
    body = attack.chance.randbytes(3_000_000)
    await attack.many(8, lambda: attack.posts(body, b""))


async def bombs(attack: Attack) -> None:
    """3 MB that would unpack to gigabytes."""
    body = zlib.compress(bytes(100_000_000)) * 30
    await attack.many(8, lambda: attack.posts(body, b"Content-Encoding: gzip\r\n"))


async def idle(attack: Attack) -> None:
    """2,000 connections that say nothing."""
    await attack.many(2000, attack.stand)


NAMES: dict[str, Callable[[Attack], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (
        slow_headers, slow_bodies, partial_bodies, wrong_signatures, deep_json, huge_numbers, noise, bombs, idle,
    )
}  # fmt: skip


async def main(name: str, port: int, seconds: float, count: int, seed: int) -> None:
    """Run one attack, as from elsewhere: on this machine it must not take the processor from whom it attacks."""
    os.nice(10)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    await NAMES[name](Attack(port, seconds, count, seed))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
