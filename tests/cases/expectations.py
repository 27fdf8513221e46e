"""What a case can expect of an answer and at its end, and the comparison with what came. Pure.

To add an expectation of a decision: a field of `Expect` and, under the same name, what came in `CAME`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field

from shared.events import Decision, SendEvent
from shared.reasons import REASONS
from tests.cases.actions import Strict

T = TypeVar("T")


def _listed(value: object) -> object:
    return value if isinstance(value, list) or value is None else [value]


AnyOf = Annotated[list[T], BeforeValidator(_listed)]
"""One value, or a list that means any of them."""


def _known_reason(reason: object) -> object:
    if reason not in REASONS:
        raise ValueError(f"unknown reason {reason!r}; see docs/reasons.md")
    return reason


Reason = Annotated[str, BeforeValidator(_known_reason)]
CategoryName = Literal["marketing", "utility", "authentication", "service"]


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
    same_as: str | None = None

    @property
    def reasons(self) -> frozenset[str]:
        """The reasons that would do; empty where the answer is a repetition."""
        if self.same_as is not None:
            return frozenset()
        return frozenset(self.reason or ["ok"])


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

    @property
    def ok(self) -> bool:
        """Whether it is one of them."""
        return self.came in self.expected


def _charge(answer: Answer) -> str | None:
    price = answer.decision.price
    return None if price is None else "free" if price.amount_micros == 0 else "paid"


CAME: Mapping[str, Callable[[Answer], Any]] = {
    "outcome": lambda answer: answer.decision.outcome,
    "reason": lambda answer: answer.decision.reason,
    "category": lambda answer: answer.decision.category,
    "conversation": lambda answer: answer.decision.conversation and answer.decision.conversation.action,
    "in": lambda answer: answer.decision.conversation and answer.decision.conversation.category,
    "charge": _charge,
    "used_fallback": lambda answer: answer.decision.used_fallback,
    "from": lambda answer: answer.number,
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
    return [Checked(what, tuple(wanted[what]), came(answer)) for what, came in CAME.items() if what in wanted]


class FreePaid(Strict):
    """Units counted at the end."""

    free: int = 0
    paid: int = 0


Tally = dict[str, FreePaid]


@dataclass(frozen=True)
class Totals:
    """What was counted by the end. `tallies`: by who counted it; `calls` and `received` of all of the case's numbers."""

    tallies: Mapping[str, Mapping[str, tuple[int, int]]]
    calls: int
    received: int


@dataclass(frozen=True)
class Ends:
    """What a case expects at its end; None expects nothing."""

    tally: Tally | None = None
    calls: int | None = None
    received: int | None = None

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
        if self.received is not None:
            checked.append(Checked("received", (self.received,), totals.received))
        return checked


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
