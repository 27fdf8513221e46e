"""Folds the records of one batch of one partition, holding back the keys whose claims are not answered yet. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from shared.events import TimerFired
from shared.stream.fold import Claim, Expected, Fold, Grant, Grants, Owned, Release, Step

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


class Item(msgspec.Struct, Generic[E], eq=False, gc=False):
    """One decoded record on its way through the fold: its `step` from the state `before`, which until its claims are answered rests on the answers `assumed`."""

    source: Any
    key: str
    event: E
    grants: Grants
    before: Any = None
    step: Step[Any] | None = None
    assumed: tuple[Grant, ...] = ()


@dataclass(slots=True, eq=False)
class _Line(Generic[E]):
    """The records of a key from the first whose claims are asked: those folded ahead of the answers, and those that wait."""

    ahead: list[Item[E]] = field(default_factory=list)
    waiting: list[Item[E]] = field(default_factory=list)
    closed: bool = False
    """Whether the next records of the key must wait too."""


@dataclass(slots=True, eq=False)
class Folding(Generic[S, E, F]):
    """The batch in the making.

    `feed` folds what can be folded; while `wanted` is not empty, ask those claims and `answer`. Then read the results: `states` by key (None: forgotten),
    `out` (the records that brought forth any, with their steps) and `poisoned` by source offset, `ranks`, `releases` and `fired` timers in order.

    A record is folded as if its claims were answered as is to be expected, and the next ones of its key after it. Where an answer is another, the key goes back to the
    state before that record, which is folded again. Only names are asked ahead like this: a record that wants places waits until it is certain that it wants them.
    """

    fold: Fold[S, E, F]
    facts: F
    states: dict[str, S | None]
    wanted: list[Claim | Owned] = field(default_factory=list)
    out: dict[int, tuple[Item[E], Step[S]]] = field(default_factory=dict)
    poisoned: dict[int, tuple[Any, str]] = field(default_factory=dict)
    ranks: list[tuple[str, str, int, str]] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    fired: list[str] = field(default_factory=list)
    _lines: dict[str, _Line[E]] = field(default_factory=dict)

    def feed(self, items: Iterable[Item[E]]) -> None:
        """Fold these records, in the order given."""
        fold, facts, states, lines = self.fold.fold, self.facts, self.states, self._lines
        for item in items:
            key = item.key
            line = lines.get(key)
            if line is not None and line.closed:
                line.waiting.append(item)
                continue
            state, step = states.get(key), item.step
            if (
                step is None
                or item.before is not state
                or (step.claims and item.assumed != _expected(item, step))
            ):
                try:
                    step = fold(state, item.event, facts, item.grants)
                except Exception as error:  # noqa: BLE001 the fold's own fault or the record's: it is parked, its state untouched
                    item.step = None
                    if line is None:
                        self.poisoned[item.source.offset] = (item.source, f"{type(error).__name__}: {error}")
                    else:
                        _wait(line, item)  # perhaps of a state that will not be
                    continue
                item.before, item.step = state, step
                if step.claims:
                    item.assumed = _expected(item, step)
            if line is None:
                if not step.claims:
                    self._apply(item, step)
                    continue
                line = lines[key] = _Line()
            elif step.claims and not (step.complete and _only_names(step.claims)):
                _wait(line, item)
                continue
            # Ask the record's claims, and go on as if they had been answered as assumed.
            line.ahead.append(item)
            if step.claims:
                self.wanted += step.claims
                _note(item.grants.expected, step.claims, item.assumed)
            if step.complete:
                states[key] = step.state
            else:
                line.closed = True

    def answer(self, answers: Mapping[str, Grant]) -> None:
        """Let the steps count whose claims were answered as assumed; fold the records from the first on that was not, now with their answers."""
        lines, self._lines, wanted, self.wanted = self._lines, {}, self.wanted, []
        if lines:
            # All of them first: what is assumed next follows the last answer of a scope, not the one that its key was given.
            _note(
                next(iter(lines.values())).ahead[0].grants.expected,
                wanted,
                [answers[claim.id] for claim in wanted],
            )
        for key, line in lines.items():
            self.states[key] = line.ahead[0].before
            again: list[Item[E]] = []
            for item in line.ahead:
                step = item.step
                if step is not None and step.claims:
                    step = _proved(item, step, answers)
                if step is None or again:
                    again.append(item)
                else:
                    self._apply(item, step)
            if again or line.waiting:
                self.feed((*again, *line.waiting))

    def _apply(self, item: Item[E], step: Step[S]) -> None:
        self.states[item.key] = step.state
        if step.out:
            self.out[item.source.offset] = (item, step)
        if isinstance(item.event, TimerFired):
            member = f"{item.key}\n{item.event.name}"
            self.fired.append(member)
            self.ranks.append((TIMERS, member, item.event.due_ms, "due"))
        if step.timers:
            for name, due_ms in step.timers.items():
                self.ranks.append(
                    (TIMERS, f"{item.key}\n{name}", due_ms or 0, "remove" if due_ms is None else "set")
                )
        if step.ranks:
            for rank in step.ranks:
                self.ranks.append(
                    (rank.set, rank.member, rank.score or 0, "remove" if rank.score is None else "set")
                )
        if step.releases:
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


def _only_names(claims: Iterable[Claim | Owned]) -> bool:
    return all(isinstance(claim, Owned) for claim in claims)


def _wait(line: _Line[E], item: Item[E]) -> None:
    line.closed = True
    line.waiting.append(item)


def _expected(item: Item[Any], step: Step[Any]) -> tuple[Grant, ...]:
    """How the step's claims will probably be answered, by what is known now."""
    expected = item.grants.expected
    return tuple([expected[claim] for claim in step.claims])


def _note(expected: Expected, claims: Iterable[Claim | Owned], grants: Iterable[Grant]) -> None:
    """Expect of the next claims what follows from these answers."""
    for claim, grant in zip(claims, grants, strict=True):
        expected.note(claim, grant)


def _proved(item: Item[Any], step: Step[Any], answers: Mapping[str, Grant]) -> Step[Any] | None:
    """The step if its claims were answered as assumed, else None: the item is to be folded again with the answers, which it has now."""
    grants = item.grants
    own = {claim.id: answers[claim.id] for claim in step.claims}
    item.grants = Grants({**grants.answers, **own}, grants.recalled, grants.expected)
    given = tuple([own[claim.id] for claim in step.claims])
    if step.complete and given == item.assumed:
        return step
    item.step = None
    return None
