"""What a body holds, read in another way than ingress reads it: how many records an answer of 200 must have left at least. Pure."""

import json
from collections.abc import Collection
from typing import Any

from shared.ids import BUSINESS_ACCOUNT_OBJECT

_LISTS = {
    BUSINESS_ACCOUNT_OBJECT: ("changes",),
    "instagram": ("changes", "messaging", "standby"),
    "page": ("changes", "messaging", "standby"),
}


def least(body: bytes, parked: Collection[str] = ()) -> int:
    """Of the updates in a body, so many at least must be on a topic; 0 where this naive reading knows nothing.

    `parked` are the places that went to the dead letters: what is parked whole counts once, whatever it holds.
    """
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        return 0
    name = envelope.get("object") if isinstance(envelope, dict) else None
    if not isinstance(name, str) or name not in _LISTS:
        return 0
    entries = envelope.get("entry")
    if not isinstance(entries, list) or "entry" in parked:
        return 1
    return sum(_of_entry(entry, name, f"entry/{nth}", parked) for nth, entry in enumerate(entries))


def _of_entry(entry: Any, name: str, place: str, parked: Collection[str]) -> int:
    """An entry without an id, or with none of the lists, is parked as a whole."""
    lists = _LISTS[name]
    if (
        place in parked
        or not isinstance(entry, dict)
        or not _id(entry.get("id"))
        or not entry.keys() & set(lists)
    ):
        return 1
    found = 0
    for each in lists:
        items = entry.get(each)
        if isinstance(items, list) and name == BUSINESS_ACCOUNT_OBJECT:
            found += sum(
                1 if f"{place}/{each}/{nth}" in parked else _of_change(item) for nth, item in enumerate(items)
            )
        elif items is not None:
            found += len(items) if isinstance(items, list) else 1
    return found


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
