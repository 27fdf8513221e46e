"""Who goes next on one number: by priority, then by age, one command per user at a time. Pure.

Of each user at most one command is in hand here, ready or in flight; the others wait in the user's line, in the journal. So a user who may not be
written to now holds up nobody, and a queue of any length costs a window's worth of memory.
"""

import heapq
from collections.abc import Container
from dataclasses import dataclass, field

from services.sender.entry import Stored
from shared.events import SendMessage

SLACK = 64
"""Beyond twice what is ready, a heap may hold so many that are ready no more: where a number is held, `best` never comes to the heaps of what is less urgent."""


@dataclass(slots=True, eq=False)
class Candidate:
    """A command in hand. `lined`: it stands in its user's line rather than in the number's queue."""

    found: Stored
    command: SendMessage
    lined: bool = False

    @property
    def rank(self) -> tuple[int, int, str]:
        """Smaller goes first."""
        return self.command.priority, self.command.at_ms, self.command.command_id

    @property
    def user(self) -> str:
        return self.command.user


@dataclass(slots=True)
class Schedule:
    """The window of one number. `lines`: users with commands in their line, and how many."""

    lines: dict[str, int] = field(default_factory=dict)
    _ready: dict[str, Candidate] = field(default_factory=dict)
    _heaps: dict[int, list[tuple[int, str, int, Candidate]]] = field(default_factory=dict)
    """By priority, ascending: ready commands, the oldest first, and some that are ready no more."""
    _added: int = 0
    _flying: dict[str, Candidate] = field(default_factory=dict)
    _held: dict[str, int] = field(default_factory=dict)
    _queued: dict[int, set[str]] = field(default_factory=dict)

    def behind(self, user: str, rank: tuple[int, int, str]) -> bool:
        """Whether a command of the queue has to step into its user's line: `offer` would say the same of it."""
        ready = self._ready.get(user)
        if ready is not None:
            return ready.rank < rank
        return user in self._flying or user in self._held or bool(self.lines.get(user))

    def offer(self, candidate: Candidate) -> Candidate | None:
        """Take in a command from the queue; return the one that must step into its user's line instead, if any does."""
        user = candidate.user
        ready = self._ready.get(user)
        if ready is not None and candidate.rank < ready.rank:
            self._forget(ready)
            self._add(candidate)
            return None if ready.lined else ready
        if self.behind(user, candidate.rank):
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
        user = candidate.user
        if user not in self._ready and user not in self._flying and user not in self._held:
            candidate.lined = True
            self._add(candidate)

    def best(self, but: Container[int] = ()) -> Candidate | None:
        """The command that goes next, of any priority but these; it stays until `fly`."""
        for priority, heap in self._heaps.items():
            while heap:
                candidate = heap[0][-1]
                if self._ready.get(candidate.user) is not candidate:
                    heapq.heappop(heap)
                elif priority in but:
                    break
                else:
                    return candidate
        return None

    def fly(self, candidate: Candidate) -> None:
        """The command is on its way; its user waits."""
        self._forget(candidate)
        self._flying[candidate.user] = candidate

    def land(self, candidate: Candidate, held_until_ms: int | None = None) -> None:
        """The command is done with, or gone back; its user may be held for a while."""
        self._flying.pop(candidate.user, None)
        if held_until_ms is not None:
            self._held[candidate.user] = held_until_ms

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

    def withdraw(self, user: str, command_id: str) -> None:
        """Forget a command if it is ready: it ends otherwise."""
        ready = self._ready.get(user)
        if ready is not None and ready.found.id == command_id:
            self._forget(ready)

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
        self._ready[candidate.user] = candidate
        self._added += 1
        priority, at_ms, id = candidate.rank
        if priority not in self._heaps:
            self._heaps = dict(sorted({**self._heaps, priority: []}.items()))
        heap = self._heaps[priority]
        if len(heap) > 2 * len(self._ready) + SLACK:
            heap[:] = [one for one in heap if self._ready.get(one[-1].user) is one[-1]]
            heapq.heapify(heap)
        heapq.heappush(heap, (at_ms, id, self._added, candidate))
        if not candidate.lined:
            self._queued.setdefault(candidate.command.priority, set()).add(candidate.found.id)

    def _forget(self, candidate: Candidate) -> None:
        del self._ready[candidate.user]
        if not candidate.lined:
            self._queued[candidate.command.priority].discard(candidate.found.id)
