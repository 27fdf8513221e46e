"""A received message in, the files to fetch and what is told of them out. Pure.

Event ids come from identity: the message's id, the file's place in it, what became of it.
"""

import hashlib
from typing import Any, Final

import msgspec

from services.ingress.media.described import linked
from services.ingress.media.failures import Reason
from services.ingress.media.place import Place, Stored
from shared.events import MediaFile, ReceivedMessage, UserRef
from shared.ids import conversation_key
from shared.times import DAY_MS, parse_rfc3339, rfc3339

LIFE_MS: Final = 7 * DAY_MS
"""So long Meta keeps a received file (Meta, Cloud API, media)."""
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 5_000, 3_600_000


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A file to fetch, by Meta's id (which is the key) or by a link; `tries` failed so far."""

    id: str
    channel: str
    number: str
    key: str
    user: UserRef
    wamid: str
    kind: str
    received_ms: int
    media_id: str | None = None
    link: str | None = None
    mime_type: str | None = None
    sha256: str | None = None
    filename: str | None = None
    tries: int = 0

    @property
    def place(self) -> Place:
        """Where it will be."""
        return Place(self.number, self.key)

    @property
    def conversation(self) -> str:
        """The key of the conversation it came in."""
        return conversation_key(self.number, self.user.user_id or self.user.bsuid or "")


def on_demand(place: Place) -> Wanted | None:
    """The file at a place that somebody asks for; None if only its message could say where to fetch it: it came as a link."""
    if place.key.startswith(_OWN):
        return None
    return Wanted(
        id="",
        channel="whatsapp",
        number=place.number,
        key=place.key,
        user=UserRef(user_id=None),
        wamid="",
        kind="",
        received_ms=0,
        media_id=place.key,
    )


def wanted_files(message: ReceivedMessage) -> list[Wanted]:
    """The files of a message that can be fetched: those with an id that can name one, or a link."""
    if not message.media:
        return []
    wamid = message.event_id.removesuffix(":received")
    links = iter(_links(message))
    found = []
    for index, file in enumerate(message.media):
        link = next(links, None) if file.id is None else None
        key = file.id if file.id is not None else f"{_OWN}{_hash(f'{wamid}:{index}')}"
        if (file.id is None and link is None) or not Place(message.phone_number_id, key).valid:
            continue
        found.append(
            Wanted(
                id=f"{wamid}:{index}",
                channel=message.channel,
                number=message.phone_number_id,
                key=key,
                user=message.user,
                wamid=wamid,
                kind=file.kind,
                received_ms=parse_rfc3339(message.received_at),
                media_id=file.id,
                link=link,
                mime_type=file.mime_type,
                sha256=file.sha256,
                filename=file.filename,
            )
        )
    return found


def next_try_ms(wanted: Wanted, now_ms: int) -> int | None:
    """When to try again after a failure at `now_ms`; None once Meta will not have it any more."""
    at_ms = now_ms + min(_FIRST_PAUSE_MS * 2 ** min(wanted.tries, 20), _LONGEST_PAUSE_MS)
    return at_ms if at_ms < wanted.received_ms + LIFE_MS else None


def stored_event(wanted: Wanted, stored: Stored) -> MediaFile:
    """The file is there; the same bytes whenever it is told."""
    return MediaFile(
        event_id=f"{wanted.id}:stored",
        event="stored",
        at=rfc3339(stored.stored_ms),
        channel=wanted.channel,
        phone_number_id=wanted.number,
        user=wanted.user,
        wamid=wanted.wamid,
        kind=wanted.kind,
        id=wanted.media_id,
        mime_type=stored.mime_type,
        filename=stored.filename,
        path=wanted.place.path,
        place=wanted.place.file,
        bytes=stored.bytes,
        sha256=stored.sha256,
    )


def failed_event(wanted: Wanted, reason: Reason, at_ms: int) -> MediaFile:
    """The file will not come by itself any more; one with an id may still be asked for at its path."""
    return MediaFile(
        event_id=f"{wanted.id}:failed",
        event="failed",
        at=rfc3339(at_ms),
        channel=wanted.channel,
        phone_number_id=wanted.number,
        user=wanted.user,
        wamid=wanted.wamid,
        kind=wanted.kind,
        id=wanted.media_id,
        mime_type=wanted.mime_type,
        filename=wanted.filename,
        path=None if wanted.media_id is None else wanted.place.path,
        reason=reason,
    )


_OWN = "link-"
"""Begins the keys of files that have no id of Meta's."""


def _links(message: ReceivedMessage) -> list[str]:
    try:
        item = _json(message.message)
    except (msgspec.MsgspecError, RecursionError):
        return []
    said: Any = item.get("message") if isinstance(item, dict) else None
    return [file.url for file in linked(said.get("attachments"))] if isinstance(said, dict) else []


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


_json = msgspec.json.Decoder().decode
encode_wanted = msgspec.json.Encoder().encode
decode_wanted = msgspec.json.Decoder(Wanted).decode
decode_received = msgspec.json.Decoder(ReceivedMessage).decode
