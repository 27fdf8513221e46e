"""Which event may go next: events in the order of their topic in, of each key one at a time out; and how far a partition is done. Pure.

A lane is what waits of one key of one partition. A lane that is being delivered, or waits for its next try, holds up no other.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

R = TypeVar("R")
BATCH_BYTES = 1024 * 1024
"""A webhook of several events takes no more once it holds so much."""


class Place(NamedTuple):
    """A partition of a topic (by its full name)."""

    topic: str
    partition: int


@dataclass(slots=True, eq=False)
class Item(Generic[R]):
    """One event to deliver: where it stands, when Kafka got it (epoch ms), how many bytes it holds; `what` is the caller's own."""

    place: Place
    offset: int
    key: bytes
    at_ms: int
    size: int
    what: R
    tries: int = 0
    """Failed ones; begun anew when the endpoint as a whole is well again."""
    done: bool = False


@dataclass(slots=True, eq=False)
class _Lane(Generic[R]):
    items: deque[Item[R]] = field(default_factory=deque)
    taken: int = 0
    """So many of the first are being delivered."""
    left: int = 0
    """So many of those have no outcome yet."""
    due_ms: int | None = None
    """It waits in the heap until then."""


@dataclass(slots=True, eq=False)
class _Partition:
    """How far one partition is done.

    `next` is the offset after the last that was read; `open` begins with the first event that is not done (offset, time), `done` are those after it that are.
    """

    next: int
    open: deque[tuple[int, int]] = field(default_factory=deque)
    done: set[int] = field(default_factory=set)
    bytes: int = 0


class Lanes(Generic[R]):
    """All that one endpoint is still to be told, as far as it was read."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[Place, bytes], _Lane[R]] = {}
        self._partitions: dict[Place, _Partition] = {}
        self._fresh: deque[tuple[Place, bytes]] = deque()
        self._again: deque[tuple[Place, bytes]] = deque()
        self._waiting: list[tuple[int, int, Place, bytes]] = []
        self._pushed = 0

    # --- what was read

    def begin(self, place: Place, offset: int) -> None:
        """A partition is read from here."""
        self._partitions[place] = _Partition(offset)

    def read(self, place: Place, offset: int, item: Item[R] | None) -> None:
        """The record at `offset` was read, and is the item, or of no concern (None). Records of unknown partitions are passed over."""
        partition = self._partitions.get(place)
        if partition is None:
            return
        partition.next = offset + 1
        if item is None:
            return
        partition.open.append((offset, item.at_ms))
        partition.bytes += item.size
        at = (place, item.key)
        lane = self._lanes.get(at)
        if lane is None:
            lane = self._lanes[at] = _Lane()
            self._fresh.append(at)
        lane.items.append(item)

    def forget(self, place: Place) -> None:
        """The partition is another's now; what is under way of it matters no more."""
        if self._partitions.pop(place, None) is None:
            return
        for at in [at for at in self._lanes if at[0] == place]:
            for item in self._lanes.pop(at).items:
                item.done = True

    def __contains__(self, place: Place) -> bool:
        return place in self._partitions

    @property
    def places(self) -> Iterator[Place]:
        """The partitions that are read."""
        return iter(self._partitions)

    def low_water(self, place: Place) -> int:
        """The first offset that is not done: what Kafka is told, and where a new process begins."""
        partition = self._partitions[place]
        return partition.open[0][0] if partition.open else partition.next

    def held(self, place: Place) -> tuple[int, int]:
        """How many events were read from the first on that is not done, and the bytes of those that are not."""
        partition = self._partitions.get(place)
        return (0, 0) if partition is None else (len(partition.open), partition.bytes)

    def oldest_ms(self) -> int | None:
        """When Kafka got the oldest event that is not done."""
        return min((p.open[0][1] for p in self._partitions.values() if p.open), default=None)

    # --- what may go

    def take(self, most: int, now_ms: int) -> list[Item[R]]:
        """The next events, `most` at most, whose outcome is to be told to `done` or `again`. One that failed before goes alone."""
        self._wake(now_ms)
        taken: list[Item[R]] = []
        size = 0
        while len(taken) < most and size < BATCH_BYTES:
            found = self._next(self._again) or self._next(self._fresh)
            if found is None:
                break
            at, lane = found
            alone = lane.items[0].tries > 0
            if alone and taken:
                self._again.appendleft(at)
                break
            started = self._start(lane, 1 if alone else most - len(taken))
            taken += started
            size += sum(item.size for item in started)
            if alone:
                break
        return taken

    def probe(self) -> list[Item[R]]:
        """One event, even if it waits: of a key that has not failed if there is one, else the one that waited longest for a try."""
        found = self._next(self._fresh) or self._next(self._again)
        while found is None and self._waiting:
            due_ms, _, place, key = heapq.heappop(self._waiting)
            lane = self._lanes.get((place, key))
            if lane is not None and lane.due_ms == due_ms and not lane.taken:
                found = (place, key), lane
        return [] if found is None else self._start(found[1], 1)

    def due_ms(self) -> int | None:
        """When the next event that waits for a try is due (epoch ms)."""
        return self._waiting[0][0] if self._waiting else None

    @property
    def idle(self) -> bool:
        """Whether nothing waits, or all of it is under way."""
        return not (self._fresh or self._again or self._waiting)

    # --- what became of it

    def finish(self, item: Item[R]) -> None:
        """It is delivered, or parked."""
        if item.done:
            return
        item.done = True
        partition = self._partitions[item.place]
        partition.bytes -= item.size
        partition.done.add(item.offset)
        while partition.open and partition.open[0][0] in partition.done:
            partition.done.discard(partition.open.popleft()[0])
        self._settle(item, None)

    def again(self, item: Item[R], due_ms: int) -> None:
        """It is to be tried again, not before `due_ms`."""
        if not item.done:
            self._settle(item, due_ms)

    def all_at_once(self) -> None:
        """All that waits for a try may go now, as if it had never failed."""
        self._wake(None)
        for at in self._again:
            lane = self._lanes.get(at)
            for item in () if lane is None else lane.items:
                if not item.tries:
                    break
                item.tries = 0
        self._fresh.extendleft(reversed(self._again))
        self._again.clear()

    # ---

    def _settle(self, item: Item[R], due_ms: int | None) -> None:
        at = (item.place, item.key)
        lane = self._lanes[at]
        lane.left -= 1
        if due_ms is not None:
            lane.due_ms = due_ms if lane.due_ms is None else max(lane.due_ms, due_ms)
        if lane.left:
            return
        lane.taken = 0
        while lane.items and lane.items[0].done:
            lane.items.popleft()
        if not lane.items:
            del self._lanes[at]
        elif lane.due_ms is not None:
            self._pushed += 1
            heapq.heappush(self._waiting, (lane.due_ms, self._pushed, *at))
        else:
            self._fresh.append(at)

    def _wake(self, now_ms: int | None) -> None:
        while self._waiting and (now_ms is None or self._waiting[0][0] <= now_ms):
            due_ms, _, place, key = heapq.heappop(self._waiting)
            lane = self._lanes.get((place, key))
            if lane is not None and lane.due_ms == due_ms and not lane.taken:
                lane.due_ms = None
                self._again.append((place, key))

    def _next(self, queue: deque[tuple[Place, bytes]]) -> tuple[tuple[Place, bytes], _Lane[R]] | None:
        while queue:
            at = queue.popleft()
            lane = self._lanes.get(at)
            if lane is not None and not lane.taken:
                return at, lane
        return None

    def _start(self, lane: _Lane[R], most: int) -> list[Item[R]]:
        taken, size = [], 0
        for item in islice(lane.items, most):
            taken.append(item)
            size += item.size
            if size >= BATCH_BYTES:
                break
        lane.taken = lane.left = len(taken)
        lane.due_ms = None
        return taken
