"""Who goes next on one number: by priority, then by age, one command per user at a time. Pure.

Of each user at most one message is in hand here, ready or in flight; the others wait in the user's line, in the journal. So a user who may not be
written to now holds up nobody, and a queue of any length costs a window's worth of memory. A read mark waits for no message; only what is to follow it waits for it, or
a typing indicator would come after what it announces.
"""

import heapq
from collections.abc import Container
from dataclasses import dataclass, field

from services.sender.entry import Stored
from services.sender.intake import party
from shared.events import SendMessage

Lot = tuple[int, bool]
"""What may be passed over together: the messages of one priority, and so of one category, or (True) the read marks."""
SLACK = 64
"""Beyond twice what is ready, a heap may hold so many that are ready no more: where a number is held, `best` never comes to the heaps of what is less urgent."""


@dataclass(slots=True, eq=False)
class Candidate:
    """A command in hand. `lined`: it stands in its user's line rather than in the number's queue."""

    found: Stored
    command: SendMessage
    lined: bool = False
    rank: tuple[int, int, str] = field(init=False)
    """Smaller goes first."""
    lot: Lot = field(init=False)
    party: str = field(init=False)

    def __post_init__(self) -> None:
        command = self.command
        self.rank = command.priority, command.at_ms, command.command_id
        self.lot = command.priority, command.marks is not None
        self.party = party(command)


@dataclass(slots=True)
class Schedule:
    """The window of one number. `lines`: users with commands in their line, and how many."""

    lines: dict[str, int] = field(default_factory=dict)
    _ready: dict[str, Candidate] = field(default_factory=dict)
    """By party, as what is flying and held."""
    _heaps: dict[Lot, list[tuple[tuple[int, int, str], int, Candidate]]] = field(default_factory=dict)
    """Ready commands by rank, and some that are ready no more."""
    _added: int = 0
    _flying: dict[str, Candidate] = field(default_factory=dict)
    _held: dict[str, int] = field(default_factory=dict)
    _queued: dict[int, set[str]] = field(default_factory=dict)
    _marks: dict[str, dict[str, Candidate]] = field(default_factory=dict)
    """Read marks in hand, by user and command id."""

    def behind(self, party: str, rank: tuple[int, int, str]) -> bool:
        """Whether a command of the queue has to step into its user's line: `offer` would say the same of it."""
        ready = self._ready.get(party)
        if ready is not None:
            return ready.rank < rank
        return self._taken(party) or bool(self.lines.get(party)) or self._follows_mark(party, rank)

    def offer(self, candidate: Candidate) -> Candidate | None:
        """Take in a command from the queue; return the one that must step into its user's line instead, if any does."""
        ready = self._ready.get(candidate.party)
        if ready is not None and candidate.rank < ready.rank:
            self._forget(ready)
            self._add(candidate)
            return None if ready.lined else ready
        if self.behind(candidate.party, candidate.rank):
            return candidate
        self._add(candidate)
        return None

    def lined_up(self, user: str) -> None:
        """A command has stepped into the user's line."""
        self.lines[user] = self.lines.get(user, 0) + 1

    def left_line(self, user: str) -> None:
        """A command of the user's line was claimed or ended."""
        left = self.lines.get(user, 0) - 1
        if left > 0:
            self.lines[user] = left
        else:
            self.lines.pop(user, None)

    def offer_head(self, candidate: Candidate) -> None:
        """Take in the head of a user's line, whose turn it is."""
        party = candidate.party
        if not (party in self._ready or self._taken(party) or self._follows_mark(party, candidate.rank)):
            candidate.lined = True
            self._add(candidate)

    def best(self, but: Container[Lot] = ()) -> Candidate | None:
        """The command that goes next, of any lot but these; it stays until `fly`."""
        first = []
        for lot, heap in self._heaps.items():
            while heap and not self._is_ready(heap[0][-1]):
                heapq.heappop(heap)
            if heap and lot not in but:
                first.append(heap[0])
        return min(first)[-1] if first else None

    def fly(self, candidate: Candidate) -> None:
        """The command is on its way; its user waits."""
        self._forget(candidate)
        self._flying[candidate.party] = candidate

    def land(self, candidate: Candidate, held_until_ms: int | None = None) -> None:
        """The command is done with, or gone back; its user may be held for a while."""
        self._flying.pop(candidate.party, None)
        self._let_go(candidate)
        if held_until_ms is not None:
            self._held[candidate.party] = held_until_ms

    def due(self, now_ms: int) -> list[str]:
        """Users whose line may be looked at now: not held any more, nothing in hand."""
        for user in [user for user, until in self._held.items() if until <= now_ms]:
            del self._held[user]
        return [
            u for u in self.lines if u not in self._held and u not in self._ready and u not in self._flying
        ]

    def before_others(self) -> list[Candidate]:
        """Ready commands that others of their user wait for."""
        return [ready for user in self.lines if (ready := self._ready.get(user)) is not None]

    def next_due_ms(self) -> int | None:
        """When the next held user comes free."""
        return min(self._held.values(), default=None)

    def withdraw(self, command: SendMessage) -> None:
        """Forget a command if it is ready: it ends otherwise."""
        ready = self._ready.get(party(command))
        if ready is not None and ready.found.id == command.command_id:
            self._forget(ready)
            self._let_go(ready)

    def window(self, priority: int) -> set[str]:
        """Ids of the ready commands that still stand in the number's queue of that priority."""
        return self._queued.get(priority, set())

    @property
    def flying(self) -> int:
        return len(self._flying)

    @property
    def idle(self) -> bool:
        """Nothing in hand and nobody waiting."""
        return not (self.lines or self._ready or self._flying or self._held)

    def _add(self, candidate: Candidate) -> None:
        self._ready[candidate.party] = candidate
        if candidate.command.marks is not None:
            self._marks.setdefault(candidate.command.user, {})[candidate.party] = candidate
        self._added += 1
        heap = self._heaps.setdefault(candidate.lot, [])
        if len(heap) > 2 * len(self._ready) + SLACK:
            heap[:] = [one for one in heap if self._is_ready(one[-1])]
            heapq.heapify(heap)
        heapq.heappush(heap, (candidate.rank, self._added, candidate))
        if not candidate.lined:
            self._queued.setdefault(candidate.command.priority, set()).add(candidate.found.id)

    def _forget(self, candidate: Candidate) -> None:
        del self._ready[candidate.party]
        if not candidate.lined:
            self._queued[candidate.command.priority].discard(candidate.found.id)

    def _let_go(self, candidate: Candidate) -> None:
        marks = self._marks.get(candidate.command.user)
        if marks is not None:
            marks.pop(candidate.party, None)
            if not marks:
                del self._marks[candidate.command.user]

    def _is_ready(self, candidate: Candidate) -> bool:
        return self._ready.get(candidate.party) is candidate

    def _taken(self, party: str) -> bool:
        return party in self._flying or party in self._held

    def _follows_mark(self, user: str, rank: tuple[int, int, str]) -> bool:
        return user in self._marks and any(mark.rank < rank for mark in self._marks[user].values())
