"""The contacts of one webhook value, found by phone number or business-scoped id. Pure.

Source: Meta, webhooks, contacts; business-scoped user ids.
"""

from typing import Any

import msgspec
from msgspec import Raw

from services.ingress.updates import ABSENT, DAMAGE, field, loose, text
from shared.phone import canonical_user, is_bsuid

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
        """The contact that bears one of these names, in whatever form, else None.

        A single contact is also that of an item that names nobody, or names them in a form in which the contact has no name.
        """
        if not self._contacts:
            return None
        only = self._contacts[0] if len(self._contacts) == 1 else None
        if only is not None and field(only, "wa_id") in names:
            return only
        if self._named is None:
            self._named = _by_name(self._contacts)
        wanted = [canonical_user(name) or name for name in names if name is not None]
        for name in wanted:
            if name in self._named:
                return self._named[name]
        kinds = set(map(is_bsuid, self._named))
        return None if kinds.intersection(map(is_bsuid, wanted)) else only


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
