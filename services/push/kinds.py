"""A record of a public topic in; what kind of event it is, when it happened and whom it concerns out. Pure.

The kind is the word that receivers are told and endpoints are filtered by: `send.delivered`, `message.received`, `billing.charge`.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, get_args

import msgspec
from msgspec import Raw

from shared.events import LedgerEntry, MediaFile, SendEvent
from shared.topics import (
    ACCOUNT_CHANGES,
    BILLING_ALERTS,
    BILLING_CHARGES,
    MEDIA,
    MESSAGES_RECEIVED,
    PREFERENCES,
    SEND_EVENTS,
    WEBHOOKS_PASSED,
    Topic,
)


class Head(msgspec.Struct, frozen=True, gc=False):
    """What push reads of an event. `at` is RFC 3339; a received message has `sent_at` in its place."""

    event_id: str
    at: str = ""
    sent_at: str = ""
    event: str = ""
    entry: str = ""
    waba_id: str | None = None
    phone_number_id: str | None = None


class Kind(NamedTuple):
    """The kinds that a topic holds, and how one is read off its events."""

    topic: Topic
    names: tuple[str, ...]
    of: Callable[[Head], str]


def _choices(struct: type[msgspec.Struct], field: str) -> tuple[str, ...]:
    """The values of a struct's field that is a Literal."""
    found: Any = next(known.type for known in msgspec.structs.fields(struct) if known.name == field)
    return get_args(found)


def _named(prefix: str, topic: Topic, struct: type[msgspec.Struct], field: str) -> Kind:
    names = tuple(f"{prefix}.{choice}" for choice in _choices(struct, field))
    return Kind(topic, names, lambda head: f"{prefix}.{getattr(head, field)}")


def _one(name: str, topic: Topic) -> Kind:
    return Kind(topic, (name,), lambda _: name)


KINDS = (
    _one("message.received", MESSAGES_RECEIVED),
    _named("send", SEND_EVENTS, SendEvent, "event"),
    _one("webhook.passed", WEBHOOKS_PASSED),
    _named("media", MEDIA, MediaFile, "event"),
    _one("account.changed", ACCOUNT_CHANGES),
    _one("preference.changed", PREFERENCES),
    _named("billing", BILLING_CHARGES, LedgerEntry, "entry"),
    _one("billing.alert", BILLING_ALERTS),
)
NAMES = tuple(name for kind in KINDS for name in kind.names)
_BY_TOPIC = {kind.topic: kind for kind in KINDS}
_head = msgspec.json.Decoder(Head).decode


class Event(NamedTuple):
    """One public event: `value` is its JSON as on the topic."""

    kind: str
    head: Head
    value: Raw

    @property
    def id(self) -> str:
        """The event's own id: the same in every repetition."""
        return self.head.event_id

    @property
    def at(self) -> str:
        """When it happened, RFC 3339."""
        return self.head.at or self.head.sent_at


def read(topic: Topic, value: bytes) -> Event:
    """The event that a record of a public topic holds.

    Raises:
        MsgspecError: it is none.
    """
    head = _head(value)
    return Event(_BY_TOPIC[topic].of(head), head, Raw(value))


def matches(pattern: str, name: str) -> bool:
    """Whether a kind fits a pattern: the kind itself, `send.*`, or `*` for all."""
    return pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1]))


def topics_of(patterns: Collection[str]) -> tuple[Topic, ...]:
    """The topics that hold any kind that fits one of the patterns."""
    return tuple(
        kind.topic
        for kind in KINDS
        if any(matches(pattern, name) for pattern in patterns for name in kind.names)
    )
