"""Scripted behaviour: rules that match calls and say how they are answered and what becomes of them. Pure."""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from services.simulator.messages import Send
from shared.ids import from_opaque

StatusName = Literal["sent", "delivered", "read", "played", "failed"]


class CountedAs(BaseModel):
    """How the analytics count a delivery otherwise than its webhook tells; what is left out is as told."""

    model_config = ConfigDict(extra="forbid")

    volume: Literal[0, 1] = 1
    """0: not at all."""
    category: str | None = None
    type: str | None = None
    country: str | None = None
    days: int = Field(0, ge=-31, le=31)
    """So many days later."""
    cost: Decimal | None = Field(None, ge=0)
    """Instead of the rate's, in the account's currency."""


class Match(BaseModel):
    """Which calls a rule is for; what is left out matches all."""

    model_config = ConfigDict(extra="forbid")

    to: str | None = None
    phone_number_id: str | None = None
    command_id: str | None = None
    """The command id in biz_opaque_callback_data, or its request id (all attempts), or the whole text."""
    type: str | None = None
    template: str | None = None
    nth: int | None = Field(None, ge=1)
    """Only the nth call that matches the rest, from 1."""


class Step(BaseModel):
    """One status to come."""

    model_config = ConfigDict(extra="forbid")

    status: StatusName
    after_s: float | None = Field(None, ge=0)
    """Seconds after the call, by the clock; None: at once for a leading `sent`, else the delivery's delay."""
    code: int = 131026
    """Error code of a `failed`."""


class Behaviour(BaseModel):
    """What is to happen; what is left out goes its usual way."""

    model_config = ConfigDict(extra="forbid")

    error: int | None = None
    """Refuse with this Graph error code."""
    details: str | None = None
    http_status: int | None = Field(None, ge=400, le=599)
    """Status of the refusal; without `error` the body is not the Graph API's."""
    processed: bool = False
    """Whether the message goes out though it is refused."""
    headers: dict[str, str] = {}
    hang_s: float | None = Field(None, ge=0, le=600)
    """Answer only after so many seconds by the wall clock; the call is processed before, unless it is reset."""
    drop_answer_after_processing: bool = False
    """Accept and process, then cut the connection instead of answering."""
    reset: bool = False
    """Cut the connection without processing, after `hang_s` if that is given."""
    message_status: str | None = None
    """For templates, instead of `accepted`."""
    delivery: Literal["delivered", "failed", "none"] | None = None
    code: int = 131026
    """Error code of `delivery: failed`."""
    delivered_after_s: float | None = Field(None, ge=0)
    statuses: list[StatusName | Step] | None = None
    """Exactly these, in this order."""
    unsaid: frozenset[StatusName] = frozenset()
    """Statuses that happen and of which no webhook is posted."""
    counted_as: CountedAs | None = None
    times: int | None = Field(1, ge=1)
    """How often the rule serves; None for ever."""


class Rule(BaseModel):
    """Body of `POST /sim/script`."""

    model_config = ConfigDict(extra="forbid")

    match: Match = Match()
    then: Behaviour


@dataclass(slots=True)
class _Active:
    id: int
    rule: Rule
    seen: int = 0
    used: int = 0


@dataclass(slots=True)
class Script:
    """The rules in the order given; the first that matches and is not used up serves."""

    _rules: list[_Active] = field(default_factory=list)
    _ids: int = 0

    def add(self, rule: Rule) -> int:
        """Append a rule and return its id."""
        self._ids += 1
        self._rules.append(_Active(self._ids, rule))
        return self._ids

    def clear(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def listing(self) -> list[dict[str, object]]:
        """Rules with how often each served."""
        return [
            {"id": r.id, "used": r.used, **r.rule.model_dump(mode="json", exclude_unset=True)}
            for r in self._rules
        ]

    def take(self, phone_number_id: str, send: Send) -> Behaviour | None:
        """The behaviour for a call, which uses its rule once."""
        for active in self._rules:
            times = active.rule.then.times
            if (times is not None and active.used >= times) or not _matches(
                active.rule.match, phone_number_id, send
            ):
                continue
            active.seen += 1
            if active.rule.match.nth in (None, active.seen):
                active.used += 1
                return active.rule.then
        return None


def plan(
    behaviour: Behaviour | None, *, message_type: str, delay_s: float, read: bool, automatic: bool
) -> list[tuple[float, str, int]]:
    """The statuses of an accepted message: seconds after the call, status, error code (0 unless failed).

    Meta sends no more than `sent` for a reaction.
    """
    given = behaviour or Behaviour()
    delivered_after = delay_s if given.delivered_after_s is None else given.delivered_after_s
    if given.statuses is not None:
        return [_step(s, i, delivered_after, given.code) for i, s in enumerate(given.statuses)]
    if given.delivery == "failed":
        return [(delivered_after, "failed", given.code)]
    if given.delivery == "none":
        return []
    if given.delivery is None and given.delivered_after_s is None and not automatic:
        return []
    steps = [(0.0, "sent", 0)]
    if message_type != "reaction":
        steps.append((delivered_after, "delivered", 0))
        if read:
            steps.append((delivered_after + delay_s, "read", 0))
    return steps


def _step(entry: StatusName | Step, index: int, delivered_after: float, code: int) -> tuple[float, str, int]:
    step = entry if isinstance(entry, Step) else Step(status=entry, code=code)
    after = step.after_s
    if after is None:
        after = 0.0 if index == 0 and step.status == "sent" else delivered_after
    return after, step.status, step.code if step.status == "failed" else 0


def _matches(match: Match, phone_number_id: str, send: Send) -> bool:
    return (
        match.to in (None, send.user, send.input, f"+{send.user}")
        and match.phone_number_id in (None, phone_number_id)
        and match.type in (None, send.type)
        and match.template in (None, send.template)
        and (match.command_id is None or match.command_id in command_names(send.opaque))
    )


_ATTEMPT = re.compile(r"#\d+$")


def command_names(opaque: str | None) -> tuple[str, ...]:
    """The names a call goes by: its command id first, then its request id, then the whole text."""
    if opaque is None:
        return ()
    unpacked = from_opaque(opaque)
    if unpacked is None:
        return (opaque,)
    command = unpacked[1]
    return (command, _ATTEMPT.sub("", command), opaque)
