"""What a decision costs and what a conversation weighs in Redis, as the conversations become more; what a remembered request id, a message and a user's second name weigh.

CPU is this process's own, in the least disturbed of some batches. All is measured on one growing store, so each row stands beside the smallest store of the same round: 1.0 is flat.
"""

import random
import uuid
from collections.abc import Iterable, Iterator
from time import process_time, time

import msgspec
from msgspec.structs import replace
from redis.asyncio import Redis

from deploy.local.stack import LocalStack
from services.router.fold import WAKE, RouterFold
from services.router.meta_errors import MetaErrors
from services.router.state import REMEMBER_MS, State, encode_state, tidied
from services.router.stop_words import StopWords
from shared.accounts import AccountFacts
from shared.events import (
    ConversationEvent,
    MetaPricing,
    SendAccepted,
    StatusReceived,
    TimerFired,
    UserKnownAs,
    decode_conversation_event,
    encode,
)
from shared.ids import command_id, fingerprint
from shared.pricing import PriceBook
from shared.stream.claims import Claims
from shared.stream.fold import Grant, Grants, Owned
from shared.stream.folding import TIMERS, Changes, Folding, Item
from shared.stream.publisher import Outbox, encode_outbox
from shared.stream.store import Keys, Store
from shared.times import DAY_MS
from tests.bench import load
from tests.bench.processes import REPOSITORY

PARTITIONS = 8
SIZES = (10_000, 100_000, 1_000_000)
MOST = 100_000
"""Unless asked for more (`--million`): a million take two minutes and 1.2 GB of Redis."""
NAMES, PLAIN = 1_000_000, 100_000
BATCH = 1000
HELD, WEIGHED = 50, 20_000
"""Messages in one conversation, and conversations, that are weighed together."""
BOUNDS = {"received": 16, "sent, taken by Meta": 1400, "sent and over": 160}
"""Bytes that decision 14 allows a message."""
SAMPLE = 400
FRESH_IN = 8
"""One conversation of so many is of today (full answers, open window), the others of the days before, as long as answers are remembered."""
BATCHES = 16
KEY = "of one conversation"


CONFIG = REPOSITORY / "config"


class _Record:
    """The little of a Kafka record that the fold's batch looks at."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset = offset


async def measure(stack: LocalStack, _core: int | None, most: int = MOST) -> dict[str, tuple[float, float]]:
    """(with so many conversations, with the fewest), by what is measured: µs of CPU, and bytes of Redis."""
    redis = Redis.from_url(stack.endpoints.redis_url)
    bound = str((await redis.config_get("maxmemory"))["maxmemory"])
    await redis.config_set("maxmemory", 0)
    try:
        bench = _Bench(redis)
        measured = await _names(redis) | await bench.messages() | await bench.second_names()
        first: dict[str, float] = {}
        for size in [size for size in SIZES if size <= most]:
            await bench.grow(size)
            found = {
                "decision: µs of CPU to load, fold, claim, commit": await bench.decided(),
                "decision: µs of CPU of the pure fold": await bench.folded(),
                "conversation: bytes in Redis": await bench.weight(),
            }
            first = first or found
            for what, value in found.items():
                if size != SIZES[0]:
                    measured[f"{what}, {size:,}"] = (value, first[what])
        await bench.delete()
        return measured
    finally:
        await redis.config_set("maxmemory", bound)
        await redis.aclose()


class _Bench:
    """A store that grows, and the fold."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._store = Store(redis)
        self._namespace = f"b{uuid.uuid4().hex[:8]}"
        words = StopWords.parse((CONFIG / "stop_words.yaml").read_text("utf-8"))
        self._fold = RouterFold(PriceBook.load(CONFIG), MetaErrors.load(CONFIG), words)
        self._now_ms = int(time() * 1000)
        self._facts = AccountFacts()
        for revision, fact in enumerate(load.accounts(8, self._now_ms - 30 * DAY_MS), 1):
            self._facts.apply(fact, revision)
        self._sample = list(self._conversations())
        self._held: list[tuple[Keys, int]] = []
        self._offsets = [0] * PARTITIONS
        self._size = 0
        self._asked = 0
        self._empty = 0
        self._random = random.Random(1)

    def _conversations(self) -> Iterator[State]:
        """Conversations as the fold leaves them: today's, and those of the last 8 days after their housekeeping."""
        for index in range(SAMPLE):
            age_ms = 0 if index % FRESH_IN == 0 else (index % FRESH_IN) * DAY_MS
            state: State | None = None
            start_ms = self._now_ms - 3_600_000 - age_ms
            for _, value in load.conversation_events(1, start_ms):
                state = self._folded(state, decode_conversation_event(value))
            if age_ms and state is not None:
                key, due_ms = f"{state.number}:{state.user}", state.wake_ms
                state = self._folded(state, TimerFired(event_id="t", at_ms=due_ms, key=key, name=WAKE, due_ms=due_ms))  # fmt: skip
            if state is not None:
                yield state

    def _folded(self, state: State | None, event: ConversationEvent) -> State | None:
        return _folding(self._fold, {KEY: state}, [(KEY, event)], self._facts).states[KEY]

    def _user(self, n: int) -> str:
        return f"49152{n:08}"

    async def grow(self, size: int) -> None:
        """Store conversations until there are so many, by commits as the router makes them."""
        if not self._held:
            self._empty = await self._used()
            for partition in range(PARTITIONS):
                keys = Keys(self._namespace, "router", partition)
                self._held.append((keys, (await self._store.take(keys)).epoch))
        for begin in range(self._size, size, BATCH * PARTITIONS):
            for partition in range(PARTITIONS):
                changes = Changes()
                for n in range(begin + partition, min(begin + BATCH * PARTITIONS, size), PARTITIONS):
                    state = replace(self._sample[n // PARTITIONS % SAMPLE], user=self._user(n))
                    key = f"{state.number}:{state.user}"
                    changes.states[key] = encode_state(state)
                    changes.ranks.append((TIMERS, f"{key}\n{WAKE}", state.wake_ms, "set"))
                await self._commit(partition, changes, b"")
        self._size = size

    async def _commit(self, partition: int, changes: Changes, outbox: bytes) -> None:
        keys, epoch = self._held[partition]
        offset = self._offsets[partition]
        await self._store.commit(keys, epoch, offset or None, offset + BATCH, outbox, changes)
        self._offsets[partition] = offset + BATCH

    def _requests(self, partition: int) -> list[tuple[str, bytes]]:
        """A batch of requests to as many conversations of a partition: half free-form, half templates."""
        chosen = self._random.sample(range(partition, self._size, PARTITIONS), BATCH)
        rows = []
        for nth, n in enumerate(chosen):
            self._asked += 1
            number = self._sample[n // PARTITIONS % SAMPLE].number
            template = None if nth % 2 else "order_update"
            request = load.request(f"q{self._asked}", number, self._user(n), self._now_ms, template)
            rows.append((f"{number}:{self._user(n)}", encode(request)))
        return rows

    async def decided(self) -> float:
        """µs of CPU of one decision, through the real store and claims book; afterwards all is as it was."""
        claims, spent = Claims(self._redis, f"{self._namespace}-{self._size}"), list[float]()
        for nth in range(BATCHES):
            partition = nth % PARTITIONS
            rows = self._requests(partition)
            began = process_time()
            keys = self._held[partition][0]
            names = [key for key, _ in rows]
            values = await self._store.load(keys, names)
            known = {
                key: None if value is None else self._fold.decode_state(value)
                for key, value in zip(names, values, strict=True)
            }
            folding = Folding(self._fold, self._facts, dict(known))
            folding.feed(_items((key, self._fold.decode(value)) for key, value in rows))
            while folding.wanted:
                folding.answer((await claims.ask(folding.wanted, self._now_ms)).grants)
            _check(folding)
            await self._commit(partition, folding.changes(known), encode_outbox(Outbox([], folding.releases)))
            spent.append(process_time() - began)
            before = Changes()
            for key, value in zip(names, values, strict=True):
                if value is not None:
                    before.states[key] = value
                    wake_ms = self._fold.decode_state(value).wake_ms
                    before.ranks.append((TIMERS, f"{key}\n{WAKE}", wake_ms, "set"))
            await self._commit(partition, before, b"")
        await _delete(self._redis, f"{self._namespace}-*")
        return min(spent) / BATCH * 1e6

    async def folded(self) -> float:
        """µs of CPU of one decision in the pure parts: the event and the state decoded, folded, asked again with the answers, encoded."""
        spent = list[float]()
        for nth in range(BATCHES):
            rows = self._requests(nth % PARTITIONS)
            values = await self._store.load(self._held[nth % PARTITIONS][0], [key for key, _ in rows])
            began = process_time()
            for (_, event), value in zip(rows, values, strict=True):
                state = None if value is None else self._fold.decode_state(value)
                done = _folding(self._fold, {KEY: state}, [(KEY, self._fold.decode(event))], self._facts)
                done.changes({KEY: state})
            spent.append(process_time() - began)
        return min(spent) / BATCH * 1e6

    async def weight(self) -> float:
        """Bytes of Redis by conversation: the state, and the timer that wakes it."""
        return (await self._used() - self._empty) / self._size

    async def messages(self) -> dict[str, tuple[float, float]]:
        """Bytes of Redis by message, beside what is allowed: one received, one sent while it lives, and what is left of it after a day."""
        number, user = load.number_id(0), self._user(0)
        rows = list(load.conversation_events(1, self._now_ms))
        bare = self._folded(None, decode_conversation_event(rows[0][1]))
        if bare is None:
            raise RuntimeError("a message leaves no conversation")
        marks = b"".join(fingerprint(f"wamid.{n}") + bytes(4) for n in range(HELD))
        living: State | None = bare
        for n in range(HELD):
            asked = load.request(f"order-{n}-shipped", number, user, self._now_ms, None)
            living = self._folded(living, asked)
            command = command_id(asked.request_id, 1)
            took = SendAccepted(event_id="a", at_ms=self._now_ms, command_id=command, wamid=f"wamid.{n:048}", user=user)  # fmt: skip
            living = self._folded(living, took)
        over = living
        for n in range(HELD):
            read = StatusReceived(
                event_id="s", at_ms=self._now_ms, received_ms=self._now_ms, phone_number_id=number, user=user,
                wamid=f"wamid.{n:048}", status="read", meta=msgspec.Raw(b"{}"), pricing=MetaPricing(category="service"),
            )  # fmt: skip
            over = self._folded(over, read)
        if living is None or over is None:
            raise RuntimeError("the conversation is gone")
        less = await self._weighed(bare)
        held = {
            "received": replace(bare, inbound=marks),
            "sent, taken by Meta": living,
            "sent and over": tidied(over, self._now_ms + DAY_MS + 1),
        }
        return {
            f"message {what}: bytes in Redis, beside its bound": (
                (await self._weighed(state) - less) / HELD,
                BOUNDS[what],
            )
            for what, state in held.items()
        }

    async def second_names(self) -> dict[str, tuple[float, float]]:
        """Bytes of Redis of an address beside those of the smallest conversation, and µs of CPU of a message passed on beside one that is taken."""
        number, id_ = load.number_id(0), "DE.13491208655302741918"
        told = UserKnownAs(
            event_id="n", at_ms=self._now_ms, noted_ms=self._now_ms, phone_number_id=number, user=id_, known_as=self._user(0)
        )  # fmt: skip
        address = self._folded(None, told)
        message = decode_conversation_event(next(iter(load.conversation_events(1, self._now_ms)))[1])
        home = self._folded(None, message)
        if address is None or home is None:
            raise RuntimeError("neither an address nor a conversation")
        value = encode(message)
        spent: dict[str, list[float]] = {"passed on": [], "taken": []}
        for _ in range(BATCHES):
            for what, known in (("passed on", encode_state(address)), ("taken", encode_state(home))):
                began = process_time()
                for n in range(BATCH):
                    event = replace(self._fold.decode(value), wamid=f"wamid.{n}")
                    state = self._fold.decode_state(known)
                    _folding(self._fold, {KEY: state}, [(KEY, event)], self._facts).changes({KEY: state})
                spent[what].append(process_time() - began)
        passed, taken = (min(times) / BATCH * 1e6 for times in spent.values())
        return {
            "address: bytes in Redis, beside a conversation": (
                await self._weighed(address),
                await self._weighed(home),
            ),
            "message: µs of CPU passed on by an address, beside taken": (passed, taken),
        }

    async def _weighed(self, state: State) -> float:
        """Bytes of Redis of a state and its timer, among as many others."""
        keys = Keys(f"b{uuid.uuid4().hex[:8]}", "router", 0)
        epoch, before = (await self._store.take(keys)).epoch, await self._used()
        for begin in range(0, WEIGHED, BATCH):
            changes = Changes()
            for n in range(begin, begin + BATCH):
                key = f"{state.number}:{self._user(n)}"
                changes.states[key] = encode_state(state)
                if state.wake_ms:
                    changes.ranks.append((TIMERS, f"{key}\n{WAKE}", state.wake_ms, "set"))
            await self._store.commit(keys, epoch, begin or None, begin + BATCH, b"", changes)
        weight = (await self._used() - before) / WEIGHED
        await _delete(self._redis, keys.namespace)
        return weight

    async def _used(self) -> int:
        return int((await self._redis.info("memory"))["used_memory"])

    async def delete(self) -> None:
        await _delete(self._redis, f"{self._namespace}*")


async def _delete(redis: Redis, names: str) -> None:
    """Delete the keys whose hash tag begins with what `names` matches."""
    async for key in redis.scan_iter("{" + names, count=10_000):
        await redis.delete(key)


def _items(rows: Iterable[tuple[str, ConversationEvent]]) -> Iterator[Item[ConversationEvent]]:
    plain = Grants()
    for offset, (key, event) in enumerate(rows):
        yield Item(_Record(offset), key, event, plain)


def _folding(
    fold: RouterFold,
    states: dict[str, State | None],
    rows: list[tuple[str, ConversationEvent]],
    facts: AccountFacts,
) -> Folding[State, ConversationEvent, AccountFacts]:
    """A batch folded with every claim granted."""
    folding = Folding(fold, facts, states)
    folding.feed(_items(rows))
    while folding.wanted:
        folding.answer({claim.id: Grant(True, 1) for claim in folding.wanted})
    _check(folding)
    return folding


def _check(folding: Folding[State, ConversationEvent, AccountFacts]) -> None:
    for _, reason in folding.poisoned.values():
        raise RuntimeError(reason)


async def _names(redis: Redis) -> dict[str, tuple[float, float]]:
    """Bytes of Redis by remembered request id, beside a key of its own for each; and the script's time beside a store with few names."""
    namespace = f"b{uuid.uuid4().hex[:8]}"
    claims, now_ms = Claims(redis, namespace), int(time() * 1000)

    async def used() -> int:
        return int((await redis.info("memory"))["used_memory"])

    async def spent() -> float:
        found = await redis.info("cpu")
        return float(found["used_cpu_user_main_thread"]) + float(found["used_cpu_sys_main_thread"])

    async def own(begin: int, end: int) -> float:
        """µs of Redis's CPU by name: as many milliseconds by 1,000."""
        began = await spent()
        for first in range(begin, end, BATCH):
            await claims.ask(
                [
                    Owned(
                        f"{n}",
                        f"order-{n}-shipped",
                        f"{load.number_id(n % 8)}:49152{n:08}",
                        REMEMBER_MS,
                        now_ms,
                    )
                    for n in range(first, min(first + BATCH, end))
                ],
                now_ms,
            )
        return (await spent() - began) / (end - begin) * 1e6

    empty = await used()
    few = await own(0, 20 * BATCH)
    await own(20 * BATCH, NAMES - 20 * BATCH)
    many = await own(NAMES - 20 * BATCH, NAMES)
    each = (await used() - empty) / NAMES
    before = await used()
    for first in range(0, PLAIN, BATCH):
        pipeline = redis.pipeline(transaction=False)
        for n in range(first, first + BATCH):
            pipeline.set(f"{{{namespace}:plain}}:order-{n}-shipped", b"12345678", px=REMEMBER_MS)
        await pipeline.execute()
    plain = (await used() - before) / PLAIN
    await _delete(redis, f"{namespace}*")
    return {
        f"request id: bytes in Redis, beside a key of its own, {NAMES:,}": (each, plain),
        f"request id: µs of Redis to claim, {NAMES:,}": (many, few),
    }
