"""The sender's outside world in memory: a journal, a Graph API, a place for outcomes, an owner of partitions."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import msgspec
from pydantic import SecretStr

from services.sender.answers import Accepted, Answer, Marked
from services.sender.desk import Desk
from services.sender.entry import Stored, decode_entry, encode_entry
from services.sender.intake import (
    CANCELLED,
    EXPIRY,
    QUEUES,
    UNREPORTED,
    Intake,
    in_queue,
    party,
    queue,
    unsent,
)
from services.sender.journal import (
    DELAYED,
    LINED,
    PAIR_LIMIT,
    PAIRS,
    Claimed,
    Held,
    Place,
    Survey,
    Unclaimed,
    Verdict,
    Waiting,
    Write,
    line_member,
)
from services.sender.outcomes import Outcome
from shared.accounts import AccountFacts
from shared.clock import ManualClock
from shared.error_table import ErrorTable
from shared.events import (
    AccountChanged,
    Category,
    ConversationEvent,
    Endpoint,
    SendCommand,
    SendMessage,
    decode_conversation_event,
)
from shared.ids import conversation_key, from_opaque
from shared.metrics import CATEGORIES
from shared.stream.fold import Grants, Recalled
from shared.tokens import Credentials

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
NOW_MS = int(START.timestamp() * 1000)
PRIORITIES: Mapping[str, int] = {"authentication": 0, "service": 1, "utility": 2, "marketing": 3}
TABLE = ErrorTable.load(Path(__file__).parents[3] / "config" / "errors.yaml")


def command(
    request: str,
    *,
    number: str = "1001",
    waba: str = "10",
    user: str | None = None,
    category: Category = "utility",
    at_ms: int = NOW_MS,
    valid_for_ms: int = 600_000,
    message: dict[str, Any] | None = None,
) -> SendMessage:
    """A command as the router writes it."""
    user = user or "49151" + "".join(str(ord(c) % 10) for c in request.rjust(8, "0"))
    return SendMessage(
        event_id=f"{request}#1",
        at_ms=at_ms,
        command_id=f"{request}#1",
        conversation_key=conversation_key(number, user),
        waba_id=waba,
        phone_number_id=number,
        user=user,
        category=category,
        priority=PRIORITIES[category],
        valid_until_ms=at_ms + valid_for_ms,
        message=msgspec.Raw(msgspec.json.encode(message or {"type": "text", "text": {"body": request}})),
    )


class JournalInMemory:
    """What services/sender/journal.py does in Redis, for one partition."""

    def __init__(self, epoch: int = 1) -> None:
        self.epoch = epoch
        self.offset = 0
        self.state: dict[str, bytes] = {}
        self.sets: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self.round_trips = 0
        """Of writes."""

    def take_in(self, *commands: SendCommand, recalled: bool = False) -> None:
        """Do what the stream processor does with intake's steps."""
        intake, grants = Intake(), Grants({}, Recalled(()) if recalled else None)
        for one in commands:
            self.offset += 1
            known = self.state.get(one.command_id)
            before = None if known is None else intake.decode_state(known)
            step = intake.fold(before, one, AccountFacts(), grants)
            if step.state is not None and step.state is not before:
                self.state[one.command_id] = intake.encode_state(step.state)
            for rank in step.ranks:
                self._place(rank.set, rank.member, rank.score)

    def ranked(self, name: str) -> list[str]:
        return [m for m, _ in sorted(self.sets[name].items(), key=lambda item: (item[1], item[0]))]

    def _place(self, name: str, member: str, score: int | None) -> None:
        if score is None:
            self.sets[name].pop(member, None)
        else:
            self.sets[name][member] = score

    async def claim(
        self,
        partition: int,
        epoch: int,
        found: Stored,
        new: bytes,
        source: str,
        member: str,
        pair: str,
        now_ms: int,
    ) -> Claimed | Held | Unclaimed:
        await asyncio.sleep(0)
        if epoch != self.epoch:
            return "lost"
        if self.state.get(found.id) != found.value:
            return "changed"
        if found.id in self.sets[CANCELLED]:
            return "cancelled"
        due = self.sets[PAIRS].get(pair, 0)
        at = PAIR_LIMIT.next_allowed(due, now_ms)
        if at > now_ms:
            return Held(int(at))
        self.state[found.id] = new
        self._place(source, member, None)
        self._place(PAIRS, pair, int(PAIR_LIMIT.taken(due, now_ms)))
        self._place(UNREPORTED, found.id, now_ms)
        return Claimed(self.sets[PAIRS][pair])

    async def write(
        self,
        partition: int,
        epoch: int,
        command_id: str,
        expected: bytes,
        new: bytes,
        places: Sequence[Place] = (),
    ) -> Verdict:
        return (await self.write_all(partition, epoch, [Write(command_id, expected, new, places)]))[0]

    async def write_all(self, partition: int, epoch: int, writes: Sequence[Write]) -> list[Verdict]:
        self.round_trips += 1
        await asyncio.sleep(0)
        return [self._write(epoch, *write) for write in writes]

    def _write(
        self, epoch: int, command_id: str, expected: bytes, new: bytes, places: Sequence[Place]
    ) -> Verdict:
        if epoch != self.epoch:
            return "lost"
        if self.state.get(command_id, b"") not in (expected, new):
            return "changed"
        if new:
            self.state[command_id] = new
        else:
            self.state.pop(command_id, None)
        for place in places:
            self._place(place.set, place.member, place.score)
        return "ok"

    async def survey(self, partition: int, epoch: int, now_ms: int, most: int) -> Survey | None:
        await asyncio.sleep(0)
        if epoch != self.epoch:
            return None
        queues = []
        for name in self.ranked(QUEUES):
            number, _, priority = name.rpartition(":")
            if waiting := len(self.sets[queue(number, int(priority))]):
                queues.append((number, int(priority), waiting))
        waiting_by = {
            c: (len(self.sets[unsent(c)]), min(self.sets[unsent(c)].values(), default=0)) for c in CATEGORIES
        }

        def due(name: str) -> tuple[str, ...]:
            return tuple(m for m in self.ranked(name) if self.sets[name][m] <= now_ms)[:most]

        return Survey(
            tuple(sorted(queues, key=lambda q: q[1])),
            waiting_by,
            due(DELAYED),
            due(EXPIRY),
            tuple(self.ranked(UNREPORTED)[:most]),
            tuple(self.ranked(CANCELLED)[:most]),
            self.offset,
        )

    async def head(self, partition: int, number: str, priority: int, most: int) -> tuple[list[Waiting], int]:
        return self._waiting(number, priority)[:most], self.offset

    async def tail(self, partition: int, number: str, priority: int, most: int) -> list[Waiting]:
        return self._waiting(number, priority)[-most:]

    def _waiting(self, number: str, priority: int) -> list[Waiting]:
        name = queue(number, priority)
        rows = [(*member.partition("|")[::2], self.sets[name][member]) for member in self.ranked(name)]
        return [Waiting(user, id, at_ms) for user, id, at_ms in rows]

    async def line_up(
        self, partition: int, epoch: int, number: str, priority: int, waiting: Sequence[Waiting]
    ) -> bool:
        if epoch != self.epoch:
            return False
        for user, id, at_ms in waiting:
            if self.sets[queue(number, priority)].pop(in_queue(user, id), None) is not None:
                self.sets[LINED][line_member(number, user, priority, at_ms, id)] = 0
        return True

    async def fetch(self, partition: int, ids: Sequence[str]) -> list[Stored]:
        return [Stored(i, self.state[i], decode_entry(self.state[i])) for i in ids if i in self.state]

    async def first_in_lines(self, partition: int, number: str, users: Sequence[str]) -> list[str | None]:
        lines = [sorted(m for m in self.sets[LINED] if m.startswith(f"{number}:{user}|")) for user in users]
        return [line[0].split("|", 3)[3] if line else None for line in lines]

    async def lines(self, partition: int) -> dict[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = {}
        for member in self.sets[LINED]:
            number, _, user = member.partition("|")[0].partition(":")
            counts[number, user] = counts.get((number, user), 0) + 1
        return counts

    def rewind(self, one: SendMessage, to: bytes) -> None:
        """Lose what happened to a command since `to`, when it was waiting, as a Redis does that loses its last second."""
        self.state[one.command_id] = to
        name = queue(one.phone_number_id, one.priority)
        self.sets[name][in_queue(party(one), one.command_id)] = one.at_ms
        self.sets[UNREPORTED].pop(one.command_id, None)


async def _accept(command_id: str, body: dict[str, Any]) -> Answer:
    return Accepted(f"wamid.{command_id}", None, None)


class ScriptedGraph:
    """Answers by command id."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Awaitable[Answer]] = _accept) -> None:
        self.calls: list[str] = []
        self.endpoints: list[Endpoint] = []
        self.marks: list[str] = []
        self.at_once = 0
        self.flying: set[str] = set()
        self.doubled: list[str] = []
        """Users who were written to while another message to them was in flight."""
        self._answer = answer

    async def send(
        self,
        phone_number_id: str,
        credentials: Credentials,
        body: bytes,
        endpoint: Endpoint = "messages",
        *,
        start_within_s: float = inf,
    ) -> Answer:
        message = msgspec.json.decode(body)
        self.endpoints.append(endpoint)
        if "status" in message:
            self.marks.append(message["message_id"])
            return Marked()
        packed = from_opaque(message["biz_opaque_callback_data"])
        assert packed is not None
        self.calls.append(packed[1])
        user = f"{phone_number_id}:{message['to']}"
        if user in self.flying:
            self.doubled.append(user)
        self.flying.add(user)
        self.at_once = max(self.at_once, len(self.flying))
        await asyncio.sleep(0)
        answer = await self._answer(packed[1], message)
        self.flying.discard(user)
        return answer


class Heard:
    """Outcomes as reported."""

    def __init__(self) -> None:
        self.events: list[ConversationEvent] = []
        self.keys: list[str] = []
        self.accounts: list[AccountChanged] = []

    async def report(self, outcomes: Sequence[Outcome]) -> None:
        await asyncio.sleep(0)
        for outcome in outcomes:
            self.keys.append(outcome.conversation_key)
            self.events.append(decode_conversation_event(outcome.event))

    async def report_account(self, event: AccountChanged) -> None:
        self.accounts.append(event)

    def kinds(self) -> dict[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for event in self.events:
            found[event.command_id or ""].append(type(event).__name__)  # type: ignore[union-attr]
        return dict(found)


class Owner:
    """Holds partition 0, until told otherwise."""

    def __init__(self) -> None:
        self.owned: dict[int, int] = {0: 1}
        self.doubts: list[int] = []
        self.known_to_kafka = 1_000_000
        self.alone = True

    def published(self, partition: int) -> int:
        return self.known_to_kafka

    def continued(self, partition: int) -> bool:
        return self.alone

    async def doubt(self, partition: int, epoch: int) -> None:
        self.doubts.append(epoch)


class OneToken:
    def get(self, reference: str) -> Credentials | None:
        return Credentials(SecretStr("a-token")) if reference == "default" else None


class Office:
    """A desk whose outside world is all here, and the tasks it spawned."""

    def __init__(self, graph: ScriptedGraph | None = None) -> None:
        self.journal = JournalInMemory()
        self.graph = graph or ScriptedGraph()
        self.heard = Heard()
        self.owner = Owner()
        self.facts = AccountFacts()
        self.clock = ManualClock(START)
        self.tasks: list[asyncio.Task[Any]] = []
        self.desk = Desk(
            journal=self.journal,
            graph=self.graph,
            outcomes=self.heard,
            tokens=OneToken(),
            ownership=self.owner,
            table=TABLE,
            facts=lambda: self.facts,
            clock=self.clock,
            spawn=self.spawn,
            user_hash=lambda user: "hash",
            claim_grace_ms=1000,
        )

    def spawn(self, work: Any, name: str) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self.tasks.append(task)
        return task

    async def until(self, condition: Callable[[], bool], what: str = "condition") -> None:
        """Wait for a condition, at most twenty seconds; a failed task fails the test."""
        async with asyncio.timeout(20):
            while not condition():
                for task in self.tasks:
                    if task.done() and not task.cancelled():
                        task.result()
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        """End every task; one that failed fails the test."""
        self.desk.stopping = True
        await asyncio.sleep(0)  # a coroutine that never began would complain
        for task in self.tasks:
            task.cancel()
        ended = await asyncio.gather(*self.tasks, return_exceptions=True)
        failures = [e for e in ended if isinstance(e, Exception)]
        assert not failures, failures


__all__ = ["NOW_MS", "START", "TABLE", "Office", "ScriptedGraph", "command", "encode_entry"]
