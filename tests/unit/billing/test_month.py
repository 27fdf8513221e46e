"""The generated month: its oracle, the ledger's fold and the generator itself agree, and it holds what it promises."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from random import Random

import pytest

from services.billing.ledger import LedgerFold, Remembered
from shared.accounts import AccountFacts
from shared.events import AccountChanged, decode_ledger_entry, decode_send_event
from shared.phone import canonical_user, country_of
from shared.pricing import PriceBook
from shared.stream.fold import Grants
from tests.billing_month import config
from tests.billing_month.analytics import analytics
from tests.billing_month.differences import KINDS, plant
from tests.billing_month.generate import CLEAN, Month
from tests.billing_month.log import Logged, disturbed, log
from tests.billing_month.oracle import Oracle
from tests.billing_month.rawlog import write
from tests.billing_month.rules import Rules, instant
from tests.billing_month.truth import Message
from tests.billing_month.world import ACCOUNTS, BY_ID, COUNTRIES

pytestmark = pytest.mark.slow

SIZE = 6_000
Sums = dict[tuple[object, ...], list[int]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return config.write(tmp_path_factory.mktemp("month") / "config")


@pytest.fixture(scope="module")
def rules(folder: Path) -> Rules:
    return Rules(folder)


@pytest.fixture(scope="module")
def messages(rules: Rules) -> list[Message]:
    return list(Month(rules, SIZE, 1).messages())


def folded(folder: Path, events: Iterable[Logged]) -> Sums:
    """What the ledger's fold books, by account, month, number, unit, category, market and type."""
    facts = AccountFacts()
    for nth, account in enumerate(ACCOUNTS, 1):
        id, fields = account.waba_id, account.facts()
        facts.apply(
            AccountChanged(event_id=id, at_ms=1, waba_id=id, subject="account", id=id, fields=fields), nth
        )
    fold = LedgerFold(PriceBook.load(folder), lambda user: user)
    states: dict[str, Remembered | None] = {}
    sums: Sums = defaultdict(lambda: [0, 0, 0, 0, 0])
    for logged in events:
        event = fold.decode(logged.value)
        key = fold.key(logged.key, event)
        if not key:
            continue
        step = fold.fold(states.get(key), event, facts, Grants())
        states[key] = step.state
        for out in step.out:
            entry = decode_ledger_entry(out.value)
            row = sums[entry.waba_id, entry.month, entry.phone_number_id, entry.unit, entry.category, entry.market, entry.type]  # fmt: skip
            row[0 if entry.free else 1] += entry.counts
            row[2 if entry.free else 3] += entry.conversations
            row[4] += entry.amount_micros
    return {line: row for line, row in sums.items() if any(row)}


@pytest.mark.parametrize("seed", [1, 2])
def test_generator_oracle_and_ledger_agree_on_every_line_of_the_month(
    folder: Path, rules: Rules, tmp_path: Path, seed: int
) -> None:
    raw = write(Month(rules, SIZE, seed).messages(), SIZE, seed, tmp_path / "log", lambda _: None)
    meant = {line: list(row) for line, row in raw.lines.items()}
    told = {line: list(row) for line, row in Oracle(raw.path, rules).totals("line").items()}
    assert told == meant
    assert folded(folder, disturbed(log(Month(rules, SIZE, seed).messages()), seed)) == meant


def test_the_same_seed_gives_the_same_log_and_another_seed_another(rules: Rules) -> None:
    one, same, other = (
        [event.value for event in disturbed(log(Month(rules, 500, seed).messages()), seed)]
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_the_log_keeps_each_messages_order_and_repeats_byte_for_byte(messages: list[Message]) -> None:
    orderly = list(log(messages))
    known: dict[str, bytes] = {}
    published = list(disturbed(log(messages), 1))
    for event in published:
        assert known.setdefault(event.event_id, event.value) == event.value
    assert len(published) > len(known)
    assert list(known) == [event.event_id for event in orderly]
    last: dict[str, int] = {}
    for event in orderly:
        told = decode_send_event(event.value)
        of = told.request_id or told.wamid or ""
        assert told.seq > last.get(of, -1)
        last[of] = told.seq


def test_the_month_holds_what_it_promises(rules: Rules, messages: list[Message]) -> None:
    assert {message.account.waba_id for message in messages} == BY_ID.keys()
    assert len({message.number for message in messages}) == 20
    assert {message.country for message in messages} == set(COUNTRIES)
    regimes = {message.predicted.regime for message in messages if message.predicted}
    assert regimes == {"2023-06-01", "2026-10-01", "2026-11-01", "2026-11-16"}
    fifth = {
        message.predicted.regime
        for message in messages
        if message.predicted and message.account is ACCOUNTS[4]
    }
    assert len(fifth) == 3
    said = Counter(len(message.words) for message in messages)
    assert min(said[0], said[1], said[2], said[3]) > 5
    kinds = Counter(message.billed.type for message in messages if message.billed)
    assert kinds.keys() == {"regular", "free_tier", "free_customer_service", "free_entry_point", "reused", "rate_unknown"}  # fmt: skip
    assert any(message.billed and message.billed.tier for message in messages)
    assert any(
        message.billed and message.billed.column == "authentication_international" for message in messages
    )
    for account in ACCOUNTS:
        for midnight in (instant(account.zone, date(2026, 11, 1)), instant(account.zone, date(2026, 12, 1))):
            near = [m for m in messages if m.account is account and abs(m.delivered_ms - midnight) <= 1000]
            assert {message.delivered_ms < midnight for message in near} == {True, False}


def test_every_user_is_a_number_of_its_country(messages: list[Message]) -> None:
    for message in messages[:2000]:
        assert canonical_user(message.user) == message.user
        assert country_of(message.user) == message.country


def counted(nodes: list[dict[str, object]]) -> Counter[tuple[str, ...]]:
    """Volume by account, number, country, category and free or not."""
    found: Counter[tuple[str, ...]] = Counter()
    for node in json.loads(json.dumps(nodes)):
        for field, kind, volume in (("pricing_analytics", "pricing", "volume"), ("conversation_analytics", "conversation", "conversation")):  # fmt: skip
            for point in node.get(field, {"data": [{"data_points": []}]})["data"][0]["data_points"]:
                assert point["end"] - point["start"] in (86_400, 90_000)
                assert (point["cost"] > 0) == (point[f"{kind}_type"] == "REGULAR")
                of = (node["id"], point["phone_number"], point["country"], point[f"{kind}_category"])
                found[of] += point[volume]
    return found


def test_metas_analytics_count_what_a_month_without_differences_bills(rules: Rules) -> None:
    messages = list(Month(rules, SIZE, 1, CLEAN).messages())
    billed = Counter[tuple[str, ...]]()
    for message in messages:
        if message.billed and message.billed.units:
            billed[
                message.account.waba_id, message.number, message.country, message.billed.column.upper()
            ] += 1
    assert counted(analytics(messages)) == billed


def test_planted_differences_are_where_they_say_and_the_ledger_books_what_they_leave(
    folder: Path, rules: Rules
) -> None:
    messages = list(Month(rules, SIZE, 1, CLEAN).messages())
    before = {message.wamid: (message.billed, message.counted, message.words) for message in messages}
    planted = plant(messages, rules, Random(1), 200)
    assert {one.kind for one in planted} == set(KINDS)
    changed = {m.wamid for m in messages if (m.billed, m.counted, m.words) != before[m.wamid]}
    alike = {one.cell for one in planted if one.kind in ("rate_differs", "volume_tier")}
    of_cells = {
        m.wamid
        for m in messages
        if m.counted and (m.counted.day, m.number, m.counted.column, m.country, m.counted.type) in alike
    }
    assert changed <= {one.wamid for one in planted} | of_cells
    assert {one.wamid for one in planted if one.kind != "unattributed"} <= changed
    meant: Sums = defaultdict(lambda: [0, 0, 0, 0, 0])
    for m in messages:
        if (charge := m.billed) is not None:
            row = meant[m.account.waba_id, charge.month, m.number, charge.unit, charge.column, charge.market, charge.type]  # fmt: skip
            row[0 if charge.free else 1] += charge.units
            row[2 if charge.free else 3] += charge.conversations
            row[4] += charge.micros
    assert folded(folder, log(messages)) == {line: row for line, row in meant.items() if any(row)}
