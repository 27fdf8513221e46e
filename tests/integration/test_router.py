"""The router between a real Kafka and a real Redis: decisions, lives, received messages, account changes; Redis lost in between."""

from collections.abc import AsyncIterator
from os import environ
from pathlib import Path
from time import time
from typing import Any

import msgspec
import pytest_asyncio

from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from shared.clock import FileClock
from shared.events import (
    AccountChanged,
    AccountWebhook,
    ConversationWebhook,
    MessageReceived,
    PreferenceChanged,
    SendEvent,
    SendRequested,
    StatusReceived,
    TemplateRef,
    decode_command,
    decode_conversation_event,
    decode_send_event,
    decode_user_preference,
    encode,
)
from shared.ids import conversation_key
from shared.topics import (
    ACCOUNT_CHANGES,
    ACCOUNT_EVENTS,
    CONVERSATION_EVENTS,
    MESSAGES_RECEIVED,
    PREFERENCES,
    SEND_COMMANDS,
    SEND_EVENTS,
    WEBHOOKS_PASSED,
    Topic,
)
from tests.conftest import Prefix
from tests.forking import ForkedProcess
from tests.integration.stream.harness import Bench, until

USERS = [f"49151100000{n}" for n in range(10, 30)]


class RouterBench(Bench):
    """One test's topics and the router as a process."""

    def router(self) -> OwnedProcess:
        process = ForkedProcess(
            "services.router",
            log_path=self.logs / f"router-{len(self._workers)}.log",
            env={**environ, **self.env},
        )
        process.spawn()
        self._workers.append(process)
        return process

    async def know(self) -> None:
        """Set up one account with a number, a template and place for ten users a day."""
        wanted: list[tuple[Any, str, dict[str, Any]]] = [
            ("account", "W1", {"regime": "guide", "payment_method": "valid", "messaging_limit": 10}),
            ("number", "N1", {"default": True}),
            ("template", "promo/en", {"category": "marketing", "status": "APPROVED"}),
        ]
        events = [
            AccountChanged(
                event_id=f"set-{id_}", at_ms=1, waba_id="W1", subject=subject, id=id_, fields=fields
            )
            for subject, id_, fields in wanted
        ]
        await self.feed([("W1", encode(event)) for event in events], ACCOUNT_EVENTS)

    async def values(self, topic: Topic) -> list[bytes]:
        """Every value once: what is published twice has the same bytes."""
        return list(dict.fromkeys(row.value for row in await self.read(topic)))

    async def told(self, event: str) -> list[SendEvent]:
        """The send events of a kind, each once."""
        found = map(decode_send_event, await self.values(SEND_EVENTS))
        return [e for e in found if e.event == event]


@pytest_asyncio.fixture
async def bench(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[RouterBench]:
    bench = RouterBench(stack, prefix, tmp_path)
    await bench.start()
    yield bench
    await bench.stop()


def wish(user: str, at_ms: int, template: str | None) -> tuple[str, bytes]:
    event = SendRequested(
        event_id=f"r-{user}", at_ms=at_ms, request_id=f"r-{user}", phone_number_id="N1", user=user,
        type="template" if template else "text", message=msgspec.Raw(b'{"to":"+%s"}' % user.encode()), digest="d",
        template=TemplateRef(template, "en") if template else None,
    )  # fmt: skip
    return conversation_key("N1", user), encode(event)


async def test_requests_are_decided_once_and_lives_told_even_when_redis_is_lost(bench: RouterBench) -> None:
    now = int(time() * 1000)
    await bench.know()
    router = bench.router()
    writer = USERS[0]
    message = MessageReceived(
        event_id="wamid.1", at_ms=now, received_ms=now, phone_number_id="N1", user=writer, wamid="wamid.1",
        type="text", message=msgspec.Raw(b"{}"), waba_id="W1",
    )  # fmt: skip
    key = conversation_key("N1", writer)
    await bench.feed([(key, encode(message)), (key, encode(message)), wish(writer, now, None)])
    await bench.feed([wish(user, now, "promo") for user in USERS[1:]])

    async def decided() -> bool:
        return len(await bench.told("decided")) == len(USERS)

    await until(decided, "a decision for each request")
    decisions = {e.request_id: e.decision for e in await bench.told("decided")}
    reasons = sorted(d.reason for d in decisions.values() if d is not None)
    assert reasons == ["ok"] * 11 + ["tier_limit_reached"] * 9
    assert len(await bench.values(MESSAGES_RECEIVED)) == 1

    async def commanded() -> bool:
        return len(await bench.values(SEND_COMMANDS)) == 11

    await until(commanded, "a command for each allowed request")
    commands = [decode_command(value) for value in await bench.values(SEND_COMMANDS)]
    await bench.feed(
        (c.conversation_key, encode(StatusReceived(
            event_id=f"{c.command_id}:delivered", at_ms=now + 1000, received_ms=now + 1000, phone_number_id="N1",
            user=c.user, wamid=f"wamid.{c.command_id}", status="delivered", meta=msgspec.Raw(b"{}"),
            command_id=c.command_id,
        )))
        for c in commands
    )  # fmt: skip

    async def delivered() -> bool:
        return len(await bench.told("delivered")) == 11

    await until(delivered, "all deliveries")
    charges = [e.charge for e in await bench.told("delivered") if e.charge is not None]
    assert sorted(c.type for c in charges) == ["free_tier"] + ["regular"] * 10
    assert {c.counted for c in charges} == {True}

    async def changed() -> bool:
        return len(await bench.values(ACCOUNT_CHANGES)) == 3

    await until(changed, "the account's changes")

    await bench.settled()
    await router.kill()
    await bench.lose_redis()
    before = await bench.read(SEND_EVENTS)
    bench.router()
    await bench.feed([wish(user, now, "promo") for user in USERS[1:]])

    async def answered() -> bool:
        return len(await bench.read(SEND_EVENTS)) >= len(before) + 19

    await until(answered, "an answer to each repeated request")
    after = await bench.read(SEND_EVENTS)
    assert {row.value for row in after} == {row.value for row in before}, (
        "a repeated request is answered by the same bytes, though Redis forgot everything"
    )
    assert len(await bench.values(SEND_COMMANDS)) == 11


async def test_what_else_meta_tells_is_passed_on_once_even_when_redis_is_lost(bench: RouterBench) -> None:
    now = int(time() * 1000)
    router = bench.router()

    def note(user: str) -> tuple[str, bytes]:
        event = ConversationWebhook(
            event_id=f"N1:calls:{user}", at_ms=now, received_ms=now, phone_number_id="N1", user=user, field="calls",
            item=msgspec.Raw(b'{"id" : "c"}'), waba_id="W1", list="calls",
        )  # fmt: skip
        return conversation_key("N1", user), encode(event)

    alert = AccountWebhook(
        event_id="W1:account_alerts:1", at_ms=now, waba_id="W1", field="account_alerts",
        value=msgspec.Raw(b'{"alert_type":"OBA_APPROVED"}'), received_ms=now,
    )  # fmt: skip
    told = [note(USERS[0]), note("")]

    async def tell() -> None:
        await bench.feed([*told, *told])
        await bench.feed([("W1", encode(alert))] * 2, ACCOUNT_EVENTS)

    await tell()

    async def passed() -> bool:
        return len(await bench.read(WEBHOOKS_PASSED)) >= 3

    await until(passed, "each of them")
    await router.kill()
    await bench.lose_redis()
    bench.router()
    await tell()
    await bench.feed([note(USERS[1])])

    async def last() -> bool:
        return any(row.key == f"N1:{USERS[1]}".encode() for row in await bench.read(WEBHOOKS_PASSED))

    await until(last, "the one that is new")
    rows = await bench.read(WEBHOOKS_PASSED)
    assert sorted({row.key for row in rows}) == sorted(
        [f"N1:{USERS[0]}".encode(), f"N1:{USERS[1]}".encode(), b"W1"]
    )
    assert len({row.value for row in rows}) == 4
    assert all(b'"value":{"id" : "c"}' in row.value for row in rows if row.key != b"W1")


async def test_an_opt_out_outlives_both_the_log_it_was_said_in_and_a_lost_redis(bench: RouterBench) -> None:
    now = int(time() * 1000)
    clock = FileClock(bench.logs / "clock")
    await bench.know()
    router = bench.router()
    user = USERS[0]
    stop = MessageReceived(
        event_id="wamid.1", at_ms=now, received_ms=now, phone_number_id="N1", user=user, wamid="wamid.1",
        type="text", message=msgspec.Raw(b'{"type":"text","text":{"body":"Stop!"}}'), waba_id="W1",
    )  # fmt: skip
    await bench.feed([(conversation_key("N1", user), encode(stop))])

    async def told() -> bool:
        return len(await bench.values(PREFERENCES)) == 1 and await bench.published() == 2

    await until(told, "the message and the word made of it are folded and told")
    await bench.truncate(CONVERSATION_EVENTS)
    clock.advance(15 * 86_400)

    async def renewed() -> bool:
        events = [decode_conversation_event(value) for value in await bench.values(CONVERSATION_EVENTS)]
        return any(isinstance(event, PreferenceChanged) for event in events)

    await until(renewed, "the word is in the log again")
    await bench.settled()
    await router.kill()
    await bench.lose_redis()
    bench.router()
    await bench.feed([wish(user, int(clock.time() * 1000), "promo")])

    async def decided() -> bool:
        return len(await bench.told("decided")) == 1

    await until(decided, "a decision")
    ((event,), (value,)) = (await bench.told("decided"), await bench.values(PREFERENCES))
    assert event.decision is not None
    assert event.decision.reason == "opted_out"
    word = decode_user_preference(value)
    assert (word.marketing, word.source, word.evidence, word.reference) == (
        "out", "stop_word", "Stop!", "wamid.1",
    )  # fmt: skip
