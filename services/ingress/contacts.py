"""The contacts of one webhook value, found by phone number or business-scoped id. Pure.

Source: Meta, webhooks, contacts; business-scoped user ids.
"""

from typing import Any

import msgspec
from msgspec import Raw

from services.ingress.updates import ABSENT, DAMAGE, field, loose, text
from shared.phone import canonical_user

_list = msgspec.json.Decoder(list[Raw]).decode


class Contacts:
    """What a value says of the people in it; a contact that can't be read costs itself only."""

    __slots__ = ("_contacts", "_named")

    def __init__(self, raw: Raw) -> None:
        read = loose(raw)
        if read is None and raw is not ABSENT:
            read = _one_by_one(raw)
        self._contacts: list[Any] = read if isinstance(read, list) else []
        self._named: dict[str, Any] | None = None

    def of(self, *names: str | None) -> Any:
        """The contact that bears one of these names, in whatever form, else None; the only contact where an item names nobody."""
        if not self._contacts:
            return None
        wanted = [name for name in names if name is not None]
        only = self._contacts[0] if len(self._contacts) == 1 else None
        if not wanted or (only is not None and field(only, "wa_id") in wanted):
            return only
        if self._named is None:
            self._named = _by_name(self._contacts)
        known = (self._named.get(canonical_user(name) or name) for name in wanted)
        return next((contact for contact in known if contact is not None), None)


def _by_name(contacts: list[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for contact in contacts:
        for name in (text(field(contact, "wa_id")), text(field(contact, "user_id"))):
            if name is not None:
                named.setdefault(canonical_user(name) or name, contact)
    return named


def _one_by_one(raw: Raw) -> list[Any]:
    try:
        return [loose(contact) for contact in _list(raw)]
    except DAMAGE:
        return []
