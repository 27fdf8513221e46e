"""The identifiers of the domain, told apart by type. Pure."""

from functools import lru_cache
from hashlib import blake2b
from typing import Final, NewType

User = NewType("User", str)
"""A customer: E.164 digits without the plus, else Meta's business-scoped user id."""

ConversationKey = NewType("ConversationKey", str)
"""``{phone_number_id}:{user}``: the key by which everything of one conversation is ordered."""

CommandId = NewType("CommandId", str)
"""``{request_id}#{attempt}``: one attempt to send; echoed by Meta in statuses."""

BUSINESS_ACCOUNT_OBJECT = "whatsapp_business_account"


def conversation_key(phone_number_id: str, user: str) -> ConversationKey:
    """Join a business number and a user into the key of their conversation."""
    return ConversationKey(f"{phone_number_id}:{user}")


def command_id(request_id: str, attempt: int) -> CommandId:
    """Name one attempt (from 1) to send a request."""
    return CommandId(f"{request_id}#{attempt}")


def opaque(command: str, key: str) -> str:
    """Pack a command id and its conversation key into ``biz_opaque_callback_data``.

    Meta echoes the text in every status, so a status always finds its conversation, whatever recipient it
    names (Meta, Cloud API, messages: at most 512 characters).
    """
    return f"{key}|{command}"


def from_opaque(text: str) -> tuple[ConversationKey, CommandId] | None:
    """Unpack what `opaque` packed; None for a text that others put there."""
    key, bar, command = text.partition("|")
    if not bar or ":" not in key or "#" not in command:
        return None
    return ConversationKey(key), CommandId(command)


FINGERPRINT_BYTES: Final = 8


@lru_cache(maxsize=4096)
def fingerprint(text: str) -> bytes:
    """An 8-byte hash: among the 20,000 things of one conversation two alike are a matter of 1 in 10^11."""
    return blake2b(text.encode(), digest_size=FINGERPRINT_BYTES).digest()


def request_name(request_id: str, *, dry_run: bool) -> str:
    """What a request is known by: a dry run by a name of its own (no id has a question mark), for it must not use up the id."""
    return f"{request_id}?" if dry_run else request_id


def conflict_event_id(request: str, digest: str) -> str:
    """The id of the answer to a request whose id was used for another one; `digest` is its own (`SendRequested.digest`)."""
    return f"{request}!{fingerprint(digest).hex()}:decided"
