"""The sender's journal: the one in memory, which unit tests use, and the one in Redis answer alike."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from deploy.local.stack import LocalStack
from services.sender.desk import JournalPort
from services.sender.entry import claimed, encode_entry, unclaimed
from services.sender.intake import CANCELLED, EXPIRY, UNREPORTED, Intake, in_queue, queue
from services.sender.journal import DELAYED, LINED, PAIRS, Claimed, Held, Journal, Place, Waiting, line_member
from shared.accounts import AccountFacts
from shared.events import SendMessage
from shared.stream.fold import Grants
from shared.stream.folding import Changes
from shared.stream.store import Keys, Store
from tests.conftest import Prefix
from tests.unit.sender.fakes import NOW_MS, JournalInMemory, command


class Kit(Protocol):
    """One journal and how the test prepares and reads it."""

    journal: JournalPort
    epoch: int

    async def take_in(self, *commands: SendMessage) -> None: ...
    async def members(self, name: str) -> dict[str, int]: ...


class InMemory:
    def __init__(self) -> None:
        self.memory = JournalInMemory()
        self.journal: JournalPort = self.memory
        self.epoch = 1

    async def take_in(self, *commands: SendMessage) -> None:
        self.memory.take_in(*commands)

    async def members(self, name: str) -> dict[str, int]:
        return dict(self.memory.sets[name])


class InRedis:
    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.store = Store(redis)
        self.keys = Keys(namespace, "sender", 0)
        self.journal: JournalPort = Journal(redis, namespace, "sender")
        self.epoch = 0
        self.offset: int | None = None

    async def start(self) -> None:
        self.epoch = (await self.store.take(self.keys)).epoch

    async def take_in(self, *commands: SendMessage) -> None:
        intake, changes = Intake(), Changes()
        for one in commands:
            step = intake.fold(None, one, AccountFacts(), Grants())
            assert step.state is not None
            changes.states[one.command_id] = intake.encode_state(step.state)
            changes.ranks += [(r.set, r.member, r.score or 0, "set") for r in step.ranks]
        before, self.offset = self.offset, (self.offset or 0) + len(commands)
        await self.store.commit(self.keys, self.epoch, before, self.offset, b"", changes)

    async def members(self, name: str) -> dict[str, int]:
        rows: Any = await self.redis.zrange(self.keys.set(name), 0, -1, withscores=True)
        return {member.decode(): int(score) for member, score in rows}


@pytest_asyncio.fixture(params=["memory", "redis"])
async def kit(request: pytest.FixtureRequest, stack: LocalStack, prefix: Prefix) -> AsyncIterator[Kit]:
    if request.param == "memory":
        yield InMemory()
        return
    redis = Redis.from_url(stack.endpoints.redis_url)
    kit = InRedis(redis, prefix.redis)
    await kit.start()
    yield kit
    await redis.aclose()


async def claim(kit: Kit, one: SendMessage, *, epoch: int | None = None, now_ms: int = NOW_MS) -> Any:
    (found,) = await kit.journal.fetch(0, [one.command_id])
    new = encode_entry(claimed(found.entry, kit.epoch, now_ms))
    source = queue(one.phone_number_id, one.priority)
    pair = f"{one.phone_number_id}:{one.user}"
    held = kit.epoch if epoch is None else epoch
    member = in_queue(one.user, one.command_id)
    return await kit.journal.claim(0, held, found, new, source, member, pair, now_ms)


async def test_a_claim_moves_the_command_and_counts_for_its_pair(kit: Kit) -> None:
    one = command("r1")
    await kit.take_in(one)
    assert await claim(kit, one) == Claimed(NOW_MS + 6000)
    assert await kit.members(queue("1001", 2)) == {}
    assert await kit.members(UNREPORTED) == {"r1#1": NOW_MS}
    assert await kit.members(PAIRS) == {f"1001:{one.user}": NOW_MS + 6000}
    (found,) = await kit.journal.fetch(0, ["r1#1"])
    assert (found.entry.status, found.entry.attempts) == ("claimed", 1)


async def test_a_claim_of_what_was_taken_back_does_nothing(kit: Kit) -> None:
    one = command("r1")
    await kit.take_in(one)
    (before,) = await kit.journal.fetch(0, ["r1#1"])
    place = Place(CANCELLED, "r1#1", NOW_MS)
    await kit.journal.write(0, kit.epoch, "r1#1", before.value, before.value, [place])
    assert await claim(kit, one) == "cancelled"
    assert await kit.journal.fetch(0, ["r1#1"]) == [before]
    assert await kit.members(PAIRS) == {}


async def test_a_claim_under_another_epoch_or_of_a_changed_entry_does_nothing(kit: Kit) -> None:
    one = command("r1")
    await kit.take_in(one)
    (before,) = await kit.journal.fetch(0, ["r1#1"])
    assert await claim(kit, one, epoch=kit.epoch + 1) == "lost"
    other = encode_entry(claimed(before.entry, kit.epoch, 1))
    assert await kit.journal.write(0, kit.epoch, "r1#1", before.value, other) == "ok"
    stale = encode_entry(claimed(before.entry, kit.epoch, 2))
    answer = await kit.journal.claim(0, kit.epoch, before, stale, queue("1001", 2), "r1#1", "p", NOW_MS)
    assert answer == "changed"
    assert await kit.members(UNREPORTED) == {}


async def test_the_forty_sixth_message_to_a_user_is_held_until_its_time(kit: Kit) -> None:
    commands = [command(f"r{i:02}", user="491511") for i in range(46)]
    await kit.take_in(*commands)
    for one in commands[:45]:
        assert isinstance(await claim(kit, one), Claimed)
    assert await claim(kit, commands[45]) == Held(NOW_MS + 6000)
    assert list(await kit.members(queue("1001", 2))) == ["491511|r45#1"]
    assert await claim(kit, commands[45], now_ms=NOW_MS + 6000) == Claimed(NOW_MS + 46 * 6000)


async def test_a_write_moves_and_replaces_all_or_nothing(kit: Kit) -> None:
    one = command("r1")
    await kit.take_in(one)
    await claim(kit, one)
    (found,) = await kit.journal.fetch(0, ["r1#1"])
    places = [Place(UNREPORTED, "r1#1", None), Place(DELAYED, "r1#1", NOW_MS + 5)]
    value = encode_entry(unclaimed(found.entry, one, called=True))
    assert await kit.journal.write(0, kit.epoch + 1, "r1#1", found.value, value, places) == "lost"
    assert await kit.journal.write(0, kit.epoch, "r1#1", b"else", value, places) == "changed"
    assert await kit.members(DELAYED) == {}
    assert await kit.journal.write(0, kit.epoch, "r1#1", found.value, value, places) == "ok"
    assert await kit.journal.write(0, kit.epoch, "r1#1", found.value, value, places) == "ok"
    assert (await kit.members(UNREPORTED), await kit.members(DELAYED)) == ({}, {"r1#1": NOW_MS + 5})
    assert await kit.journal.write(0, kit.epoch, "r1#1", value, b"", [Place(EXPIRY, "r1#1", None)]) == "ok"
    assert await kit.journal.fetch(0, ["r1#1"]) == []


async def test_a_survey_tells_queues_ages_and_what_is_due(kit: Kit) -> None:
    await kit.take_in(
        command("u", at_ms=NOW_MS - 5, valid_for_ms=3),
        command("o", category="authentication", number="1002", at_ms=NOW_MS),
    )
    survey = await kit.journal.survey(0, kit.epoch, NOW_MS, 10)
    assert survey is not None
    assert survey.queues == (("1002", 0, 1), ("1001", 2, 1))
    assert survey.unsent["utility"] == (1, NOW_MS - 5)
    assert survey.unsent["marketing"] == (0, 0)
    assert (survey.expiring, survey.delayed, survey.unreported) == (("u#1",), (), ())
    assert await kit.journal.survey(0, kit.epoch + 1, NOW_MS, 10) is None


async def test_the_head_of_a_queue_comes_with_the_offset_it_was_read_at(kit: Kit) -> None:
    await kit.take_in(command("b", at_ms=NOW_MS + 1), command("a", at_ms=NOW_MS))
    first, last = Waiting(command("a").user, "a#1", NOW_MS), Waiting(command("b").user, "b#1", NOW_MS + 1)
    assert await kit.journal.head(0, "1001", 2, 5) == ([first, last], 2)
    assert await kit.journal.head(0, "1001", 2, 1) == ([first], 2)
    assert await kit.journal.tail(0, "1001", 2, 1) == [last]


async def test_commands_step_from_their_queue_into_lines_unless_they_have_left_it(kit: Kit) -> None:
    await kit.take_in(command("a", user="491511"), command("b", user="491511", at_ms=NOW_MS + 1))
    waiting, _ = await kit.journal.head(0, "1001", 2, 5)
    gone = Waiting("491511", "gone#1", NOW_MS)
    assert not await kit.journal.line_up(0, kit.epoch + 1, "1001", 2, waiting)
    assert await kit.journal.line_up(0, kit.epoch, "1001", 2, [*waiting[1:], gone])
    assert await kit.members(queue("1001", 2)) == {"491511|a#1": NOW_MS}
    assert await kit.members(LINED) == {line_member("1001", "491511", 2, NOW_MS + 1, "b#1"): 0}


async def test_moves_asked_for_together_are_answered_each_on_its_own(kit: Kit) -> None:
    commands = [command(f"r{i:03}") for i in range(600)]
    await kit.take_in(*commands)
    found = await kit.journal.fetch(0, [one.command_id for one in commands])
    moves = [
        kit.journal.write(0, kit.epoch, one.id, b"else" if nth == 1 else one.value, b"new")
        for nth, one in enumerate(found)
    ]
    answers = await asyncio.gather(kit.journal.write(0, kit.epoch + 1, "r000#1", b"", b""), *moves)
    assert answers == ["lost", "ok", "changed", *["ok"] * 598]


async def test_a_line_is_in_order_of_urgency_then_age(kit: Kit) -> None:
    for name, priority, at_ms in (("late", 2, NOW_MS + 1), ("early", 2, NOW_MS), ("otp", 0, NOW_MS + 9)):
        member = line_member("1001", "491511", priority, at_ms, f"{name}#1")
        await kit.journal.write(0, kit.epoch, f"{name}#1", b"", b"", [Place(LINED, member, 0)])
    other = line_member("1001", "4915110", 0, NOW_MS, "other#1")
    await kit.journal.write(0, kit.epoch, "other#1", b"", b"", [Place(LINED, other, 0)])
    assert await kit.journal.first_in_lines(0, "1001", ["491511", "none"]) == ["otp#1", None]
    assert await kit.journal.lines(0) == {("1001", "491511"): 3, ("1001", "4915110"): 1}
