"""What is tried now, what becomes of each try, and when one gives up: events and answers in, decisions out. Pure.

The shell reads events into `lanes`, delivers what `take` gives, and tells `settle` what came of it; `now_ms` and `chance` (0 to 1) are its arguments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from services.push.answers import FEWEST_TRIES, REFUSALS, Answer, delay_ms
from services.push.breaker import Breaker, Outages
from services.push.lanes import Item, Lanes

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Terms:
    """How an endpoint is treated: webhooks at once, events in one, how long an event is tried."""

    concurrency: int
    batch: int
    give_up_ms: int


class Taken(NamedTuple, Generic[R]):
    """What goes out in one webhook."""

    items: list[Item[R]]
    probe: bool


class Settled(NamedTuple, Generic[R]):
    """What a try led to: what is to be parked (then told to `parked`), and whether the endpoint's state changed."""

    park: list[Item[R]]
    turned: bool = False
    """The breaker opened or closed, or the endpoint said that it is gone."""


class Desk(Generic[R]):
    """One endpoint's deliveries. `breaker` and `outages` outlive it: they are the endpoint's, not this assignment's."""

    def __init__(self, terms: Terms, breaker: Breaker, outages: Outages) -> None:
        self.lanes: Lanes[R] = Lanes()
        self.breaker = breaker
        self.outages = outages
        self.enabled = True
        self.in_flight = 0
        self._terms = terms

    def switch(self, now_ms: int, *, enabled: bool) -> None:
        """Enable or disable the endpoint; enabled again, all that waits is tried at once, and the breaker tries first if it was open."""
        if enabled == self.enabled:
            return
        self.enabled = enabled
        if not enabled:
            self.outages.begin(now_ms)
        elif self.breaker.open:
            self.breaker.open_again(now_ms)
        else:
            self.outages.end(now_ms)
            self.lanes.all_at_once()

    def take(self, now_ms: int) -> Taken[R] | None:
        """The next webhook, or None while there is nothing that may go."""
        if not self.enabled or self.in_flight >= self._terms.concurrency:
            return None
        probe = self.breaker.open
        if probe:
            items = self.lanes.probe() if self.breaker.may_probe(now_ms) else []
        else:
            items = self.lanes.take(self._terms.batch, now_ms)
        if not items:
            return None
        self.breaker.probing = probe
        self.in_flight += 1
        return Taken(items, probe)

    def wake_ms(self) -> int | None:
        """When `take` may give something though nothing else has happened (epoch ms); None: only what is read or settled can change that."""
        if not self.enabled or self.in_flight >= self._terms.concurrency:
            return None
        if self.breaker.open:
            return None if self.breaker.probing or self.lanes.idle else self.breaker.probe_ms
        return self.lanes.due_ms()

    def settle(self, taken: Taken[R], answer: Answer, now_ms: int, chance: float) -> Settled[R]:
        """What came of a webhook."""
        self.in_flight -= 1
        if answer.outcome == "delivered":
            for item in taken.items:
                self.lanes.finish(item)
            if not self.breaker.succeeded():
                return Settled([])
            if self.enabled:
                self.outages.end(now_ms)
                self.lanes.all_at_once()
            return Settled([], turned=True)
        if answer.outcome == "gone":
            self.breaker.probing = False
            self.switch(now_ms, enabled=False)
            self._put_back(taken.items, now_ms)
            return Settled([], turned=True)
        opened = self.breaker.failed(
            {(item.place, item.key) for item in taken.items},
            now_ms,
            chance,
            probe=taken.probe,
            unreachable=answer.unreachable,
            retry_after_ms=answer.retry_after_ms,
        )
        if opened:
            self.outages.begin(now_ms)
        if self.breaker.open or not self.enabled:
            self._put_back(taken.items, now_ms)
            return Settled([], turned=opened)
        park = []
        for item in taken.items:
            item.tries += 1
            due_ms = self._next_try_ms(item, answer, now_ms, chance)
            if due_ms is None:
                park.append(item)
            else:
                self.lanes.again(item, due_ms)
        return Settled(park)

    def parked(self, item: Item[R]) -> None:
        """It lies with the dead letters: its key goes on."""
        self.lanes.finish(item)

    def withdraw(self, taken: Taken[R], now_ms: int) -> None:
        """The try was broken off and says nothing of the endpoint."""
        self.in_flight -= 1
        if taken.probe:
            self.breaker.probing = False
        self._put_back(taken.items, now_ms)

    def _put_back(self, items: Sequence[Item[R]], now_ms: int) -> None:
        """To be tried once all is well again, the older ones first."""
        for item in items:
            item.tries += 1
            self.lanes.again(item, now_ms)

    def _next_try_ms(self, item: Item[R], answer: Answer, now_ms: int, chance: float) -> int | None:
        """When it is tried again; None: it is given up. The time while nothing was tried is not counted against it."""
        if answer.outcome == "refused" and item.tries >= REFUSALS:
            return None
        shut_ms = self.outages.within_ms(item.at_ms, now_ms)
        end_ms = item.at_ms + self._terms.give_up_ms + shut_ms
        if now_ms >= end_ms and item.tries >= FEWEST_TRIES:
            return None
        due_ms = now_ms + max(delay_ms(item.tries, chance), answer.retry_after_ms)
        return due_ms if now_ms >= end_ms else min(due_ms, end_ms)
