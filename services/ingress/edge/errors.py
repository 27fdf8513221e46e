"""How the edge refuses: a code of Meta's, our machine reason and what to do in; an answer in Graph's shape out. Pure.

Source: Meta, Cloud API, error codes (shape and HTTP statuses).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

INVALID: Final = 100
"""Invalid parameter."""
UNAVAILABLE: Final = 2
"""Temporary downtime."""
NO_TOKEN: Final = 190
NO_SCOPE: Final = 200
NOT_YOURS: Final = 10
TOO_MANY_CALLS: Final = 80007
UNKNOWN_MESSAGE: Final = 131009
"""Parameter value is not valid."""

_STATUSES: Mapping[int, int] = {
    **dict.fromkeys((0, NO_TOKEN), 401),
    **dict.fromkeys((NOT_YOURS, *range(NO_SCOPE, 300), 131005, 368, 130497, 131031), 403),
    **dict.fromkeys((4, TOO_MANY_CALLS, 80008, 130429), 429),
    **dict.fromkeys((3, 131000, 131016, 131045, 131057, 133000, 134102), 500),
    **dict.fromkeys((UNAVAILABLE, 133004), 503),
    132001: 404,
}


class ErrorData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where to look: `details` begins with our machine reason; `problems` names each wrong field."""

    messaging_product: str
    details: str
    problems: list[str] = []


class GraphError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as the Graph API writes it."""

    message: str
    type: str
    code: int
    error_data: ErrorData
    fbtrace_id: str


class GraphFailure(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is not 2xx."""

    error: GraphError


class Refusal(Exception):
    """The call is refused with `code`; `reason` is ours, `text` says what to do. `status` where it is not the code's own.

    `retry_after_s`: when a repetition may pass.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        text: str,
        *,
        status: int | None = None,
        problems: Sequence[str] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{reason}: {text}")
        self.code = code
        self.reason = reason
        self.status = status if status is not None else _STATUSES.get(code, 400)
        self.problems = list(problems)
        self.retry_after_s = retry_after_s

    @property
    def details(self) -> str:
        """Our reason, then the words."""
        return str(self)


def graph_error(refusal: Refusal, title: str, trace: str) -> GraphFailure:
    """The body; `title` is Meta's short name of the code, `trace` names this answer in our logs."""
    return GraphFailure(
        error=GraphError(
            message=f"(#{refusal.code}) {title}",
            type="OAuthException",
            code=refusal.code,
            error_data=ErrorData(
                messaging_product="whatsapp", details=refusal.details, problems=refusal.problems
            ),
            fbtrace_id=trace,
        )
    )


def invalid(text: str, *problems: str) -> Refusal:
    """The call is not what the contract asks for; `problems` names the fields."""
    return Refusal(INVALID, "malformed", text, problems=problems)


def unavailable(text: str) -> Refusal:
    """Something that the edge needs does not answer."""
    return Refusal(UNAVAILABLE, "unavailable", text, retry_after_s=5)
