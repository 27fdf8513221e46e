"""What all lanes of one sender process share: the outside systems by role, the limits, and what is in flight."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

from services.sender.answers import Answer
from services.sender.entry import Stored
from services.sender.gate import Gate
from services.sender.journal import Claimed, Held, Place, Survey, Unclaimed, Verdict, Waiting, Write
from services.sender.outcomes import Outcome
from services.sender.pace import DEFAULT_THROUGHPUT
from services.sender.permits import Permits, TokensPort
from services.sender.shares import Shares
from shared.accounts import AccountFacts
from shared.clock import Clock
from shared.error_table import ErrorTable
from shared.events import AccountChanged, Endpoint
from shared.tokens import Credentials

REMEMBERED_CALLS = 100_000
"""Some minutes of a fast sender, far more than a Redis can lose."""

CLAIM_AT_MOST_S = 0.1
"""No claim begins longer before its call: what is claimed when a process dies may have been called, for all that anybody knows."""

Moment = Literal["claimed", "calling", "answered", "recorded", "reported"]
"""The points of a send between which a process can die, in order."""


class JournalPort(Protocol):
    """The journal (services/sender/journal.py)."""

    async def claim(
        self,
        partition: int,
        epoch: int,
        found: Stored,
        new: bytes,
        source: str,
        member: str,
        pair: str,
        now_ms: int,
    ) -> Claimed | Held | Unclaimed: ...
    async def write(
        self,
        partition: int,
        epoch: int,
        command_id: str,
        expected: bytes,
        new: bytes,
        places: Sequence[Place] = (),
    ) -> Verdict: ...
    async def write_all(self, partition: int, epoch: int, writes: Sequence[Write]) -> list[Verdict]: ...
    async def survey(self, partition: int, epoch: int, now_ms: int, most: int) -> Survey | None: ...
    async def head(
        self, partition: int, number: str, priority: int, most: int
    ) -> tuple[list[Waiting], int]: ...
    async def tail(self, partition: int, number: str, priority: int, most: int) -> list[Waiting]: ...
    async def line_up(
        self, partition: int, epoch: int, number: str, priority: int, waiting: Sequence[Waiting]
    ) -> bool: ...
    async def fetch(self, partition: int, ids: Sequence[str]) -> list[Stored]: ...
    async def first_in_lines(self, partition: int, number: str, users: Sequence[str]) -> list[str | None]: ...
    async def lines(self, partition: int) -> dict[tuple[str, str], int]: ...


class GraphPort(Protocol):
    """The way to Meta."""

    async def send(
        self,
        phone_number_id: str,
        credentials: Credentials,
        body: bytes,
        endpoint: Endpoint = "messages",
        *,
        start_within_s: float = ...,
    ) -> Answer: ...


class OutcomesPort(Protocol):
    """Where outcomes are reported; returns when they are safe."""

    async def report(self, outcomes: Sequence[Outcome]) -> None: ...
    async def report_account(self, event: AccountChanged) -> None: ...


class Ownership(Protocol):
    """The stream processor, as far as it says which partitions are ours."""

    @property
    def owned(self) -> Mapping[int, int]:
        """Partition → the epoch we hold it with."""
        ...

    def published(self, partition: int) -> int:
        """The input offset below which Kafka too knows that the partition's commands were taken in; 0 when not held."""
        ...

    def continued(self, partition: int) -> bool:
        """Whether nobody else has owned the partition since this process last did."""
        ...

    async def doubt(self, partition: int, epoch: int) -> None:
        """Say that the journal no longer knows this epoch: find out who owns the partition, and start over from what is stored."""
        ...


def _nothing(moment: Moment, command_id: str) -> None:
    """In production nobody watches the moments of a send."""


@dataclass(slots=True)
class Desk:
    """Handed to every lane by the composition root."""

    journal: JournalPort
    graph: GraphPort
    outcomes: OutcomesPort
    tokens: TokensPort
    ownership: Ownership
    table: ErrorTable
    facts: Callable[[], AccountFacts]
    clock: Clock
    spawn: Callable[[Any, str], Any]
    """Run a coroutine beside the rest; its failure ends the process."""
    user_hash: Callable[[str], str]
    claim_grace_ms: int = 18_000
    """How long another owner's claim may still lead to an outcome: its longest call and what precedes it."""
    shares: Shares = field(default_factory=lambda: Shares(500))
    inbound: Callable[[str], int] = lambda number: 0
    """Messages that customers wrote to a number in a second, of late: Meta counts them too."""
    reached: Callable[[Moment, str], None] = _nothing
    """Called at each moment of a send; tests end the process there."""
    permits: Permits = field(init=False)
    """Whether a call may start, beyond the number's moment."""
    gates: dict[str, Gate] = field(default_factory=dict)
    in_flight: set[str] = field(default_factory=set)
    """Command ids that a task of this process works on."""
    called: dict[str, None] = field(default_factory=dict)
    """The latest command ids that were called and not refused, in order: should the journal forget them, we do not."""
    wanting: dict[object, Callable[[], None]] = field(default_factory=dict)
    """Numbers that may have something to send and wait for their turn, in order: how to let each of them."""
    claim_s: float = 0.0
    """How long a claim takes, of late: it begins so much before its call may be made."""
    stopping: bool = False
    _letting: bool = False

    def __post_init__(self) -> None:
        self.permits = Permits(self.facts, self.tokens, self.table, self.now_ms)

    def now_ms(self) -> int:
        """The clock's time."""
        return int(self.clock.time() * 1000)

    def remember_call(self, command_id: str) -> None:
        """A call is about to be made."""
        self.called[command_id] = None
        if len(self.called) > REMEMBERED_CALLS:
            del self.called[next(iter(self.called))]

    def claimed_in(self, took_s: float) -> None:
        """A claim was asked for and answered in so many seconds."""
        self.claim_s = min(CLAIM_AT_MOST_S, self.claim_s + (took_s - self.claim_s) / 16)

    def gate(self, phone_number_id: str) -> Gate:
        """The number's limiter."""
        gate = self.gates.get(phone_number_id)
        if gate is None:
            gate = self.gates[phone_number_id] = Gate(
                partial(self.throughput, phone_number_id),
                partial(self.inbound, phone_number_id),
                lambda: self.claim_s,
            )
        return gate

    def let(self, number: object, act: Callable[[], None]) -> None:
        """A number's turn comes after those who wait already, once all that has just happened is known: many answers make one turn."""
        self.wanting.setdefault(number, act)
        if not self._letting:
            self._letting = True
            asyncio.get_running_loop().call_soon(self._let)

    def _let(self) -> None:
        """Give everybody who waits a turn while there is room."""
        self._letting = False
        for _ in range(len(self.wanting)):
            self.wanting.pop(next(iter(self.wanting)))()
            if self.shares.full:
                break

    def throughput(self, phone_number_id: str) -> int:
        """Messages per second that Meta allows the number."""
        number = self.facts().number(phone_number_id)
        return number.throughput if number is not None and number.throughput > 0 else DEFAULT_THROUGHPUT
