"""What router and sender say of their backlog, partition by partition, so that campaigns are released accordingly. Pure."""

from typing import NamedTuple

import msgspec


class Load(NamedTuple):
    """What one number has to send."""

    messages: int
    """In its queues, not at Meta."""
    per_s: int
    """So many may go in a second, as of now."""


class Note(msgspec.Struct, frozen=True, array_like=True):
    """One partition of a group's topic: its records below `offset` are done; `loads` by phone number id, of a moment when that held."""

    offset: int
    loads: dict[str, Load] = {}
