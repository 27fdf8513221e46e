"""The moves of a command through the journal, as the dispatch makes them: into a line, back to wait, to its outcome, to a tombstone."""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from services.sender import entry as entries
from services.sender.desk import Desk
from services.sender.entry import TOMBSTONE_MS, Stored, command_of, encode_entry
from services.sender.intake import CANCELLED, EXPIRY, QUEUES, UNREPORTED, in_queue, party, queue, unsent
from services.sender.journal import (
    DELAYED,
    LINED,
    PAIR_LIMIT,
    PAIRS,
    Claimed,
    Held,
    Place,
    Unclaimed,
    Write,
    line_member,
)
from services.sender.judge import Again, End
from services.sender.outcomes import Outcome
from shared.events import SendAccepted, SendMessage, encode
from shared.metrics import UNCERTAIN_SENDS

log = structlog.get_logger(__name__)

_KINDS = {"accepted": "SendAccepted", "failed": "SendFailed", "uncertain": "SendUncertain"}


class Records:
    """The journal of one partition, under the epoch a lane holds it with; `lost` is called when the journal no longer knows it."""

    def __init__(self, partition: int, epoch: int, desk: Desk, lost: Callable[[], Awaitable[None]]) -> None:
        self._partition = partition
        self._epoch = epoch
        self._desk = desk
        self._journal = desk.journal
        self._lost = lost

    async def claim(
        self, found: Stored, command: SendMessage, *, lined: bool
    ) -> tuple[Claimed | Held | Unclaimed, Stored]:
        """Take a command for its call: the answer, and the entry as it is now stored."""
        now_ms = self._desk.now_ms()
        new = entries.claimed(found.entry, self._epoch, now_ms)
        value = encode_entry(new)
        source, member = (LINED, _in_line(command)) if lined else (_queue(command), _in_queue(command))
        answer = await self._journal.claim(
            self._partition, self._epoch, found, value, source, member, _pair(command), now_ms
        )
        if isinstance(answer, Claimed):
            return answer, Stored(found.id, value, new)
        if answer == "lost":
            await self._lost()
        return answer, found

    async def still_claimed(self, found: Stored) -> bool:
        """Whether the claim stands: nobody has taken the partition over since."""
        return (
            await self._journal.write(self._partition, self._epoch, found.id, found.value, found.value)
            == "ok"
        )

    async def write(self, *writes: Write) -> None:
        """Make all of them, in one round trip."""
        if writes and "lost" in await self._journal.write_all(self._partition, self._epoch, writes):
            await self._lost()

    async def postpone(self, found: Stored, command: SendMessage, until_ms: int) -> None:
        """Set an unclaimed command aside until then."""
        queued, lined = (
            Place(_queue(command), _in_queue(command), None),
            Place(LINED, _in_line(command), None),
        )
        await self.write(moved(found.id, found, queued, lined, Place(DELAYED, found.id, until_ms)))

    async def again(self, found: Stored, command: SendMessage, judgement: Again, claim: Claimed) -> None:
        """Undo a claim whose message certainly did not go out."""
        now_ms, interval_ms = self._desk.now_ms(), int(PAIR_LIMIT.interval)
        places = [Place(UNREPORTED, found.id, None)]
        pair = judgement.pair and command.marks is None
        if judgement.delay_ms and not pair:
            places.append(Place(DELAYED, found.id, now_ms + judgement.delay_ms))
        else:
            places += _waiting(command)
        if pair:
            ahead_ms = interval_ms * (PAIR_LIMIT.burst - 1)
            places.append(Place(PAIRS, _pair(command), now_ms + judgement.delay_ms + ahead_ms))
        elif not judgement.called:
            places.append(Place(PAIRS, _pair(command), claim.pair_due_ms - interval_ms))
        value = encode_entry(entries.unclaimed(found.entry, command, called=judgement.called))
        await self._journal.write(self._partition, self._epoch_now(), found.id, found.value, value, places)

    async def end(self, found: Stored, end: End) -> None:
        """Record an outcome and report it."""
        await self.report([await self.record(found, end)])

    async def record(
        self, found: Stored, end: End, called: tuple[SendMessage, Claimed] | None = None
    ) -> Stored:
        """Write the outcome into the journal, before anybody is told. A message that was `called` may have arrived until now."""
        event = end.event
        wamid = event.wamid if isinstance(event, SendAccepted) else None
        new = entries.ended(found.entry, end.status, event.event_id, encode(event), wamid)
        value = encode_entry(new)
        places = [Place(unsent(found.entry.category), found.id, None)]
        if found.entry.unsent:
            command = command_of(found.entry)
            lined = Place(LINED, _in_line(command), None)
            places += [
                Place(_queue(command), _in_queue(command), None),
                Place(DELAYED, found.id, None),
                Place(CANCELLED, found.id, None),
                lined,
            ]
            places.append(Place(UNREPORTED, found.id, self._desk.now_ms()))
        if called is not None:
            places += self._arrived(*called)
        if end.status == "uncertain":
            UNCERTAIN_SENDS.inc()
        written = await self._journal.write(
            self._partition, self._epoch_now(), found.id, found.value, value, places
        )
        if (
            written != "ok"
        ):  # a new owner, or a lost journal, has written something: what we know is true all the same
            log.warning("outcome_not_journalled", command_id=found.id, verdict=written)
        self._desk.reached("recorded", found.id)
        return Stored(found.id, value, new)

    def _arrived(self, command: SendMessage, claim: Claimed) -> list[Place]:
        """The pair's limiter counts from the claim, Meta's from the arrival, which is no later than the answer: so then the next one is due that much later."""
        latest_due_ms = self._desk.now_ms() + int(PAIR_LIMIT.interval)
        return [Place(PAIRS, _pair(command), latest_due_ms)] if latest_due_ms > claim.pair_due_ms else []

    async def report(self, recorded: Sequence[Stored]) -> None:
        """Put recorded outcomes on Kafka, then leave only tombstones."""
        outcomes, tombstones = [], []
        for found in recorded:
            id, value, entry = found.id, found.value, found.entry
            outcomes.append(Outcome(entry.key, entry.outcome_id, entry.outcome or b"", _KINDS[entry.status]))
            places = (
                Place(UNREPORTED, id, None),
                Place(EXPIRY, id, entry.valid_until_ms + TOMBSTONE_MS),
            )
            tombstones.append(Write(id, value, encode_entry(entries.tombstone(entry)), places))
        await self._desk.outcomes.report(outcomes)
        for found in recorded:
            self._desk.reached("reported", found.id)
        await self._journal.write_all(self._partition, self._epoch_now(), tombstones)

    def _epoch_now(self) -> int:
        """The epoch we hold the partition with by now: a call may outlast the one it began under."""
        return self._desk.ownership.owned.get(self._partition, self._epoch)


def moved(id: str, found: Stored | None, *places: Place) -> Write:
    """A command between sets; its entry, if it has one, stays as it is."""
    value = b"" if found is None else found.value
    return Write(id, value, value, places)


def forgotten(found: Stored) -> Write:
    """An entry that nothing refers to any more."""
    places = (Place(EXPIRY, found.id, None), Place(UNREPORTED, found.id, None))
    return Write(found.id, found.value, b"", places)


def waiting_again(found: Stored) -> Write:
    """A command whose delay is over, back in its queue."""
    places = [Place(DELAYED, found.id, None)]
    if found.entry.unsent:
        places += _waiting(command_of(found.entry))
    return moved(found.id, found, *places)


def _queue(command: SendMessage) -> str:
    return queue(command.phone_number_id, command.priority)


def _in_queue(command: SendMessage) -> str:
    return in_queue(party(command), command.command_id)


def _pair(command: SendMessage) -> str:
    """Whose messages follow one another at a distance. A read mark is no message: it is a pair by itself, so it waits for none and holds up none."""
    pair = f"{command.phone_number_id}:{command.user}"
    return pair if command.marks is None else f"{pair}:{command.command_id}"


def _in_line(command: SendMessage) -> str:
    return line_member(
        command.phone_number_id, command.user, command.priority, command.at_ms, command.command_id
    )


def _waiting(command: SendMessage) -> list[Place]:
    """Where a waiting command stands: its queue, and the list of queues."""
    return [
        Place(_queue(command), _in_queue(command), command.at_ms),
        Place(QUEUES, f"{command.phone_number_id}:{command.priority}", command.at_ms),
    ]
