"""Troubles of a given duration: what goes wrong with every call, or with a number's, until a time, as a behaviour of each call. Pure.

    POST /sim/troubles {"kind": "hang", "for_s": 30}

A trouble ends by itself, and goes before scripted rules. Connections that are refused are the shell's to arrange (app.py), for no call arrives then.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from services.simulator.scripts import Behaviour

Kind = Literal["throttled", "maintenance", "hang", "failing", "lost_answers", "token_expired", "refusing"]


class Trouble(BaseModel):
    """Body of `POST /sim/troubles`."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    """throttled: 130429 above `mps`. maintenance: 131057. hang: no answer before the end. failing: `http_status`, with `code` or without a readable body.
    lost_answers: processed, then cut. token_expired: 190. refusing: nobody listens, on the control API's port neither."""
    for_s: float = Field(gt=0, le=3600)
    """By the clock."""
    phone_number_id: str | None = None
    """Of which number; None: of all."""
    mps: float = Field(10.0, gt=0)
    http_status: int = Field(500, ge=500, le=599)
    code: int | None = None
    processed: bool = False
    """Whether a message goes out though its call hangs or fails."""


class Throttle(NamedTuple):
    """A throughput that holds for a while: messages per second."""

    number: str | None
    mps: float


@dataclass(slots=True)
class Troubles:
    """Those under way."""

    _until: list[tuple[float, Trouble]] = field(default_factory=list)

    def add(self, trouble: Trouble, now: float) -> float:
        """Begin one; when it ends, epoch seconds."""
        self._until.append((now + trouble.for_s, trouble))
        return now + trouble.for_s

    def clear(self) -> None:
        """End all."""
        self._until.clear()

    def listing(self, now: float) -> list[dict[str, Any]]:
        """Those under way, with their end."""
        return [{"until": until, **trouble.model_dump(mode="json")} for until, trouble in self._now(now)]

    def throttle(self, phone_number_id: str, now: float) -> Throttle | None:
        """The lowest throughput that a number has now by a trouble."""
        throttles = [
            Throttle(trouble.phone_number_id, trouble.mps)
            for _, trouble in self._now(now)
            if trouble.kind == "throttled" and trouble.phone_number_id in (None, phone_number_id)
        ]
        return min(throttles, key=lambda throttle: throttle.mps, default=None)

    def behaviour(self, phone_number_id: str, now: float) -> Behaviour | None:
        """What becomes of a call of the number now; the trouble that began first decides."""
        for until, trouble in self._now(now):
            if trouble.phone_number_id in (None, phone_number_id):
                behaviour = _behaviour(trouble, until - now)
                if behaviour is not None:
                    return behaviour
        return None

    def _now(self, now: float) -> list[tuple[float, Trouble]]:
        self._until = [(until, trouble) for until, trouble in self._until if until > now]
        return self._until


def _behaviour(trouble: Trouble, left_s: float) -> Behaviour | None:
    match trouble.kind:
        case "maintenance":
            return Behaviour(error=131057)
        case "hang":
            return Behaviour(hang_s=min(left_s, 600), reset=not trouble.processed)
        case "failing":
            return Behaviour(error=trouble.code, http_status=trouble.http_status, processed=trouble.processed)
        case "lost_answers":
            return Behaviour(drop_answer_after_processing=True)
        case "token_expired":
            return Behaviour(error=190)
        case _:
            return None
