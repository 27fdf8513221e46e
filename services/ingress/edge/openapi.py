"""The HTTP edge as an OpenAPI 3.1 description, from the table of its calls and the types of their bodies. Pure."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.ingress.edge.errors import GraphFailure
from services.ingress.edge.table import CALLS, Call

_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)(?::([^{}]*(?:\{[^{}]*\}[^{}]*)*))?\}")
_PARAMETERS = {
    "version": "Of the Graph API; any: the middleware calls its own.",
    "phone_number_id": "Of the sending number.",
    "waba_id": "The account's id.",
    "media_id": "Of a phone number, a template or a file.",
    "request_id": "As the business chose it, or as the edge gave it.",
}
_EVERY = {
    401: "No token, or one that is not valid here (190).",
    403: "The token lacks the scope (200), or the number or account is not its own (10).",
    429: "Beyond the token's rate or Meta's limits; `Retry-After` says when.",
    503: "Kafka, Redis or Meta does not answer, or too many calls are under way; repeat with the same key.",
}
_WITH_BODY = {
    408: "The body came too slowly.",
    409: "The idempotency key or request id was used for another content, or its first call is under way.",
    413: "The body is too large.",
    415: "The body is encoded.",
}
_OTHER = (
    "Refused: `error.code` is Meta's own or nearest, `error.error_data.details` begins with our reason (docs/reasons.md), "
    "`problems` names the wrong fields."
)
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=@,~-]{1,200}$"},
    "description": "Of a send it becomes the request's id (8 days), of any other call it is kept for 24 hours.",
}


@lru_cache(maxsize=1)
def openapi() -> dict[str, Any]:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "WhatsApp middleware, HTTP edge",
            "version": "1.0.0",
            "description": (
                "A drop-in for the Cloud API, and the middleware's own requests over HTTP. Errors have the Graph API's shape. "
                "Times are RFC 3339 UTC, money is integer millionths. Unknown fields are to be tolerated."
            ),
        },
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for call in CALLS:
        path = _PARAMETER.sub(r"{\1}", call.path)
        paths.setdefault(path, {})[call.method.lower()] = _operation(call)
    return paths


def _operation(call: Call) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": call.name, "summary": call.summary}
    parameters = [_parameter(name, pattern) for name, pattern in _PARAMETER.findall(call.path)]
    if call.method == "POST":
        parameters.append(_KEY)
    if parameters:
        operation["parameters"] = parameters
    if call.body is not None:
        schema = _schema(call.body)
        if call.listed:
            schema = {"oneOf": [schema, {"type": "array", "items": schema, "minItems": 1, "maxItems": 1000}]}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    answers = {str(status): _response("The answer.", kind) for status, kind in call.answers.items()}
    if call.scope is None:
        operation["security"] = []
    else:
        texts = {**_EVERY, **(_WITH_BODY if call.body is not None else {})}
        answers |= {str(status): _response(text, GraphFailure) for status, text in sorted(texts.items())}
        answers["default"] = _response(_OTHER, GraphFailure)
    operation["responses"] = answers
    return operation


def _parameter(name: str, pattern: str) -> dict[str, Any]:
    schema = {"type": "string"} | ({"pattern": f"^{pattern}$"} if pattern else {})
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": _PARAMETERS[name]}


def _response(text: str, kind: Any) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": _schema(kind)}}}


def _schema(kind: Any) -> dict[str, Any]:
    kinds = list(_types(kind))
    references = [{"$ref": _REF.format(name=one.__name__)} for one in kinds]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _types(kind: Any) -> Iterator[type]:
    if get_origin(kind) in (Union, UnionType):
        yield from get_args(kind)
    else:
        yield kind


def _schemas() -> dict[str, Any]:
    named = [one for call in CALLS for kind in (call.body, *call.answers.values()) for one in _types(kind)]
    structs = _unique(one for one in named if isinstance(one, type) and issubclass(one, msgspec.Struct))
    models = _unique(one for one in named if isinstance(one, type) and issubclass(one, BaseModel))
    _, of_structs = msgspec.json.schema_components([*structs, GraphFailure], ref_template=_REF)
    _, of_models = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=_REF.replace("{name}", "{model}"),
    )
    return {**of_structs, **of_models.get("$defs", {})}


def _unique(types: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(types))
