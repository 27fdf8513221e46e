"""What a service hands to the stream processor: a pure fold and the values it returns. Pure.

The processor calls `fold` for each record of a partition in offset order. A fold returns everything it wants to happen as one `Step`;
it never does anything itself, so it may be called again for the same record and must then answer the same.
"""

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

import msgspec

from shared.topics import Topic

S = TypeVar("S")
E = TypeVar("E")
F = TypeVar("F")
F_contra = TypeVar("F_contra", contravariant=True)


class Undecodable(ValueError):
    """A record that no fold can take; it is parked in the dead-letter topic with this text as its reason."""


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One event to publish. Its bytes are fixed here: a repeated publication is identical.

    Attributes:
        topic: where to.
        key: the record's key; its partition follows from it.
        id: the event's own id (`ce_id`).
        type: the event's type (`ce_type`).
        value: the encoded event.
        beside_source: keep the source record's partition number whatever the key, for a key that must not be the source's own.
    """

    topic: Topic
    key: str
    id: str
    type: str
    value: bytes
    beside_source: bool = False


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A place wanted in a limit shared between partitions, idempotent by `id`.

    The distinct members of a scope weigh at most `limit` together; a member already in it costs nothing more. The place is free again at
    `expires_ms`, or when every claim on that member has been released.

    Attributes:
        weight: what the member takes of the limit: 1 where members are counted, an amount where they are added up.
        take: False only looks what the answer would be.
        waits_until_ms: until then a refused claim keeps its turn among those that wait for a place, the most pressing first; 0: it does not wait.
    """

    scope: str
    id: str
    member: str
    limit: int
    expires_ms: int
    weight: int = 1
    take: bool = True
    waits_until_ms: int = 0


class Owned(msgspec.Struct, frozen=True, gc=False):
    """A name that one `owner` alone may bear in all partitions: granted to the first who asks, and to that one again, for `keep_ms` from `at_ms`.

    One value of `keep_ms` serves all names of a deployment. A replay asks again for names whose time is over: they bind nobody.
    """

    id: str
    name: str
    owner: str
    keep_ms: int
    at_ms: int


class Release(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Give back the place of a claim (refusal or failure); idempotent."""

    scope: str
    id: str
    member: str


class Grant(msgspec.Struct, frozen=True, gc=False):
    """The answer to a claim: whether it was granted, what the scope now holds, and (refused) when a place becomes free for it; 0: unknown."""

    granted: bool
    used: int
    free_ms: int = 0


_OWNED = Grant(True, 1)
_EMPTY = Grant(True, 0)
_MOST_SCOPES = 10_000


class Rank(msgspec.Struct, frozen=True, gc=False):
    """A member of a sorted set in the partition's own state; `score` None removes it."""

    set: str
    member: str
    score: int | None


class Recalled(msgspec.Struct, frozen=True):
    """How a fold is asked again about a record whose outcome was published before the state was lost.

    `events` are the encoded events that this very record brought forth then. The fold takes its decisions from
    them instead of deciding afresh; what it returns to publish is not published.
    """

    events: tuple[bytes, ...]


class Expected:
    """How claims will probably be answered, by what their scope answered last. A guess: nothing that rests on it happens before it has proved right."""

    def __init__(self) -> None:
        self._last: dict[str, Grant] = {}

    def __getitem__(self, claim: Claim | Owned) -> Grant:
        if isinstance(claim, Owned):
            return _OWNED
        last = self._last.get(claim.scope, _EMPTY)
        used = last.used + claim.weight
        if used <= claim.limit:
            return Grant(True, used if claim.take else last.used)
        return Grant(False, last.used, last.free_ms)

    def note(self, claim: Claim | Owned, grant: Grant) -> None:
        """Go on from this answer."""
        if isinstance(claim, Claim):
            if len(self._last) >= _MOST_SCOPES:
                self._last.clear()
            self._last[claim.scope] = grant


class Grants(msgspec.Struct, frozen=True, gc=False):
    """What a fold may ask for beyond its state: the answers to its claims, those to be expected of claims that were not asked yet, and what it decided before."""

    answers: Mapping[str, Grant] = msgspec.field(default_factory=dict)
    recalled: Recalled | None = None
    expected: Expected = msgspec.field(default_factory=Expected)

    def __getitem__(self, claim: Claim | Owned) -> Grant:
        """The answer, or the one to be expected."""
        return self.answers.get(claim.id) or self.expected[claim]

    def unanswered(self, *claims: Claim | Owned | None) -> tuple[Claim | Owned, ...]:
        """Those of the claims that are still to be asked."""
        answers = self.answers
        return tuple([claim for claim in claims if claim is not None and claim.id not in answers])


class Step(msgspec.Struct, Generic[S], frozen=True, gc=False):
    """What one record changes.

    Attributes:
        state: the key's new state; None forgets the key.
        out: events to publish, in order.
        timers: name → time due in epoch ms, or None to cancel; a timer comes back as `TimerFired` for the same key.
        claims: what the step rests on and nobody was asked yet: it counts if they are answered as was to be expected, else the record is folded again with the answers.
        complete: False: nothing of the step counts but its claims; ask them and fold again.
        releases: claims to give back once the step is committed.
        ranks: changes to the partition's sorted sets.
    """

    state: S | None
    out: tuple[Outgoing, ...] = ()
    timers: Mapping[str, int | None] = msgspec.field(default_factory=dict)
    claims: tuple[Claim | Owned, ...] = ()
    releases: tuple[Release, ...] = ()
    ranks: tuple[Rank, ...] = ()
    complete: bool = True


class Fold(Protocol[S, E, F_contra]):
    """The pure part of a stateful consumer."""

    def decode(self, value: bytes) -> E:
        """The event of a record.

        Raises:
            Undecodable: it is none (msgspec's errors count as such too).
        """
        ...

    def key(self, record_key: str, event: E) -> str:
        """The state key the event touches."""
        ...

    def fold(self, state: S | None, event: E, facts: F_contra, grants: Grants) -> Step[S]:
        """The step that `event` makes of `state`; no await, clock, random, I/O."""
        ...

    def malformed(self, record_key: str, value: bytes, reason: str) -> tuple[Outgoing, ...]:
        """What to publish when a record is parked (a poisoned request is also rejected); often nothing."""
        ...

    def encode_state(self, state: S) -> bytes: ...

    def decode_state(self, value: bytes) -> S: ...
