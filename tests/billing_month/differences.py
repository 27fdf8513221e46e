"""Differences between what was predicted, what webhooks priced and what Meta counts, planted into a month in which there are none.

Only into charged messages where messages are charged; each message takes one difference at most.
"""

from collections.abc import Callable
from datetime import date, timedelta
from random import Random
from typing import NamedTuple

from tests.billing_month.rules import Rules
from tests.billing_month.truth import Charge, Message

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


class Planted(NamedTuple):
    """One difference: its kind, its message, and the cell that Meta counts it in, or would: day, number, category, country, type."""

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
    random.shuffle(charged)
    random.shuffle(free)
    planted = []
    for nth in range(count):
        kind = KINDS[nth % len(KINDS)]
        pool = free if kind == "paid_instead_of_free" else charged
        if not pool:
            raise ValueError(f"no message is left for {kind}")
        message = pool.pop()
        meant = message.counted
        _PLANT[kind](message, rules, random)
        counted = message.counted or meant
        if counted is not None:
            cell = (counted.day, message.number, counted.column, message.country, counted.type)
            planted.append(Planted(kind, message.wamid, cell))
    return planted


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


def _recategorised(message: Message, rules: Rules, random: Random) -> None:
    other = _OTHER[_of(message).column]
    message.words = (message.words[0]._replace(category=other),)
    message.billed = message.counted = _at_rate(message, rules, other)


def _freed(message: Message, rules: Rules, random: Random) -> None:
    message.words = (message.words[0]._replace(type="free_customer_service"),)
    message.billed = message.counted = _of(message)._replace(
        type="free_customer_service", micros=0, tier=None
    )


def _charged(message: Message, rules: Rules, random: Random) -> None:
    message.words = (message.words[0]._replace(type="regular"),)
    message.billed = message.counted = _at_rate(message, rules, _of(message).column)


def _rate(message: Message, rules: Rules, random: Random) -> None:
    charge = _of(message)
    message.counted = charge._replace(micros=charge.micros + random.randrange(1000, 5000))


def _tier(message: Message, rules: Rules, random: Random) -> None:
    charge = _of(message)
    message.counted = charge._replace(micros=charge.micros * 3 // 4, tier=("750001:MAX", None))


def _lost(message: Message, rules: Rules, random: Random) -> None:
    message.delivery_told, message.steps_told, message.words, message.read_ms = False, True, (), 0
    message.billed = None


def _not_counted(message: Message, rules: Rules, random: Random) -> None:
    message.words, message.counted = (), None


def _unattributed(message: Message, rules: Rules, random: Random) -> None:
    message.request_id, message.predicted, message.tags, message.read_ms = None, None, {}, 0
    message.conversation_id, message.steps_told = None, False
    message.billed = message.counted = _of(message)._replace(conversations=0)


def _other_day(message: Message, rules: Rules, random: Random) -> None:
    charge = _of(message)
    day = date.fromisoformat(charge.day) + timedelta(days=random.choice((-1, 1)))
    message.counted = charge._replace(day=day.isoformat())


def _recategorised_silently(message: Message, rules: Rules, random: Random) -> None:
    message.words = ()
    message.counted = _at_rate(message, rules, _OTHER[_of(message).column])


def _of(message: Message) -> Charge:
    if message.counted is None:
        raise ValueError(f"{message.wamid} is not counted")
    return message.counted


_PLANT: dict[str, Callable[[Message, Rules, Random], None]] = dict(
    zip(
        KINDS,
        (_recategorised, _freed, _charged, _rate, _tier, _lost, _not_counted, _unattributed, _other_day,
         _recategorised_silently),
        strict=True,
    )
)  # fmt: skip
