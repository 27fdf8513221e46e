"""Contact cards. Pure. Source: Meta, Cloud API, contacts messages."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from shared.message_content.limits import MAX_CONTACTS, MAX_ENTRIES
from shared.message_content.parts import Part, Written
from shared.message_content.problems import broken

_NAMES = ("first_name", "last_name", "middle_name", "suffix", "prefix")


class Name(Part):
    """A person's name: as it is shown, and at least one of its parts."""

    formatted_name: Written
    first_name: str | None = None
    last_name: str | None = None
    middle_name: str | None = None
    suffix: str | None = None
    prefix: str | None = None

    @model_validator(mode="after")
    def _has_another(self) -> Self:
        if not any(getattr(self, name) for name in _NAMES):
            raise broken(f"one of {', '.join(_NAMES)} is required beside `formatted_name`")
        return self


class Organisation(Part):
    """Where somebody works."""

    company: str | None = None
    department: str | None = None
    title: str | None = None


Entries = Annotated[list[Part], Field(max_length=MAX_ENTRIES)]
"""Numbers, addresses and the like, of whatever form."""


class Contact(Part):
    """A contact card."""

    name: Name
    addresses: Entries | None = None
    birthday: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    emails: Entries | None = None
    org: Organisation | None = None
    phones: Entries | None = None
    urls: Entries | None = None


Contacts = Annotated[list[Contact], Field(min_length=1, max_length=MAX_CONTACTS)]
