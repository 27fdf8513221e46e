"""What waits in one partition of the bulk topic: a queue per number, of which the first few requests are at hand and the others are known by their offsets. Pure."""

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

AT_HAND = 200
"""Requests of one queue that are in memory."""
_SPENT = 4096
"""So many offsets that are done with may lie at the front of a queue."""


class Row(Protocol):
    """A record of the topic."""

    @property
    def offset(self) -> int: ...


@dataclass(slots=True, eq=False)
class Queue:
    """The requests of one number, in their order; `rows` holds the first of them."""

    number: str
    rows: deque[Row] = field(default_factory=deque)
    _offsets: "array[int]" = field(default_factory=lambda: array("q"))
    _done: int = 0

    def __len__(self) -> int:
        return len(self._offsets) - self._done

    @property
    def first(self) -> int:
        """The offset of the first request; IndexError when there is none."""
        return self._offsets[self._done]

    @property
    def next_to_read(self) -> int | None:
        """The offset of the first request that is not at hand."""
        at = self._done + len(self.rows)
        return self._offsets[at] if at < len(self._offsets) else None

    def add(self, row: Row, *, keep: bool) -> None:
        """A request that comes after all others; kept at hand if wished, and if those before it are."""
        if keep and self.next_to_read is None and len(self.rows) < AT_HAND:
            self.rows.append(row)
        self._offsets.append(row.offset)

    def read_again(self, row: Row) -> None:
        """Keep the request that is the next one to be at hand."""
        self.rows.append(row)

    def drop_unread(self, below: int) -> int:
        """Give up requests that are not at hand and that the topic does not hold any more; how many."""
        begin = end = self._done + len(self.rows)
        while end < len(self._offsets) and self._offsets[end] < below:
            end += 1
        del self._offsets[begin:end]
        return end - begin

    def take(self) -> Row:
        """The first request, which is at hand; it is done with."""
        row = self.rows.popleft()
        self._done += 1
        if self._done > _SPENT:
            del self._offsets[: self._done]
            self._done = 0
        return row


class Held:
    """The queues of one partition. `position` is the next offset to look at."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.queues: dict[str, Queue] = {}

    def __len__(self) -> int:
        return sum(map(len, self.queues.values()))

    @property
    def at_hand(self) -> int:
        """Requests in memory."""
        return sum(len(queue.rows) for queue in self.queues.values())

    @property
    def low_water(self) -> int:
        """Everything below this offset is done with."""
        return min((queue.first for queue in self.queues.values()), default=self.position)

    def add(self, number: str, row: Row, *, keep: bool) -> None:
        """A request that was not looked at before."""
        queue = self.queues.get(number)
        if queue is None:
            queue = self.queues[number] = Queue(number)
        queue.add(row, keep=keep)
        self.position = row.offset + 1

    def pass_over(self, offset: int) -> None:
        """A record that is done with already."""
        self.position = offset + 1

    def read_again(self, rows: Sequence[Row]) -> None:
        """Requests that were looked at before: those are kept that their queue has at hand next."""
        hungry = {queue.next_to_read: queue for queue in self.queues.values() if len(queue.rows) < AT_HAND}
        for row in rows:
            queue = hungry.pop(row.offset, None)
            if queue is not None:
                queue.read_again(row)
                if len(queue.rows) < AT_HAND:
                    hungry[queue.next_to_read] = queue

    def drop_unread(self, below: int) -> int:
        """Give up what is not at hand and can't be read any more; how many requests."""
        return sum(queue.drop_unread(below) for queue in self.queues.values())

    def drop_empty(self) -> None:
        """Forget the numbers of which nothing waits."""
        for number in [number for number, queue in self.queues.items() if not len(queue)]:
            del self.queues[number]

    def let_go(self, has_room: Callable[[str], bool]) -> None:
        """Keep at hand nothing of numbers that have no room: it can be read again."""
        for queue in self.queues.values():
            if not has_room(queue.number):
                queue.rows.clear()

    def wanted(self, has_room: Callable[[str], bool]) -> int | None:
        """Where to read again: the first request that could go soon and is not at hand."""
        return min(
            (
                offset
                for queue in self.queues.values()
                if len(queue.rows) < AT_HAND // 2
                and (offset := queue.next_to_read) is not None
                and has_room(queue.number)
            ),
            default=None,
        )


def in_turn(queues: list[Queue], room: Callable[[str], int], most: int) -> Iterator[tuple[Queue, Row]]:
    """Take one request of each queue in turn, while its number has room, until there are `most` of them or no more; the first queue is the first to be asked."""
    left = {queue.number: room(queue.number) for queue in queues}
    while most > 0:
        before = most
        for queue in queues:
            if queue.rows and left[queue.number] > 0 and most > 0:
                left[queue.number] -= 1
                most -= 1
                yield queue, queue.take()
        if most == before:
            return
