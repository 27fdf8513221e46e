"""What playing an action or a step gives: what went in, what came back, and the facts to compare. Pure."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from services.console.tally import money
from shared.events import ConversationUse, Decision, Price, SendEvent

Facts = dict[str, object]
FREE_ENTRY_POINT: Final = "free entry point"


class Counted(NamedTuple):
    """One line of the closing table."""

    account: str
    month: str
    category: str
    free: int
    paid: int
    amount: str
    at_meta: str


@dataclass(slots=True)
class Played:
    """Lines for the reader, and facts by name."""

    went_in: list[str] = field(default_factory=list)
    came_back: list[str] = field(default_factory=list)
    facts: Facts = field(default_factory=dict)

    def add(self, other: "Played") -> None:
        """Takes over what a later action of the same step gave."""
        self.went_in += other.went_in
        self.came_back += other.came_back
        self.facts |= other.facts


def decision_facts(decision: Decision) -> Facts:
    """The decision as the story's expectations name it."""
    facts: Facts = {"outcome": decision.outcome, "reason": decision.reason, "category": decision.category}
    if decision.conversation is not None and decision.conversation.action != "none":
        facts["conversation"] = f"{decision.conversation.action} {decision.conversation.category}"
    if decision.price is not None:
        facts["price"] = decision.price.type
    if decision.used_fallback:
        facts["used_fallback"] = True
    return facts


def decision_lines(event: SendEvent) -> list[str]:
    """The decision with its reason and price, for a reader."""
    decision = event.decision
    if decision is None:
        return []
    verdict = f"{decision.outcome}: {decision.reason}"
    parts = [verdict if decision.outcome != "allow" else "allow"]
    if decision.not_before_at is not None:
        parts.append(f"not before {clock_time(decision.not_before_at)}")
    if decision.category is not None and decision.outcome == "allow":
        parts.append(decision.category)
    if decision.conversation is not None and decision.conversation.action != "none":
        parts.append(_conversation(decision.conversation, decision.price))
    if decision.price is not None and decision.outcome == "allow":
        price = decision.price
        parts.append(
            f"{money(price.amount_micros, price.currency)} ({price.type}, {price.market}, {price.rate_card})"
        )
    if decision.tier is not None and decision.tier.limit is not None:
        parts.append(f"user {decision.tier.used} of {decision.tier.limit} a day")
    lines = ["decided  " + " · ".join(parts)]
    if event.error is not None and event.error.fix:
        lines.append(f"         fix: {event.error.fix}")
    return lines


def _conversation(use: ConversationUse, price: Price | None) -> str:
    free_entry = price is not None and price.type == "free_entry_point"
    name = FREE_ENTRY_POINT if free_entry else f"{use.category} conversation"
    until = f" until {clock_time(use.expires_at)}" if use.expires_at else ""
    return f"{'opens' if use.action == 'open' else 'reuses'} the {name}{until}"


def clock_time(rfc3339: str) -> str:
    """`2026-12-02T09:00:00.000Z` as `02 Dec 09:00`."""
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return f"{rfc3339[8:10]} {months[int(rfc3339[5:7]) - 1]} {rfc3339[11:16]}"
