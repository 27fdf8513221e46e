"""The body of the call: the command's message with what the sender adds and without what is not Meta's. Pure."""

from typing import Any

import msgspec

from shared.events import SendMessage
from shared.ids import opaque


class _Template(msgspec.Struct):
    class Language(msgspec.Struct):
        code: str = ""

    name: str = ""
    language: Language = msgspec.field(default_factory=Language)


class _Message(msgspec.Struct):
    template: _Template | None = None


_ADDRESS = ("to", "recipient", "recipient_type")
_decode_template = msgspec.json.Decoder(_Message).decode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def body(command: SendMessage) -> bytes:
    """Meta's message object, with `biz_opaque_callback_data`; the recipient as `+` and digits, or Meta puts the sender's country before it.

    A read mark names no recipient: Meta knows who wrote the message (Meta, Cloud API, mark messages as read).

    Raises:
        msgspec.MsgspecError: the message is no JSON object.
    """
    message = _decode(command.message)
    message.setdefault("messaging_product", "whatsapp")
    if command.marks is not None:
        return msgspec.json.encode({name: value for name, value in message.items() if name not in _ADDRESS})
    individual = message.get("recipient_type", "individual") == "individual"
    named_otherwise = "recipient" in message and "to" not in message
    if individual and not named_otherwise and command.user.isascii() and command.user.isdigit():
        message["to"] = f"+{command.user}"
    message["biz_opaque_callback_data"] = opaque(command.command_id, command.conversation_key)
    return msgspec.json.encode(message)


def template_of(command: SendMessage) -> str | None:
    """`{waba_id}/{name}/{language}` of a template message, else None."""
    if b'"template"' not in bytes(command.message):
        return None
    try:
        template = _decode_template(command.message).template
    except msgspec.MsgspecError:
        return None
    return None if template is None else f"{command.waba_id}/{template.name}/{template.language.code}"
