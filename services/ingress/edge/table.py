"""The edge's calls, as data: what is listened to, who may, what comes in and what goes out. Pure.

The application binds each to its handler (`app.py`), the OpenAPI description is written from it (`openapi.py`): there is no other list.
"""

from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from services.ingress.edge.cloud import MessageAnswer, Success
from services.ingress.edge.errors import GraphFailure
from services.ingress.edge.requests_json import Cancellation, Estimate, RequestStatus, TakenRequests
from services.ingress.edge.token_file import Scope
from services.ingress.requests import MAX_CORRELATION, SendRequest

Method = Literal["GET", "POST", "DELETE"]
Label = Literal["messages", "requests", "estimate", "management", "media", "other"]
"""In metrics."""

VERSION = r"{version:v\d+\.\d+}"
_ID = ":[0-9]{1,32}"


class CloudMessage(BaseModel):
    """The Cloud API's message of any type, or a read mark; docs/schemas/message-content.json has every limit."""

    model_config = ConfigDict(extra="allow")

    messaging_product: Literal["whatsapp"]
    to: str | None = Field(None, description="Phone number; a read mark needs none.")
    type: str | None = None
    biz_opaque_callback_data: str | None = Field(
        None, max_length=MAX_CORRELATION, description="Becomes the request's `correlation_id`."
    )


class GraphObject(BaseModel):
    """An object as Meta writes it."""

    model_config = ConfigDict(extra="allow")


class Call(NamedTuple):
    """One call; without a `scope` anybody may make it."""

    name: str
    method: Method
    path: str
    label: Label
    scope: Scope | None
    summary: str
    answers: dict[int, Any]
    body: Any = None
    listed: bool = False
    """Whether the body may be a list too."""


_SENT = {200: MessageAnswer | Success, 202: MessageAnswer | Success}
_NUMBER = f"/{VERSION}/{{phone_number_id{_ID}}}"
_ACCOUNT = f"/{VERSION}/{{waba_id{_ID}}}"
NODE = f"/{VERSION}/{{media_id}}"
"""A number, a template or a file, by its bare id; named after what has no other path."""

CALLS: tuple[Call, ...] = (
    Call(
        "messages",
        "POST",
        f"{_NUMBER}/messages",
        "messages",
        "send",
        "Send a message or mark one as read, as by the Cloud API: 200 with Meta's id once Meta took it; 202 with the request's own id when that takes longer or waits.",
        _SENT,
        CloudMessage,
    ),
    Call(
        "marketing_messages",
        "POST",
        f"{_NUMBER}/marketing_messages",
        "messages",
        "send",
        "The same by the Marketing Messages API.",
        _SENT,
        CloudMessage,
    ),
    Call(
        "post_requests",
        "POST",
        "/v1/requests",
        "requests",
        "send",
        "Publish one send request, or a list of up to 1,000: 202 once they are safe. One is waited for with `Prefer: wait=n`.",
        {200: RequestStatus, 202: TakenRequests | RequestStatus, 400: TakenRequests | GraphFailure},
        SendRequest,
        listed=True,
    ),
    Call(
        "get_request",
        "GET",
        "/v1/requests/{request_id}",
        "requests",
        "read",
        "What became of a request so far.",
        {200: RequestStatus},
    ),
    Call(
        "delete_request",
        "DELETE",
        "/v1/requests/{request_id}",
        "requests",
        "send",
        "Take a request back that has not gone out; 202 when nobody knows yet what became of it.",
        {200: Cancellation, 202: Cancellation},
    ),
    Call(
        "estimate",
        "POST",
        "/v1/estimate",
        "estimate",
        "send",
        "May it go out now, as what, at which price? Nothing is sent.",
        {200: Estimate},
        SendRequest,
    ),
    Call(
        "list_templates",
        "GET",
        f"{_ACCOUNT}/message_templates",
        "management",
        "read",
        "An account's templates, from Meta.",
        {200: GraphObject},
    ),
    Call(
        "post_template",
        "POST",
        f"{_ACCOUNT}/message_templates",
        "management",
        "manage",
        "Submit a template to Meta.",
        {200: GraphObject},
        GraphObject,
    ),
    Call(
        "delete_template",
        "DELETE",
        f"{_ACCOUNT}/message_templates",
        "management",
        "manage",
        "Delete a template at Meta.",
        {200: GraphObject},
    ),
    Call(
        "list_numbers",
        "GET",
        f"{_ACCOUNT}/phone_numbers",
        "management",
        "read",
        "An account's phone numbers, from Meta.",
        {200: GraphObject},
    ),
    Call(
        "profile",
        "GET",
        f"{_NUMBER}/whatsapp_business_profile",
        "management",
        "read",
        "A number's business profile, from Meta.",
        {200: GraphObject},
    ),
    Call(
        "get_node",
        "GET",
        NODE,
        "management",
        "read",
        "A phone number, a template or a file by its id, from Meta.",
        {200: GraphObject},
    ),
    Call(
        "post_node",
        "POST",
        NODE,
        "management",
        "manage",
        "Edit a template at Meta.",
        {200: GraphObject},
        GraphObject,
    ),
    Call(
        "delete_node",
        "DELETE",
        NODE,
        "media",
        "send",
        "Delete an uploaded file at Meta.",
        {200: GraphObject},
    ),
    Call(
        "openapi",
        "GET",
        "/v1/openapi.json",
        "other",
        None,
        "This description.",
        {200: GraphObject},
    ),
)
