"""Adapter to Redis: what became of requests, whose received messages are, how much of a limit is used; and the word to those who wait.

A cache of what Kafka holds: an emptied Redis forgets, and nothing else. Keys (`{ns}` is WA_REDIS_NAMESPACE): `{ns}:edge:request:{name}` a row of `book`,
`{ns}:edge:received:{hash}` number and user of a received message, `{ns}:edge:limit:{what}` a GCRA's due time, `{ns}:edge:answer:{hash}` the answer to an
idempotency key, `{ns}:edge:shut:{what}` until Meta answers again, `{ns}:edge:owner:{template}` whose template it is.
"""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis

from services.ingress.edge import book
from services.ingress.edge.gathering import Gathering
from shared.settings import ServiceSettings
from shared.stream.scripts import Call, run
from shared.times import DAY_MS

_CONNECTIONS = 64
_TIMEOUT_S = 2.0
"""A caller waits: better told soon that Redis is away."""

# A row begins with what the edge took under the name, whoever was first to take it. KEYS: row. ARGV: entry, lifetime in ms.
_TAKE = """
local row = redis.call('GET', KEYS[1]) or ''
if string.byte(row, 4) == 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return row
end
redis.call('SET', KEYS[1], ARGV[1] .. row, 'PX', ARGV[2])
return row
"""
"""The fourth byte is the tag of the first entry, after two bytes of length and one of MessagePack's array: 0 is `Taken`."""

# What is told again changes nothing, but who waits hears it. A deferral, or the decision on a later attempt, takes the place of the oldest entries where the row
# is half full. KEYS: row. ARGV: name, entries as one, lifetime in ms, largest row, channel, n, n x entry.
_TELL = """
local row = redis.call('GET', KEYS[1]) or ''
local taken = string.byte(row, 4) == 0
local function length(at)
  return 2 + 256 * string.byte(row, at) + string.byte(row, at + 1)
end
for i = 7, 6 + ARGV[6] do
  local entry = ARGV[i]
  if not string.find(row, entry, 1, true) then
    if string.find(entry, ':deferred:', 1, true) or tonumber(string.match(entry, '#(%d+):decided') or 1) > 1 then
      local oldest = taken and 1 + length(1) or 1
      while oldest < #row and #row + #entry > tonumber(ARGV[4]) / 2 do
        row = string.sub(row, 1, oldest - 1) .. string.sub(row, oldest + length(oldest))
      end
    end
    if #row + #entry <= tonumber(ARGV[4]) then row = row .. entry end
  end
end
redis.call('SET', KEYS[1], row, 'PX', ARGV[3])
if taken then redis.call('PUBLISH', ARGV[5], ARGV[2]) end
"""

# GCRA as in shared/limiter.py, by Redis's clock, in microseconds. KEYS: due. ARGV: interval, burst, events. Gives the wait in microseconds; 0: they passed.
_GCRA = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local interval, burst, events = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = due - interval * (burst - 1) - now
if wait > 0 then return math.ceil(wait) end
due = due + interval * events
redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000) + 1)
return 0
"""


class Heard(NamedTuple):
    """Whose a received message is."""

    number: str
    user: str


class StoredAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What a call with an idempotency key was answered; `status` 0 while it is under way. `body` is the digest of the call's."""

    body: bytes
    status: int = 0
    answer: bytes = b""


_decode_answer = msgspec.msgpack.Decoder(StoredAnswer).decode
_decode_news = msgspec.msgpack.Decoder(tuple[str, bytes]).decode
_encode = msgspec.msgpack.Encoder().encode


class Index:
    """Part of the edge; every method raises RedisError when Redis does not answer within two seconds."""

    def __init__(self, settings: ServiceSettings, keep_days: int) -> None:
        self._redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                settings.redis_url,
                max_connections=_CONNECTIONS,
                timeout=_TIMEOUT_S,
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
            )
        )
        self._gathering = Gathering(self._redis)
        self._prefix = f"{settings.redis_namespace}:edge"
        self._keep_ms = keep_days * DAY_MS
        self._take = self._redis.register_script(_TAKE)
        self._tell = self._redis.register_script(_TELL)
        self._pass = self._redis.register_script(_GCRA)
        self.channel = f"{self._prefix}:news"

    async def start(self) -> None:
        """Nothing: the first call connects."""

    async def stop(self) -> None:
        await self._redis.aclose()

    @property
    def redis(self) -> "Redis":
        """For who subscribes."""
        return self._redis

    # --- requests

    async def take(self, name: str, taken: book.Taken) -> bytes:
        """Note that the edge takes a request; its row as it was before."""
        arguments: list[bytes | int] = [book.entry_of(taken), self._keep_ms]
        row: bytes = await self._gathering.call(Call(self._take, [self._request(name)], arguments))
        return row

    async def take_all(self, taken: Sequence[tuple[str, book.Taken]]) -> list[bytes]:
        """The same for many, in their order."""
        return list(await asyncio.gather(*(self.take(name, entry) for name, entry in taken)))

    async def row(self, name: str) -> bytes:
        """The row of a request; empty when nothing is known."""
        return await self._bytes(self._request(name)) or b""

    async def tell(self, told: Mapping[str, Sequence[bytes]], heard: Mapping[str, Heard]) -> None:
        """Append entries to requests' rows and wake who waits; note received messages by their wamids. May be repeated."""
        if told:
            await run(self._redis, [self._telling(name, entries) for name, entries in told.items()])
        if heard:
            pipeline = self._redis.pipeline(transaction=False)
            for wamid, (number, user) in heard.items():
                pipeline.set(self._received(wamid), f"{number}:{user}", px=self._keep_ms)
            await pipeline.execute()

    async def heard(self, wamid: str) -> Heard | None:
        """Whose a received message is; None when it is not known (any more)."""
        value = await self._bytes(self._received(wamid))
        if value is None:
            return None
        number, _, user = value.decode().partition(":")
        return Heard(number, user)

    # --- limits

    async def passes(self, what: str, interval_s: float, burst: int, events: int = 1) -> float:
        """Let events pass if the limit allows the first of them now; else the seconds until it does."""
        arguments = [round(interval_s * 1_000_000), burst, events]
        call = Call(self._pass, [f"{self._prefix}:limit:{what}"], arguments)
        wait: int = await self._gathering.call(call)
        return wait / 1_000_000

    async def shut(self, what: str, seconds: float) -> None:
        """Note that Meta will not answer for so long."""
        await self._redis.set(f"{self._prefix}:shut:{what}", b"1", px=max(1000, int(seconds * 1000)))

    async def shut_for(self, *whats: str) -> float:
        """For how many seconds more Meta will not answer one of them; 0 when it will."""
        pipeline = self._redis.pipeline(transaction=False)
        for what in whats:
            pipeline.pttl(f"{self._prefix}:shut:{what}")
        left_ms: list[int] = await pipeline.execute()
        return max(0, *left_ms) / 1000

    async def own(self, template_id: str, waba_id: str) -> None:
        """Note whose a template is."""
        await self._redis.set(f"{self._prefix}:owner:{template_id}", waba_id, px=self._keep_ms)

    async def owner(self, template_id: str) -> str | None:
        """Whose a template is, if Meta told it through the edge lately."""
        value = await self._bytes(f"{self._prefix}:owner:{template_id}")
        return None if value is None else value.decode()

    # --- idempotency keys

    async def begin(self, key: str, body: bytes, lease_s: float) -> StoredAnswer | None:
        """Begin a call under a key; None: nobody did before. It is free again after `lease_s` unless `finish` is called."""
        value = _encode(StoredAnswer(body))
        before: Any = await self._redis.set(
            self._answer(key), value, nx=True, get=True, px=int(lease_s * 1000)
        )
        return None if before is None else _decode_answer(before)

    async def finish(self, key: str, answer: StoredAnswer, keep_s: float) -> None:
        """Keep what the call was answered."""
        await self._redis.set(self._answer(key), _encode(answer), px=int(keep_s * 1000))

    async def abandon(self, key: str) -> None:
        """The call came to nothing: it may be made again at once."""
        await self._redis.delete(self._answer(key))

    def _telling(self, name: str, entries: Sequence[bytes]) -> Call:
        news_ = _encode((name, b"".join(entries)))
        bounds = (self._keep_ms, book.MAX_ROW_BYTES)
        arguments: list[str | bytes | int] = [name, news_, *bounds, self.channel, len(entries), *entries]
        return Call(self._tell, [self._request(name)], arguments)

    async def _bytes(self, key: str) -> bytes | None:
        value: Any = await self._redis.get(key)
        return None if value is None else bytes(value)

    def _request(self, name: str) -> str:
        return f"{self._prefix}:request:{name}"

    def _received(self, wamid: str) -> str:
        return f"{self._prefix}:received:{blake2b(wamid.encode(), digest_size=12).hexdigest()}"

    def _answer(self, key: str) -> str:
        return f"{self._prefix}:answer:{blake2b(key.encode(), digest_size=16).hexdigest()}"


def news(value: bytes) -> tuple[str, bytes]:
    """The request and the new entries that a message on the channel tells of."""
    return _decode_news(value)
