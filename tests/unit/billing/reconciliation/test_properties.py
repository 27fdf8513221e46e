"""Random months with random differences planted: every one is found and named, nothing else is, and all adds up."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import time
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from services.billing.reconciliation.cells import cell_of
from services.billing.reconciliation.differences import Kind
from tests.unit.billing.reconciliation.adding_up import adds_up, named_once
from tests.unit.billing.reconciliation.month import (
    FREE,
    NUMBER,
    OTHER_NUMBER,
    PRICES,
    REGULAR,
    Month,
    Point,
    Sent,
)

COUNTRIES = ("DE", "FR", "GB", "IN", "BR", "MX", "ES", "NL", "PL", "TR", "EG", "NG")
"""No two with one calling code: what is planted in one explains nothing in another."""
DAYS = tuple(f"2026-11-{day:02}" for day in range(2, 30))


class Planted(NamedTuple):
    """What must be found: the kind, the message, and whether it must be named for certain."""

    kind: Kind
    wamid: str
    certain: bool = True


@dataclass
class Place:
    """Where a difference is planted: in a country of its own."""

    month: Month
    day: str
    number: str
    country: str

    def sent(self, wamid: str, **more: object) -> Sent:
        return Sent(wamid, day=self.day, number=self.number, country=self.country, **more)  # type: ignore[arg-type]

    def point(self, sent: Sent, micros: int, **changes: str) -> Point:
        return Point(sent.cell._replace(**changes), micros, self.number)  # type: ignore[arg-type]


def recategorised(place: Place, wamid: str) -> Planted:
    place.month.add(place.sent(wamid, category="marketing", predicted=("utility", REGULAR, 55_000)))
    return Planted("recategorised", wamid)


def free(place: Place, wamid: str) -> Planted:
    place.month.add(place.sent(wamid, category="utility", type=FREE, predicted=("utility", REGULAR, 55_000)))
    return Planted("free_instead_of_paid", wamid)


def paid(place: Place, wamid: str) -> Planted:
    place.month.add(place.sent(wamid, category="service", predicted=("service", "free_tier", 0)))
    return Planted("paid_instead_of_free", wamid)


def unattributed(place: Place, wamid: str) -> Planted:
    place.month.add(place.sent(wamid, ours=False, predicted=None))
    return Planted("unattributed", wamid)


def lost(place: Place, wamid: str) -> Planted:
    place.month.lose(wamid, cell_of(place.day, "utility", place.country, REGULAR), place.number)
    return Planted("webhook_lost", wamid)


def not_counted(place: Place, wamid: str) -> Planted:
    place.month.add(place.sent(wamid, category="authentication", priced=False), None)
    return Planted("not_counted_by_meta", wamid)


def other_day(place: Place, wamid: str) -> Planted:
    sent = place.sent(wamid, at=time(23, 59))
    next_day = f"2026-11-{int(place.day[-2:]) + 1:02}"
    place.month.add(sent, place.point(sent, sent.cost, day=next_day))
    return Planted("other_day", wamid)


def without_word(place: Place, wamid: str) -> Planted:
    sent = place.sent(wamid, category="utility", priced=False)
    place.month.add(sent, place.point(sent, PRICES["marketing"], category="marketing"))
    return Planted("recategorised_without_word", wamid)


def paid_without_word(place: Place, wamid: str) -> Planted:
    sent = place.sent(wamid, category="service", type=FREE, priced=False)
    place.month.add(sent, place.point(sent, PRICES["service"], type="regular"))
    return Planted("paid_instead_of_free", wamid)


def territory(place: Place, wamid: str) -> Planted:
    """Svalbard has Norway's calling code."""
    sent = Sent(wamid, day=place.day, number=place.number, country="NO", priced=False)
    place.month.add(sent, place.point(sent, sent.cost, country="SJ"))
    return Planted("other_country", wamid)


def other_rate(place: Place, wamid: str) -> Planted:
    sent = place.sent(wamid, category="authentication")
    place.month.add(sent, place.point(sent, sent.cost + 1_200))
    return Planted("rate_differs", wamid)


def tier(place: Place, wamid: str) -> Planted:
    sent = place.sent(wamid, category="authentication")
    place.month.add(sent, Point(sent.cell, sent.cost - 1_200, place.number, tier="120001:MAX"))
    return Planted("volume_tier", wamid)


def nobodys(place: Place, wamid: str) -> Planted:
    """Meta counts what nobody sent."""
    cell = cell_of(place.day, "authentication", place.country, REGULAR)
    place.month.points.append(Point(cell, PRICES["authentication"], place.number))
    return Planted("unexplained", "", certain=False)


PLANTS: tuple[Callable[[Place, str], Planted], ...] = (
    recategorised, free, paid, unattributed, lost, not_counted, other_day, without_word, paid_without_word,
    territory, other_rate, tier, nobodys,
)  # fmt: skip


def some_messages(draw: st.DrawFn) -> Month:
    month = Month()
    for n in range(draw(st.integers(0, 60))):
        category = draw(st.sampled_from(tuple(PRICES)))
        month.add(
            Sent(
                f"base{n}",
                day=draw(st.sampled_from(DAYS)),
                at=time(draw(st.integers(2, 21))),
                number=draw(st.sampled_from((NUMBER, OTHER_NUMBER))),
                category=category,
                country=draw(st.sampled_from(("US", "AU", "ID"))),
                type=draw(st.sampled_from((REGULAR, FREE))),
                priced=draw(st.booleans()),
            )
        )
    return month


@st.composite
def planted_months(draw: st.DrawFn) -> tuple[Month, list[Planted]]:
    month = some_messages(draw)
    planted: list[Planted] = []
    for n, country in enumerate(draw(st.lists(st.sampled_from(COUNTRIES), unique=True, max_size=12))):
        # One territory, for its country is always the same.
        plants = [
            p for p in PLANTS if p is not territory or not any(x.kind == "other_country" for x in planted)
        ]
        place = Place(
            month, draw(st.sampled_from(DAYS)), draw(st.sampled_from((NUMBER, OTHER_NUMBER))), country
        )
        planted.append(draw(st.sampled_from(plants))(place, f"planted{n}"))
    return month, planted


@settings(max_examples=50)
@given(planted_months())
def test_every_planted_difference_is_found_and_named_and_nothing_else(
    case: tuple[Month, list[Planted]],
) -> None:
    month, planted = case
    found = month.reconciled()
    adds_up(found)
    named_once(found)
    assert sorted(
        Planted(d.kind, d.messages[0].wamid if len(d.messages) == 1 else "", d.certain)
        for d in found.differences
    ) == sorted(planted)


@st.composite
def noisy_months(draw: st.DrawFn) -> Month:
    """Months in which Meta counts more or less of anything, at any price: explanations may be any, but must add up."""
    month = some_messages(draw)
    for n in range(draw(st.integers(0, 12))):
        cell = cell_of(
            draw(st.sampled_from(DAYS)),
            draw(st.sampled_from(tuple(PRICES))),
            draw(st.sampled_from(("US", "CA", "AU"))),
            draw(st.sampled_from((REGULAR, FREE))),
        )
        volume = draw(st.integers(0, 3))
        month.points.append(Point(cell, draw(st.integers(0, 10**6)), NUMBER, volume=volume))
        if draw(st.booleans()):
            month.lose(f"lost{n}", cell)
            if draw(st.booleans()):
                month.points.pop()
    for point in month.points:
        if draw(st.integers(0, 9)) == 0:
            point.volume = draw(st.integers(0, 3))
            point.micros += draw(st.integers(0, 10**5))
    return month


@settings(max_examples=50)
@given(noisy_months())
def test_whatever_meta_counts_the_differences_add_up_and_none_is_explained_twice(month: Month) -> None:
    found = month.reconciled()
    adds_up(found)
    named_once(found)
