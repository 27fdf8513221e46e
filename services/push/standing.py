"""How endpoints stand: the words that operators and the service itself say of them, the last of each, and what a new process goes on from. Pure."""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from services.push.desk import Desk
from shared.events import Internal
from shared.times import DAY_MS


class EndpointSwitched(Internal, frozen=True, kw_only=True, tag="EndpointSwitched"):
    """An endpoint is to be told, or not; `by` an operator, or the service itself after the endpoint said 410."""

    endpoint: str
    at_ms: int
    enabled: bool
    by: str
    reason: str | None = None


class EventsRedelivered(Internal, frozen=True, kw_only=True, tag="EventsRedelivered"):
    """An operator had events delivered once more; `what` in words."""

    endpoint: str
    at_ms: int
    by: str
    what: str
    events: int


class EndpointState(Internal, frozen=True, kw_only=True, tag="EndpointState"):
    """How an endpoint fares at one process. `told_ms`: all that Kafka got before is done, as far as this process goes."""

    endpoint: str
    instance: str
    at_ms: int
    breaker: Literal["closed", "open"] = "closed"
    outages: tuple[tuple[int, int], ...] = ()
    """When nothing was tried, `[from, to)` in epoch ms."""
    outage_since_ms: int | None = None
    told_ms: int = 0
    last_error: str | None = None
    last_error_ms: int | None = None


Word = EndpointSwitched | EventsRedelivered | EndpointState
decode = msgspec.json.Decoder(Word).decode


def key_of(word: Word) -> bytes:
    """Of what the word is the last one."""
    match word:
        case EndpointSwitched():
            return f"{word.endpoint}:switched".encode()
        case EventsRedelivered():
            return f"{word.endpoint}:redelivered".encode()
        case EndpointState():
            return f"{word.endpoint}:state:{word.instance}".encode()


class Standing:
    """The last words on all endpoints."""

    def __init__(self) -> None:
        self.switched: dict[str, EndpointSwitched] = {}
        self.states: dict[str, dict[str, EndpointState]] = {}
        self.redelivered: dict[str, EventsRedelivered] = {}

    def take(self, word: Word) -> None:
        """A word later than all before."""
        match word:
            case EndpointSwitched():
                self.switched[word.endpoint] = word
            case EventsRedelivered():
                self.redelivered[word.endpoint] = word
            case EndpointState():
                self.states.setdefault(word.endpoint, {})[word.instance] = word

    def enabled(self, endpoint: str) -> bool:
        """Whether it is to be told; an endpoint that nobody spoke of is."""
        word = self.switched.get(endpoint)
        return word is None or word.enabled


def told_ms(states: Iterable[EndpointState]) -> int:
    """Up to when all is done, by the processes that still serve the endpoint; 0 where nobody ever served it.

    It stands in for offsets that Kafka has forgotten, as it does of a group that was away for a week.
    """
    known = list(states)
    newest_ms = max((state.at_ms for state in known), default=0)
    return min((s.told_ms for s in known if s.told_ms and s.at_ms > newest_ms - DAY_MS), default=0)


def recall(desk: Desk[Any], standing: Standing, endpoint: str, instance: str, now_ms: int) -> None:
    """Have a new desk go on as the endpoint stood: its outages, those other processes saw too; its breaker; and whether it is enabled."""
    states = standing.states.get(endpoint, {})
    switched = standing.switched.get(endpoint)
    desk.outages.join(outage for state in states.values() for outage in state.outages)
    own = states.get(instance)
    if own is not None and own.breaker == "open":
        desk.outages.since_ms = own.outage_since_ms
        desk.breaker.open_again(now_ms)
    elif own is not None and own.outage_since_ms is not None:
        # It was disabled when the process ended; if it is no more, it was until it was enabled.
        desk.outages.join([(own.outage_since_ms, now_ms if switched is None else switched.at_ms)])
    if switched is not None and not switched.enabled:
        desk.switch(switched.at_ms, enabled=False)
