"""What a run does, all of it chosen by its seed: how each sender process ends, what is sent, and which answers are lost. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, Literal

from shared.events import Category
from tests.bench import load
from tests.chaos.business import TEMPLATES
from tests.integration.sender_process import MOMENTS, Fault

NUMBERS = 16
"""Enough for each of the local stack's 8 partitions to hold one."""
WRITERS = 128
"""Customers who wrote before: they may be sent free-form messages."""
LATEST = 20
"""A process dies when between 1 and so many of its commands have reached the moment."""
MIX: tuple[Category, ...] = ("authentication", "utility", "marketing", "utility", "service", "authentication")

AnswerFault = Literal["cut", "hangs", "reset", "silent"]
"""How Meta's answer is lost. `cut`: accepted, and the connection ends. `hangs`: accepted, and the answer comes too late. `reset`: the connection ends and
nothing is sent. `silent`: accepted, no answer, and never a status either."""
BEHAVIOURS: dict[AnswerFault, dict[str, Any]] = {
    "cut": {"drop_answer_after_processing": True},
    "hangs": {"hang_s": 4},
    "reset": {"reset": True},
    "silent": {"drop_answer_after_processing": True, "delivery": "none"},
}
"""As the simulator's script says it."""
LOST_ANSWERS = 0.04
"""Share of the requests."""


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    seed: int
    crashes: int
    zombies: int
    """So many of the processes are stopped at a moment until others have taken over, and go on, before they crash."""
    senders: int = 3
    per_s: float = 60.0
    """Requests per second."""
    at_default_settings: bool = True
    """Whether to measure a takeover with the settings that production has."""


@dataclass(frozen=True)
class Request:
    """One message that the business asks for."""

    id: str
    category: Category
    number: str
    user: str
    lost: AnswerFault | None
    """How the answer to its first attempt is lost."""

    @property
    def body(self) -> dict[str, Any]:
        """The record on the topic of requests."""
        message: dict[str, Any] = {"messaging_product": "whatsapp", "to": f"+{self.user}"}
        if self.category == "service":
            message |= {"type": "text", "text": {"body": self.id}}
        else:
            template = {"name": TEMPLATES[self.category], "language": {"code": "en"}}
            message |= {"type": "template", "template": template}
        return {"request_id": self.id, "from": self.number, "message": message}


def lives(plan: Plan) -> list[tuple[Fault, ...]]:
    """The faults of each process, in the order the processes are started; each ends with the one that kills it.

    Every moment of a send kills as often as every other one, and stops as often, give or take one.
    """
    chance = Random(plan.seed)
    kills = [MOMENTS[i % len(MOMENTS)] for i in range(plan.crashes)]
    chance.shuffle(kills)
    stops = {
        place: Fault(MOMENTS[i % len(MOMENTS)], chance.randint(1, LATEST), stop=True)
        for i, place in enumerate(chance.sample(range(plan.senders, plan.crashes), plan.zombies))
    }
    return [
        (*((stops[i],) if i in stops else ()), Fault(moment, chance.randint(1, LATEST)))
        for i, moment in enumerate(kills)
    ]


def requests(seed: int) -> Iterator[Request]:
    """Requests without end, over all numbers in turn; customers of templates are written to seldom."""
    chance = Random(seed)
    faults = tuple(BEHAVIOURS)
    for i in count():
        category = MIX[i % len(MIX)]
        lost = chance.choice(faults) if chance.random() < LOST_ANSWERS else None
        number, user = chance.randrange(NUMBERS), f"49151{i % 100_000:08}"
        if category == "service":
            number, user = writer(chance.randrange(WRITERS))
        yield Request(f"{category}-{seed}-{i}", category, load.number_id(number), user, lost)


def writer(index: int) -> tuple[int, str]:
    """The index-th customer who wrote: to which number, and who."""
    return index % NUMBERS, f"49171{index:08}"
