"""What became of each request, by the fake Meta's own ledger and by what the business was told. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

from shared.events import SendEvent
from tests.chaos.sends.plan import Request

FINAL = frozenset({"delivered", "read", "failed", "cancelled"})
GIVEN_UP = "uncertain_"
"""How the reasons begin of a message that was given up because nobody knows."""


class Call(NamedTuple):
    """One call that Meta received. `at_s`: by the stack's clock, epoch seconds. Neither accepted nor refused: cut without being processed."""

    command_id: str
    number: str
    at_s: float
    accepted: bool
    refused: bool = False
    statuses: tuple[str, ...] = ()

    @classmethod
    def from_ledger(cls, row: Mapping[str, Any]) -> "Call":
        """Read a call as `GET /sim/ledger` shows it."""
        return cls(
            command_id=row["command_id"] or "",
            number=row["phone_number_id"],
            at_s=row["at"],
            accepted=row["wamid"] is not None,
            refused=row["answer"]["code"] is not None,
            statuses=tuple(row["statuses"]),
        )


class Duplicate(TypedDict):
    """A request that Meta accepted more than once, and why its first attempt was uncertain."""

    request: str
    category: str
    causes: list[str]


@dataclass
class Verdict:
    """All requests, judged. The lists name requests, or (`repeated`) commands."""

    requests: int = 0
    accepted: int = 0
    sent_twice: Counter[str] = field(default_factory=Counter)
    """Category → requests that Meta accepted more than once."""
    allowed: list[Duplicate] = field(default_factory=list)
    """Those of them that the stated policy allows."""
    forbidden: list[Duplicate] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    """Commands that were called more than once, though nobody could know that the first call sent nothing."""
    lost: list[str] = field(default_factory=list)
    unresolved: list[str] = field(default_factory=list)
    """Told to be uncertain, and nothing after that."""
    untrue: list[str] = field(default_factory=list)
    """Their last word contradicts the ledger."""
    resolved: Counter[str] = field(default_factory=Counter)
    """How uncertain requests ended."""

    @property
    def clean(self) -> bool:
        """Whether nothing was sent twice but as allowed, nothing lost, nothing left open, nothing untrue."""
        wrong = (self.forbidden, self.repeated, self.lost, self.unresolved, self.untrue)
        return self.requests > 0 and not any(wrong)


def is_final(events: Sequence[SendEvent]) -> bool:
    """Whether the last word on a request has been said."""
    return bool(events) and (
        events[-1].event in FINAL
        or (events[-1].decision is not None and events[-1].decision.outcome == "reject")
    )


def judge(
    requests: Iterable[Request], told: Mapping[str, Sequence[SendEvent]], calls: Iterable[Call]
) -> Verdict:
    """Compare what was asked for, what the business was told (each event once, in order) and what Meta received."""
    verdict = Verdict()
    received: defaultdict[str, list[Call]] = defaultdict(list)
    by_command: Counter[str] = Counter()
    for call in calls:
        received[call.command_id.rpartition("#")[0]].append(call)
        by_command[call.command_id] += not call.refused
    verdict.repeated = sorted(command for command, count in by_command.items() if count > 1)
    for request in requests:
        verdict.requests += 1
        _one(verdict, request, told.get(request.id, ()), received[request.id])
    return verdict


def _one(verdict: Verdict, request: Request, told: Sequence[SendEvent], calls: Sequence[Call]) -> None:
    accepted = [call for call in calls if call.accepted]
    verdict.accepted += len(accepted)
    uncertain = [event for event in told if event.event == "uncertain"]
    if len(accepted) > 1:
        verdict.sent_twice[request.category] += 1
        causes = [event.error.message or "" for event in uncertain if event.error is not None]
        duplicate = Duplicate(request=request.id, category=request.category, causes=causes)
        (verdict.allowed if _allowed(request, uncertain, accepted) else verdict.forbidden).append(duplicate)
    if not is_final(told):
        (verdict.unresolved if uncertain else verdict.lost).append(request.id)
        return
    last = told[-1]
    given_up = last.error is not None and last.error.reason.startswith(GIVEN_UP)
    if uncertain:
        resends = any(call.command_id.endswith("#2") for call in calls)
        how = "given up" if given_up else "sent once more" if resends else "by a status"
        verdict.resolved[how] += 1
    if last.event in ("delivered", "read"):
        if not accepted:
            verdict.untrue.append(request.id)
    elif not given_up or not uncertain:
        verdict.lost.append(request.id)  # nothing in a run refuses a message: it was given up before its time
    elif any(call.statuses for call in accepted):
        verdict.untrue.append(request.id)


def _allowed(request: Request, uncertain: Sequence[SendEvent], accepted: Sequence[Call]) -> bool:
    """The policy: never a one-time password; others once more, when the first attempt was uncertain and no status of it came."""
    attempts = {call.command_id: call for call in accepted}
    first = attempts.get(f"{request.id}#1")
    return (
        request.category != "authentication"
        and len(accepted) == 2
        and attempts.keys() == {f"{request.id}#1", f"{request.id}#2"}
        and first is not None
        and not first.statuses
        and any(event.event_id == f"{request.id}#1:uncertain" for event in uncertain)
    )


def served_again_s(calls: Iterable[Call], struck_s: float, in_flight_s: float = 0.2) -> float | None:
    """Seconds from a strike until each number that was served before it had been served again; None if one never was.

    Calls that were on their way when it struck (within `in_flight_s`) don't count.
    """
    before: set[str] = set()
    again: dict[str, float] = {}
    for call in calls:
        if call.at_s <= struck_s:
            before.add(call.number)
        elif call.at_s > struck_s + in_flight_s:
            again[call.number] = min(call.at_s, again.get(call.number, call.at_s))
    if not before or before - again.keys():
        return None
    return max(again[number] for number in before) - struck_s
