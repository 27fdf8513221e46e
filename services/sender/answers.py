"""What a call to the Graph API can come to, and how an HTTP answer is read. Pure.

Source: Meta, Cloud API, messages (response), mark messages as read.
"""

from collections.abc import Mapping

import msgspec

from shared.graph_answers import UNREADABLE, Usage, refused, usage
from shared.graph_answers import Refused as Refused


class Accepted(msgspec.Struct, frozen=True):
    """Meta took the message. `user`: Meta's own id of the recipient, when it says one."""

    wamid: str
    user: str | None
    message_status: str | None
    usage: Usage | None = None


class Marked(msgspec.Struct, frozen=True):
    """Meta took a read mark."""


class NotSent(msgspec.Struct, frozen=True):
    """The request certainly never left: no connection, or (`reached`) one that came when it was too late."""

    cause: str
    reached: bool = False


class NoAnswer(msgspec.Struct, frozen=True):
    """The request left, or may have; nothing came back."""

    cause: str


Answer = Accepted | Marked | Refused | NotSent | NoAnswer


class _Contact(msgspec.Struct):
    wa_id: str | None = None
    user_id: str | None = None


class _Message(msgspec.Struct):
    id: str
    message_status: str | None = None


class _Taken(msgspec.Struct):
    messages: list[_Message] = []
    contacts: list[_Contact] = []
    success: bool = False


_taken = msgspec.json.Decoder(_Taken).decode


def read(status: int, body: bytes, headers: Mapping[str, str]) -> Accepted | Marked | Refused:
    """Read an HTTP answer; a body that is not Meta's gives a `Refused` without a code."""
    if status == 200:
        try:
            taken = _taken(body)
        except UNREADABLE:
            return Refused(status, None, None)
        if not taken.messages:
            return Marked() if taken.success else Refused(status, None, None)
        contact = taken.contacts[0] if taken.contacts else _Contact()
        return Accepted(
            taken.messages[0].id,
            contact.wa_id or contact.user_id,
            taken.messages[0].message_status,
            usage(headers),
        )
    return refused(status, body, headers)
