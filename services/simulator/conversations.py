"""One user's thread with one business number: window, free entry point, conversations; epoch seconds. Pure.

The simulator counts by whole seconds, as webhooks tell them, so that their reader can count the same.
Source: Meta, conversation-based pricing; Meta, customer service windows.
"""

from dataclasses import dataclass, field

from services.simulator.pricing import ENTRY_POINT

DAY_S = 86_400
ENTRY_POINT_S = 3 * DAY_S
SERVICE = "service"


@dataclass(slots=True)
class Conversation:
    """An opened conversation."""

    id: str
    category: str
    opened_at: int
    expires_at: int
    free: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """The conversation that a message not yet delivered will most likely belong to."""

    id: str
    category: str
    expires_at: int
    existing: Conversation | None


@dataclass(slots=True)
class Thread:
    """What Meta remembers of one user at one number."""

    window_until: int = 0
    clicked_at: int | None = None
    """When the user came by an ad or page button not yet answered."""
    entry_point: Conversation | None = None
    open: dict[str, Conversation] = field(default_factory=dict)
    announced: dict[str, str] = field(default_factory=dict)
    """Ids given out in `sent` for conversations that no delivery has opened yet, by category."""


def receive(thread: Thread, sent_at: int, *, by_ad: bool) -> None:
    """Take in a user's message: its own time opens or renews the window, never shortens it."""
    thread.window_until = max(thread.window_until, sent_at + DAY_S)
    if by_ad:
        thread.clicked_at = sent_at


def window_open(thread: Thread, at: float) -> bool:
    """Whether free-form may go out: closed at exactly 24 h."""
    return at < thread.window_until


def entry_point_open(thread: Thread, at: float) -> bool:
    """Whether a free entry point runs."""
    return _entry_point(thread, at) is not None


def preview(thread: Thread, category: str, sent_at: int, at: int, new_id: str) -> Preview:
    """What a message of `category`, accepted at `sent_at`, would belong to if it were delivered at `at`.

    A conversation not yet open gets `new_id`, or the id that an earlier message in flight announced for it.
    """
    found = _entry_point(thread, at)
    if found is None and _answers_ad(thread, sent_at):
        return Preview(thread.announced.get(ENTRY_POINT, new_id), ENTRY_POINT, at + ENTRY_POINT_S, None)
    found = found or _open(thread, category, at)
    if found is not None:
        return Preview(found.id, found.category, found.expires_at, found)
    return Preview(thread.announced.get(category, new_id), category, at + DAY_S, None)


def announce(thread: Thread, seen: Preview) -> None:
    """Remember the id told in a `sent`, so that messages in flight share their conversation."""
    if seen.existing is None:
        thread.announced[seen.category] = seen.id


def deliver(thread: Thread, category: str, sent_at: int, at: int, new_id: str) -> tuple[Conversation, bool]:
    """Let a delivery at `at` fall into its conversation; the second value tells whether it opened it.

    A template reuses the open conversation of its own category; a free-form any open one, its own first.
    The answer within 24 h to a click on an ad opens the free entry point, which closes all others.
    """
    seen = preview(thread, category, sent_at, at, new_id)
    if seen.existing is not None:
        return seen.existing, False
    thread.announced.pop(seen.category, None)
    opened = Conversation(seen.id, seen.category, at, seen.expires_at)
    if seen.category == ENTRY_POINT:
        thread.entry_point, thread.clicked_at = opened, None
        thread.open.clear()
        thread.announced.clear()
    else:
        thread.open[category] = opened
    return opened, True


def _entry_point(thread: Thread, at: float) -> Conversation | None:
    found = thread.entry_point
    return found if found is not None and at < found.expires_at else None


def _open(thread: Thread, category: str, at: int) -> Conversation | None:
    own = thread.open.get(category)
    if own is not None and at < own.expires_at:
        return own
    if category != SERVICE:
        return None
    others = [c for c in thread.open.values() if at < c.expires_at]
    return max(others, key=lambda c: c.opened_at, default=None)


def _answers_ad(thread: Thread, sent_at: int) -> bool:
    return thread.clicked_at is not None and thread.clicked_at <= sent_at < thread.clicked_at + DAY_S
