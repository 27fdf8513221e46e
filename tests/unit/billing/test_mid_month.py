"""A month in which prices change: each message is billed by its own day in the account's time zone, from the router's charge to the ledger's entry."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from services.billing.ledger import LedgerFold, Remembered
from services.router.fold import RouterFold
from shared.events import (
    AccountChanged,
    AccountWebhook,
    LedgerEntry,
    SendEvent,
    VolumeTier,
    decode_ledger_entry,
)
from shared.ids import conversation_key
from shared.logs import hasher
from shared.pricing import PriceBook
from shared.stream.fold import Grants
from shared.times import to_ms
from tests.mid_month import CARD_BEGINS, REGIME_BEGINS, configuration, expected
from tests.unit.billing.events import pmp
from tests.unit.router.make import NOW, accepted, events, fact, received, request, status
from tests.unit.router.world import World, errors, words

INDIAN = "919876543210"
KEY = conversation_key("N1", INDIAN)
ZONES = ("UTC", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Pago_Pago")
SECOND = 1000
MARKETING, UTILITY, PASSWORD, PASSWORD_ABROAD = 11_800, 1_400, 1_400, 30_400
"""What the card of 2026-10-01 says of India."""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    return PriceBook.load(configuration(tmp_path_factory.mktemp("mid-month")))


def midnight(day: date, zone: str) -> int:
    return to_ms(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)))


class Books:
    """An account's conversation with one user: the router's fold, and the ledger's behind it."""

    def __init__(self, book: PriceBook, **account: Any) -> None:
        self.world = World(fold=RouterFold(book, errors(), words()))
        self.world.know(
            fact("account", "W1", **({"regime": "calendar", "payment_method": "valid", "messaging_limit": 1000} | account)),
            fact("number", "N1", default=True),
            *(
                fact("template", f"{name}/en", category=category, status="APPROVED")
                for name, category in (("promo", "marketing"), ("order_update", "utility"), ("login_code", "authentication"))
            ),
        )  # fmt: skip
        self._ledger = LedgerFold(book, hasher("key"))
        self._remembered: dict[str, Remembered | None] = {}

    def tell(self, at_ms: int, **fields: Any) -> None:
        """Let the operator set facts of the account."""
        self.world.know(
            AccountChanged(
                event_id=f"a{at_ms}", at_ms=at_ms, waba_id="W1", subject="account", id="W1", fields=fields
            )
        )

    def webhook(self, at_ms: int, value: dict[str, Any]) -> None:
        """Let Meta tell something of the account."""
        raw = msgspec.Raw(msgspec.json.encode(value))
        self.world.know(
            AccountWebhook(event_id=f"w{at_ms}", at_ms=at_ms, waba_id="W1", field="account_update", value=raw)
        )

    def delivered(
        self,
        at_ms: int,
        template: str | None = "promo",
        decided_ms: int | None = None,
        told_ms: int | None = None,
    ) -> LedgerEntry:
        """Send a message, let it be delivered at `at_ms`, and give its one entry."""
        (entry,) = self.entries(at_ms, template, decided_ms, told_ms)
        return entry

    def entries(
        self,
        at_ms: int,
        template: str | None = "promo",
        decided_ms: int | None = None,
        told_ms: int | None = None,
    ) -> list[LedgerEntry]:
        """Send a message, let it be delivered, and give what the ledger books."""
        id_, decided = f"r{at_ms}", at_ms - SECOND if decided_ms is None else decided_ms
        self.world.play(KEY, request(id_, template=template, user=INDIAN, at=decided), decided)
        self.world.play(KEY, accepted(f"{id_}#1", at=decided), decided)
        told = self.world.play(KEY, status("delivered", f"{id_}#1", at=at_ms), told_ms or at_ms)
        return [entry for event in events(told) for entry in self.booked(event)]

    def booked(self, event: SendEvent) -> Iterator[LedgerEntry]:
        """Fold one send event into the ledger; its entries."""
        key = self._ledger.key("", event)
        step = self._ledger.fold(self._remembered.get(key), event, self.world.facts, Grants())
        self._remembered[key] = step.state
        for out in step.out:
            yield decode_ledger_entry(out.value)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("day", [CARD_BEGINS, REGIME_BEGINS, date(2026, 12, 1)])
@pytest.mark.parametrize("after_s", [-3600, -1, 0, 1, 3600])
def test_a_message_is_billed_by_its_own_day_in_the_accounts_zone(
    book: PriceBook, zone: str, day: date, after_s: int
) -> None:
    at_ms = midnight(day, zone) + after_s * SECOND
    entry = Books(book, timezone=zone).delivered(at_ms)
    own = day if after_s >= 0 else day - timedelta(days=1)
    regime, card, factor = expected(own)
    assert (entry.day, entry.month) == (own.isoformat(), own.isoformat()[:7])
    assert (entry.regime, entry.rate_card, entry.amount_micros) == (regime, card, factor * MARKETING)


def test_every_day_of_the_month_has_its_card_from_its_first_second_to_its_last(book: PriceBook) -> None:
    zone = "America/Sao_Paulo"
    books = Books(book, timezone=zone)
    for number in range(4, 31):
        day = date(2026, 11, number)
        for after_s in (-2, -1, 0, 1):
            at_ms, own = (
                midnight(day, zone) + after_s * SECOND,
                day if after_s >= 0 else day - timedelta(days=1),
            )
            entry = books.delivered(at_ms)
            regime, card, factor = expected(own)
            assert (entry.day, entry.regime, entry.rate_card) == (own.isoformat(), regime, card)
            assert entry.amount_micros == factor * MARKETING


@pytest.mark.parametrize("zone", ZONES)
def test_the_delivery_counts_not_the_decision(book: PriceBook, zone: str) -> None:
    at_ms = midnight(CARD_BEGINS, zone)
    entry = Books(book, timezone=zone).delivered(at_ms, decided_ms=at_ms - 3_600_000)
    assert (entry.rate_card, entry.amount_micros) == ("usd_2026-11-10", 2 * MARKETING)


def test_a_webhook_that_comes_late_is_billed_by_the_day_of_the_delivery(book: PriceBook) -> None:
    at_ms = midnight(REGIME_BEGINS, "UTC") - SECOND
    entry = Books(book).delivered(at_ms, told_ms=at_ms + 5 * 86_400_000)
    assert (entry.day, entry.regime, entry.rate_card) == ("2026-11-15", "2026-10-01", "usd_2026-11-10")


def test_the_rules_turn_with_the_regime_service_has_its_free_tier_before_and_is_free_after(
    book: PriceBook,
) -> None:
    turns = midnight(REGIME_BEGINS, "UTC")
    for at_ms, kind in ((turns - SECOND, "free_tier"), (turns, "free_customer_service")):
        books = Books(book)
        wrote = msgspec.structs.replace(received(at=at_ms - 60 * SECOND), user=INDIAN)
        books.world.play(KEY, wrote, at_ms - 60 * SECOND)
        entry = books.delivered(at_ms, template=None)
        assert (entry.category, entry.type, entry.amount_micros) == ("service", kind, 0)


@pytest.mark.parametrize(("after_s", "factor"), [(-1, 1), (0, 2)])
def test_a_correction_that_comes_after_the_change_is_priced_by_the_card_of_the_delivery(
    book: PriceBook, after_s: int, factor: int
) -> None:
    books = Books(book)
    at_ms = midnight(CARD_BEGINS, "UTC") + after_s * SECOND
    charged = books.delivered(at_ms)
    word = status("read", f"r{at_ms}#1", at=at_ms + 7 * 86_400_000)
    meta = msgspec.Raw(msgspec.json.encode({"status": "read", "pricing": pmp("utility")}))
    read = books.world.play(KEY, msgspec.structs.replace(word, meta=meta), word.at_ms)
    back, anew = [entry for event in events(read) for entry in books.booked(event)]
    assert (back.amount_micros, anew.amount_micros) == (-factor * MARKETING, factor * UTILITY)
    assert {back.rate_card, anew.rate_card} == {charged.rate_card}
    assert {back.day, anew.day} == {charged.day}


@pytest.mark.parametrize(("after_ms", "category", "micros"), [
    (-1, "authentication", PASSWORD), (0, "authentication_international", PASSWORD_ABROAD),
])  # fmt: skip
def test_authentication_international_starts_within_the_month(
    book: PriceBook, after_ms: int, category: str, micros: int
) -> None:
    start_ms = midnight(date(2026, 11, 7), "UTC") + 15 * 3_600_000
    books = Books(book, primary_location="US", auth_international={"start_ms": start_ms})
    entry = books.delivered(start_ms + after_ms, "login_code")
    assert (entry.category, entry.amount_micros) == (category, micros)


def test_a_start_that_meta_tells_by_webhook_counts_for_its_country_from_its_second_on(
    book: PriceBook,
) -> None:
    start_s = int(datetime(2026, 11, 12, 9, 30, tzinfo=UTC).timestamp())
    books = Books(book)
    books.webhook(
        NOW,
        {
            "event": "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE",
            "auth_international_rate_eligibility": {
                "start_time": start_s + 86_400,
                "exception_countries": [{"country_code": "IN", "start_time": start_s}],
            },
        },
    )
    before, after = (books.delivered(start_s * SECOND + ms, "login_code") for ms in (-1, 0))
    assert (before.category, before.amount_micros) == ("authentication", 2 * PASSWORD)
    assert (after.category, after.amount_micros) == ("authentication_international", 2 * PASSWORD_ABROAD)


def tier(books: Books, at_ms: int, reached: str, update_s: int) -> None:
    info = {
        "tier_update_time": update_s, "pricing_category": "UTILITY", "tier": reached, "effective_month": "2026-11",
        "region": "INDIA",
    }  # fmt: skip
    books.webhook(at_ms, {"event": "VOLUME_BASED_PRICING_TIER_UPDATE", "volume_tier_info": info})


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("after_ms", "reached"), [(-1, None), (0, "1001:5000")])
def test_of_a_tier_told_twice_the_smaller_time_counts_at_the_instant_of_the_delivery(
    book: PriceBook, order: tuple[int, int], after_ms: int, reached: str | None
) -> None:
    times_s = [int(datetime(2026, 11, 12, hour, tzinfo=UTC).timestamp()) for hour in (8, 11)]
    books = Books(book)
    for index in order:
        tier(books, NOW + index, "1001:5000", times_s[index])
    entry = books.delivered(times_s[0] * SECOND + after_ms, "order_update")
    assert entry.volume_tier == (None if reached is None else VolumeTier(tier=reached, rates=None))


def test_the_tier_is_that_of_the_deliverys_instant_though_a_higher_one_is_known_by_then(
    book: PriceBook,
) -> None:
    first_s, second_s = (int(datetime(2026, 11, day, tzinfo=UTC).timestamp()) for day in (12, 14))
    books = Books(book)
    tier(books, NOW, "1001:5000", first_s)
    tier(books, NOW + 1, "5001:MAX", second_s)
    for at_ms, reached in ((second_s * SECOND - 1, "1001:5000"), (second_s * SECOND, "5001:MAX")):
        entry = books.delivered(at_ms, "order_update")
        assert entry.volume_tier == VolumeTier(tier=reached, rates=None)


def test_a_tier_ends_with_the_accounts_month(book: PriceBook) -> None:
    books = Books(book, timezone="Asia/Kolkata")
    tier(books, NOW, "1001:5000", int(datetime(2026, 11, 12, tzinfo=UTC).timestamp()))
    turns = midnight(date(2026, 12, 1), "Asia/Kolkata")
    last, first = (books.delivered(turns + ms, "order_update") for ms in (-1, 0))
    assert (last.month, last.volume_tier) == ("2026-11", VolumeTier(tier="1001:5000", rates=None))
    assert (first.month, first.volume_tier) == ("2026-12", None)


def test_a_conversation_open_when_charging_by_message_begins_keeps_its_rules_until_it_ends(
    book: PriceBook,
) -> None:
    books = Books(book)
    begins, hour = midnight(date(2025, 7, 1), "UTC"), 3600 * SECOND
    (opened,) = books.entries(begins - hour)
    assert (opened.regime, opened.unit) == ("2024-11-01", "conversation")
    assert books.entries(begins + hour) == []
    (next_day,) = books.entries(begins + 24 * hour)
    assert (next_day.regime, next_day.unit, next_day.month) == ("2025-07-01", "message", "2025-07")


def test_a_pin_that_changes_within_the_month_holds_for_what_is_delivered_from_then_on(
    book: PriceBook,
) -> None:
    books = Books(book, regime="guide")
    changes = midnight(date(2026, 11, 12), "UTC")
    before = books.delivered(changes - SECOND)
    books.tell(changes, regime="calendar")
    after = books.delivered(changes + SECOND)
    assert (before.regime, before.unit, before.rate_card) == (
        "2023-06-01",
        "conversation",
        "illustrative_usd_guide",
    )
    assert (after.regime, after.unit, after.rate_card) == ("2026-10-01", "message", "usd_2026-11-10")
    assert {before.month, after.month} == {"2026-11"}


def test_a_message_under_way_while_the_pin_changes_is_billed_by_the_pin_at_its_delivery(
    book: PriceBook,
) -> None:
    books = Books(book, regime="2024-11-01")
    changes = midnight(date(2026, 11, 12), "UTC")
    id_ = "under-way"
    books.world.play(KEY, request(id_, template="promo", user=INDIAN, at=changes - SECOND), changes - SECOND)
    books.world.play(KEY, accepted(f"{id_}#1", at=changes - SECOND), changes - SECOND)
    books.tell(changes, regime="2026-10-01")
    told = books.world.play(KEY, status("delivered", f"{id_}#1", at=changes + SECOND), changes + SECOND)
    (entry,) = [entry for event in events(told) for entry in books.booked(event)]
    assert (entry.regime, entry.rate_card, entry.amount_micros) == (
        "2026-10-01",
        "usd_2026-11-10",
        2 * MARKETING,
    )


def test_a_pinned_account_sees_the_cards_of_its_regime_and_no_later_regime(book: PriceBook) -> None:
    books = Books(book, regime="2026-10-01")
    entry = books.delivered(midnight(date(2026, 11, 20), "UTC"))
    assert (entry.regime, entry.rate_card) == ("2026-10-01", "usd_2026-11-10")
