"""Differences between what was predicted, what webhooks priced and what Meta counts, planted into a month in which there are none.

Only into messages where messages are charged, within the month and far enough from one another that each is a difference of its own.
"""

from collections.abc import Callable
from datetime import date, timedelta
from random import Random
from typing import NamedTuple

from tests.billing_month.rules import Rules, instant
from tests.billing_month.truth import Charge, Message
from tests.billing_month.world import MONTH, YEAR

KINDS = (
    "recategorised",
    "free_instead_of_paid",
    "paid_instead_of_free",
    "rate_differs",
    "volume_tier",
    "webhook_lost",
    "not_counted_by_meta",
    "unattributed",
    "other_day",
    "recategorised_without_word",
)
_OTHER = {
    "marketing": "utility",
    "utility": "marketing",
    "authentication": "utility",
    "authentication_international": "marketing",
    "service": "marketing",
}


_OF_A_CELL = frozenset({"rate_differs", "volume_tier"})
"""Meta prices all of a cell alike."""
_NEAR_MS = 1_800_000
"""Only messages so near their midnight can count on another day."""
_ENDS = ("-01", "-02", "-29", "-30")
"""The days at the month's ends, where a neighbouring day is of another month."""


_PRICE_STEP_MICROS = 100
"""Prices have four decimals (Meta, rate cards)."""


class Planted(NamedTuple):
    """One difference: its kind, its message (of a cell that is priced alike one of them), and the cell that Meta counts it in, or would: day, number, category, country, type."""

    kind: str
    wamid: str
    cell: tuple[str, str, str, str, str]


def plant(messages: list[Message], rules: Rules, random: Random, count: int) -> list[Planted]:
    """Change so many of the messages (generated with `CLEAN` habits), kind after kind in turn, and name what was changed.

    Raises:
        ValueError: there are not enough messages that a kind can be planted into.
    """
    charged = [one for one in messages if _fits(one, free=False)]
    free = [one for one in messages if _fits(one, free=True)]
    cells: dict[Cell, list[Message]] = {}
    for one in charged:
        cells.setdefault(_cell(one), []).append(one)
    random.shuffle(charged)
    random.shuffle(free)
    taken: set[tuple[str, str, str]] = set()
    planted = []
    for nth in range(count):
        kind = KINDS[nth % len(KINDS)]
        message = _found(kind, free if kind == "paid_instead_of_free" else charged, taken)
        changed = cells[_cell(message)] if kind in _OF_A_CELL else [message]
        meant = message.counted
        more = random.randrange(10, 50) * _PRICE_STEP_MICROS
        for one in changed:
            _PLANT[kind](one, rules, more)
        counted = message.counted or meant
        if counted is not None:
            cell = (counted.day, message.number, counted.column, message.country, counted.type)
            planted.append(Planted(kind, message.wamid, cell))
    return planted


Cell = tuple[str, str, str, str, str]


def _cell(message: Message) -> Cell:
    charge = _of(message)
    return charge.day, message.number, charge.column, message.country, charge.type


def _found(kind: str, pool: list[Message], taken: set[tuple[str, str, str]]) -> Message:
    """A message of the pool that the kind can be planted into, and whose days before and after nothing else has been planted into."""
    for place in range(len(pool) - 1, -1, -1):
        message = pool[place]
        charge = _of(message)
        days = (_beside(charge.day, -1), charge.day, _beside(charge.day, 1))
        around = {(message.number, message.country, day) for day in days}
        fits = (
            not (around & taken)
            and charge.month == f"{YEAR}-{MONTH:02}"
            and not charge.day.endswith(_ENDS)
            and (kind != "volume_tier" or charge.tier is None)
            and (kind != "other_day" or _beyond_midnight(message) is not None)
        )
        if fits:
            del pool[place]
            taken |= around
            return message
    raise ValueError(f"no message is left for {kind}")


def _beside(day: str, days: int) -> str:
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


def _beyond_midnight(message: Message) -> str | None:
    """The day on the other side of a midnight that is near."""
    today = date.fromisoformat(_of(message).day)
    zone, at_ms = message.account.zone, message.delivered_ms
    if at_ms - instant(zone, today) <= _NEAR_MS:
        return _beside(today.isoformat(), -1)
    if instant(zone, today + timedelta(days=1)) - at_ms <= _NEAR_MS:
        return _beside(today.isoformat(), 1)
    return None


def _fits(message: Message, *, free: bool) -> bool:
    charge = message.predicted
    if charge is None or charge.unit != "message" or message.billed != charge:
        return False
    return charge.type == "free_tier" if free else charge.type == "regular"


def _at_rate(message: Message, rules: Rules, column: str) -> Charge:
    charge = _of(message)
    regime, card = rules.in_force(message.account.pin, date.fromisoformat(charge.day))
    rate = rules.rate(
        regime, card, message.account, charge.market, column, message.delivered_ms, charge.month
    )
    if rate is None:
        raise ValueError(f"{message.wamid}: {card.id} has no {column} rate for {charge.market}")
    return charge._replace(column=column, type="regular", micros=rate.micros, tier=rate.tier)


def _recategorised(message: Message, rules: Rules, more: int) -> None:
    other = _OTHER[_of(message).column]
    message.words = (message.words[0]._replace(category=other),)
    message.billed = message.counted = _at_rate(message, rules, other)


def _freed(message: Message, rules: Rules, more: int) -> None:
    message.words = (message.words[0]._replace(type="free_customer_service"),)
    message.billed = message.counted = _of(message)._replace(
        type="free_customer_service", micros=0, tier=None
    )


def _charged(message: Message, rules: Rules, more: int) -> None:
    message.words = (message.words[0]._replace(type="regular"),)
    message.billed = message.counted = _at_rate(message, rules, _of(message).column)


def _rate(message: Message, rules: Rules, more: int) -> None:
    charge = _of(message)
    message.counted = charge._replace(micros=charge.micros + more)


def _tier(message: Message, rules: Rules, more: int) -> None:
    charge = _of(message)
    message.counted = charge._replace(micros=_on_a_card(charge.micros * 3 // 4), tier=("750001:MAX", None))


def _on_a_card(micros: int) -> int:
    return max(1, micros // _PRICE_STEP_MICROS) * _PRICE_STEP_MICROS


def _lost(message: Message, rules: Rules, more: int) -> None:
    message.delivery_told, message.steps_told, message.words, message.read_ms = False, True, (), 0
    message.billed = None


def _not_counted(message: Message, rules: Rules, more: int) -> None:
    message.words, message.counted = (), None


def _unattributed(message: Message, rules: Rules, more: int) -> None:
    message.request_id, message.predicted, message.tags, message.read_ms = None, None, {}, 0
    message.conversation_id, message.steps_told = None, False
    message.billed = message.counted = _of(message)._replace(conversations=0)


def _other_day(message: Message, rules: Rules, more: int) -> None:
    other = _beyond_midnight(message)
    if other is None:
        raise ValueError(f"{message.wamid} is far from midnight")
    message.counted = _of(message)._replace(day=other)


def _recategorised_silently(message: Message, rules: Rules, more: int) -> None:
    message.words = ()
    message.counted = _at_rate(message, rules, _OTHER[_of(message).column])


def _of(message: Message) -> Charge:
    if message.counted is None:
        raise ValueError(f"{message.wamid} is not counted")
    return message.counted


_PLANT: dict[str, Callable[[Message, Rules, int], None]] = dict(
    zip(
        KINDS,
        (_recategorised, _freed, _charged, _rate, _tier, _lost, _not_counted, _unattributed, _other_day,
         _recategorised_silently),
        strict=True,
    )
)  # fmt: skip
