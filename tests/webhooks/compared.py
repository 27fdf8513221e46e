"""One comparison: updates one by one and clean, and the same updates as they may really come, have the same effects."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.webhooks.delivered import Delivery, disordered, one_by_one
from tests.webhooks.effects import Effects, effects_of, foretold
from tests.webhooks.told import Told


@dataclass
class Played:
    """How much a comparison was about."""

    histories: int = 0
    updates: int = 0
    duplicates: int = 0
    damaged: int = 0
    bodies: int = 0
    halved: int = 0
    refused: int = 0
    received: int = 0
    passed: int = 0

    def add(self, told: Sequence[Told], delivery: Delivery, effects: Effects) -> None:
        self.histories += 1
        self.updates += len(told)
        self.duplicates += delivery.duplicates
        self.damaged += len(delivery.damaged)
        self.bodies += len(delivery.bodies)
        self.halved += delivery.halved
        self.refused += delivery.refused
        self.received += len(effects.received)
        self.passed += len(effects.passed)


def compare(told: Sequence[Told], seed: int, played: Played | None = None) -> None:
    """Raises AssertionError where anything is lost, doubled, or other than it is told."""
    clean = effects_of(one_by_one(told).bodies)
    assert not clean.parked, "a clean update was not read"
    foretold(told, clean)
    delivery = disordered(told, random.Random(seed))
    found = effects_of(delivery.bodies)
    assert not found.twice
    assert found.parked == Counter(delivery.damaged)
    found.parked, clean.parked = Counter(), Counter()
    for name, expected in vars(clean).items():
        assert getattr(found, name) == expected, name
    if played is not None:
        played.add(told, delivery, clean)
