"""Intake: send commands in, journal entries and queue places out. Pure.

A command id is taken in once; a repetition changes nothing. Commands replayed because the journal was lost may have been sent already: they are
journalled as uncertain and only reported.
"""

from typing import Final

from services.sender.entry import Entry, decode_entry, encode_entry, maybe_sent, queued
from shared.accounts import AccountFacts
from shared.events import CancelMessage, SendCommand, SendMessage, decode_send_command
from shared.stream.fold import Grants, Outgoing, Rank, Step

QUEUES: Final = "queues"
"""Rank set: every `{phone_number_id}:{priority}` that may have commands waiting."""
EXPIRY: Final = "expiry"
"""Rank set: command ids by when they are looked at next: a waiting one to expire, a tombstone to be dropped."""
UNREPORTED: Final = "unreported"
"""Rank set: command ids that are claimed, or whose outcome is not on Kafka yet."""
CANCELLED: Final = "cancelled"
"""Rank set: command ids that were taken back, by when; the dispatch ends those that have not gone out."""


def queue(phone_number_id: str, priority: int) -> str:
    """Name of the rank set of waiting commands (`in_queue`), by the time they were decided."""
    return f"queue:{phone_number_id}:{priority}"


def party(command: SendMessage) -> str:
    """Whose commands go one at a time: the user's; a read mark goes by itself."""
    return command.user if command.marks is None else command.command_id


def in_queue(party: str, command_id: str) -> str:
    """A command in its queue: whose it is can be seen without looking it up."""
    return f"{party}|{command_id}"


def unsent(category: str) -> str:
    """Name of the rank set of commands without an outcome, by the time they were decided."""
    return f"unsent:{category}"


class Intake:
    """The fold of `send.commands`; its state key is the command id."""

    def decode(self, value: bytes) -> SendCommand:
        event: SendCommand = decode_send_command(value)
        return event

    def key(self, record_key: str, event: SendCommand) -> str:
        return event.command_id

    def fold(
        self, state: Entry | None, event: SendCommand, facts: AccountFacts, grants: Grants
    ) -> Step[Entry]:
        """Queue a new command, note what is taken back; see a known command and do nothing."""
        if isinstance(event, CancelMessage):
            over = state is None or state.finished
            return Step(state, ranks=() if over else (Rank(CANCELLED, event.command_id, event.at_ms),))
        if state is not None:
            return Step(state)
        if grants.recalled is not None:
            return Step(
                maybe_sent(event),
                ranks=(
                    Rank(UNREPORTED, event.command_id, event.at_ms),
                    Rank(EXPIRY, event.command_id, event.valid_until_ms),
                ),
            )
        number, priority = event.phone_number_id, event.priority
        return Step(
            queued(event),
            ranks=(
                Rank(queue(number, priority), in_queue(party(event), event.command_id), event.at_ms),
                Rank(QUEUES, f"{number}:{priority}", event.at_ms),
                Rank(unsent(event.category), event.command_id, event.at_ms),
                Rank(EXPIRY, event.command_id, event.valid_until_ms),
            ),
        )

    def malformed(self, record_key: str, value: bytes, reason: str) -> tuple[Outgoing, ...]:
        """Nothing: the router wrote it, so the dead letter is a fault of ours to look into."""
        return ()

    def encode_state(self, state: Entry) -> bytes:
        return encode_entry(state)

    def decode_state(self, value: bytes) -> Entry:
        return decode_entry(value)
