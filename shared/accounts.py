"""Account facts: what is known of accounts, numbers and templates, folded from account events. Pure.

Each field remembers when it was set; the last writer by Meta's own time wins, whatever order the events come in. The facts are kept in memory by
every service that needs them (`shared/account_reader.py`) and never change in place.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import msgspec

from shared.events import AccountChanged, AccountEvent, AccountWebhook

Subject = Literal["account", "number", "template"]
Author = Literal["meta", "operator", "sender"]
UNLIMITED = -1


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most that may be spent in a calendar month of the account's time zone, in millionths of its currency; on one category, or (None) on all."""

    amount_micros: int
    category: Literal["marketing", "utility", "authentication", "service"] | None = None


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A WhatsApp Business Account. `messaging_limit` is of the portfolio: users in a moving 24 h, -1 unlimited."""

    name: str = ""
    portfolio_id: str | None = None
    currency: str = "USD"
    timezone: str = "UTC"
    regime: str = "calendar"
    """A regime's name pins the account to it; `calendar` follows the dates (config/regimes.yaml)."""
    payment_method: Literal["valid", "missing", "failing"] = "missing"
    payment_failing_until_ms: int | None = None
    """`failing` by Meta's own refusal (error 131042) is believed until then, and put to the test by the next message; by an operator for good."""
    business_verified: bool = False
    messaging_limit: int = 250
    restrictions: list[str] = []
    """Meta's restriction types in force (Meta, account_update)."""
    status: Literal["active", "disabled", "deleted"] = "active"
    default: bool = False
    """Whether a request without `from` means this account, where more than one has a default number."""
    budgets: list[Budget] = []
    marketing_reserve_percent: int = 0
    """So much of the messaging limit is kept back from marketing, for the order updates of the day."""
    paused: bool = False
    """An operator holds back all it sends: `paused_by_operator`. Numbers and templates can be paused by themselves."""

    def can_pay(self, now_ms: int) -> bool:
        """Whether Meta has, as far as is known, a payment method that it can charge."""
        until_ms = self.payment_failing_until_ms
        lapsed = self.payment_method == "failing" and until_ms is not None and until_ms <= now_ms
        return self.payment_method == "valid" or lapsed


class Number(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A business phone number. `throughput` is messages per second, both directions (Meta, Cloud API, throughput)."""

    display_phone_number: str = ""
    default: bool = False
    registered: bool = True
    throughput: int = 80
    quality: str = "UNKNOWN"
    verified_name: str | None = None
    name_status: str = "NONE"
    status: str = "CONNECTED"
    token: str = "default"  # noqa: S105 - the reference of a token, not a token
    """Reference of the access token to send with; never the token itself."""
    paused: bool = False


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message template; `status` and `category` are Meta's current words, category in lower case."""

    category: str = "marketing"
    status: str = "PENDING"
    quality: str = "UNKNOWN"
    paused_until_ms: int | None = None
    rejection_reason: str | None = None
    meta_id: str | None = None
    """`message_template_id`."""
    paused: bool = False
    """By an operator; Meta's own pause is the status PAUSED."""


_TYPES: Mapping[str, type[Account] | type[Number] | type[Template]] = {
    "account": Account,
    "number": Number,
    "template": Template,
}
FactKey = tuple[Subject, str, str]
_LIMIT_FIELDS = frozenset({"messaging_limit", "portfolio_id"})


class InvalidFacts(ValueError):
    """An account event that names an unknown field or a value outside its type."""


class Change(msgspec.Struct, frozen=True):
    """Fields of one subject that took a new value."""

    waba_id: str
    subject: Subject
    id: str
    before: dict[str, Any]
    after: dict[str, Any]


class Setting(NamedTuple):
    """The value of one field, when it was set (`at_ms`) and by whom."""

    at_ms: int
    value: Any
    by: Author


class AccountFacts:
    """The facts as of one revision. Not pure in itself: `apply` replaces entries, but every entry is an immutable struct."""

    def __init__(self) -> None:
        self.revision = 0
        self._fields: dict[FactKey, dict[str, Setting]] = {}
        self._values: dict[FactKey, Account | Number | Template] = {}
        self._owner: dict[str, str] = {}
        self._by_display: dict[str, str] = {}
        self._default: str | None = None
        self._limits: dict[str, int] = {}
        self._portfolios: dict[str, set[str]] = {}

    def account(self, waba_id: str) -> Account | None:
        """The account, or None when nobody ever set it up."""
        value = self._values.get(("account", waba_id, waba_id))
        return value if isinstance(value, Account) else None

    def waba_of(self, phone_number_id: str) -> str | None:
        """The account that a number belongs to."""
        return self._owner.get(phone_number_id)

    def number(self, phone_number_id: str) -> Number | None:
        """The number, or None when unknown."""
        value = self._values.get(("number", self._owner.get(phone_number_id, ""), phone_number_id))
        return value if isinstance(value, Number) else None

    def template(self, waba_id: str, name: str, language: str) -> Template | None:
        """The template in exactly that language, or None."""
        value = self._values.get(("template", waba_id, f"{name}/{language}"))
        return value if isinstance(value, Template) else None

    def default_number(self) -> str | None:
        """The number that a request without `from` leaves from; of the default account if several accounts have one."""
        return self._default

    def messaging_limit(self, waba_id: str) -> int:
        """The portfolio's limit as last told, of whichever of its accounts (Meta, messaging limits): users in a moving 24 h, -1 unlimited.

        Raises:
            KeyError: nobody ever set the account up.
        """
        return self._limits[waba_id]

    def accounts(self) -> list[str]:
        """All account ids, sorted."""
        return sorted(waba for subject, waba, _ in self._values if subject == "account")

    def known(self) -> dict[FactKey, Account | Number | Template]:
        """Every subject, for showing differences and pages; a copy."""
        return dict(self._values)

    def settings_of(self, key: FactKey) -> Mapping[str, Setting]:
        """The fields of a subject that were ever set, with time and author; empty for an unknown subject."""
        return MappingProxyType(self._fields.get(key, {}))

    def apply(self, event: AccountEvent, revision: int) -> tuple[Change, ...]:
        """Fold one event in and return what changed; `revision` is the event's offset + 1.

        Raises:
            InvalidFacts: the event is not applied at all, the revision moves on.
        """
        self.revision = revision
        changes = []
        for set_ in _read(event, self._by_display):
            changed = self._set(set_)
            if changed is not None:
                changes.append(changed)
        return tuple(changes)

    def _set(self, event: AccountChanged) -> Change | None:
        key = (event.subject, event.waba_id, event.id)
        stamped = dict(self._fields.get(key, {}))
        for name, value in event.fields.items():
            known = stamped.get(name)
            if known is None or known.at_ms <= event.at_ms:
                stamped[name] = Setting(event.at_ms, value, event.by)
        kind = _TYPES[event.subject]
        try:
            new = msgspec.convert({name: setting.value for name, setting in stamped.items()}, kind)
        except msgspec.ValidationError as error:
            raise InvalidFacts(f"{event.subject} {event.id}: {error}") from error
        old = self._values.get(key)
        self._fields[key] = stamped
        self._values[key] = new
        if isinstance(new, Number):
            self._owner[event.id] = event.waba_id
            self._by_display[_digits(new.display_phone_number)] = event.id
        if "default" in event.fields:
            self._default = self._find_default()
        if isinstance(new, Account) and (old is None or _LIMIT_FIELDS & event.fields.keys()):
            portfolio = old.portfolio_id if isinstance(old, Account) else None
            self._note_limit(event.waba_id, portfolio, new.portfolio_id)
        if old == new:
            return None
        before = {} if old is None else msgspec.to_builtins(old)
        after = msgspec.to_builtins(new)
        fields = [name for name in after if old is None or before[name] != after[name]]
        return Change(
            waba_id=event.waba_id,
            subject=event.subject,
            id=event.id,
            before={name: before.get(name) for name in fields} if old is not None else {},
            after={name: after[name] for name in fields},
        )

    def _note_limit(self, waba_id: str, old: str | None, new: str | None) -> None:
        """Let all accounts of the portfolios have the limit set last; an account whose portfolio nobody knows has its own."""
        if old is not None:
            self._portfolios[old].discard(waba_id)
        if new is not None:
            self._portfolios.setdefault(new, set()).add(waba_id)
        left = self._portfolios.get(old, set()) if old is not None else set()
        for accounts in ({waba_id} if new is None else self._portfolios[new], left):
            told = [
                (setting.at_ms, waba, setting.value)
                for waba in accounts
                if (setting := self.settings_of(("account", waba, waba)).get("messaging_limit")) is not None
            ]
            limit = max(told)[2] if told else Account().messaging_limit
            self._limits |= dict.fromkeys(accounts, limit)

    def _find_default(self) -> str | None:
        marked = [
            (waba, id)
            for (_, waba, id), value in self._values.items()
            if isinstance(value, Number) and value.default and self._owner[id] == waba
        ]
        if len(marked) > 1:
            first = {waba for waba, _ in marked if (account := self.account(waba)) and account.default}
            marked = [(waba, id) for waba, id in marked if waba in first]
        return marked[0][1] if len(marked) == 1 else None


def _digits(display: str) -> str:
    return "".join(c for c in display if c.isdigit())


def _read(event: AccountEvent, numbers: Mapping[str, str]) -> tuple[AccountChanged, ...]:
    """The facts an event sets; a webhook's meaning is Meta's (Meta, webhooks, field catalogue)."""
    if isinstance(event, AccountChanged):
        return (event,)
    value = msgspec.json.decode(event.value)
    if not isinstance(value, dict):
        return ()
    reading = _WEBHOOKS.get(event.field)
    return () if reading is None else reading(event, value, numbers)


def _by_meta(
    event: AccountWebhook, subject: Subject, id: str, fields: dict[str, Any]
) -> tuple[AccountChanged, ...]:
    return (
        AccountChanged(
            event_id=event.event_id,
            at_ms=event.at_ms,
            waba_id=event.waba_id,
            subject=subject,
            id=id,
            fields=fields,
            by="meta",
        ),
    )


def _template_id(value: dict[str, Any]) -> str:
    return f"{value.get('message_template_name')}/{str(value.get('message_template_language')).replace('-', '_')}"


def _template_status(
    event: AccountWebhook, value: dict[str, Any], _: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    fields: dict[str, Any] = {"status": str(value.get("event", "PENDING"))}
    if fields["status"] == "REINSTATED":
        fields["status"] = "APPROVED"
    if category := value.get("message_template_category"):
        fields["category"] = str(category).lower()
    if fields["status"] == "REJECTED":
        fields["rejection_reason"] = value.get("reason")
    return _by_meta(event, "template", _template_id(value), fields)


def _template_quality(
    event: AccountWebhook, value: dict[str, Any], _: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    return _by_meta(event, "template", _template_id(value), {"quality": str(value.get("new_quality_score"))})


def _template_category(
    event: AccountWebhook, value: dict[str, Any], _: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    if not value.get("new_category"):
        return ()
    return _by_meta(event, "template", _template_id(value), {"category": str(value["new_category"]).lower()})


_TIERS = {
    "TIER_50": 50,
    "TIER_250": 250,
    "TIER_1K": 1000,
    "TIER_2K": 2000,
    "TIER_10K": 10_000,
    "TIER_100K": 100_000,
    "TIER_UNLIMITED": UNLIMITED,
}


def limit_told(raw: object) -> int | None:
    """A messaging limit as Meta writes it, a number or a tier (Meta, messaging limits); None where it is neither."""
    return raw if isinstance(raw, int) else _TIERS.get(str(raw))


def _capability(
    event: AccountWebhook, value: dict[str, Any], _: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    limit = limit_told(
        value.get("max_daily_conversations_per_business", value.get("max_daily_conversation_per_phone"))
    )
    return () if limit is None else _by_meta(event, "account", event.waba_id, {"messaging_limit": limit})


def _name_update(
    event: AccountWebhook, value: dict[str, Any], numbers: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    number = numbers.get(_digits(str(value.get("display_phone_number", ""))))
    if number is None:
        return ()
    fields: dict[str, Any] = {"name_status": str(value.get("decision"))}
    if value.get("decision") == "APPROVED":
        fields["verified_name"] = value.get("requested_verified_name")
    return _by_meta(event, "number", number, fields)


def _account_update(
    event: AccountWebhook, value: dict[str, Any], _: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    what = value.get("event")
    fields: dict[str, Any] = {}
    if what == "ACCOUNT_RESTRICTION":
        fields["restrictions"] = [str(r.get("restriction_type")) for r in value.get("restriction_info") or []]
    elif what in ("ACCOUNT_DELETED", "ACCOUNT_OFFBOARDED", "PARTNER_REMOVED", "PARTNER_APP_UNINSTALLED"):
        fields["status"] = "deleted"
    elif what == "ACCOUNT_RECONNECTED":
        fields["status"] = "active"
    elif what == "DISABLED_UPDATE":
        state = (value.get("ban_info") or {}).get("waba_ban_state")
        states = state if isinstance(state, list) else [state]
        if "DISABLE" in states:
            fields["status"] = "disabled"
        elif "REINSTATE" in states:
            fields["status"] = "active"
    return _by_meta(event, "account", event.waba_id, fields) if fields else ()


_WEBHOOKS = {
    "message_template_status_update": _template_status,
    "message_template_quality_update": _template_quality,
    "template_category_update": _template_category,
    "business_capability_update": _capability,
    "phone_number_name_update": _name_update,
    "account_update": _account_update,
}
