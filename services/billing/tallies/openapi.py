"""The HTTP interface of the tallies as an OpenAPI 3.1 description, from the types of its answers. Pure."""

from typing import Any, NamedTuple

import msgspec

from services.billing.tallies.answers import (
    DaysAnswer,
    Failed,
    FreeTierAnswer,
    HoursAnswer,
    KnownAccounts,
    MonthAnswer,
)


class Query(NamedTuple):
    """One path: what it tells, the type of its answer, the statuses of its errors, and whether it asks for `day`."""

    path: str
    summary: str
    answer: type
    errors: tuple[int, ...]
    day: bool = False


_MONTH = "/v1/tallies/{waba_id}/{month}"

QUERIES = (
    Query("/v1/tallies", "Accounts and months of which something was counted.", KnownAccounts, (503,)),
    Query(_MONTH, "A month: lines, totals by category, free tier.", MonthAnswer, (400, 404, 503)),
    Query(f"{_MONTH}/days", "The days of a month, by category.", DaysAnswer, (400, 404, 503)),
    Query(
        f"{_MONTH}/hours",
        "The UTC hours of one day of the month, by category.",
        HoursAnswer,
        (400, 404, 503),
        day=True,
    ),
    Query(f"{_MONTH}/free-tier", "The free tier: used and left.", FreeTierAnswer, (400, 404, 503)),
)

_ERRORS = {
    400: "`invalid_month`, `invalid_day`",
    404: "`unknown_account`: nobody set it up and nothing was counted of it. `hours_dropped`: the day's hours are no longer kept.",
    503: "`unavailable`: Redis does not answer.",
}


def openapi() -> dict[str, Any]:
    """The whole description."""
    types = [query.answer for query in QUERIES] + [Failed]
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tallies",
            "version": "1.0.0",
            "description": (
                "What was counted and charged, by account. Months and days are of the account's own time zone, hours and times are UTC, money is "
                "integer millionths by currency. A correction counts where its delivery did. `as_of` tells how far the ledger is counted. "
                "Unknown fields are to be tolerated."
            ),
        },
        "paths": {query.path: {"get": _operation(query)} for query in QUERIES},
        "components": {"schemas": schemas},
    }


def _operation(query: Query) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": query.summary}
    parameters = []
    if "{waba_id}" in query.path:
        parameters += [
            _parameter("waba_id", "path", {"type": "string"}, "The account's id."),
            _parameter(
                "month", "path", {"type": "string", "pattern": r"^\d{4}-(0[1-9]|1[0-2])$"}, "`YYYY-MM`"
            ),
        ]
    if query.day:
        parameters.append(
            _parameter("day", "query", {"type": "string", "format": "date"}, "`YYYY-MM-DD`, of the month.")
        )
    if parameters:
        operation["parameters"] = parameters
    operation["responses"] = {"200": _response("The answer.", query.answer)} | {
        str(status): _response(_ERRORS[status], Failed) for status in query.errors
    }
    return operation


def _parameter(name: str, where: str, schema: dict[str, str], text: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": True, "schema": schema, "description": text}


def _response(text: str, answer: type) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{answer.__name__}"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}
