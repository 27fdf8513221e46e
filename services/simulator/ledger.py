"""The truth: calls received, conversations opened, messages delivered, as the fake Meta counts them. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from services.simulator.scripts import command_names


@dataclass(slots=True)
class Call:
    """One call of the send endpoint and what became of its message."""

    at: float
    phone_number_id: str
    endpoint: str = "messages"
    to: str | None = None
    type: str | None = None
    template: str | None = None
    opaque: str | None = None
    wamid: str | None = None
    http_status: int = 0
    """0 for a call whose answer was dropped."""
    code: int | None = None
    statuses: list[str] = field(default_factory=list)
    category: str | None = None
    billable: bool | None = None
    conversation_id: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The call as `GET /sim/ledger` shows it."""
        return {
            "at": self.at,
            "phone_number_id": self.phone_number_id,
            "endpoint": self.endpoint,
            "to": self.to,
            "type": self.type,
            "template": self.template,
            "biz_opaque_callback_data": self.opaque,
            "command_id": next(iter(command_names(self.opaque)), None),
            "wamid": self.wamid,
            "answer": {"http_status": self.http_status, "code": self.code},
            "statuses": self.statuses,
            "category": self.category,
            "billable": self.billable,
            "conversation_id": self.conversation_id,
        }


@dataclass(frozen=True, slots=True)
class Mark:
    """A received message that was marked as read. It is no message itself: nothing is sent, nothing costs."""

    at: float
    phone_number_id: str
    message_id: str
    typing: bool

    def as_json(self) -> dict[str, Any]:
        """The mark as `GET /sim/ledger` shows it."""
        return {
            "at": self.at,
            "phone_number_id": self.phone_number_id,
            "message_id": self.message_id,
            "typing": self.typing,
        }


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivered message (or opened conversation) as the analytics count it."""

    at: float
    waba_id: str
    phone_number_id: str
    unit: str
    """`message` or `conversation`."""
    country: str
    category: str
    """As a status tells it, in small letters."""
    type: str
    """`regular` or why it is free."""
    cost: Decimal | None = None
    """None: the rate's."""


@dataclass(slots=True)
class _FreePaid:
    free: int = 0
    paid: int = 0

    def add(self, billable: bool) -> None:
        if billable:
            self.paid += 1
        else:
            self.free += 1


@dataclass(slots=True)
class Ledger:
    """All counts since the last reset."""

    calls: list[Call] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    """Read marks, apart from the calls that send messages."""
    deliveries: list[Delivery] = field(default_factory=list)
    """What the analytics count."""
    _conversations: dict[tuple[str, str, str], _FreePaid] = field(default_factory=dict)
    _messages: dict[tuple[str, str, str], _FreePaid] = field(default_factory=dict)
    _tally: dict[tuple[str, str, str], _FreePaid] = field(default_factory=dict)
    received: int = 0
    """Messages of fake users, each id once."""

    def conversation_opened(self, waba_id: str, month: str, category: str, *, billable: bool) -> None:
        """Count an opened conversation."""
        self._conversations.setdefault((waba_id, month, category), _FreePaid()).add(billable)

    def message_delivered(self, waba_id: str, month: str, category: str, *, billable: bool) -> None:
        """Count a delivered message; `billable` if this very delivery is charged."""
        self._messages.setdefault((waba_id, month, category), _FreePaid()).add(billable)

    def unit_counted(self, waba_id: str, month: str, category: str, *, billable: bool) -> None:
        """Count a unit of the account's regime: a conversation, or a message."""
        self._tally.setdefault((waba_id, month, category), _FreePaid()).add(billable)

    def commands(self) -> dict[str, dict[str, int]]:
        """Per command id: calls received, and calls accepted (each sends a message to the user)."""
        counts: dict[str, dict[str, int]] = {}
        for call in self.calls:
            if call.opaque is not None:
                count = counts.setdefault(command_names(call.opaque)[0], {"calls": 0, "accepted": 0})
                count["calls"] += 1
                count["accepted"] += call.wamid is not None
        return counts

    def counts(self) -> dict[str, Any]:
        """All counts but those per command."""
        accepted = sum(call.wamid is not None for call in self.calls)
        return {
            "calls": len(self.calls),
            "accepted": accepted,
            "refused": Counter(str(c.code or c.http_status) for c in self.calls if c.wamid is None),
            "delivered": sum(c.free + c.paid for c in self._messages.values()),
            "received": self.received,
            "marks": len(self.marks),
            "conversations": _rows(self._conversations),
            "messages": _rows(self._messages),
            "tally": _rows(self._tally),
        }

    def clear(self) -> None:
        """Forget all that was counted."""
        self.calls.clear()
        self.marks.clear()
        self.deliveries.clear()
        self._conversations.clear()
        self._messages.clear()
        self._tally.clear()
        self.received = 0


def _rows(counts: dict[tuple[str, str, str], _FreePaid]) -> list[dict[str, Any]]:
    return [
        {"waba_id": waba_id, "month": month, "category": category, "free": count.free, "paid": count.paid}
        for (waba_id, month, category), count in sorted(counts.items())
    ]
