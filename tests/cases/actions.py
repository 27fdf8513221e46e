"""What can happen in a step of a case, one model for each. Pure.

To add one: a model here, named in `ACTIONS`, and a branch in each player (mypy names the places).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from shared.times import to_ms

_SPAN = re.compile(r"(?:\d+(?:ms|[dhms]))+")
_PART = re.compile(r"(\d+)(ms|[dhms])")
_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def span_ms(text: object) -> int:
    """Milliseconds of a span like `1h10m` or `23h59m59s999ms`.

    Raises:
        ValueError: not of that form.
    """
    if not isinstance(text, str) or not _SPAN.fullmatch(text):
        raise ValueError(f"no span of time: {text!r}; write it like 1h10m")
    return sum(int(amount) * _UNITS_MS[unit] for amount, unit in _PART.findall(text))


def moment_ms(text: object, start_ms: int) -> int:
    """Epoch milliseconds of a span after the start (before it with a minus), or of an RFC 3339 time.

    Raises:
        ValueError: neither of them.
    """
    if isinstance(text, str) and re.match(r"\d{4}-", text):
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError(f"time without an offset: {text!r}")
        return to_ms(at)
    before = isinstance(text, str) and text.startswith("-")
    span = span_ms(text[1:] if isinstance(text, str) and before else text)
    return start_ms - span if before else start_ms + span


def _moment(text: object, info: ValidationInfo) -> int:
    return moment_ms(text, info.context["start_ms"] if info.context else 0)


def _known(kind: str) -> BeforeValidator:
    def check(name: object, info: ValidationInfo) -> object:
        known: Mapping[str, object] = info.context[kind] if info.context else {}
        if info.context and name not in known:
            raise ValueError(f"unknown {kind[:-1]} {name!r}; the case has {', '.join(known)}")
        return name

    return BeforeValidator(check)


Moment = Annotated[int, BeforeValidator(_moment)]
"""Epoch milliseconds."""
Span = Annotated[int, BeforeValidator(span_ms)]
"""Milliseconds."""
User = Annotated[str, _known("users")]
Number = Annotated[str, _known("numbers")]
Account = Annotated[str, _known("accounts")]
CategoryName = Literal["marketing", "utility", "authentication", "service"]


class Strict(BaseModel):
    """A misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Action(Strict):
    """Something that happens. `short` names the field that a bare word stands for: `verify_receiver: A`."""

    short: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, value: object) -> object:
        return {cls.short: value} if cls.short and not isinstance(value, dict) else value


class Receive(Action):
    """A user writes, or presses the quick-reply `button` of that text. `sent_at` is Meta's time of the message where it comes later than sent."""

    user: User = Field(alias="from")
    to: Number = "N1"
    text: str = "hello"
    button: str | None = None
    id: str | None = None
    sent_at: Moment | None = None
    referral: Literal["ad"] | None = None

    def __str__(self) -> str:
        if self.button is not None:
            return f"{self.user} presses {self.button!r}"
        said = "" if self.text == "hello" else f" {self.text!r}"
        return f"{self.user} writes{said} to {self.to}{', by an ad' if self.referral else ''}"


class Call(Action):
    """A user calls."""

    user: User = Field(alias="from")
    to: Number = "N1"

    def __str__(self) -> str:
        return f"{self.user} calls {self.to}"


class Prefer(Action):
    """A user stops or resumes marketing messages, in WhatsApp itself."""

    user: User = Field(alias="from")
    to: Number = "N1"
    marketing: Literal["stop", "resume"]

    def __str__(self) -> str:
        return f"{self.user} lets marketing {self.marketing}"


class Import(Action):
    """The business tells what a user said elsewhere: by a list (`said` is when, now if left out), or by an operator's own words, as of now."""

    user: User = Field(alias="from")
    to: Number = "N1"
    marketing: Literal["in", "out"]
    evidence: str
    said: Moment | None = None
    source: Literal["import", "operator"] = "import"
    by: str = "Mia"

    def __str__(self) -> str:
        return f"{self.by} tells that {self.user} opts {self.marketing} ({self.evidence})"


class Verify(Action):
    """A receiver proves by a one-time password that the number is theirs."""

    short = "user"
    user: User
    to: Number = "N1"

    def __str__(self) -> str:
        return f"{self.user} is verified"


class Pay(Action):
    """The account's payment method becomes another."""

    short = "method"
    method: Literal["valid", "missing", "failing"]
    account: Account = "W1"

    def __str__(self) -> str:
        return f"payment method {self.method}"


class Facts(Action):
    """An operator sets facts of an account, or of one of its numbers or templates, as `wam apply` does."""

    account: Account = "W1"
    number: Number | None = None
    template: str | None = None
    fields: dict[str, Any] = Field(alias="set")

    def __str__(self) -> str:
        what = self.number or self.template or self.account
        return f"{what}: {', '.join(f'{name} {value}' for name, value in self.fields.items())}"


class Hold(Action):
    """What an operator pauses or resumes: an account, or one of its numbers, templates or categories."""

    account: Account = "W1"
    number: Number | None = None
    template: str | None = None
    category: CategoryName | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _one_subject(self) -> "Hold":
        if sum(given is not None for given in (self.number, self.template, self.category)) > 1:
            raise ValueError("one of number, template and category")
        return self

    @property
    def what(self) -> str:
        """In words."""
        return self.number or self.template or self.category or self.account


class Pause(Hold):
    """An operator holds it back."""

    def __str__(self) -> str:
        return f"{self.what} is paused"


class Resume(Hold):
    """An operator lets it go."""

    def __str__(self) -> str:
        return f"{self.what} is resumed"


class Webhook(Action):
    """Meta tells something about an account; what is not named here goes into `value` as it stands."""

    model_config = ConfigDict(extra="allow")

    field: str
    account: Account = "W1"
    template: str | None = None
    restriction: str | None = None

    def __str__(self) -> str:
        told = [str(value) for value in self.value().values() if isinstance(value, str | int)]
        return f"{self.field}: {' '.join(told)}"

    def value(self) -> dict[str, Any]:
        """The webhook's `value` (Meta, webhooks, field catalogue)."""
        value = dict(self.model_extra or {})
        if self.template is not None:
            value |= {"message_template_name": self.template, "message_template_language": "en"}
        if self.restriction is not None:
            value["restriction_info"] = [{"restriction_type": self.restriction}]
        return value


StatusName = Literal["sent", "delivered", "read", "played", "failed"]


class Status(Strict):
    """One status to come, so long after the send."""

    status: StatusName
    after_ms: Span = Field(alias="after")


class Send(Action):
    """The business asks to send. The last eight say how the message fares at Meta: by itself it is delivered one second after its send.

    One of `text`, `template`, `message` (the Cloud API's own object, without the recipient), `marks` (the id of a received message, to mark it as read). `parameters` are texts of the body, `components` the template's as Meta takes them; likewise for the fallback. `refused` is the error code of
    every call, or of the first `refused_times`, `code` that of `delivery: failed`. `lost` is what the first call's network loses: Meta's answer, or the call itself.
    """

    to: User
    number: Number | None = Field(None, alias="from")
    text: str | None = None
    template: str | None = None
    message: dict[str, Any] | None = None
    marks: str | None = None
    typing: bool = False
    parameters: list[str] | None = None
    components: list[dict[str, Any]] | None = None
    fallback_template: str | None = None
    fallback_parameters: list[str] | None = None
    fallback_components: list[dict[str, Any]] | None = None
    request_id: str | None = None
    claims_category: str | None = None
    not_before_ms: Moment | None = Field(None, alias="not_before")
    expires_ms: Moment | None = Field(None, alias="expires")
    after_request_id: str | None = None
    after_failed: Literal["refuse", "send"] | None = None
    max_price_micros: int | None = None
    dry_run: bool = False
    delivery: Literal["delivered", "failed", "none"] = "delivered"
    delivered_after_ms: Span = Field(1000, alias="delivered_after")
    code: int | None = None
    refused: int | None = None
    refused_times: int | None = None
    lost: Literal["answer", "call"] | None = None
    statuses: list[StatusName | Status] | None = None

    @model_validator(mode="after")
    def _one_content(self) -> "Send":
        if sum(given is not None for given in (self.text, self.template, self.message, self.marks)) != 1:
            raise ValueError("either text or template or message or marks")
        if self.typing and self.marks is None:
            raise ValueError("typing goes with marks")
        if self.code is not None and self.delivery != "failed":
            raise ValueError("code goes with delivery: failed")
        if self.refused_times is not None and self.refused is None:
            raise ValueError("refused_times goes with refused")
        return self

    def __str__(self) -> str:
        if self.marks is not None:
            return f"{self.number or 'the business'} marks {self.marks} of {self.to} as read"
        kind = "free-form" if self.message is None else str(self.message.get("type", "text"))
        what = f"template {self.template}" if self.template else kind
        asked = "asks about" if self.dry_run else "sends"
        return f"{self.number or 'the business'} {asked} {what} to {self.to}"


class Cancel(Action):
    """The business takes back what it asked to send to that user."""

    request_id: str
    to: User
    number: Number | None = Field(None, alias="from")

    def __str__(self) -> str:
        return f"the business takes {self.request_id} back"


class Settle(Action):
    """An operator says what became of a message of which nobody knows, as `wam uncertain settle` does."""

    request_id: str
    verdict: Literal["sent", "not_sent", "resend"] = Field(alias="as")
    by: str = "Mia"

    def __str__(self) -> str:
        return f"{self.by} settles {self.request_id}: {self.verdict}"


class MetaHolds(Action):
    """Meta accepts a template's messages and does not send them yet."""

    short = "template"
    template: str
    account: Account = "W1"
    status: Literal["held_for_quality_assessment", "paused"] = Field(
        "held_for_quality_assessment", alias="as"
    )

    def __str__(self) -> str:
        return f"Meta holds {self.template}"


class MetaLetsGo(Action):
    """Meta sends what it holds of a template, or drops it: then each message fails with `drop_code`."""

    short = "template"
    template: str
    account: Account = "W1"
    drop_code: int | None = None

    def __str__(self) -> str:
        return f"Meta {'lets go' if self.drop_code is None else 'drops'} what it holds of {self.template}"


Asking = Send | Cancel
"""What the system answers."""
Telling = (
    Receive
    | Call
    | Prefer
    | Import
    | Verify
    | Pay
    | Facts
    | Pause
    | Resume
    | Webhook
    | Settle
    | MetaHolds
    | MetaLetsGo
)
"""What nobody answers."""
Happening = Telling | Asking
ACTIONS: Mapping[str, type[Happening]] = {
    "receive": Receive,
    "call": Call,
    "prefer": Prefer,
    "import_preference": Import,
    "verify_receiver": Verify,
    "payment_method": Pay,
    "facts": Facts,
    "pause": Pause,
    "resume": Resume,
    "webhook": Webhook,
    "send": Send,
    "cancel": Cancel,
    "settle": Settle,
    "meta_holds": MetaHolds,
    "meta_lets_go": MetaLetsGo,
}
"""By the key that names them in a step."""
