"""Webhook bodies: from updates to the JSON envelope, its bytes as Meta writes them, and their signature. Pure.

Source: Meta, webhooks: envelope, at most 1,000 updates and 3 MB a POST, escaped unicode, X-Hub-Signature-256.
"""

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

MAX_UPDATES = 1000
MAX_BYTES = 3_000_000
_SIGNATURE_HEADER = "X-Hub-Signature-256"


@dataclass(frozen=True, slots=True)
class Update:
    """One change to tell: a number's status, message, call or preference, an account's field, or a whole body of another shape."""

    waba_id: str
    kind: Literal["statuses", "messages", "calls", "user_preferences", "account", "raw"]
    item: dict[str, Any]
    """The status, message, call or preference; the field's `value`; the whole body."""
    field: str = "messages"
    phone_number_id: str = ""
    display_phone_number: str = ""
    contact: dict[str, Any] | None = None
    time: int | None = None


def envelope(updates: Sequence[Update]) -> dict[str, Any]:
    """Join updates in their order: neighbours of one account share an entry, of one number a change."""
    if len(updates) == 1 and updates[0].kind == "raw":
        return updates[0].item
    entries: list[dict[str, Any]] = []
    previous: Update | None = None
    for update in updates:
        if previous is not None and _share_change(previous, update):
            _extend(entries[-1]["changes"][-1]["value"], update)
        else:
            if previous is None or previous.waba_id != update.waba_id or previous.time != update.time:
                entry: dict[str, Any] = {"id": update.waba_id, "changes": []}
                if update.time is not None:
                    entry["time"] = update.time
                entries.append(entry)
            entries[-1]["changes"].append({"value": _value(update), "field": update.field})
        previous = update
    return {"object": "whatsapp_business_account", "entry": entries}


def encode(body: dict[str, Any]) -> bytes:
    """Meta's own form: unicode and `/ < % @` escaped, so that re-serialising breaks the signature."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=True)
    # Outside of strings JSON has none of these four, so they can be replaced in the text.
    text = text.replace("/", "\\/").replace("<", "\\u003C").replace("%", "\\u0025").replace("@", "\\u0040")
    return text.encode("ascii")


def signature(secret: bytes, raw: bytes) -> dict[str, str]:
    """The header that signs exactly these bytes."""
    return {_SIGNATURE_HEADER: "sha256=" + hmac.digest(secret, raw, "sha256").hex()}


def _share_change(left: Update, right: Update) -> bool:
    return (
        left.kind == right.kind
        and left.kind in ("statuses", "messages")
        and left.phone_number_id == right.phone_number_id
    )


def _value(update: Update) -> dict[str, Any]:
    if update.kind == "account":
        return update.item
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": update.display_phone_number,
            "phone_number_id": update.phone_number_id,
        },
    }
    _extend(value, update)
    return value


def _extend(value: dict[str, Any], update: Update) -> None:
    if update.contact is not None and update.contact not in value.get("contacts", ()):
        value.setdefault("contacts", []).append(update.contact)
    value.setdefault(update.kind, []).append(update.item)
