"""The port of the players: cases in, for each what was expected beside what came."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.cases.expectations import Checked
from tests.cases.form import Case


@dataclass
class Played:
    """A case that was played. `error` says why it could not be played to its end."""

    case: Case
    steps: dict[int, list[Checked]] = field(default_factory=dict)
    """What was checked, by the step's place from 0."""
    end: list[Checked] = field(default_factory=list)
    error: str | None = None

    @property
    def checked(self) -> list[Checked]:
        """Everything that was checked."""
        return [checked for step in self.steps.values() for checked in step] + self.end

    @property
    def ok(self) -> bool:
        """Whether everything came as expected."""
        return self.error is None and all(checked.ok for checked in self.checked)


class Player(Protocol):
    """Plays cases."""

    async def play(self, cases: Sequence[Case], done: Callable[[Played], None]) -> list[Played]:
        """Play all cases and return them in their order; `done` hears of each as soon as it is over."""
        ...
