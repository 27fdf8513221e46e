"""A send request as the business wrote it in; the checked `SendRequested`, or the problems to tell the business, out. Pure.

The models are the public schema of `send.requests.v1` (docs, AsyncAPI). Unknown fields are ignored; `message` and `fallback_template` are
checked by `shared/message_content` and passed on as they came.
"""

import hashlib
import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Raw
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from shared.events import CancelRequested, FieldProblem, RequestMalformed, SendRequested, TemplateRef
from shared.ids import conversation_key
from shared.message_content import Problem, content_problems, is_read_mark, template_problems
from shared.phone import canonical_user
from shared.times import DAY_MS, to_ms
from shared.topics import MAX_WAIT_DAYS

MAX_REQUEST_BYTES = 256 * 1024
"""Far above any message that Meta takes (text 4,096 characters, a template's body parameters 32,768)."""
_MAX_READABLE_ID = 1000
"""An id up to here is answered to, though one above 200 is refused."""
MAX_CORRELATION = 512
"""As Meta's `biz_opaque_callback_data` (Meta, Cloud API, messages)."""
_MAX_PROBLEMS = 20

_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:/+=@,~-]{1,200}$")
RequestIdText = Annotated[str, StringConstraints(pattern=_REQUEST_ID.pattern)]
"""No `#` and no `|`: they part the request from the attempt and the conversation in what Meta echoes; no spaces or controls, so that an
id is the same in logs, URLs and shells."""
PhoneNumberIdText = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,32}$")]
Tags = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=256)],
    ],
    Field(max_length=20),
]
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _written_out(value: Any) -> Any:
    """Let only times pass that are written as RFC 3339 has them: a bare number of seconds would be taken for one too."""
    if not isinstance(value, str):
        return value
    if not _RFC3339.fullmatch(value):
        raise ValueError("must be a time with its zone, such as 2026-12-02T09:00:00Z (RFC 3339)")
    return datetime.fromisoformat(value.upper())


Time = Annotated[AwareDatetime, BeforeValidator(_written_out)]
_READABLE = re.compile(rf"[^\x00-\x1f\x7f]{{1,{_MAX_READABLE_ID}}}")


class UnreadableRequest(ValueError):
    """No request id can be read, so nobody can be answered; the text is the reason."""


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class MaxPrice(_Model):
    """The most the message may cost, integer millionths of a currency."""

    amount_micros: int = Field(ge=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")


class SendRequest(_Model):
    """One request to send a message; only `request_id` and `message` are required."""

    request_id: RequestIdText = Field(description="Idempotency key for 8 days, chosen by the business.")
    from_: PhoneNumberIdText | None = Field(
        None, alias="from", description="Phone number id; the default number if left out."
    )
    correlation_id: str | None = Field(
        None, max_length=MAX_CORRELATION, description="Comes back in every event of the request."
    )
    message: dict[str, Any] = Field(
        description="The Cloud API's own message object, of any type, or a read mark: see message-content.json."
    )
    fallback_template: dict[str, Any] | None = Field(
        None, description="The Cloud API's template object, sent instead when the window is shut."
    )
    not_before_at: Time | None = Field(
        None, description=f"RFC 3339, at most {MAX_WAIT_DAYS} days ahead; decided no earlier."
    )
    expires_at: Time | None = Field(
        None,
        description=f"RFC 3339; not sent later. Says that the request may wait, for {MAX_WAIT_DAYS} days at most.",
    )
    after_request_id: RequestIdText | None = Field(
        None, description="A request to the same receiver; this one is decided once that one is delivered."
    )
    after_failed: Literal["refuse", "send"] = Field(
        "refuse",
        description="What becomes of it if that one is refused, cancelled, fails or is not known: it is refused too (`predecessor_failed`), or sent all the same.",
    )
    max_price: MaxPrice | None = None
    dry_run: bool = Field(False, description="Decide, and send nothing.")
    tags: Tags = Field(
        default_factory=dict, description="Up to 20 labels that come back in every event and charge."
    )


class CancelRequest(_Model):
    """Takes back a request that has not gone out.

    One that waits (`decided` with outcome `defer`) ends as refused, reason `cancelled`. One that may go out and is queued ends as `cancelled`; if it went out
    first, its `accepted` says so (`cancel_too_late`).

    Publish it with the record key of the request, so that it can't overtake it.
    """

    cancel_request_id: RequestIdText = Field(description="The `request_id` to take back.")
    from_: PhoneNumberIdText | None = Field(None, alias="from", description="As in the request.")
    to: str = Field(description="The receiver of the request: phone number or business-scoped user id.")


_NULL = Raw(b"null")


class _Parts(msgspec.Struct):
    """The request's members, unread."""

    request_id: Any = None
    cancel_request_id: Any = None
    correlation_id: Any = None
    tags: Any = None
    message: Raw = _NULL
    fallback_template: Raw = _NULL


_NO_SENDER = Problem("from", "is needed, since no number is marked as the default")
_NO_USER = Problem("message", "`to` is no phone number with its country code, and `recipient` no user id")
_NO_RECEIVER = Problem("to", "no phone number with its country code and no user id")
_TOO_LARGE = Problem("", f"larger than {MAX_REQUEST_BYTES} bytes")
_TOO_LATE = Problem("not_before_at", f"more than {MAX_WAIT_DAYS} days ahead")
_OVER_BEFORE = Problem("expires_at", "must be after not_before_at")
_AFTER_ITSELF = Problem("after_request_id", "must be another request's")
_TO_A_GROUP = Problem(
    "message.recipient_type", "must be individual: nothing here decides when a group may be written to"
)

_parts = msgspec.json.Decoder(_Parts).decode
_any = msgspec.json.Decoder().decode
_canonical = msgspec.json.Encoder(order="sorted").encode


def take(
    value: bytes, now_ms: int, default_number: str | None
) -> SendRequested | CancelRequested | RequestMalformed:
    """Check one request, or one cancellation.

    Args:
        value: the record's JSON.
        now_ms: the time it is to be decided for, epoch milliseconds.
        default_number: the phone number id that requests without `from` leave from, if there is one.

    Raises:
        UnreadableRequest: no JSON object with a readable `request_id` or `cancel_request_id`.
    """
    try:
        parts = _parts(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableRequest(f"no request: {error}") from error
    cancels = parts.request_id is None and parts.cancel_request_id is not None
    if cancels:
        parts.request_id = parts.cancel_request_id
    if not isinstance(parts.request_id, str) or not _READABLE.fullmatch(parts.request_id):
        raise UnreadableRequest("request_id: a string of 1 to 200 characters is needed")
    if len(value) > MAX_REQUEST_BYTES:
        return _malformed(parts, now_ms, [_TOO_LARGE])
    if cancels:
        return _cancellation(value, parts, now_ms, default_number)
    try:
        message, fallback = _any(parts.message), _any(parts.fallback_template)
    except (msgspec.MsgspecError, RecursionError) as error:
        return _malformed(parts, now_ms, [Problem("message", str(error))])
    except (
        UnicodeDecodeError
    ):  # msgspec looks at text only where it is decoded; the error itself would show what was written
        return _malformed(parts, now_ms, [Problem("message", "not UTF-8")])
    problems = _content_problems(message, fallback)
    try:
        request = SendRequest.model_validate_json(value)
    except ValidationError as error:
        return _malformed(parts, now_ms, _problems(error) + problems)
    user = None
    if not problems and (user := _user(message)) is None:
        problems.append(_NO_USER)
    number = request.from_ or default_number
    if number is None:
        problems.append(_NO_SENDER)
    problems += _contradictions(request, now_ms)
    if problems or number is None or user is None:
        return _malformed(parts, now_ms, problems)
    marks = message["message_id"] if is_read_mark(message) else None
    kind = "read_mark" if marks is not None else message.get("type", "text")
    return SendRequested(
        event_id=f"{request.request_id}:requested",
        at_ms=now_ms,
        request_id=request.request_id,
        phone_number_id=number,
        user=user,
        type=kind,
        message=parts.message,
        digest=hashlib.sha256(_meaning(request, user, message, fallback)).hexdigest(),
        template=_reference(message["template"]) if kind == "template" else None,
        fallback=None if fallback is None else parts.fallback_template,
        fallback_ref=None if fallback is None else _reference(fallback),
        correlation_id=request.correlation_id,
        tags=request.tags,
        expires_ms=to_ms(request.expires_at) if request.expires_at else None,
        not_before_ms=to_ms(request.not_before_at) if request.not_before_at else None,
        max_price_micros=request.max_price.amount_micros if request.max_price else None,
        max_price_currency=request.max_price.currency if request.max_price else None,
        dry_run=request.dry_run,
        after_request_id=request.after_request_id,
        marks=marks,
        product_policy=None if marks is not None else message.get("product_policy"),
        after_failed=request.after_failed,
    )


def _cancellation(
    value: bytes, parts: _Parts, now_ms: int, default_number: str | None
) -> CancelRequested | RequestMalformed:
    try:
        request = CancelRequest.model_validate_json(value)
    except ValidationError as error:
        return _malformed(parts, now_ms, _problems(error))
    number, user = request.from_ or default_number, canonical_user(request.to)
    problems = [
        problem for problem, holds in ((_NO_SENDER, number is None), (_NO_RECEIVER, user is None)) if holds
    ]
    if number is None or user is None:
        return _malformed(parts, now_ms, problems)
    return CancelRequested(
        event_id=f"{request.cancel_request_id}:cancelled",
        at_ms=now_ms,
        request_id=request.cancel_request_id,
        phone_number_id=number,
        user=user,
    )


def key_of(event: SendRequested | CancelRequested | RequestMalformed) -> str:
    """The key of the record: the conversation's, or one of the request's own when there is none."""
    if isinstance(event, RequestMalformed):
        return f"malformed:{event.request_id}"
    return conversation_key(event.phone_number_id, event.user)


def _contradictions(request: SendRequest, now_ms: int) -> list[Problem]:
    """What is wrong with a request whose fields are right one by one."""
    problems = []
    begins_ms = to_ms(request.not_before_at) if request.not_before_at else now_ms
    if begins_ms > now_ms + MAX_WAIT_DAYS * DAY_MS:
        problems.append(_TOO_LATE)
    if request.not_before_at and request.expires_at and to_ms(request.expires_at) <= begins_ms:
        problems.append(_OVER_BEFORE)
    if request.after_request_id == request.request_id:
        problems.append(_AFTER_ITSELF)
    return problems


def _content_problems(message: Any, fallback: Any) -> list[Problem]:
    """What is wrong with message and fallback; nothing of what is no object at all, for the request's own check says so."""
    problems = []
    if isinstance(message, dict):
        problems = [problem.under("message") for problem in content_problems(message)]
        if not problems and message.get("recipient_type", "individual") != "individual":
            problems = [_TO_A_GROUP]
    if isinstance(fallback, dict):
        problems += [problem.under("fallback_template") for problem in template_problems(fallback)]
    return problems[:_MAX_PROBLEMS]


def _user(message: dict[str, Any]) -> str | None:
    """The canonical user the message goes to; the phone number where both are given (Meta, business-scoped user ids)."""
    return canonical_user(message.get("to") or "") or canonical_user(message.get("recipient") or "")


def _meaning(request: SendRequest, user: str, message: dict[str, Any], fallback: Any) -> bytes:
    """What makes two requests the same: what goes to whom from where and on which terms; not the labels, nor how the JSON is laid out."""
    return _canonical(
        [
            request.from_,
            user,
            {name: value for name, value in message.items() if name not in ("to", "recipient")},
            fallback,
            to_ms(request.not_before_at) if request.not_before_at else None,
            to_ms(request.expires_at) if request.expires_at else None,
            request.after_request_id,
            [request.max_price.amount_micros, request.max_price.currency] if request.max_price else None,
            request.dry_run,
            *([] if request.after_failed == "refuse" else [request.after_failed]),
        ]
    )


def _reference(template: dict[str, Any]) -> TemplateRef:
    return TemplateRef(name=template["name"], language=template["language"]["code"])


def _malformed(parts: _Parts, now_ms: int, problems: list[Problem]) -> RequestMalformed:
    """What can still be read of the labels goes along, so that the business recognises its request."""
    tags = parts.tags if isinstance(parts.tags, dict) else {}
    return RequestMalformed(
        event_id=f"{parts.request_id}:malformed",
        at_ms=now_ms,
        request_id=parts.request_id,
        problems=[str(problem) for problem in problems],
        fields=[FieldProblem(path=problem.path or None, expected=problem.rule) for problem in problems],
        correlation_id=parts.correlation_id[:MAX_CORRELATION]
        if isinstance(parts.correlation_id, str)
        else None,
        tags={
            str(name)[:64]: value[:256] for name, value in list(tags.items())[:20] if isinstance(value, str)
        },
    )


def _problems(error: ValidationError) -> list[Problem]:
    """One line per field, without the values: they are somebody's data."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        Problem(".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, "))
        for problem in errors[:_MAX_PROBLEMS]
    ]


def is_request_id(text: str) -> bool:
    """Whether it may be a request's id."""
    return _REQUEST_ID.fullmatch(text) is not None
