"""Meta's message object in, the files it brings out, as the business is told of them. Pure.

Sources: Meta, webhooks, messages (image, video, audio, document, sticker); Meta, Flows, media upload; Meta, Messenger Platform and Instagram Platform,
messages (attachments).
"""

import re
from typing import Any, Final, NamedTuple

import msgspec

from shared.events import ReceivedMedia

KINDS: Final = ("image", "video", "audio", "voice", "document", "sticker")
"""Types of message that are a file; `voice` is that of older webhooks."""
NESTED: Final = ("edit", "interactive")
"""Types of message that may hold one further inside: an edited message, a Flow's answer."""
_LINKED: Final = frozenset({"image", "video", "audio", "file", "story_mention", "ig_reel", "reel"})
"""Attachments whose link leads to a file; those of other types (share, fallback, template) lead to a page, or nowhere."""
_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")


class Linked(NamedTuple):
    """An attachment that Meta gives as a link."""

    kind: str
    url: str


_json = msgspec.json.Decoder().decode


def path_of(phone_number_id: str, key: str) -> str:
    """Where a file is given out, below the HTTP edge's root."""
    return f"/v1/media/{phone_number_id}/{key}"


def is_key(text: str) -> bool:
    """Whether a text can name a file: Meta's id, or one of our own making."""
    return _ID.fullmatch(text) is not None and not text.startswith(".")


def whatsapp_files(phone_number_id: str, type: str, content: Any) -> list[ReceivedMedia]:
    """The files of a message of `type`, of which `content` is the object named so; none where it is not what Meta describes."""
    if not isinstance(content, dict):
        return []
    if type == "edit":
        return _edited(phone_number_id, content)
    if type == "interactive":
        return [
            file
            for kind, value in _flow_files(content)
            if (file := _whatsapp_file(phone_number_id, kind, value, value.get("file_name")))
        ]
    file = _whatsapp_file(phone_number_id, type, content, content.get("filename")) if type in KINDS else None
    return [] if file is None else [file]


def messenger_files(attachments: Any) -> list[ReceivedMedia]:
    """The files among the attachments of an Instagram or Messenger message, in the order of `linked`; each without an id, for Meta gives a link."""
    return [ReceivedMedia(kind=file.kind, id=None) for file in linked(attachments)]


def linked(attachments: Any) -> list[Linked]:
    """The attachments that lead to a file."""
    found = []
    for attachment in attachments if isinstance(attachments, list) else ():
        kind = attachment.get("type") if isinstance(attachment, dict) else None
        payload = attachment.get("payload") if isinstance(attachment, dict) else None
        url = payload.get("url") if isinstance(payload, dict) else None
        if isinstance(kind, str) and kind in _LINKED and isinstance(url, str) and url:
            found.append(Linked(kind, url))
    return found


def _whatsapp_file(
    phone_number_id: str, kind: str, value: dict[str, Any], filename: Any
) -> ReceivedMedia | None:
    id = _text(value.get("id"))
    if id is None:
        return None
    return ReceivedMedia(
        kind="audio" if kind == "voice" else kind,
        id=id,
        mime_type=_text(value.get("mime_type")),
        sha256=_text(value.get("sha256")),
        filename=_text(filename),
        path=path_of(phone_number_id, id) if is_key(id) else None,
    )


def _edited(phone_number_id: str, content: dict[str, Any]) -> list[ReceivedMedia]:
    message = content.get("message")
    type = message.get("type") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(type, str) or type not in KINDS:
        return []
    return whatsapp_files(phone_number_id, type, message.get(type))


def _flow_files(content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The files that a user picked in a Flow: lists among the answers, each file with id, MIME type and checksum."""
    reply = content.get("nfm_reply")
    text = reply.get("response_json") if isinstance(reply, dict) else None
    if not isinstance(text, str) or '"sha256"' not in text:
        return []
    try:
        answers = _json(text)
    except (msgspec.MsgspecError, RecursionError):
        return []
    found = []
    for answer in answers.values() if isinstance(answers, dict) else ():
        for value in answer if isinstance(answer, list) else ():
            if isinstance(value, dict) and "sha256" in value and isinstance(value.get("mime_type"), str):
                main = value["mime_type"].partition("/")[0]
                found.append((main if main in ("image", "video", "audio") else "document", value))
    return found


def _text(value: Any) -> str | None:
    """A non-empty string, or an integer as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None
