"""Bodies that come over the network, in bounded memory: when too many bytes are held, the one that has been coming for the longest makes room."""

import asyncio
from collections.abc import Callable

from aiohttp import ClientError, StreamReader, http_exceptions

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Meta sends up to 3 MB (Meta, webhooks, delivery)."""


class BodyTooLarge(Exception):
    """It is longer than `MAX_BODY_BYTES`."""


class BodyTooSlow(Exception):
    """It did not come in time."""


class BodyBroken(Exception):
    """It ended before its end, or its framing is none; the text says how."""


class NoRoom(Exception):
    """Too many bytes are held."""


class Body:
    """One body; `size` counts as held until it is released."""

    __slots__ = ("_limit", "data", "size", "unwanted")

    def __init__(self) -> None:
        self._limit: asyncio.Timeout | None = None
        self.data = b""
        self.size = 0
        self.unwanted = False

    def within(self, seconds: float) -> asyncio.Timeout:
        """The time in which it has to come."""
        self._limit = asyncio.timeout(seconds)
        return self._limit

    def give_up(self) -> None:
        """Make room: its time is over, and its bytes count no more."""
        self.size = 0
        self.unwanted = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())


class Bodies:
    """All bodies held at once.

    Nothing is known of a body that is still coming: its signature is over the whole. So those make room for others, the oldest first,
    and who sends slowly on purpose keeps nobody out.
    """

    def __init__(self, most_bytes: int, within_s: float) -> None:
        self.most = most_bytes
        self._within_s = within_s
        self._coming: dict[Body, None] = {}
        self.held = 0

    async def read(self, body: Body, stream: StreamReader, came: Callable[[bytes], None]) -> None:
        """Read it whole into `body.data`; whatever happens, `release` it afterwards. Of one that comes in pieces, `came` is given each.

        Raises:
            BodyTooLarge, BodyTooSlow, BodyBroken, NoRoom: it is not whole.
        """
        try:
            if stream.is_eof():
                body.data = stream.read_nowait(-1)
                self._hold(body, len(body.data))
                return
            chunks: list[bytes] = []
            self._coming[body] = None
            try:
                async with body.within(self._within_s):
                    while not stream.at_eof():
                        chunks.append(await stream.readany())
                        self._hold(body, len(chunks[-1]))
                        came(chunks[-1])
            finally:
                self._coming.pop(body, None)
            body.data = b"".join(chunks)
        except TimeoutError:
            raise (NoRoom if body.unwanted else BodyTooSlow) from None
        except (OSError, ClientError, http_exceptions.HttpProcessingError) as error:
            # The stream keeps its error and that this frame with the body: without this they stay until the cyclic collector comes.
            error.__traceback__ = None
            raise BodyBroken(type(error).__name__) from None

    def release(self, body: Body) -> None:
        """Its bytes are held no more."""
        self.held -= body.size
        body.size = 0

    def _hold(self, body: Body, more: int) -> None:
        body.size += more
        self.held += more
        if body.size > MAX_BODY_BYTES:
            raise BodyTooLarge
        while self.held > self.most:
            oldest = next(iter(self._coming), None)
            if oldest is None or oldest is body:
                raise NoRoom
            del self._coming[oldest]
            self.held -= oldest.size
            oldest.give_up()
