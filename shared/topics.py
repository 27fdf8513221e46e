"""The catalogue of Kafka topics: names, kinds, retention. Pure.

The table in docs/architecture.md is this file in words. Topics are created by the deployment (`wam topics create`), never by a
client; partition counts are fixed then, for a key's place must not move.
"""

from dataclasses import dataclass

from shared.times import DAY_MS

KEEP_MS = 35 * DAY_MS
"""Retention of what passes through: a month of claims can be rebuilt from it, with days to spare."""
MAX_WAIT_DAYS = 30
"""How long a send request may wait at most: well within what is kept, for a request that waits is known from there alone."""
FOREVER_MS = -1
MAX_RECORD_BYTES = 4 * 1024 * 1024
"""Largest record: a webhook body is at most 3 MB (Meta, webhooks) and the edge takes at most 4 MiB."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Attributes:
        name: without the deployment's prefix.
        retention_ms: -1 keeps for ever.
        single: one partition, because its readers need the whole in one order.
        compacted: of each key only the last record is kept.
    """

    name: str
    retention_ms: int = KEEP_MS
    single: bool = False
    compacted: bool = False

    @property
    def dead_letters(self) -> "Topic":
        """Where a record of this topic is parked that cannot be handled."""
        return Topic(f"{self.name}.dlq", self.retention_ms)


SEND_REQUESTS = Topic("send.requests.v1")
SEND_REQUESTS_BULK = Topic("send.requests.bulk.v1")
"""Campaigns: released only as fast as their numbers can send, so that none stands before a one-time password."""
CONVERSATION_EVENTS = Topic("conversation.events.v1")
ACCOUNT_EVENTS = Topic("account.events.v1", FOREVER_MS, single=True)
SEND_COMMANDS = Topic("send.commands.v1")
SEND_EVENTS = Topic("send.events.v1")
MESSAGES_RECEIVED = Topic("messages.received.v1")
ACCOUNT_CHANGES = Topic("account.changes.v1")
WEBHOOKS_PASSED = Topic("webhooks.passed.v1")
MEDIA = Topic("media.v1")
PREFERENCES = Topic("preferences.v1", FOREVER_MS, compacted=True)
BILLING_CHARGES = Topic("billing.charges.v1", FOREVER_MS)
BILLING_ALERTS = Topic("billing.alerts.v1")
WEBHOOKS = Topic("webhooks.v1")
"""Not a topic of its own: only its `.dlq` exists, for webhook updates that can't be decoded."""
PUSH_CONTROL = Topic("push.control.v1", FOREVER_MS, single=True, compacted=True)
"""What operators and the service itself say of push's endpoints: enabled or not, how each fares."""
PUSH_REDELIVERIES = Topic("push.redeliveries.v1")
"""Public events once more, for one endpoint of push each."""
PUSH = Topic("push.v1")
"""Not a topic of its own: only its `.dlq` exists, for events that an endpoint would not take."""

TOPICS = (
    SEND_REQUESTS,
    SEND_REQUESTS_BULK,
    CONVERSATION_EVENTS,
    ACCOUNT_EVENTS,
    SEND_COMMANDS,
    SEND_EVENTS,
    MESSAGES_RECEIVED,
    ACCOUNT_CHANGES,
    WEBHOOKS_PASSED,
    MEDIA,
    PREFERENCES,
    BILLING_CHARGES,
    BILLING_ALERTS,
    PUSH_CONTROL,
    PUSH_REDELIVERIES,
)
CONSUMED = (
    SEND_REQUESTS,
    SEND_REQUESTS_BULK,
    CONVERSATION_EVENTS,
    ACCOUNT_EVENTS,
    SEND_COMMANDS,
    SEND_EVENTS,
    BILLING_CHARGES,
)
DEAD_LETTERS = tuple(topic.dead_letters for topic in (*CONSUMED, WEBHOOKS, PUSH))
