"""Folds the records of one batch of one partition, holding back the keys whose claims are not answered yet. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from shared.events import TimerFired
from shared.stream.fold import Claim, Fold, Grant, Grants, Outgoing, Owned, Release, Step

S = TypeVar("S")
E = TypeVar("E")
F = TypeVar("F")

TIMERS = "timers"
"""The sorted set of a partition's timers; members are the state key, a line feed and the timer's name."""


@dataclass(slots=True)
class Changes:
    """All that one batch changes in a partition's state."""

    states: dict[str, bytes] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    ranks: list[tuple[str, str, int, str]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Item(Generic[E]):
    """One decoded record on its way through the fold; `asking` while it waits for answers."""

    source: Any
    key: str
    event: E
    grants: Grants
    asking: Step[Any] | None = None


@dataclass(slots=True, eq=False)
class Folding(Generic[S, E, F]):
    """The batch in the making.

    `feed` folds what can be folded; while `wanted` is not empty, ask those claims and `answer`. Then read the results: `states` by key (None: forgotten),
    `out` and `poisoned` by source offset, `ranks`, `releases` and `fired` timers in order.
    """

    fold: Fold[S, E, F]
    facts: F
    states: dict[str, S | None]
    wanted: list[Claim | Owned] = field(default_factory=list)
    out: dict[int, tuple[Any, tuple[Outgoing, ...]]] = field(default_factory=dict)
    poisoned: dict[int, tuple[Any, str]] = field(default_factory=dict)
    ranks: list[tuple[str, str, int, str]] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    fired: list[str] = field(default_factory=list)
    _held: dict[str, list[Item[E]]] = field(default_factory=dict)

    def feed(self, items: Iterable[Item[E]]) -> None:
        """Fold these records, in the order given; a key that waits for claims holds back its later records."""
        for item in items:
            held = self._held.get(item.key)
            if held is not None:
                held.append(item)
                continue
            try:
                step = self.fold.fold(self.states.get(item.key), item.event, self.facts, item.grants)
            except Exception as error:  # noqa: BLE001 the fold's own fault or the record's: it is parked, its state untouched
                self.poisoned[item.source.offset] = (item.source, f"{type(error).__name__}: {error}")
                continue
            if step.claims:
                item.asking = step
                self._held[item.key] = [item]
                self.wanted += step.claims
            else:
                self._apply(item, step)

    def answer(self, answers: Mapping[str, Grant]) -> None:
        """Fold again what waited, now with the answers to its claims."""
        held, self._held, self.wanted = self._held, {}, []
        for items in held.values():
            first = items[0]
            if first.asking is not None:
                own = {claim.id: answers[claim.id] for claim in first.asking.claims}
                known = first.grants
                first.grants = Grants({**known.answers, **own}, known.recalled, first.asking.work)
            self.feed(items)

    def _apply(self, item: Item[E], step: Step[S]) -> None:
        self.states[item.key] = step.state
        if step.out:
            self.out[item.source.offset] = (item.source, step.out)
        if isinstance(item.event, TimerFired):
            member = f"{item.key}\n{item.event.name}"
            self.fired.append(member)
            self.ranks.append((TIMERS, member, item.event.due_ms, "due"))
        for name, due_ms in step.timers.items():
            self.ranks.append(
                (TIMERS, f"{item.key}\n{name}", due_ms or 0, "remove" if due_ms is None else "set")
            )
        for rank in step.ranks:
            self.ranks.append(
                (rank.set, rank.member, rank.score or 0, "remove" if rank.score is None else "set")
            )
        self.releases += step.releases

    def changes(self, known: Mapping[str, S | None]) -> Changes:
        """The encoded differences between `known` (as loaded) and now; an untouched state is not written."""
        changes = Changes(ranks=self.ranks)
        for key, state in self.states.items():
            if state is known.get(key):
                continue
            if state is None:
                changes.forgotten.append(key)
            else:
                changes.states[key] = self.fold.encode_state(state)
        return changes
