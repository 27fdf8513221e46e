"""What a body holds, read in another way than ingress reads it: how many records an answer of 200 must have left at least. Pure."""

import json
from typing import Any

_LISTS = {
    "whatsapp_business_account": ("changes",),
    "instagram": ("changes", "messaging", "standby"),
    "page": ("changes", "messaging", "standby"),
}


def least(body: bytes) -> int:
    """Of the updates in a body, so many at least must be on a topic; 0 where this naive reading knows nothing."""
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        return 0
    name = envelope.get("object") if isinstance(envelope, dict) else None
    if not isinstance(name, str) or name not in _LISTS:
        return 0
    entries = envelope.get("entry")
    if not isinstance(entries, list):
        return 1
    return sum(_of_entry(entry, _LISTS[name]) for entry in entries)


def _of_entry(entry: Any, names: tuple[str, ...]) -> int:
    """An entry without an id, or with none of the lists, is parked as a whole."""
    if not isinstance(entry, dict) or not _id(entry.get("id")) or not entry.keys() & set(names):
        return 1
    return sum(
        sum(map(_of_change, items)) if isinstance(items, list) else 1
        for name in names
        if (items := entry.get(name)) is not None
    )


def _of_change(change: Any) -> int:
    """At least itself, and each message and status of a number's webhook."""
    value = change.get("value") if isinstance(change, dict) else None
    if not isinstance(value, dict) or change.get("field") != "messages":
        return 1
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not _id(metadata.get("phone_number_id")):
        return 1
    lists = (value.get(name) for name in ("messages", "statuses"))
    return max(1, sum(len(items) for items in lists if isinstance(items, list)))


def _id(value: Any) -> bool:
    return bool(value) if isinstance(value, str) else isinstance(value, int) and not isinstance(value, bool)
