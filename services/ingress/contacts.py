"""The contacts of one webhook value, found by phone number or business-scoped id. Pure.

Source: Meta, webhooks, contacts; business-scoped user ids.
"""

from typing import Any

import msgspec
from msgspec import Raw

from services.ingress.updates import ABSENT, DAMAGE, field, loose, text

_list = msgspec.json.Decoder(list[Raw]).decode


class Contacts:
    """What a value says of the people in it; a contact that can't be read costs itself only."""

    __slots__ = ("_named", "_only")

    def __init__(self, raw: Raw) -> None:
        read = loose(raw)
        if read is None and raw is not ABSENT:
            read = _one_by_one(raw)
        contacts = read if isinstance(read, list) else []
        self._only = contacts[0] if len(contacts) == 1 else None
        self._named: dict[str, Any] = {}
        if self._only is None:
            for contact in contacts:
                for name in (text(field(contact, "wa_id")), text(field(contact, "user_id"))):
                    if name is not None:
                        self._named.setdefault(name, contact)

    def of(self, *names: str | None) -> Any:
        """The contact that bears one of these names, else None; `wa_id` and `from` need not match, so a single contact is taken as it is."""
        if self._only is not None or not self._named:
            return self._only
        return next((self._named[name] for name in names if name is not None and name in self._named), None)


def _one_by_one(raw: Raw) -> list[Any]:
    try:
        return [loose(contact) for contact in _list(raw)]
    except DAMAGE:
        return []
