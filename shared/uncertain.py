"""Messages of which nobody knows whether they went out: how they stand in the router's index, and what becomes of them by themselves. Pure."""

from collections.abc import Collection
from typing import Final, Literal

import msgspec

from shared.events import Category

UNCERTAIN: Final = "uncertain"
"""Rank set of the router's partitions: every open one, by when it is looked at next (epoch ms)."""
WAIT_MS = 900_000
"""How long a message of unknown outcome waits for a status; Meta's statuses follow within seconds, its retries within minutes."""
LOOK_AGAIN_MS = 300_000
"""So often one is looked at that would be sent again, while statuses of its number are missing."""
MAX_ATTEMPTS = 2
"""Of those that may have gone out: what Meta certainly refused for now does not count."""
RESENT: tuple[Category, ...] = ("marketing", "utility", "service")
"""The categories that are sent once more by default. Not one-time passwords: a second one makes the first void, and the user asks for another anyway."""

Next = Literal["resend", "give_up"]


class Uncertain(msgspec.Struct, frozen=True, array_like=True):
    """One open message, as the index holds it: nothing here changes while it is open, but for `taken_back`.

    `deferrals`: how many of the attempts before it certainly did not go out.
    """

    phone_number_id: str
    user: str
    command_id: str
    category: Category
    cause: str
    since_ms: int
    valid_until_ms: int
    taken_back: bool = False
    deferrals: int = 0

    @property
    def request_id(self) -> str:
        """The request behind the command."""
        return self.command_id.rpartition("#")[0]

    @property
    def attempt(self) -> int:
        """Which attempt to send the request it is, from 1."""
        return int(self.command_id.rpartition("#")[2])

    @property
    def chances(self) -> int:
        """How many of the attempts so far may have gone out, this one among them."""
        return self.attempt - self.deferrals


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Uncertain).decode


def member_of(message: Uncertain) -> str:
    """Its member in the rank set; without deferrals the very bytes of the version before, whose members it must find."""
    row = msgspec.structs.astuple(message)
    return _encode(row if message.deferrals else row[:-1]).decode()


def of_member(member: bytes) -> Uncertain:
    """Read a member of the rank set; raises msgspec.MsgspecError."""
    return _decode(member)


def what_next(
    category: Category,
    chances: int,
    *,
    taken_back: bool,
    look_ms: int,
    valid_until_ms: int,
    resent: Collection[str],
) -> Next:
    """What becomes of an open message at its next look, if no status has told by then and those of later messages have come."""
    again = category in resent and chances < MAX_ATTEMPTS and not taken_back and look_ms < valid_until_ms
    return "resend" if again else "give_up"
