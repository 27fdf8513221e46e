"""Every event and command on the topics, as typed, versioned structs. Pure.

Internal ones keep times as epoch milliseconds (`*_ms`); public ones as RFC 3339 text. Structs are msgspec's rather than pydantic's because
a decision must cost microseconds (docs/decisions/0002). What Meta or the business sent is kept as it came, in `Raw` fields.
Unknown fields are ignored on reading, so each version reads the one before and after. Event ids come from identity, never from
chance or offsets.
"""

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Raw

if TYPE_CHECKING:
    OptionalRaw = Raw | None
else:
    OptionalRaw = (
        Raw  # msgspec decodes a union with Raw as if Raw were not in it: every object would be refused
    )

Category = Literal["marketing", "utility", "authentication", "service"]
Endpoint = Literal["messages", "marketing_messages"]
"""Where a message is posted (Meta, Cloud API, messages; Meta, Marketing Messages API)."""
Status = Literal["sent", "delivered", "read", "played", "failed"]
PreferenceSource = Literal["meta", "error_131050", "stop_word", "import", "operator"]
"""How we know what a user prefers: Meta's user_preferences, Meta's refusal of a message, the user's own word, a list, an operator."""


class Struct(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A public value: every field is written, nulls too."""


class Internal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="event"):
    """An internal record: defaults are left out."""


# --- conversation.events: all that happens in one conversation, in one order


class Happened(Internal, frozen=True, kw_only=True):
    """Something that concerns one conversation.

    `via`: the names of the user at whose conversations it arrived before, the first one first; each is an address by now, and passed it on (decision 14).
    """

    via: tuple[str, ...] = ()


class MetaPricing(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """`statuses[].pricing` (Meta, webhooks, messages): fields appear and disappear, so all are optional."""

    billable: bool | None = None
    pricing_model: str | None = None
    type: str | None = None
    category: str | None = None


class MetaConversation(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """`statuses[].conversation`; the expiry (`expires_ms`) comes with `sent` only (Meta, webhooks)."""

    id: str
    origin: str | None = None
    expires_ms: int | None = None


class MessageReceived(Happened, frozen=True, kw_only=True, tag="MessageReceived"):
    """A customer wrote. `at_ms` is Meta's time of the message, `received_ms` ours."""

    event_id: str
    at_ms: int
    received_ms: int
    phone_number_id: str
    user: str
    wamid: str
    type: str
    message: Raw
    channel: str = "whatsapp"
    waba_id: str = ""
    bsuid: str | None = None
    renamed: str | None = None
    """The name the user bears from now on: a new number, or a new business-scoped id (Meta, webhooks, system messages)."""
    referral: str | None = None
    """`referral.source_type`, when an ad or a page button led here."""
    reply_to: str | None = None
    """The wamid the message answers (`context.id`)."""
    profile_name: str | None = None
    media: "list[ReceivedMedia]" = []
    """The files it brings."""


class StatusReceived(Happened, frozen=True, kw_only=True, tag="StatusReceived"):
    """Meta says how a message fares. `status` stays open: Meta owns the list."""

    event_id: str
    at_ms: int
    received_ms: int
    phone_number_id: str
    user: str
    wamid: str
    status: str
    meta: Raw
    waba_id: str = ""
    command_id: str | None = None
    pricing: MetaPricing | None = None
    conversation: MetaConversation | None = None
    error_code: int | None = None
    error_text: str | None = None
    recipient: str | None = None
    """The user's number as Meta names it, where it is not `user`: rewritten, or the number behind a business-scoped id."""
    bsuid: str | None = None
    """The user's business-scoped id, where it is not `user`."""


class TemplateRef(msgspec.Struct, frozen=True, gc=False):
    """A template as a message names it."""

    name: str
    language: str


class ConversationWebhook(Happened, frozen=True, kw_only=True, tag="ConversationWebhook"):
    """Something else Meta tells of a conversation or a number, as it came; it opens no window and is passed on to the business.

    `field` is Meta's own (user_preferences, calls, history, smb_message_echoes, …), `list` the list of its value that the item stood in (None: the item is
    the whole value). `user` is empty where Meta names none.
    """

    event_id: str
    at_ms: int
    received_ms: int
    phone_number_id: str
    user: str
    field: str
    item: Raw
    channel: str = "whatsapp"
    waba_id: str = ""
    bsuid: str | None = None
    renamed: str | None = None
    """As of a message: the user's new business-scoped id (Meta, webhooks, user_id_update)."""
    list: str | None = None


class SendRequested(Happened, frozen=True, kw_only=True, tag="SendRequested"):
    """A business system asked to send; checked and re-keyed by ingress. `at_ms` is the time it is decided for."""

    event_id: str
    at_ms: int
    request_id: str
    phone_number_id: str
    user: str
    type: str
    message: Raw
    """The Cloud API message object as it came."""
    digest: str
    """Hex of the request's meaning; the same `request_id` with another digest is a conflict."""
    template: TemplateRef | None = None
    fallback: OptionalRaw = None
    """`fallback_template` as it came, sent instead when the window is shut."""
    fallback_ref: TemplateRef | None = None
    correlation_id: str | None = None
    tags: dict[str, str] = {}
    expires_ms: int | None = None
    not_before_ms: int | None = None
    max_price_micros: int | None = None
    max_price_currency: str | None = None
    dry_run: bool = False
    after_request_id: str | None = None
    """Decide this one only once that one is delivered."""
    after_failed: Literal["refuse", "send"] = "refuse"
    """What becomes of this one if that one never arrives."""
    marks: str | None = None
    """The wamid that it marks as read; it is no message then."""
    product_policy: str | None = None
    """What the message says of the Marketing Messages API; naming it asks for that endpoint."""


class FieldProblem(Struct, frozen=True, kw_only=True):
    """What is wrong with one field of a request."""

    path: str | None
    """The place, such as `message.interactive.action.buttons[3]`; null: the request as a whole."""
    expected: str
    """What must hold there."""


class RequestMalformed(Internal, frozen=True, kw_only=True, tag="RequestMalformed"):
    """A request that can't be decided on: it yields `reject(malformed)` and sends nothing."""

    event_id: str
    at_ms: int
    request_id: str
    problems: list[str]
    """For people: `path: what was expected`."""
    correlation_id: str | None = None
    tags: dict[str, str] = {}
    fields: list[FieldProblem] = []
    """The same for programs; empty in events of older versions."""


class CancelRequested(Happened, frozen=True, kw_only=True, tag="CancelRequested"):
    """A business takes back a request that has not gone out."""

    event_id: str
    at_ms: int
    request_id: str
    phone_number_id: str
    user: str


class SendAccepted(Happened, frozen=True, kw_only=True, tag="SendAccepted"):
    """Meta took the message (HTTP 200); the outcome comes by webhook."""

    event_id: str
    at_ms: int
    command_id: str
    wamid: str
    """Empty for a read mark: nothing else comes of it."""
    user: str
    """`contacts[].wa_id`: may differ from what was sent to (BR, MX)."""
    message_status: str | None = None


class SendFailed(Happened, frozen=True, kw_only=True, tag="SendFailed"):
    """The message certainly did not go out. `reason` is from the error table, or `expired` for a late command.

    `retry_ms`: when the table has it decided anew (`defer`); None: not at all, and in events of older versions.
    """

    event_id: str
    at_ms: int
    command_id: str
    origin: Literal["policy", "meta", "transport"]
    reason: str
    retryable: bool
    code: int | None = None
    message: str | None = None
    fix: str | None = None
    retry_ms: int | None = None


class SendUncertain(Happened, frozen=True, kw_only=True, tag="SendUncertain"):
    """Nobody knows whether the message went out: no answer, or a crash between call and answer."""

    event_id: str
    at_ms: int
    command_id: str
    cause: str


class UncertainSettled(Happened, frozen=True, kw_only=True, tag="UncertainSettled"):
    """An operator says what became of a message of which nobody knows, or has it sent again; `by` who, `note` how they know."""

    event_id: str
    at_ms: int
    phone_number_id: str
    user: str
    command_id: str
    verdict: Literal["sent", "not_sent", "resend"]
    by: str
    note: str | None = None


class TimerFired(Internal, frozen=True, kw_only=True, tag="TimerFired"):
    """A timer that the fold itself set has come due; `due_ms` tells it from one set since. At `at_ms`."""

    event_id: str
    at_ms: int
    key: str
    name: str
    due_ms: int


class ReceiverVerified(Happened, frozen=True, kw_only=True, tag="ReceiverVerified"):
    """The customer proved by a one-time password that the number is theirs: a test receiver of the free tier."""

    event_id: str
    at_ms: int
    phone_number_id: str
    user: str


class PreferenceChanged(Happened, frozen=True, kw_only=True, tag="PreferenceChanged"):
    """The customer opted out of marketing messages, or in, at `at_ms`; with the evidence.

    `evidence` is what was said (Meta's detail, the word, the list's own note), `reference` where it can be looked up (a wamid, `file:line`),
    `by` who told us where that is a person. `noted_ms` is when this record was written: retention counts from then (0: as old as `at_ms`).
    """

    event_id: str
    at_ms: int
    phone_number_id: str
    user: str
    opted_out: bool
    evidence: str | None = None
    source: PreferenceSource = "meta"
    reference: str | None = None
    by: str | None = None
    noted_ms: int = 0


class UserKnownAs(Internal, frozen=True, kw_only=True, tag="UserKnownAs"):
    """The conversation `user` is an address from now on: the same user is at home at `known_as`, as of `at_ms` (Meta's time).

    `left`: the user gave the name up, and whoever writes under it later is somebody else, or back. `noted_ms` is when this record was written: an address is
    renewed by another one long before retention deletes it.
    """

    event_id: str
    at_ms: int
    noted_ms: int
    phone_number_id: str
    user: str
    known_as: str
    left: bool = False


class ConversationMoved(Happened, frozen=True, kw_only=True, tag="ConversationMoved"):
    """The conversation of `name` is an address to `user` as of `at_ms`, and this (`content`, the router's own encoding) was its state, or a part of it."""

    event_id: str
    at_ms: int
    noted_ms: int
    phone_number_id: str
    user: str
    name: str
    content: bytes
    left: bool = False


class NameKept(Happened, frozen=True, kw_only=True, tag="NameKept"):
    """`name` is another name of the user: the conversation's own record of it, written when it was told there again (`noted_ms`)."""

    event_id: str
    at_ms: int
    noted_ms: int
    phone_number_id: str
    user: str
    name: str
    left: bool = False


class NameTaken(Happened, frozen=True, kw_only=True, tag="NameTaken"):
    """As of `at_ms`, `name` is not the user's any more but somebody's own, or another conversation's."""

    event_id: str
    at_ms: int
    phone_number_id: str
    user: str
    name: str


ConversationEvent = (
    MessageReceived
    | StatusReceived
    | ConversationWebhook
    | SendRequested
    | CancelRequested
    | RequestMalformed
    | SendAccepted
    | SendFailed
    | SendUncertain
    | UncertainSettled
    | ReceiverVerified
    | PreferenceChanged
    | UserKnownAs
    | ConversationMoved
    | NameKept
    | NameTaken
    | TimerFired
)

# --- send.commands


class SendMessage(Internal, frozen=True, kw_only=True, tag="SendMessage"):
    """Send this, once, before `valid_until_ms`; `priority` 0 (one-time passwords) goes first."""

    event_id: str
    at_ms: int
    command_id: str
    conversation_key: str
    waba_id: str
    phone_number_id: str
    user: str
    category: Category
    priority: int
    valid_until_ms: int
    message: Raw
    endpoint: Endpoint = "messages"
    marks: str | None = None
    """The wamid that it marks as read; it is no message then, and Meta answers without an id."""


class CancelMessage(Internal, frozen=True, kw_only=True, tag="CancelMessage"):
    """Do not send this if it has not gone out yet: then it fails as `cancelled`; otherwise its own outcome stands."""

    event_id: str
    at_ms: int
    command_id: str
    phone_number_id: str


SendCommand = SendMessage | CancelMessage


# --- account.events


class AccountChanged(Internal, frozen=True, kw_only=True, tag="AccountChanged"):
    """Facts of one account, number or template were set. Last writer by `at_ms` (Meta's own time) wins, field by field.

    `subject` is the account itself, one of its numbers (`id` = phone_number_id) or templates (`id` = `name/language`).
    """

    event_id: str
    at_ms: int
    waba_id: str
    subject: Literal["account", "number", "template"]
    id: str
    fields: dict[str, Any]
    by: Literal["meta", "operator", "sender"] = "operator"


class AccountWebhook(Internal, frozen=True, kw_only=True, tag="AccountWebhook"):
    """A webhook about an account as Meta sent it; what it means is read by the account facts, and the business is told too.

    `at_ms` is Meta's time (ours where Meta gives none), `received_ms` ours (0 in events of older versions).
    """

    event_id: str
    at_ms: int
    waba_id: str
    field: str
    value: Raw
    received_ms: int = 0


AccountEvent = AccountChanged | AccountWebhook

# --- public: send.events


class UserRef(Struct, frozen=True, kw_only=True):
    """Who a message is to or from; either may be null, not both."""

    user_id: str | None
    bsuid: str | None = None


class ConversationUse(Struct, frozen=True, kw_only=True):
    """What a message does to conversations: opens one, reuses one, or none; `expires_at` once delivery fixed it."""

    id: str | None
    action: Literal["open", "reuse", "none"]
    category: Category | None
    expires_at: str | None = None


class VolumeTier(Struct, frozen=True, kw_only=True):
    """The volume tier a price was found in (Meta, pricing, volume tiers)."""

    tier: str
    """Meta's own word, `lower:upper`: the first and last message of the month it prices, both inclusive; `MAX` for no last one."""
    rates: str | None
    """The card or tier table that its rate stands on. Null: none has it, and the list rate stands in."""


class Price(Struct, frozen=True, kw_only=True):
    """A predicted price. `type`: regular, free_tier, free_customer_service, free_entry_point or reused."""

    regime: str
    rate_card: str
    market: str
    type: str
    amount_micros: int
    currency: str
    rate_category: str | None = None
    """The column of the card: the message's category, or authentication_international. Null where nothing is charged."""
    volume_tier: VolumeTier | None = None
    """Null: the list rate."""


class Tier(Struct, frozen=True, kw_only=True):
    """The messaging limit of the portfolio: users in a moving 24 h; `limit` null is unlimited."""

    limit: int | None
    used: int
    left: int | None


class Decision(Struct, frozen=True, kw_only=True):
    """May it go out now, as what, at which price, and why not."""

    outcome: Literal["allow", "reject", "defer"]
    final: bool
    reason: str
    category: Category | None
    facts_version: str
    not_before_at: str | None = None
    used_fallback: bool = False
    window_expires_at: str | None = None
    conversation: ConversationUse | None = None
    price: Price | None = None
    tier: Tier | None = None
    free_left: int | None = None


class ChargePredicted(Struct, frozen=True, kw_only=True):
    """What a delivery costs by our own rules: `counted` is false for a reused conversation (nothing to tally)."""

    counted: bool
    unit: Literal["conversation", "message"]
    conversation_id: str | None
    category: Category
    market: str
    regime: str
    rate_card: str
    month: str
    """`YYYY-MM` in the account's time zone."""
    type: str
    amount_micros: int
    currency: str
    rate_category: str | None = None
    """The column of the card that priced it, as Meta's `pricing.category` will name it. Null where nothing is charged."""
    volume_tier: VolumeTier | None = None
    day: str | None = None
    """The delivery's day, `YYYY-MM-DD` in the account's time zone; null in events of older versions."""
    opened: bool | None = None
    """Whether the delivery opened a conversation, whatever is charged; null in events of older versions."""


class SendError(Struct, frozen=True, kw_only=True):
    """Why it failed, and what to do. `retry_at` when a later try can succeed."""

    origin: Literal["policy", "meta", "transport"]
    reason: str
    code: int | None = None
    message: str | None = None
    retryable: bool = False
    retry_at: str | None = None
    fix: str | None = None
    fields: list[FieldProblem] = []
    """All that is wrong with a malformed request, field by field; empty for every other reason."""


class SendEvent(Struct, frozen=True, kw_only=True):
    """One step in the life of a request; `seq` counts the steps of that request from 1."""

    event_id: str
    event: Literal[
        "decided",
        "accepted",
        "held",
        "sent",
        "delivered",
        "read",
        "played",
        "failed",
        "priced",
        "uncertain",
        "resent",
        "cancelled",
    ]
    seq: int
    at: str
    request_id: str | None
    correlation_id: str | None
    tags: dict[str, str]
    waba_id: str | None
    phone_number_id: str | None
    user: UserRef | None
    wamid: str | None = None
    decision: Decision | None = None
    charge: ChargePredicted | None = None
    error: SendError | None = None
    meta: OptionalRaw = None
    v: int = 1


# --- public: messages.received


class ReplyTo(Struct, frozen=True, kw_only=True):
    """The message of ours that a customer answers, as far as we know it."""

    wamid: str
    request_id: str | None = None
    correlation_id: str | None = None


class ReceivedMedia(Struct, frozen=True, kw_only=True):
    """A file that a message brings: what Meta says of it, and where we give it out.

    `id` is Meta's (WhatsApp: to be fetched for 7 days; null on Instagram and Messenger, which give a link), `sha256` base64 as Meta writes it, `path`
    below the HTTP edge's root.
    """

    kind: str
    """image, video, audio, document, sticker; on the other channels the attachment's type."""
    id: str | None
    mime_type: str | None = None
    sha256: str | None = None
    filename: str | None = None
    path: str | None = None


class ReceivedMessage(Struct, frozen=True, kw_only=True):
    """A customer's message: Meta's object as it came, with the window it opened."""

    event_id: str
    channel: str
    waba_id: str | None
    phone_number_id: str
    sent_at: str
    received_at: str
    user: UserRef
    window_expires_at: str | None
    reply_to: ReplyTo | None
    message: Raw
    media: list[ReceivedMedia] = []
    profile_name: str | None = None
    """What the customer calls themselves, as far as Meta said (`contacts[].profile.name`)."""
    v: int = 1


# --- public: media


class MediaFile(Struct, frozen=True, kw_only=True):
    """What became of a received file: `stored` under `place` in the object store and given out at `path`, or `failed` for `reason`.

    `sha256` is the hex digest of what was stored, compared with Meta's; `bytes` its size.
    """

    event_id: str
    event: Literal["stored", "failed"]
    at: str
    channel: str
    phone_number_id: str
    user: UserRef
    wamid: str
    kind: str
    id: str | None
    mime_type: str | None
    filename: str | None
    path: str | None
    place: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    reason: str | None = None
    v: int = 1


# --- public: webhooks.passed


class PassedWebhook(Struct, frozen=True, kw_only=True):
    """What Meta told that no service of ours acts upon, or not alone: the item, or the whole value of a field, as it came.

    `field` is Meta's own (calls, flows, smb_message_echoes, account_alerts, …), open like all that Meta owns; `list` says which list of the field's value
    the item stood in, null where `value` is the whole value. `waba_id` is the page's or account's id on the other channels.
    """

    event_id: str
    at: str
    received_at: str
    channel: str
    field: str
    list: str | None
    waba_id: str | None
    phone_number_id: str | None
    user: UserRef | None
    value: Raw
    v: int = 1


# --- public: preferences


class UserPreference(Struct, frozen=True, kw_only=True):
    """Whether a user wants marketing messages of a number, since when, and the evidence; the latest word for each conversation is kept for ever.

    `evidence` is what was said (Meta's detail, the word, the list's own note), `reference` where it can be looked up (a wamid, `file:line`),
    `by` who told us where that is a person.
    """

    event_id: str
    at: str
    waba_id: str | None
    phone_number_id: str
    user: UserRef
    marketing: Literal["in", "out"]
    source: PreferenceSource
    evidence: str | None
    reference: str | None
    by: str | None
    v: int = 1


# --- public: account.changes


class AccountChange(Struct, frozen=True, kw_only=True):
    """A fact about an account changed; `before` and `after` hold the fields that did."""

    event_id: str
    at: str
    waba_id: str
    subject: Literal["account", "number", "template"]
    id: str
    before: dict[str, Any]
    after: dict[str, Any]
    by: str
    v: int = 1


# --- public: billing.charges, the ledger


class PredictedCost(Struct, frozen=True, kw_only=True):
    """What our own rules made of a message before Meta had its say; `amount_micros` in the entry's currency."""

    category: str
    type: str
    amount_micros: int


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """One line of the ledger. Amounts are integer millionths of `currency`; a correction holds the difference only: 0 confirms the charge.

    `category` is what Meta's `pricing.category` says or would say, so authentication_international too. `basis` tells Meta's own pricing from
    what we predicted; `counts` is 1 where a conversation (or, in per-message regimes, a message) is counted, `conversations` 1 where the
    delivery opened one; -1 or 0 in corrections.
    """

    event_id: str
    entry: Literal["charge", "correction", "unattributed"]
    at: str
    """When Meta said what the entry follows from: a correction comes later than the delivery."""
    month: str
    waba_id: str
    phone_number_id: str
    user_ref: str
    """A keyed hash: the ledger is kept for ever and must not hold the number."""
    wamid: str
    request_id: str | None
    conversation_id: str | None
    unit: Literal["conversation", "message"]
    category: str
    market: str
    regime: str
    rate_card: str
    type: str
    free: bool
    counts: int
    amount_micros: int
    currency: str
    basis: Literal["meta", "predicted"]
    tags: dict[str, str]
    delivered_at: str = ""
    day: str = ""
    """Of the delivery, `YYYY-MM-DD` in the account's time zone; `month` is its month. Entries of version 1 have neither: `at` serves."""
    country: str | None = None
    """Of the user, ISO 3166, by the calling code as rate cards read it; null where it is no country's."""
    conversations: int = 0
    predicted: PredictedCost | None = None
    """Null: nobody predicted it."""
    difference_micros: int | None = None
    """What the message costs once the entries of this event are in, less `predicted`; null where nobody predicted it."""
    meta_pricing: OptionalRaw = None
    """Meta's `pricing` object as it came."""
    volume_tier: VolumeTier | None = None
    v: int = 2

    def __post_init__(self) -> None:
        if self.meta_pricing is not None and bytes(self.meta_pricing) == b"null":
            msgspec.structs.force_setattr(self, "meta_pricing", None)
        if not self.delivered_at:
            msgspec.structs.force_setattr(self, "delivered_at", self.at)
        if not self.day:
            msgspec.structs.force_setattr(self, "day", self.delivered_at[:10])


# --- public: billing.alerts


class BillingAlert(Struct, frozen=True, kw_only=True):
    """An account has passed a threshold of a budget or of a free tier, or is going to within the month. Each is told once a month.

    `alert` says what has passed `percent`: what is `spent`, what is expected at the month's end (`forecast`), or the used units of the
    `free_tier`. The amounts are integer millionths of `currency` and those of the moment `at`; of a free tier they are null.
    """

    event_id: str
    alert: Literal["spent", "forecast", "free_tier"]
    at: str
    waba_id: str
    month: str
    """In the account's time zone, `YYYY-MM`."""
    percent: int
    category: str | None = None
    """Of the budget; null is the budget of all categories together."""
    currency: str | None = None
    budget_micros: int | None = None
    spent_micros: int | None = None
    expected_micros: int | None = None
    """At the month's end, within `low_micros` and `high_micros`; null where too little is known to expect anything."""
    low_micros: int | None = None
    high_micros: int | None = None
    method: Literal["weekdays", "pace", "none"] | None = None
    """How the days to come were guessed (docs/billing.md)."""
    reached_on: str | None = None
    """The day, past or expected, on which `percent` of the budget is spent; `YYYY-MM-DD` in the account's time zone."""
    phone_number_id: str | None = None
    """Whose free tier it is, where each number has one; null where it is the account's."""
    free_units: int | None = None
    free_used: int | None = None
    v: int = 1


encode = msgspec.json.Encoder().encode
"""The one encoder: the same value always gives the same bytes."""

decode_conversation_event = msgspec.json.Decoder(ConversationEvent).decode
decode_account_event = msgspec.json.Decoder(AccountEvent).decode
decode_command = msgspec.json.Decoder(SendMessage).decode
decode_send_command = msgspec.json.Decoder(SendCommand).decode
_decode_send_event = msgspec.json.Decoder(SendEvent).decode
decode_user_preference = msgspec.json.Decoder(UserPreference).decode
decode_ledger_entry = msgspec.json.Decoder(LedgerEntry).decode
decode_billing_alert = msgspec.json.Decoder(BillingAlert).decode


def decode_send_event(value: bytes) -> SendEvent:
    """A send event as it was made: msgspec reads a `meta` of null as the Raw `null`, not as None."""
    event = _decode_send_event(value)
    if event.meta is not None and bytes(event.meta) == b"null":
        return msgspec.structs.replace(event, meta=None)
    return event
