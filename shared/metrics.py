"""The one closed registry of metrics, of every service; labels come from closed sets and their children exist from the start.

Names follow Prometheus's conventions (base units, `_total`). The Grafana dashboard and the alert rules are checked against this file.
"""

from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.reasons import REASONS
from shared.topics import DEAD_LETTERS

REGISTRY = CollectorRegistry(auto_describe=True)

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 3600, 14400)

GROUPS = ("router", "accounts", "sender", "ledger", "intake", "intake-bulk", "tallies", "edge", "media")
BULK_STATES = ("unread", "due", "number_busy", "paused")
"""Of a bulk request: not looked at, next to go, its number has enough on its way, an operator holds its number or account."""
CATEGORIES = ("marketing", "utility", "authentication", "service")
BILLED_CATEGORIES = (*CATEGORIES, "authentication_international", "other")
"""As the ledger has them; `other` is what Meta may add."""
CURRENCIES = (
    "USD", "AED", "ARS", "AUD", "BRL", "CLP", "COP", "EUR", "GBP", "IDR", "INR", "MXN", "MYR", "PEN", "SAR", "SGD",
    "other",
)  # fmt: skip
"""In which Meta bills (Meta, pricing, billing currencies)."""
CIRCUIT_SCOPES = ("phone_number", "waba", "template", "app", "platform")
CIRCUIT_REASONS = (
    "auth", "permission", "account", "payment", "number", "quality", "rate_app", "rate_waba", "template", "platform",
    "no_answer", "unreachable",
)  # fmt: skip
BUDGET_SCOPES = ("all", *CATEGORIES)
ALERT_PERCENTS = ("50", "80", "100", "other")
MEDIA_FAILURES = (
    "gone", "refused", "no_token", "forbidden_link", "too_large", "checksum", "unreachable", "link_stale", "store", "timeout", "expired",
)  # fmt: skip
"""Why a received file is not stored (services/ingress/media/failures.py)."""
STATUSES = ("sent", "delivered", "read", "played", "failed", "other")


def _counter(name: str, text: str, **labels: tuple[str, ...]) -> Counter:
    metric = Counter(name, text, tuple(labels), registry=REGISTRY)
    _children(metric, labels)
    return metric


def _gauge(name: str, text: str, **labels: tuple[str, ...]) -> Gauge:
    metric = Gauge(name, text, tuple(labels), registry=REGISTRY)
    _children(metric, labels)
    return metric


def _histogram(name: str, text: str, buckets: tuple[float, ...], **labels: tuple[str, ...]) -> Histogram:
    metric = Histogram(name, text, tuple(labels), buckets=buckets, registry=REGISTRY)
    _children(metric, labels)
    return metric


def _children(metric: Counter | Gauge | Histogram, labels: dict[str, tuple[str, ...]]) -> None:
    if labels:
        for values in product(*labels.values()):
            metric.labels(*values)


# --- the stream processor (router, sender's intake, ledger)
STREAM_RECORDS = _counter("wa_stream_records", "Records folded.", group=GROUPS)
STREAM_SILENT = _counter(
    "wa_stream_silent_records", "Records folded silently, to rebuild lost state.", group=GROUPS
)
STREAM_PUBLISHED = _counter("wa_stream_published", "Events published.", group=GROUPS)
STREAM_BATCH_SECONDS = _histogram(
    "wa_stream_batch_seconds", "Time from a poll to its publication.", _FAST, group=GROUPS
)
STREAM_REFUSED = _counter(
    "wa_stream_refused_commits",
    "Commits refused because another worker owns the partition or state was lost.",
    group=GROUPS,
)
STREAM_TAKEOVERS = _counter("wa_stream_takeovers", "Partitions taken over.", group=GROUPS)
STREAM_LAG = _gauge(
    "wa_stream_lag_records", "Records waiting in the partitions this process owns.", group=GROUPS
)
STREAM_TIMERS = _counter("wa_stream_timers_fired", "Timers appended to their topic.", group=GROUPS)
STREAM_CLAIMS = _counter(
    "wa_stream_claims", "Claims on shared limits.", group=GROUPS, verdict=("granted", "refused")
)
DLQ_RECORDS = _counter(
    "wa_dlq_records", "Records parked in a dead-letter topic.", topic=tuple(t.name for t in DEAD_LETTERS)
)
DLQ_GUARD_OPEN = _gauge(
    "wa_dlq_guard_open", "1 while too many records fail for it to be their fault.", group=GROUPS
)

# --- ingress
WEBHOOK_UPDATES = _counter(
    "wa_webhook_updates",
    "Updates in verified webhooks.",
    kind=("message", "status", "account", "other", "undecodable"),
)
WEBHOOK_VERDICTS = (
    "ok", "bad_signature", "bad_body", "bad_request", "too_large", "encoded", "timeout", "unknown_object",
    "unknown_app", "unavailable", "failed",
)  # fmt: skip
WEBHOOK_REQUESTS = Counter(
    "wa_webhook_requests",
    "Webhook POSTs by the Meta app of their path (`none`: of no app's) and verdict.",
    ("app", "verdict"),
    registry=REGISTRY,
)


def webhook_requests(app: str) -> dict[str, Counter]:
    """The counters of an app's webhooks by verdict; the apps are those that ingress is set up with."""
    return {verdict: WEBHOOK_REQUESTS.labels(app, verdict) for verdict in WEBHOOK_VERDICTS}


CUTS = ("late_headers", "made_room", "full")
WEBHOOK_CUT = _counter(
    "wa_webhook_connections_cut",
    "Connections closed because headers came too late, because a newer one needed room, or because there was none.",
    why=CUTS,
)
WEBHOOK_SECONDS = _histogram(
    "wa_webhook_seconds", "Time to answer a webhook, Kafka's acknowledgement included.", _FAST
)
WEBHOOK_LAST = _gauge("wa_webhook_last_timestamp_seconds", "When the last verified webhook came.")
INTAKE_REQUESTS = _counter(
    "wa_intake_requests", "Send requests taken in.", verdict=("ok", "malformed", "undecodable")
)
BULK_RELEASED = _counter(
    "wa_bulk_released",
    "Bulk requests handed on, for the router to decide.",
    verdict=("ok", "malformed", "undecodable"),
)
BULK_WAITING = _gauge(
    "wa_bulk_waiting_requests",
    "Bulk requests that wait to be released, in the partitions this process owns.",
    state=BULK_STATES,
)
BULK_AT_HAND = _gauge(
    "wa_bulk_at_hand_requests", "Bulk requests in memory; the others are read when their turn comes."
)
BULK_UNDECIDED = _gauge(
    "wa_bulk_undecided_requests", "Bulk requests released that the router has yet to decide."
)

# --- the HTTP edge
EDGE_REQUESTS = _counter(
    "wa_edge_requests",
    "Calls of business systems answered.",
    route=("messages", "requests", "estimate", "management", "media", "other"),
    status=("2xx", "400", "401", "403", "404", "409", "429", "4xx", "500", "503", "5xx"),
)
EDGE_SECONDS = _histogram(
    "wa_edge_seconds",
    "Time to answer a call, the wait for Meta's word included.",
    _FAST,
    route=("messages", "requests", "estimate", "management", "media", "other"),
)
EDGE_WAITING = _gauge("wa_edge_waiting", "Callers that wait for what becomes of their requests.")
EDGE_EVENTS = _counter(
    "wa_edge_events", "Events noted for who asks over HTTP.", verdict=("ok", "undecodable")
)

MEDIA_FILES = _counter(
    "wa_media_files",
    "Received files by what became of them: stored (on demand or by themselves), or the reason why not; `retried` will be tried again.",
    outcome=("stored", "retried", *MEDIA_FAILURES),
)
MEDIA_BYTES = _counter("wa_media_bytes", "Bytes of received files stored.")
MEDIA_GIVEN_BYTES = _counter("wa_media_given_bytes", "Bytes of files given out to business systems.")
MEDIA_WAITING = _gauge("wa_media_waiting_files", "Received files still to be fetched, of all processes.")
OLDEST_MEDIA_SECONDS = _gauge(
    "wa_media_oldest_waiting_seconds", "For how long the oldest of them has been waiting."
)
MEDIA_UPLOADS = _counter(
    "wa_media_uploads",
    "Files that business systems uploaded for sending.",
    outcome=("ok", "refused", "failed"),
)

# --- router
DECISIONS = _counter("wa_decisions", "Final decisions.", reason=tuple(REASONS))
DECISION_SECONDS = _histogram("wa_decision_seconds", "From the intake of a request to its decision.", _FAST)
RECEIVED = _counter("wa_messages_received", "Customers' messages, once each.")
USER_NAMES = _counter(
    "wa_user_names",
    "Users with several names: addresses told, conversations moved to another name (in how many records), names taken over by somebody else, events passed on.",
    what=("told", "moved", "taken", "passed_on"),
)
STATUS_STEPS = _counter(
    "wa_message_steps",
    "Steps in message lives.",
    step=(*STATUSES, "accepted", "held", "uncertain", "resent", "cancelled"),
)
UNCERTAIN_OPEN = _gauge(
    "wa_uncertain_open",
    "Messages of which nobody knows whether they went out, of this process's partitions.",
    category=CATEGORIES,
)
OLDEST_UNCERTAIN_SECONDS = _gauge(
    "wa_oldest_uncertain_seconds", "For how long the oldest of them has been open.", category=CATEGORIES
)
UNCERTAIN_RESOLVED = _counter(
    "wa_uncertain_resolved",
    "Open messages resolved: by a status, by the sender's late word, sent once more, given up, or told by an operator.",
    how=("status", "sender", "resent", "given_up", "operator"),
)
DUPLICATES = _counter("wa_duplicate_messages", "Requests sent twice of which both messages went out.")
ACCOUNT_REVISION = _gauge("wa_account_facts_revision", "Account events known to this process.")
PAYMENT_FAILING = _gauge(
    "wa_payment_failing_accounts", "Accounts that Meta could not charge of late, as known to this process."
)

# --- sender
GRAPH_CALLS = _counter(
    "wa_graph_calls",
    "Calls to the Graph API by outcome.",
    outcome=("accepted", "failed", "retried", "uncertain", "expired"),
)
GRAPH_SECONDS = _histogram("wa_graph_seconds", "Time of a Graph API call.", _FAST)
SEND_ERRORS = Counter(
    "wa_send_errors", "Graph API errors by label of the error table.", ("label",), registry=REGISTRY
)
SEND_WAIT_SECONDS = _histogram(
    "wa_send_wait_seconds", "From the command to the call.", _SLOW, category=CATEGORIES
)
OLDEST_UNSENT_SECONDS = _gauge(
    "wa_oldest_unsent_seconds", "Age of the oldest unsent message, held ones included.", category=CATEGORIES
)
QUEUED = _gauge("wa_queued_commands", "Commands waiting to be sent.", category=CATEGORIES)
OPEN_CIRCUITS = _gauge(
    "wa_open_circuits",
    "Numbers, accounts, templates, apps that are held back, or the platform; by the label of the refusal, or why no answer came.",
    scope=CIRCUIT_SCOPES,
    reason=CIRCUIT_REASONS,
)
GRAPH_USAGE = _gauge(
    "wa_graph_usage_percent",
    "Meta's hourly allowance, as far as it is used: the worst app, the worst account.",
    scope=("app", "waba"),
)
UNCERTAIN_SENDS = _counter("wa_uncertain_sends", "Sends whose outcome is not known.")

# --- billing
LEDGER_ENTRIES = _counter(
    "wa_ledger_entries", "Lines of the ledger.", entry=("charge", "correction", "unattributed")
)
CHARGED_MICROS = _counter(
    "wa_charged_micros", "Millionths of the account's currency charged.", category=CATEGORIES
)
TALLIED = _counter("wa_tallied_entries", "Ledger entries tallied by the Faust app.")
PREDICTED_MICROS = _counter(
    "wa_predicted_micros",
    "Millionths that messages were predicted to cost which Meta has priced.",
    category=CATEGORIES,
)
BILLED_MICROS = _counter("wa_billed_micros", "Millionths that Meta's word made of them.", category=CATEGORIES)
CORRECTED_MICROS = _counter(
    "wa_corrected_micros",
    "Millionths by which Meta's pricing corrected the ledger.",
    category=CATEGORIES,
    direction=("up", "down"),
)
BUDGET_USED = _gauge(
    "wa_budget_used_ratio",
    "Spent of the month's budget by the worst account; of all categories together and of each.",
    scope=BUDGET_SCOPES,
)
BUDGET_EXPECTED = _gauge(
    "wa_budget_expected_ratio",
    "The same as expected at the month's end.",
    scope=BUDGET_SCOPES,
)
BUDGET_ALERTS = _counter(
    "wa_budget_alerts",
    "Alerts on budgets and free tiers published, by the threshold passed.",
    kind=("spent", "forecast", "free_tier"),
    percent=ALERT_PERCENTS,
)

MONTH_UNITS = _gauge(
    "wa_month_units",
    "Conversations or messages counted of all accounts in their current months, corrections included; the same in every tallies process.",
    category=BILLED_CATEGORIES,
    unit=("conversation", "message"),
    price=("free", "paid"),
)
MONTH_CONVERSATIONS = _gauge(
    "wa_month_conversations",
    "Conversations opened in the accounts' current months, under every regime; the same in every tallies process.",
    category=BILLED_CATEGORIES,
    price=("free", "paid"),
)
MONTH_SPENT_MICROS = _gauge(
    "wa_month_spent_micros",
    "Millionths of a currency spent in the accounts' current months, corrections included; the same in every tallies process.",
    category=BILLED_CATEGORIES,
    currency=CURRENCIES,
)
TODAY_SPENT_MICROS = _gauge(
    "wa_today_spent_micros",
    "Millionths of a currency spent in the accounts' current days, corrections included; the same in every tallies process.",
    category=BILLED_CATEGORIES,
    currency=CURRENCIES,
)
FREE_TIER_USED = _gauge(
    "wa_free_tier_used_ratio",
    "Share of this month's free tier that is used, of the number (or account) that has used most.",
)

# --- push: the one label whose values are not known here is the endpoint's name. It comes from the operator's file, which holds at most a hundred;
# the children are made when an endpoint starts and go when it leaves the file.
PUSH_TRIES = Counter(
    "wa_push_tries",
    "Webhooks sent to an endpoint, by outcome.",
    ("endpoint", "outcome"),
    registry=REGISTRY,
)
PUSH_EVENTS = Counter("wa_push_events", "Events an endpoint has taken.", ("endpoint",), registry=REGISTRY)
PUSH_PARKED = Counter(
    "wa_push_parked", "Events parked since an endpoint would not take them.", ("endpoint",), registry=REGISTRY
)
PUSH_EXPIRED = Counter(
    "wa_push_expired_records",
    "Records that Kafka had dropped before an endpoint came to them.",
    ("endpoint",),
    registry=REGISTRY,
)
PUSH_SECONDS = Histogram(
    "wa_push_seconds",
    "From an event's record to its delivery.",
    ("endpoint",),
    buckets=_SLOW,
    registry=REGISTRY,
)
PUSH_OLDEST_SECONDS = Gauge(
    "wa_push_oldest_seconds", "Age of the oldest undelivered event.", ("endpoint",), registry=REGISTRY
)
PUSH_LAG = Gauge(
    "wa_push_lag_records",
    "Records of its topics that are not done, of this process's partitions.",
    ("endpoint",),
    registry=REGISTRY,
)
PUSH_BREAKER_OPEN = Gauge(
    "wa_push_breaker_open", "1 while an endpoint as a whole fails.", ("endpoint",), registry=REGISTRY
)
PUSH_DISABLED = Gauge(
    "wa_push_disabled", "1 while an endpoint is disabled.", ("endpoint",), registry=REGISTRY
)
PUSH_FILE_VALID = _gauge(
    "wa_push_file_valid", "0 while the endpoints file can't be used; the one before serves."
)

# --- console
APPLIED = _counter("wa_account_facts_applied", "Account events published by the console and by `wam`.")
POLLS = _counter(
    "wa_account_polls",
    "Polls of an account at Meta.",
    outcome=("ok", "refused", "unavailable", "no_token"),
)
