"""What is known of a request, in few bytes: its events in; a row of entries to append to, and what stands of the request, out. Pure.

A row is a string of entries, each with its length (two bytes, big-endian) before it, in MessagePack arrays: a later version appends fields with
defaults. An entry is appended once; the same bytes again change nothing (`index.py`).
"""

from functools import lru_cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from shared.events import Decision, SendError, SendEvent, UserRef
from shared.ids import conflict_event_id, request_name
from shared.phone import is_bsuid
from shared.times import parse_rfc3339

MAX_ROW_BYTES = 4096
"""A row is never longer. A request that is sent, delivered and read has some 400 bytes (docs/edge.md); beyond come repetitions and resends.

A request that Meta refuses for now again and again has some 400 bytes each time: of its rounds the latest are kept, in half a row.
"""
_MAX_TEXT = 300
_LENGTH_BYTES = 2

Step = Literal[
    "decided", "accepted", "held", "sent", "delivered", "read", "played", "failed", "priced", "uncertain", "resent", "cancelled"
]  # fmt: skip
_STEPS: tuple[Step, ...] = get_args(Step)

Standing = Literal[
    "unknown", "pending", "deferred", "allowed", "refused", "accepted", "failed", "cancelled", "uncertain"
]
"""pending: nothing final is known. allowed: a dry run that may go out. accepted: Meta took it; what came then, the events tell."""


class Taken(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """The edge took the request: its digest, whose conversation it is in. First of its row: of such a request the edge's processes tell each other.

    Without a digest somebody only asks for its news.
    """

    digest: bytes
    number: str
    user: str
    at_ms: int


class Told(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """One of its send events. `id`: of decisions, what follows the request's name in the event id; `decision` and `error` as rows of values."""

    step: int
    seq: int
    at_ms: int
    id: str = ""
    number: str = ""
    user: str = ""
    bsuid: str = ""
    wamid: str = ""
    decision: list[Any] | None = None
    error: list[Any] | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a request."""

    event: Step
    seq: int
    at_ms: int
    error: SendError | None = None


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request. `conflict`: the decision told to the one that asks is that its id was used for another request."""

    standing: Standing
    number: str = ""
    user: str = ""
    bsuid: str = ""
    wamid: str = ""
    decision: Decision | None = None
    error: SendError | None = None
    held: str = ""
    conflict: bool = False
    answered: bool = False
    """A decision was told to this very request, whatever it is."""
    uncancelled: bool = False
    """A cancellation was told that there is nothing to cancel."""
    events: tuple[Event, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether a caller need not wait longer; what waits for its time or for Meta's late word is not worth waiting for."""
        return self.standing not in ("unknown", "pending")

    @property
    def user_ref(self) -> UserRef | None:
        """Who it goes to."""
        if not self.user and not self.bsuid:
            return None
        return UserRef(user_id=self.user or None, bsuid=self.bsuid or None)


NOTHING = Known(standing="unknown")

_UNCANCELLED = "!cancel:decided"
_MALFORMED = ":malformed"
"""What follows a request's id in the ids of answers that are not to the request itself: to a cancellation, to a misshapen record of the same id."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Taken | Told).decode


def entry_of(entry: Taken | Told) -> bytes:
    """The entry as it stands in a row."""
    value = _encode(entry)
    return len(value).to_bytes(_LENGTH_BYTES, "big") + value


def told(event: SendEvent) -> tuple[str, bytes] | None:
    """The name that an event is told to, and its entry; None when nobody knows the request."""
    request_id = event.request_id
    if request_id is None:
        return None
    rest = event.event_id.removeprefix(request_id) if event.event_id.startswith(request_id) else ""
    user = event.user or UserRef(user_id=None)
    first = event.event == "decided"
    entry = Told(
        step=_STEPS.index(event.event),
        seq=event.seq,
        at_ms=parse_rfc3339(event.at),
        id=rest if first else "",
        number=(event.phone_number_id or "") if first else "",
        user=(user.user_id or "") if first or event.event == "accepted" else "",
        bsuid=(user.bsuid or "") if first or event.event == "accepted" else "",
        wamid=(event.wamid or "") if event.event in ("accepted", "resent") else "",
        decision=None if event.decision is None else _packed(event.decision),
        error=None if event.error is None else _packed(_shortened(event.error)),
    )
    return request_name(request_id, dry_run=rest.startswith("?")), entry_of(entry)


def entries(row: bytes) -> list[Taken | Told]:
    """The entries of a row; what a row ends with that is no whole entry is left out."""
    found: list[Taken | Told] = []
    at = 0
    while at + _LENGTH_BYTES <= len(row):
        end = at + _LENGTH_BYTES + int.from_bytes(row[at : at + _LENGTH_BYTES], "big")
        if end > len(row):
            break
        found.append(_decode(row[at + _LENGTH_BYTES : end]))
        at = end
    return found


def known(name: str, row: bytes, digest: str = "") -> Known:
    """What stands of a request by its row, for whoever asks by `digest` (`SendRequested.digest`; empty: for the one whose id it is)."""
    taken, number, user, bsuid, wamid, held = False, "", "", "", "", ""
    decision: Decision | None = None
    decided_seq = -1
    """Rows may lose what is oldest, and a batch may be told twice: an earlier round is not the latest word."""
    malformed: Told | None = None
    conflict = accepted = answered = uncancelled = False
    ends: dict[Step, SendError | None] = {}
    events: dict[tuple[str, int], Event] = {}
    ours = conflict_event_id("", digest) if digest else None
    for entry in entries(row):
        if isinstance(entry, Taken):
            taken, number = bool(entry.digest), entry.number
            user, bsuid = ("", entry.user) if is_bsuid(entry.user) else (entry.user, "")
            continue
        step = _STEPS[entry.step]
        rest = entry.id.removeprefix("?")
        if rest.startswith("!"):
            conflict |= rest == ours
            answered |= rest == ours
            uncancelled |= rest == _UNCANCELLED
            continue
        if rest.startswith(_MALFORMED):
            malformed = entry
            continue
        error = None if entry.error is None else _unpacked(SendError, entry.error)
        if step == "decided" and entry.decision is not None:
            answered = True
            if entry.seq > decided_seq:
                decided_seq = entry.seq
                decision = _unpacked(Decision, entry.decision)
                if decision.outcome == "defer":
                    # What came of an attempt before is over: Meta refused it for now.
                    accepted, wamid, held = False, "", ""
                    ends.clear()
        number, user, bsuid = number or entry.number, entry.user or user, entry.bsuid or bsuid
        accepted |= step in ("accepted", "sent", "delivered", "read", "played")
        wamid = entry.wamid or wamid
        if step == "held" and error is not None:
            held = error.reason
        ends[step] = error
        events.setdefault((step, entry.seq), Event(event=step, seq=entry.seq, at_ms=entry.at_ms, error=error))
    if malformed is not None and decision is None and malformed.decision is not None:
        decision = _unpacked(Decision, malformed.decision)
        ends["decided"] = None if malformed.error is None else _unpacked(SendError, malformed.error)
    standing, error = _standing(taken, decision, ends, accepted=accepted, dry_run=name.endswith("?"))
    return Known(
        standing=standing,
        number=number,
        user=user,
        bsuid=bsuid,
        wamid=wamid,
        decision=decision,
        error=error,
        held=held,
        conflict=conflict,
        answered=answered,
        uncancelled=uncancelled,
        events=tuple(events.values()),
    )


def taken_by(row: bytes) -> bytes | None:
    """The digest of the request that the edge took under this name."""
    for entry in entries(row):
        if isinstance(entry, Taken):
            return entry.digest or None
    return None


def _standing(
    taken: bool,
    decision: Decision | None,
    ends: dict[Step, SendError | None],
    *,
    accepted: bool,
    dry_run: bool,
) -> tuple[Standing, SendError | None]:
    for step, standing in (("failed", "failed"), ("cancelled", "cancelled")):
        if step in ends and not accepted:
            return standing, ends[step]  # type: ignore[return-value]
    if accepted:
        return "accepted", ends.get("failed")
    if decision is None:
        return ("pending" if taken or ends else "unknown"), None
    if decision.outcome == "reject":
        return "refused", ends.get("decided")
    if "uncertain" in ends:
        return "uncertain", ends["uncertain"]
    if decision.outcome == "defer":
        return "deferred", ends.get("decided")
    return ("allowed" if dry_run else "pending"), None


def _shortened(error: SendError) -> SendError:
    """The error as it is kept: the wrong fields of a malformed request stand in its message too."""
    cut = {
        name: text[: _MAX_TEXT - 1] + "…"
        for name in ("message", "fix")
        if (text := getattr(error, name)) is not None and len(text) > _MAX_TEXT
    }
    return msgspec.structs.replace(error, fields=[], **cut)


# --- structs as rows of values: their field names would be most of the bytes

S = TypeVar("S", bound=msgspec.Struct)


def _packed(value: msgspec.Struct) -> list[Any]:
    row = [getattr(value, name) for name in value.__struct_fields__]
    return [_packed(member) if isinstance(member, msgspec.Struct) else member for member in row]


def _unpacked(kind: type[S], row: list[Any]) -> S:
    inner = _inner(kind)
    return kind(
        **{
            name: _unpacked(inner[name], value) if name in inner and value is not None else value
            for name, value in zip(kind.__struct_fields__, row, strict=False)
        }
    )


@lru_cache(maxsize=16)
def _inner(kind: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """The fields of a struct that are structs themselves."""
    found: dict[str, type[msgspec.Struct]] = {}
    for field in msgspec.structs.fields(kind):
        optional = get_origin(field.type) in (Union, UnionType)
        for type_ in get_args(field.type) if optional else (field.type,):
            if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
                found[field.name] = type_
    return found


def short(digest: str) -> bytes:
    """A request's digest as a row keeps it."""
    return bytes.fromhex(digest)[:8]
