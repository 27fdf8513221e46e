"""Account facts: what is known of accounts, numbers and templates, folded from account events. Pure.

Each field remembers when it was set; the last writer by Meta's own time wins, whatever order the events come in. Only Meta's notices of volume tiers
are joined instead: each tells of another market, month or tier. The facts are kept in memory by every service that needs them
(`shared/account_reader.py`) and never change in place.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import msgspec

from shared import price_facts
from shared.events import AccountChanged, AccountEvent, AccountWebhook
from shared.price_facts import AuthInternational, Tiers
from shared.template_definition import Shape
from shared.template_webhooks import TEMPLATE_WEBHOOKS

Subject = Literal["account", "number", "template"]
Author = Literal["meta", "operator", "sender"]
UNLIMITED = -1
NUMBER_STOPPED = frozenset({"BANNED", "RESTRICTED", "DISCONNECTED", "DELETED", "MIGRATED", "RATE_LIMITED"})
"""Statuses of a number that sends nothing (Meta, phone number status)."""
NO_INITIATING = "RESTRICTED_BIZ_INITIATED_MESSAGING"
NO_ANSWERING = "RESTRICTED_CUSTOMER_INITIATED_MESSAGING"
"""Restrictions of an account: it sends no templates; it sends nothing free-form (Meta, account_update)."""
HIGH_THROUGHPUT = 1000
"""Messages per second after Meta has upgraded a number (Meta, Cloud API, throughput)."""


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most that may be spent in a calendar month of the account's time zone, in millionths of its currency; on one category, or (None) on all."""

    amount_micros: int
    category: Literal["marketing", "utility", "authentication", "service"] | None = None


class Refused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Meta's word, in the status of a message it had taken, that the trouble concerns more than that message: the code, and when."""

    code: int
    at_ms: int


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
    restrictions: dict[str, int | None] = {}
    """Meta's restriction types, each until (epoch ms; None: until Meta lifts it) (Meta, account_update). See `restrictions_in_force`."""
    status: Literal["active", "disabled", "deleted"] = "active"
    default: bool = False
    """Whether a request without `from` means this account, where more than one has a default number."""
    budgets: list[Budget] = []
    budget_thresholds: list[int] = msgspec.field(default_factory=lambda: [50, 80, 100])
    """Percentages of each budget at which `billing.alerts` tells; none without any."""
    marketing_reserve_percent: int = 0
    """So much of the messaging limit is kept back from marketing, for the order updates of the day."""
    paused: bool = False
    """An operator holds back all it sends: `paused_by_operator`. Numbers and templates can be paused by themselves."""
    paused_categories: list[str] = []
    """Categories of which an operator holds back every message of the account."""
    pause_reason: str | None = None
    """Why the operator paused last; gone when nothing of the subject is paused any more."""
    marketing_messages_api: bool = False
    """Whether its marketing goes out by the Marketing Messages API; else by `/messages`, but for messages that name a `product_policy`."""
    marketing_on_cloud_api_disabled: bool = False
    """Meta refuses its marketing on `/messages` (`disable_marketing_messages_on_cloud_api` of the account; Meta, error 131063)."""
    stop_words: dict[str, Literal["stop", "start", "ignore"]] = {}
    """The account's own words for opting out and coming back, beside config/stop_words.yaml; `ignore` switches one of those off."""
    review: str | None = None
    """Meta's decision on the account (Meta, account_review_update)."""
    alert: str | None = None
    """The last alert on the account, e.g. that it may not grow (Meta, account_alerts)."""
    primary_location: str | None = None
    """The business's primary country (ISO 3166, two letters); None is not verified (Meta, account_update)."""
    auth_international: AuthInternational | None = None
    """From when it owes authentication-international rates; None is not at all."""
    volume_tiers: Tiers = {}
    """Volume tiers as an operator wrote them down, for months whose notices never came."""
    tier_notices: Tiers = {}
    """Volume tiers as Meta told them (Meta, account_update); joined, never overwritten."""
    refused: Refused | None = None
    """The last code by which a status told of a trouble of the whole account; the sender holds it back as if its own call had been refused so."""

    def can_pay(self, now_ms: int) -> bool:
        """Whether Meta has, as far as is known, a payment method that it can charge."""
        until_ms = self.payment_failing_until_ms
        lapsed = self.payment_method == "failing" and until_ms is not None and until_ms <= now_ms
        return self.payment_method == "valid" or lapsed

    def cannot_be_charged(self, now_ms: int) -> bool:
        """Whether Meta refused its payment and nothing shows yet that this is over."""
        return self.payment_method == "failing" and not self.can_pay(now_ms)


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
    pause_reason: str | None = None
    refused: Refused | None = None
    """As the account's, of the number."""
    security_event: str | None = None
    """What was last done to the number's PIN (Meta, security)."""


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message template; `status` and `category` are Meta's last words, category in lower case. What holds now, `status_at` and `category_at` say."""

    category: str = "marketing"
    status: str = "PENDING"
    quality: str = "UNKNOWN"
    paused_until_ms: int | None = None
    """When Meta's pause ends by itself; None where it does not, or nobody knows."""
    disabled_at_ms: int | None = None
    """When Meta disabled it (`disable_info`)."""
    next_category: str | None = None
    next_category_ms: int | None = None
    """What it is going to be, and from when, as Meta announces a day ahead."""
    rejection_reason: str | None = None
    recommendation: str | None = None
    """What Meta recommends against the rejection."""
    meta_id: str | None = None
    """`message_template_id`."""
    parameters: Shape | None = None
    """The shape its messages must have; None is not known, and nothing is checked."""
    paused: bool = False
    """By an operator; Meta's own pause is the status PAUSED."""
    pause_reason: str | None = None


def restrictions_in_force(account: Account, now_ms: int) -> frozenset[str]:
    """Meta's restriction types that hold at `now_ms` (epoch ms)."""
    return frozenset(
        kind for kind, until_ms in account.restrictions.items() if until_ms is None or now_ms < until_ms
    )


def status_at(template: Template, now_ms: int) -> str:
    """The status that holds at `now_ms`: a pause that is over counts as approved, as long as nothing newer was said."""
    until_ms = template.paused_until_ms
    lapsed = template.status == "PAUSED" and until_ms is not None and until_ms <= now_ms
    return "APPROVED" if lapsed else template.status


def category_at(template: Template, now_ms: int) -> str:
    """The category that holds at `now_ms`: from its time on the one that Meta announced, as long as nothing newer was said."""
    next_, from_ms = template.next_category, template.next_category_ms
    return next_ if next_ is not None and from_ms is not None and from_ms <= now_ms else template.category


_TYPES: Mapping[str, type[Account] | type[Number] | type[Template]] = {
    "account": Account,
    "number": Number,
    "template": Template,
}
FactKey = tuple[Subject, str, str]
_LIMIT_FIELDS = frozenset({"messaging_limit", "portfolio_id"})
_JOINED: Final = "tier_notices"


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
        self._owned_ms: dict[str, int] = {}
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

    def numbers_of(self, waba_id: str) -> list[str]:
        """The ids of an account's numbers, sorted."""
        return sorted(number for number, owner in self._owner.items() if owner == waba_id)

    def number(self, phone_number_id: str) -> Number | None:
        """The number, or None when unknown."""
        value = self._values.get(("number", self._owner.get(phone_number_id, ""), phone_number_id))
        return value if isinstance(value, Number) else None

    def template(self, waba_id: str, name: str, language: str) -> Template | None:
        """The template in exactly that language, or None."""
        value = self._values.get(("template", waba_id, f"{name}/{language}"))
        return value if isinstance(value, Template) else None

    def paused_templates(self) -> dict[str, int | None]:
        """Until when (epoch ms; None: until somebody lifts it) each of the templates that an operator or Meta has paused, by `{waba_id}/{name}/{language}`."""
        return {
            f"{waba_id}/{id}": None if template.paused else template.paused_until_ms
            for (_, waba_id, id), template in self._values.items()
            if isinstance(template, Template) and (template.paused or template.status == "PAUSED")
        }

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

    def payment_failing(self, now_ms: int) -> int:
        """How many accounts Meta can't charge, as far as is known."""
        accounts = [known for known in self._values.values() if isinstance(known, Account)]
        return sum(account.cannot_be_charged(now_ms) for account in accounts)

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
        id = template_id(event.id) if event.subject == "template" else event.id
        key = (event.subject, event.waba_id, id)
        stamped = dict(self._fields.get(key, {}))
        kind = _TYPES[event.subject]
        try:
            for name, value in event.fields.items():
                known = stamped.get(name)
                if name == _JOINED:
                    stamped[name] = _join(known, Setting(event.at_ms, value, event.by))
                elif known is None or known.at_ms <= event.at_ms:
                    stamped[name] = Setting(event.at_ms, _current_form(name, value), event.by)
            new = msgspec.convert(_in_force(stamped), kind)
        except msgspec.ValidationError as error:
            raise InvalidFacts(f"{event.subject} {event.id}: {error}") from error
        old = self._values.get(key)
        self._fields[key] = stamped
        self._values[key] = new
        before_owner = self._owner.get(id)
        if isinstance(new, Number):
            self._by_display[_digits(new.display_phone_number)] = id
            # What Meta said of a message is no word of who has its number now.
            of_a_message = event.by == "sender" or event.fields.keys() == {"refused"}
            if self._owned_ms.get(id, 0) <= event.at_ms and not (of_a_message and id in self._owner):
                self._owner[id], self._owned_ms[id] = event.waba_id, event.at_ms
        if "default" in event.fields or self._owner.get(id) != before_owner:
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
            id=id,
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


def _in_force(stamped: Mapping[str, Setting]) -> dict[str, Any]:
    """The values, less a pause's end and an announced category that something newer has overtaken."""
    values = {name: setting.value for name, setting in stamped.items()}
    status, until = stamped.get("status"), stamped.get("paused_until_ms")
    if status is not None and until is not None and status.at_ms > until.at_ms:
        values["paused_until_ms"] = None
    category, from_ms = stamped.get("category"), values.get("next_category_ms")
    if category is not None and isinstance(from_ms, int) and category.at_ms >= from_ms:
        values["next_category"] = values["next_category_ms"] = None
    return values


def template_id(id: str) -> str:
    """The one id of a template: `name/en-US` is `name/en_US`, for Meta's webhooks write both."""
    name, slash, language = id.rpartition("/")
    return f"{name}{slash}{language.replace('-', '_')}"


def _current_form(field: str, value: Any) -> Any:
    """A value as it is kept now: restrictions were a list of types, without their ends, before."""
    return dict.fromkeys(value) if field == "restrictions" and isinstance(value, list) else value


def _join(known: Setting | None, told: Setting) -> Setting:
    """Both settings in one, by the later author; msgspec.ValidationError where the value is no map of tiers."""
    tiers = msgspec.convert(told.value, Tiers)
    if known is None:
        return Setting(told.at_ms, price_facts.joined({}, tiers), told.by)
    later = max(known, told, key=lambda setting: setting.at_ms)
    return Setting(later.at_ms, price_facts.joined(known.value, tiers), later.by)


def _digits(display: str) -> str:
    return "".join(c for c in display if c.isdigit())


def _number_named(value: Mapping[str, Any], numbers: Mapping[str, str]) -> str | None:
    """The number whose display name a webhook gives; it names it no other way (Meta, webhooks, phone_number_*_update and security)."""
    digits = _digits(str(value.get("display_phone_number", "")))
    return numbers.get(digits) if digits else None


def _read(event: AccountEvent, numbers: Mapping[str, str]) -> tuple[AccountChanged, ...]:
    """The facts an event sets; a webhook's meaning is Meta's (Meta, webhooks, field catalogue)."""
    if isinstance(event, AccountChanged):
        return (event,)
    reading = _WEBHOOKS.get(event.field)
    if reading is None:
        return ()
    try:
        value = msgspec.json.decode(event.value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidFacts(f"{event.field}: {error}") from error
    return reading(event, value, numbers) if isinstance(value, dict) else ()


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


def _template(
    event: AccountWebhook, value: dict[str, Any], _: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    fields = TEMPLATE_WEBHOOKS[event.field](value, event.at_ms)
    name, language = value.get("message_template_name"), value.get("message_template_language")
    named = isinstance(name, str) and name and isinstance(language, str) and language
    return _by_meta(event, "template", f"{name}/{language}", fields) if fields and named else ()


_TIERS = {
    "50": 50,
    "250": 250,
    "1K": 1000,
    "2K": 2000,
    "10K": 10_000,
    "100K": 100_000,
    "UNLIMITED": UNLIMITED,
}


_MAX_DIGITS = 12
"""No limit and no time in seconds has more."""


def limit_told(raw: Any) -> int | None:
    """A messaging limit as Meta writes it: a number (-1 unlimited), digits, or a tier's name; None where it names none."""
    if isinstance(raw, bool):
        return None
    if isinstance(raw, str):
        name = raw.removeprefix("TIER_")
        if name in _TIERS:
            return _TIERS[name]
        raw = int(raw) if raw.lstrip("-").isdecimal() and raw.isascii() and len(raw) <= _MAX_DIGITS else None
    return raw if isinstance(raw, int) and UNLIMITED <= raw < 10**_MAX_DIGITS else None


def _capability(
    event: AccountWebhook, value: dict[str, Any], _: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    limit = limit_told(
        value.get("max_daily_conversations_per_business", value.get("max_daily_conversation_per_phone"))
    )
    return () if limit is None else _by_meta(event, "account", event.waba_id, {"messaging_limit": limit})


_FLAGS = {"FLAGGED": "RED", "UNFLAGGED": "UNKNOWN"}
"""A flagged number's quality is low; when it is unflagged Meta says that it is better, not how good (Meta, phone_number_quality_update)."""


def _number_quality(
    event: AccountWebhook, value: dict[str, Any], numbers: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    """A number's flag or throughput, and the limit, which is the portfolio's."""
    found: tuple[AccountChanged, ...] = ()
    limit = limit_told(value.get("max_daily_conversations_per_business", value.get("current_limit")))
    if limit is not None:
        found += _by_meta(event, "account", event.waba_id, {"messaging_limit": limit})
    number, what = _number_named(value, numbers), str(value.get("event"))
    if number is not None and what in _FLAGS:
        found += _by_meta(event, "number", number, {"quality": _FLAGS[what]})
    elif number is not None and what == "THROUGHPUT_UPGRADE":
        found += _by_meta(event, "number", number, {"throughput": HIGH_THROUGHPUT})
    return found


def _name_update(
    event: AccountWebhook, value: dict[str, Any], numbers: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    number = _number_named(value, numbers)
    if number is None:
        return ()
    fields: dict[str, Any] = {"name_status": str(value.get("decision"))}
    if value.get("decision") == "APPROVED":
        fields["verified_name"] = value.get("requested_verified_name")
    return _by_meta(event, "number", number, fields)


def _security(
    event: AccountWebhook, value: dict[str, Any], numbers: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    number = _number_named(value, numbers)
    what = value.get("event")
    return (
        () if number is None or not what else _by_meta(event, "number", number, {"security_event": str(what)})
    )


def _review(event: AccountWebhook, value: dict[str, Any], _: Mapping[str, str]) -> tuple[AccountChanged, ...]:
    decision = value.get("decision")
    return _by_meta(event, "account", event.waba_id, {"review": str(decision)}) if decision else ()


def _alert(event: AccountWebhook, value: dict[str, Any], _: Mapping[str, str]) -> tuple[AccountChanged, ...]:
    """Documented nested in `alert_info`, sent flat by the dashboard (Meta, account_alerts)."""
    info = value.get("alert_info")
    kind = (info if isinstance(info, dict) else value).get("alert_type")
    return _by_meta(event, "account", event.waba_id, {"alert": str(kind)}) if kind else ()


def _restrictions(value: dict[str, Any]) -> dict[str, int | None]:
    """Every type with its end in epoch ms; none of it when Meta names none."""
    found: dict[str, int | None] = {}
    told = value.get("restriction_info")
    for info in told if isinstance(told, list) else [told]:
        if not isinstance(info, dict):
            continue
        until = str(info.get("expiration"))
        seconds = int(until) if until.isdecimal() and len(until) <= _MAX_DIGITS else 0
        found[str(info.get("restriction_type"))] = seconds * 1000 or None
    return found


def _account_update(
    event: AccountWebhook, value: dict[str, Any], _: Mapping[str, str]
) -> tuple[AccountChanged, ...]:
    what = value.get("event")
    fields: dict[str, Any] = {}
    if what == "ACCOUNT_RESTRICTION":
        fields["restrictions"] = _restrictions(value)
    elif what in ("ACCOUNT_DELETED", "ACCOUNT_OFFBOARDED", "PARTNER_REMOVED", "PARTNER_APP_UNINSTALLED"):
        fields["status"] = "deleted"
    elif what == "ACCOUNT_RECONNECTED":
        fields |= {"status": "active", "restrictions": {}}
    elif what == "DISABLED_UPDATE":
        info = value.get("ban_info")
        state = info.get("waba_ban_state") if isinstance(info, dict) else None
        states = state if isinstance(state, list) else [state]
        if "DISABLE" in states:
            fields["status"] = "disabled"
        elif "REINSTATE" in states:
            fields["status"] = "active"
    else:
        fields = price_facts.read(value, event.at_ms)
    return _by_meta(event, "account", event.waba_id, fields) if fields else ()


_WEBHOOKS = {
    **dict.fromkeys(TEMPLATE_WEBHOOKS, _template),
    "business_capability_update": _capability,
    "phone_number_quality_update": _number_quality,
    "phone_number_name_update": _name_update,
    "account_update": _account_update,
    "account_review_update": _review,
    "account_alerts": _alert,
    "security": _security,
}
ACCOUNT_WEBHOOKS = frozenset(_WEBHOOKS)
"""The fields of Meta's webhooks that set facts; what other fields tell of an account is only passed on."""
