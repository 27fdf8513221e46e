"""The journal's entry of one command: what has happened to it, in a form both intake and dispatch read and write. Pure."""

from typing import Literal

import msgspec

from shared.events import Category, SendMessage, decode_command, encode

EntryStatus = Literal["queued", "claimed", "accepted", "failed", "uncertain"]

TOMBSTONE_MS = 3_600_000
"""How long beyond `valid_until` a finished command is remembered. A repetition that comes later is out of date anyway; it must
outlast the router's own deadline."""
ROUTER_DEADLINE_MS = 900_000
"""The router gives up on a command this long after its `valid_until` (services/router); later reports change nothing."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One command in the journal.

    A queued entry holds the command; a claimed one does not, for nobody else may send it; one whose outcome is known but not yet on Kafka holds that
    event as `outcome`; a finished one only stops repetitions.
    """

    status: EntryStatus
    valid_until_ms: int
    key: str = ""
    """Conversation key: where the outcome is reported."""
    category: Category = "service"
    command: bytes | None = None
    outcome: bytes | None = None
    outcome_id: str = ""
    wamid: str | None = None
    attempts: int = 0
    epoch: int = 0
    """Of the owner that claimed it."""
    claimed_ms: int = 0
    v: int = 1

    @property
    def unsent(self) -> bool:
        """Whether it waits to be sent."""
        return self.status == "queued"

    @property
    def finished(self) -> bool:
        """Whether its outcome has been reported: a tombstone."""
        return self.key == ""


class Stored(msgspec.Struct, frozen=True):
    """An entry and the very bytes it was read from, which later writes compare with."""

    id: str
    value: bytes
    entry: Entry


encode_entry = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(Entry).decode


def queued(command: SendMessage) -> Entry:
    """The entry of a command that has just come in."""
    return Entry(
        status="queued",
        valid_until_ms=command.valid_until_ms,
        key=command.conversation_key,
        category=command.category,
        command=encode(command),
    )


def maybe_sent(command: SendMessage) -> Entry:
    """The entry of a command that was taken in before the journal was lost: it may have gone out, so it never goes out again."""
    return Entry(
        status="uncertain",
        valid_until_ms=command.valid_until_ms,
        key=command.conversation_key,
        category=command.category,
    )


def claimed(entry: Entry, epoch: int, now_ms: int) -> Entry:
    """The entry while its call is made."""
    return msgspec.structs.replace(
        entry, status="claimed", command=None, epoch=epoch, claimed_ms=now_ms, attempts=entry.attempts + 1
    )


def unclaimed(entry: Entry, command: SendMessage, *, called: bool) -> Entry:
    """Back in the queue; `called` says whether the attempt counts."""
    attempts = entry.attempts if called else entry.attempts - 1
    return msgspec.structs.replace(
        entry, status="queued", command=encode(command), epoch=0, claimed_ms=0, attempts=attempts
    )


def ended(
    entry: Entry,
    status: Literal["accepted", "failed", "uncertain"],
    outcome_id: str,
    outcome: bytes,
    wamid: str | None = None,
) -> Entry:
    """The entry once its outcome is known, with the event that reports it."""
    return msgspec.structs.replace(
        entry, status=status, outcome_id=outcome_id, outcome=outcome, wamid=wamid, command=None
    )


def tombstone(entry: Entry) -> Entry:
    """What stays of a reported entry."""
    return Entry(status=entry.status, valid_until_ms=entry.valid_until_ms, category=entry.category)


def command_of(entry: Entry) -> SendMessage:
    """The command of a queued entry (ValueError for any other)."""
    if entry.command is None:
        raise ValueError(f"a {entry.status} entry holds no command")
    return decode_command(entry.command)
