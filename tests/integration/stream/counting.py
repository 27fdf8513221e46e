"""A small fold that uses everything the processor offers: state, claims, timers, commands, and decisions that must not be taken twice."""

from typing import cast

import msgspec

from shared.events import TimerFired
from shared.stream.fold import Claim, Grants, Outgoing, Step
from shared.topics import SEND_COMMANDS, SEND_EVENTS

PLACES = 50
"""Distinct ids that may hold a place, over all keys and partitions."""


class Add(msgspec.Struct, frozen=True, tag="Add", tag_field="event"):
    """Add `n`; `claim` asks for one of the places, `ring_at_ms` for a timer."""

    id: str
    n: int
    claim: bool = False
    ring_at_ms: int | None = None


class Burst(msgspec.Struct, frozen=True, tag="Burst", tag_field="event"):
    """A record whose fold raises."""

    id: str


class Timer(TimerFired, frozen=True, kw_only=True, tag="TimerFired"):
    """The timer, in this union."""


class Total(msgspec.Struct, frozen=True):
    """State of a key."""

    count: int = 0
    sum: int = 0
    granted: int = 0
    rung: int = 0
    ring_at_ms: int | None = None


class Totalled(msgspec.Struct, frozen=True):
    """What is published; `decided_by` differs with every process, so that a decision taken twice shows."""

    id: str
    key_sum: int
    granted: bool | None
    decided_by: str


Event = Add | Burst | Timer
_decode = msgspec.json.Decoder(Event).decode
_encode = msgspec.json.Encoder().encode
_state = msgspec.json.Decoder(Total).decode
_published = msgspec.json.Decoder(Totalled).decode


class Counting:
    """The fold."""

    def decode(self, value: bytes) -> Event:
        return cast(Event, _decode(value))

    def key(self, record_key: str, event: Event) -> str:
        return record_key

    def malformed(self, record_key: str, value: bytes, reason: str) -> tuple[Outgoing, ...]:
        return ()

    def encode_state(self, state: Total) -> bytes:
        return _encode(state)

    def decode_state(self, value: bytes) -> Total:
        return _state(value)

    def fold(self, state: Total | None, event: Event, facts: str, grants: Grants) -> Step[Total]:
        state = state or Total()
        if isinstance(event, Burst):
            raise RuntimeError("burst")
        if isinstance(event, TimerFired):
            if event.due_ms != state.ring_at_ms:
                return Step(state)
            rang = Totalled(f"{event.key}:rang:{event.due_ms}", state.sum, None, facts)
            return Step(
                msgspec.structs.replace(state, rung=state.rung + 1, ring_at_ms=None),
                out=(_out(event.key, rang),),
            )
        granted = None
        by = facts
        claim = Claim("places", event.id, event.id, PLACES, 2**52)
        if grants.recalled is not None:
            first = _published(grants.recalled.events[0])
            granted, by = first.granted, first.decided_by
        elif event.claim:
            granted = grants[claim].granted
        wanted = granted or (event.claim and grants.recalled is None)
        new = Total(
            state.count + 1, state.sum + event.n, state.granted + bool(granted), state.rung, event.ring_at_ms
        )
        key = event.id.partition("/")[0]
        totalled = _out(key, Totalled(event.id, new.sum, granted, by))
        command = Outgoing(
            SEND_COMMANDS, f"line-{event.n % 3}", f"{event.id}:command", "Command", _encode(event)
        )
        return Step(
            new,
            out=(totalled, command) if event.n % 5 == 0 else (totalled,),
            timers={"ring": event.ring_at_ms},
            claims=grants.unanswered(claim) if wanted else (),
        )


def _out(key: str, event: Totalled) -> Outgoing:
    return Outgoing(SEND_EVENTS, key, event.id, "Totalled", _encode(event))
