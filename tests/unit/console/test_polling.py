"""When accounts are polled, and what is done with what Meta does not answer."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from deploy.local.paths import REPOSITORY
from services.console.graph import Reply
from services.console.polling import JITTER, Poller, next_poll_s
from shared.accounts import AccountFacts
from shared.clock import ManualClock
from shared.error_table import ErrorTable
from shared.events import AccountChanged
from shared.graph_answers import Refused, Usage
from shared.graph_calls import GraphFailure, GraphRefused, GraphUnavailable
from shared.lifecycle import Service
from shared.settings import ServiceSettings
from shared.tokens import Credentials, Tokens

PERIOD_S = 900.0
LONGEST_S = PERIOD_S * (1 + JITTER)


class FakeMeta:
    """Answers with empty nodes, or as a test lets it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.answer: Callable[[str, str], Reply | GraphFailure] = lambda _, waba: Reply(())

    def _said(self, what: str, waba_id: str, credentials: Credentials) -> Reply:
        self.asked.append((what, waba_id, credentials.token.get_secret_value()))
        answer = self.answer(what, waba_id)
        if isinstance(answer, GraphFailure):
            raise answer
        return answer

    async def account(self, waba_id: str, fields: Iterable[str], credentials: Credentials) -> Reply:
        return self._said("account", waba_id, credentials)

    async def numbers(self, waba_id: str, fields: Iterable[str], credentials: Credentials) -> Reply:
        return self._said("numbers", waba_id, credentials)

    async def templates(self, waba_id: str, fields: Iterable[str], credentials: Credentials) -> Reply:
        return self._said("templates", waba_id, credentials)


class Topic:
    """Account events that are folded at once; `away` lets the publication fail."""

    def __init__(self) -> None:
        self.facts = AccountFacts()
        self.away = False

    async def read(self) -> AccountFacts:
        return self.facts

    async def publish(self, events: Sequence[AccountChanged]) -> int:
        if self.away:
            raise KafkaError("away")
        for event in events:
            self.facts.apply(event, self.facts.revision + 1)
        return self.facts.revision


class World:
    """A poller with all it needs."""

    def __init__(self, *wabas: str) -> None:
        self.meta, self.topic = FakeMeta(), Topic()
        self.clock = ManualClock(datetime(2026, 12, 1, tzinfo=UTC))
        for waba in wabas:
            self.know(waba)
        self.poller = Poller(
            Service("console", ServiceSettings()),
            meta=self.meta,
            tokens=Tokens(SecretStr("t"), None),
            table=ErrorTable.load(REPOSITORY / "config" / "errors.yaml"),
            events=self.topic,
            facts=lambda: self.topic.facts,
            clock=self.clock,
            period_s=PERIOD_S,
            chance=lambda: 1.0,
        )

    def know(self, waba: str, **fields: Any) -> None:
        event = AccountChanged(event_id="e", at_ms=0, waba_id=waba, subject="account", id=waba, fields=fields)
        self.topic.facts.apply(event, self.topic.facts.revision + 1)

    async def polled(self, after_s: float = 0) -> list[str]:
        """The accounts asked about in a round so much later."""
        self.clock.advance(after_s)
        self.meta.asked.clear()
        await self.poller.round()
        return list(dict.fromkeys(waba for _, waba, _ in self.meta.asked))


def refused(code: int, regain_s: float | None = None) -> GraphRefused:
    return GraphRefused(Refused(400, code, "no", Usage(None, 100, regain_s)))


async def test_every_account_is_asked_about_once_in_a_period() -> None:
    world = World("W1", "W2")
    assert await world.polled() == ["W1", "W2"]
    assert await world.polled(LONGEST_S - 1) == []
    assert await world.polled(1) == ["W1", "W2"]
    assert world.meta.asked[:3] == [("account", "W1", "t"), ("numbers", "W1", "t"), ("templates", "W1", "t")]


async def test_an_account_that_is_deleted_is_left_alone_and_a_new_one_is_asked_about_at_once() -> None:
    world = World("W1")
    world.know("W1", status="deleted")
    assert await world.polled() == []
    world.know("W2")
    assert await world.polled(1) == ["W2"]


async def test_what_differs_is_published_and_the_next_poll_publishes_nothing() -> None:
    world = World("W1")
    world.meta.answer = lambda what, _: Reply(({"id": "W1", "currency": "EUR"},) if what == "account" else ())
    await world.polled()
    revision = world.topic.facts.revision
    account = world.topic.facts.account("W1")
    assert account is not None
    assert account.currency == "EUR"
    await world.polled(LONGEST_S)
    assert world.topic.facts.revision == revision


async def test_what_was_answered_before_a_failure_counts_and_nothing_is_asked_after_it() -> None:
    world = World("W1")
    world.know("W1", currency="USD")

    def answer(what: str, _: str) -> Reply | GraphFailure:
        return Reply(({"currency": "EUR"},)) if what == "account" else GraphUnavailable("away")

    world.meta.answer = answer
    await world.polled()
    assert [what for what, *_ in world.meta.asked] == ["account", "numbers"]
    account = world.topic.facts.account("W1")
    assert account is not None
    assert account.currency == "EUR"
    assert await world.polled(LONGEST_S) == ["W1"]


@pytest.mark.parametrize(
    ("failure", "wait_s"),
    [
        (refused(190), 0),  # a token is read anew at each poll
        (refused(80007), 300),
        (refused(80008), 300),
        (refused(80008, regain_s=2400), 2400),
    ],
)
async def test_an_account_that_is_refused_waits_as_long_as_table_and_header_say(
    failure: GraphRefused, wait_s: float
) -> None:
    world = World("W1", "W2")
    world.meta.answer = lambda _, waba: failure if waba == "W1" else Reply(())
    assert await world.polled() == ["W1", "W2"]
    assert "W1" not in await world.polled(LONGEST_S + wait_s - 1)
    assert "W1" in await world.polled(1)


async def test_a_limit_of_the_app_stops_all_accounts_until_it_is_over() -> None:
    world = World("W1", "W2")
    world.meta.answer = lambda _, waba: refused(4, regain_s=3600)
    assert await world.polled() == ["W1"]
    world.meta.answer = lambda _, waba: Reply(())
    assert await world.polled(3599) == []
    assert await world.polled(1) == ["W2"]


async def test_an_account_whose_allowance_is_half_used_is_polled_half_as_often() -> None:
    world = World("W1")
    world.meta.answer = lambda *_: Reply((), used_percent=50.0)
    await world.polled()
    assert await world.polled(LONGEST_S) == []
    assert await world.polled(PERIOD_S) == ["W1"]


async def test_facts_that_kafka_does_not_take_are_found_again_by_the_next_poll() -> None:
    world = World("W1")
    world.meta.answer = lambda what, _: Reply(({"currency": "EUR"},) if what == "account" else ())
    world.topic.away = True
    await world.polled()
    world.topic.away = False
    await world.polled(LONGEST_S)
    account = world.topic.facts.account("W1")
    assert account is not None
    assert account.currency == "EUR"


async def test_an_account_without_a_token_is_not_asked_about() -> None:
    world = World()
    world.know("W1")
    world.topic.facts.apply(
        AccountChanged(
            event_id="n", at_ms=0, waba_id="W1", subject="number", id="1", fields={"token": "shop"}
        ),
        9,
    )
    world.poller = Poller(
        Service("console", ServiceSettings()),
        meta=world.meta,
        tokens=Tokens(None, None),
        table=ErrorTable.load(REPOSITORY / "config" / "errors.yaml"),
        events=world.topic,
        facts=lambda: world.topic.facts,
        clock=world.clock,
        period_s=PERIOD_S,
    )
    assert await world.polled() == []


def test_the_jitter_is_a_tenth_of_the_period_either_way() -> None:
    assert [next_poll_s(100, chance, 0) for chance in (0, 0.5, 1)] == pytest.approx([90, 100, 110])
    assert next_poll_s(100, 0.5, 60) == pytest.approx(160)
