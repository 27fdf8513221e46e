"""What a case can expect of an answer and at its end, and the comparison with what came. Pure.

To add an expectation of a decision: a field of `Expect` and, under the same name, what came in `CAME`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationInfo

from shared.events import Decision, PreferenceSource, SendEvent, UserPreference
from shared.reasons import REASONS
from shared.times import rfc3339
from tests.cases.actions import CategoryName, Moment, Strict, moment_ms

T = TypeVar("T")


def _listed(value: object) -> object:
    return value if isinstance(value, list) or value is None else [value]


AnyOf = Annotated[list[T], BeforeValidator(_listed)]
"""One value, or a list that means any of them."""


def _known_reason(reason: object) -> object:
    if reason not in REASONS:
        raise ValueError(f"unknown reason {reason!r}; see docs/reasons.md")
    return reason


def _instant(text: object, info: ValidationInfo) -> str | None:
    start_ms = info.context["start_ms"] if info.context else 0
    return None if text == "none" else rfc3339(moment_ms(text, start_ms))


Reason = Annotated[str, BeforeValidator(_known_reason)]
Instant = Annotated[str | None, BeforeValidator(_instant)]
"""A moment as events write it: RFC 3339; `none` expects that there is none."""


OrNone = Annotated[str | None, BeforeValidator(lambda text: None if text == "none" else text)]
"""A word; `none` expects that there is none."""


class TierLeft(Strict):
    """The messaging limit as the decision tells it; what is left out may be anything."""

    limit: int | None = None
    used: int | None = None
    left: int | None = None


class Expect(Strict):
    """What is expected of the answer to a send. What is left out may be anything, but for the reason: then it is `ok`."""

    outcome: AnyOf[Literal["allow", "reject", "defer"]] | None = None
    reason: AnyOf[Reason] | None = None
    category: AnyOf[CategoryName] | None = None
    conversation: AnyOf[Literal["open", "reuse", "none"]] | None = None
    in_: AnyOf[CategoryName] | None = Field(None, alias="in")
    charge: AnyOf[Literal["free", "paid"]] | None = None
    used_fallback: AnyOf[bool] | None = None
    from_: AnyOf[str] | None = Field(None, alias="from")
    not_before: AnyOf[Instant] | None = None
    retry_at: AnyOf[Instant] | None = None
    message: AnyOf[str] | None = None
    price_micros: AnyOf[int] | None = None
    rate_category: AnyOf[str] | None = None
    volume_tier: AnyOf[OrNone] | None = None
    tier: AnyOf[TierLeft] | None = None
    free_left: AnyOf[int] | None = None
    same_as: str | None = None

    @property
    def reasons(self) -> frozenset[str]:
        """The reasons that would do; empty where the answer is a repetition."""
        if self.same_as is not None:
            return frozenset()
        return frozenset(self.reason or ["ok"])

    @property
    def answers(self) -> frozenset[tuple[str, str]]:
        """Outcome and reason; of several outcomes that would do the first."""
        outcome = (self.outcome or ["allow"])[0]
        return frozenset((outcome, reason) for reason in self.reasons)


class Later(Expect):
    """What is expected of the one final decision on a request that waits, and when it is made."""

    at: Moment


@dataclass(frozen=True)
class Answer:
    """An answer as it came: the `decided` event, its bytes, and those of the answer it must repeat.

    Attributes:
        number: the case's name of the number it left from.
    """

    event: SendEvent
    value: bytes
    number: str | None
    first: bytes | None = None

    @property
    def decision(self) -> Decision:
        """The decision in it."""
        if self.event.decision is None:
            raise ValueError(f"{self.event.event_id} decides nothing")
        return self.event.decision


@dataclass(frozen=True)
class Checked:
    """One thing that was expected, as any of some values, and what came."""

    what: str
    expected: tuple[Any, ...]
    came: Any
    within: bool = False
    """Whether it is enough that what came contains it."""

    @property
    def ok(self) -> bool:
        """Whether it is one of them."""
        if self.within:
            return any(expected in (self.came or "") for expected in self.expected)
        return self.came in self.expected


def _charge(answer: Answer) -> str | None:
    price = answer.decision.price
    return None if price is None else "free" if price.amount_micros == 0 else "paid"


def _tier(answer: Answer) -> dict[str, int | None] | None:
    tier = answer.decision.tier
    return None if tier is None else {"limit": tier.limit, "used": tier.used, "left": tier.left}


def _volume_tier(answer: Answer) -> str | None:
    price = answer.decision.price
    return None if price is None or price.volume_tier is None else price.volume_tier.tier


CAME: Mapping[str, Callable[[Answer], Any]] = {
    "outcome": lambda answer: answer.decision.outcome,
    "reason": lambda answer: answer.decision.reason,
    "category": lambda answer: answer.decision.category,
    "conversation": lambda answer: answer.decision.conversation and answer.decision.conversation.action,
    "in": lambda answer: answer.decision.conversation and answer.decision.conversation.category,
    "charge": _charge,
    "used_fallback": lambda answer: answer.decision.used_fallback,
    "from": lambda answer: answer.number,
    "not_before": lambda answer: answer.decision.not_before_at,
    "retry_at": lambda answer: answer.event.error and answer.event.error.retry_at,
    "message": lambda answer: answer.event.error and answer.event.error.message,
    "price_micros": lambda answer: answer.decision.price and answer.decision.price.amount_micros,
    "rate_category": lambda answer: answer.decision.price and answer.decision.price.rate_category,
    "volume_tier": _volume_tier,
    "tier": _tier,
    "free_left": lambda answer: answer.decision.free_left,
    "same_as": lambda answer: "the same bytes" if answer.value == answer.first else "other bytes",
}
"""What came, by the name of what was expected."""


def compare(expect: Expect, answer: Answer) -> list[Checked]:
    """Everything the case expects of an answer, beside what came."""
    if expect.same_as is not None:
        return [Checked("same_as", ("the same bytes",), CAME["same_as"](answer))]
    wanted: dict[str, Any] = expect.model_dump(by_alias=True, exclude_none=True)
    if "outcome" in wanted:
        wanted.setdefault("reason", ["ok"])
    if "conversation" in wanted:
        # A conversation is of the message's own category where the case says nothing else.
        wanted.setdefault("in", [answer.decision.category])
    return [_checked(what, wanted[what], came(answer)) for what, came in CAME.items() if what in wanted]


def _checked(what: str, wanted: list[Any], came: Any) -> Checked:
    if what == "tier" and came is not None:
        asked = {name for tier in wanted for name in tier}
        came = {name: value for name, value in came.items() if name in asked}
    return Checked(what, tuple(wanted), came, within=what == "message")


def compare_later(later: Later, told: Sequence[tuple[SendEvent, bytes]], number: str | None) -> list[Checked]:
    """The final decisions on a request that waits, of all that was told of it: one, at its time, as expected."""
    finals = {value: event for event, value in told if _decides(event)}
    checked = [Checked("final decisions", (1,), len(finals))]
    if finals:
        value, event = next(iter(finals.items()))
        checked.append(Checked("at", (rfc3339(later.at),), event.at))
        checked += compare(later, Answer(event, value, number))
    return checked


def _decides(event: SendEvent) -> bool:
    """Whether it is a final decision on the request itself, not on another one that bears its id."""
    return event.decision is not None and event.decision.final and "!" not in event.event_id


def answer_to(told: Sequence[tuple[SendEvent, bytes]]) -> bytes | None:
    """The answer that a repeated request must get, of all that was told of it: the final one, else the first one."""
    finals = [value for event, value in told if _decides(event)]
    return next(iter(finals or [value for _, value in told]), None)


class FreePaid(Strict):
    """Units counted at the end."""

    free: int = 0
    paid: int = 0


Tally = dict[str, FreePaid]


class Word(Strict):
    """What is told of a user's wish about marketing; what is left out may be anything."""

    marketing: Literal["in", "out"] | None = None
    source: PreferenceSource | None = None
    evidence: str | None = None
    by: str | None = None
    at: Instant | None = None


Preferences = Mapping[str, Sequence[Word]]
"""By user, all that is told of them, in order."""


@dataclass(frozen=True)
class Totals:
    """What was counted by the end. `tallies`: by who counted it; `calls`, `marks` and `received` of all of the case's numbers; `preferences`: by user; `told`: the steps by request."""

    tallies: Mapping[str, Mapping[str, tuple[int, int]]]
    calls: int
    received: int
    preferences: Mapping[str, Sequence[UserPreference]] = field(default_factory=dict)
    marks: int = 0
    told: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ends:
    """What a case expects at its end; None expects nothing."""

    tally: Tally | None = None
    calls: int | None = None
    received: int | None = None
    preferences: Preferences | None = None
    marks: int | None = None
    told: Mapping[str, list[str]] | None = None

    def compare(self, totals: Totals) -> list[Checked]:
        """Everything the case expects at its end, beside what came."""
        checked = []
        if self.tally is not None:
            expected = written({name: (units.free, units.paid) for name, units in self.tally.items()})
            checked += [
                Checked(who, (expected,), written(counted)) for who, counted in totals.tallies.items()
            ]
        if self.calls is not None:
            checked.append(Checked("calls", (self.calls,), totals.calls))
        if self.marks is not None:
            checked.append(Checked("marks", (self.marks,), totals.marks))
        if self.received is not None:
            checked.append(Checked("received", (self.received,), totals.received))
        for user, words in (self.preferences or {}).items():
            checked.append(_words(user, words, totals.preferences.get(user, ())))
        for request, steps in (self.told or {}).items():
            checked.append(Checked(f"told of {request}", (steps,), list(totals.told.get(request, ()))))
        return checked


def _words(user: str, expected: Sequence[Word], came: Sequence[UserPreference]) -> Checked:
    wanted = [word.model_dump(exclude_none=True) for word in expected]
    told = [{name: getattr(word, name) for name in Word.model_fields} for word in came]
    for word, asked in zip(told, wanted, strict=False):
        for name in word.keys() - asked.keys():
            del word[name]
    return Checked(f"preferences of {user}", (wanted,), told)


def written(counted: Mapping[str, tuple[int, int]]) -> str:
    """A tally in words; what was counted neither free nor paid is left out."""
    return (
        ", ".join(
            f"{category} {free} free {paid} paid"
            for category, (free, paid) in sorted(counted.items())
            if free or paid
        )
        or "nothing"
    )
