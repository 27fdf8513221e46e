"""What is due when: items in the order of their time, then of their entry. Pure."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Agenda(Generic[T]):
    """Items with a due time in epoch seconds."""

    _heap: list[tuple[float, int, T]] = field(default_factory=list)
    _entered: int = 0

    def add(self, due: float, item: T) -> None:
        """Enter an item."""
        self._entered += 1
        heapq.heappush(self._heap, (due, self._entered, item))

    def release(self, now: float) -> Iterator[tuple[float, T]]:
        """Take out what is due, in order, with its due time; items entered meanwhile are seen too."""
        while self._heap and self._heap[0][0] <= now:
            due, _, item = heapq.heappop(self._heap)
            yield due, item

    @property
    def next_due(self) -> float | None:
        """When the first item is due."""
        return self._heap[0][0] if self._heap else None

    def due_by(self, at: float) -> int:
        """How many items are due at `at` or before."""
        return sum(due <= at for due, _, _ in self._heap)

    def clear(self) -> None:
        """Forget all items."""
        self._heap.clear()

    def __len__(self) -> int:
        return len(self._heap)
