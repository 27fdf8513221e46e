"""How many more requests may be released, number by number and in all, from what router and sender have noted. Pure.

A request is *out* from its release until it has gone to Meta or is ended. On its way it is counted here, in two stretches: until the router has decided it (its
partition is worked off beyond it), then until the sender has taken in whatever the router made of it (the number's partition is worked off beyond where it ended when the
decision was seen). From there on the sender's own note counts it. Each stretch errs to the side of counting too long, never too short.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.backlog import Note

PATIENCE_S = 0.7
"""A decision that is longer in coming shows that the router has more than it can do at once: then less is asked of it. A look and a note, some 0.3 s, are in it."""
FEWEST, MOST = 100, 5_000
"""Undecided requests of one process, at least and at most: what a router does in some 20 ms, and in PATIENCE_S at its fastest (docs/decisions/0008)."""
_FIRST = 300
_STEP = 50
_CUT = 0.5


class _Stretch(NamedTuple):
    """Requests of one number on their way: over when its partition is worked off up to `offset`."""

    offset: int
    number: str
    requests: int
    since_s: float


class Ends(NamedTuple):
    """Where the partitions end, read after the notes."""

    conversation_events: Mapping[int, int]
    send_commands: Mapping[int, int]


@dataclass(slots=True)
class Flow:
    """What one process has released.

    Args:
        horizon_s: so many seconds' worth of what a number can send may be out at once.
        commands_of: the partition of `send.commands` that a number's commands are in.
    """

    horizon_s: float
    commands_of: Callable[[str], int]
    most_undecided: int = _FIRST
    undecided: int = 0
    _fresh: Counter[tuple[int, str]] = field(default_factory=Counter)
    _to_router: dict[int, deque[_Stretch]] = field(default_factory=dict)
    _to_sender: dict[int, deque[_Stretch]] = field(default_factory=dict)
    _on_the_way: Counter[str] = field(default_factory=Counter)
    _noted: Mapping[int, Note] = field(default_factory=dict)
    _wanted_more: bool = False
    _cut_s: float = 0.0

    def released(self, number: str, partition: int) -> None:
        """A request of `number` is on `partition` of `conversation.events`."""
        self._fresh[partition, number] += 1
        self._on_the_way[number] += 1
        self.undecided += 1

    def looked(
        self, router: Mapping[int, Note], sender: Mapping[int, Note], ends: Ends, now_s: float
    ) -> None:
        """Take in the latest notes, and then the ends, which were read after them."""
        for (partition, number), requests in self._fresh.items():
            stretch = _Stretch(ends.conversation_events[partition], number, requests, now_s)
            self._to_router.setdefault(partition, deque()).append(stretch)
        self._fresh.clear()
        for partition, note in router.items():
            for stretch in _over(self._to_router.get(partition), note.offset):
                self.undecided -= stretch.requests
                home = self.commands_of(stretch.number)
                end = ends.send_commands[home]
                self._to_sender.setdefault(home, deque()).append(stretch._replace(offset=end))
        for partition, note in sender.items():
            for stretch in _over(self._to_sender.get(partition), note.offset):
                self._on_the_way[stretch.number] -= stretch.requests
                if not self._on_the_way[stretch.number]:
                    del self._on_the_way[stretch.number]
        self._noted = sender
        self._adapt(now_s)

    def room(self, number: str, throughput: int) -> int:
        """How many more requests of a number may be released; 0 while nobody says what waits for it at the sender.

        `throughput` is what Meta allows it in a second, where the sender has nothing to say of it.
        """
        note = self._noted.get(self.commands_of(number))
        if note is None:
            return 0
        load = note.loads.get(number)
        waiting, per_s = load or (0, throughput)
        return max(0, int(self.horizon_s * per_s) - waiting - self._on_the_way[number])

    def room_in_all(self) -> int:
        """How many more requests, of whatever numbers, the router may be asked to decide."""
        room = max(0, self.most_undecided - self.undecided)
        self._wanted_more = self._wanted_more or room == 0
        return room

    def _adapt(self, now_s: float) -> None:
        """Ask less of a router that is slow to decide, and more, little by little, of one that is not."""
        oldest_s = min((queue[0].since_s for queue in self._to_router.values() if queue), default=now_s)
        if now_s - oldest_s > PATIENCE_S:
            if now_s - self._cut_s > PATIENCE_S:
                self.most_undecided = max(FEWEST, int(self.most_undecided * _CUT))
                self._cut_s = now_s
        elif self._wanted_more:
            self.most_undecided = min(MOST, self.most_undecided + _STEP)
        self._wanted_more = False


def _over(queue: deque[_Stretch] | None, offset: int) -> list[_Stretch]:
    over = []
    while queue and queue[0].offset <= offset:
        over.append(queue.popleft())
    return over
