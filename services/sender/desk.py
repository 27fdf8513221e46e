"""What all lanes of one sender process share: the outside systems by role, the limits, and what is in flight."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from services.sender.answers import Answer
from services.sender.entry import Stored
from services.sender.journal import Claimed, Held, Place, Survey, Verdict
from services.sender.pace import DEFAULT_THROUGHPUT, Pace
from services.sender.parks import Parks, ParkScope
from shared.accounts import AccountFacts
from shared.clock import Clock
from shared.error_table import ErrorTable, Scope
from shared.events import AccountChanged, Endpoint, SendMessage
from shared.limiter import Limit

REMEMBERED_CALLS = 100_000
"""Some minutes of a fast sender, far more than a Redis can lose."""

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
    ) -> Claimed | Held | Literal["changed", "lost"]: ...
    async def write(
        self,
        partition: int,
        epoch: int,
        command_id: str,
        expected: bytes,
        new: bytes,
        places: Iterable[Place] = (),
    ) -> Verdict: ...
    async def survey(self, partition: int, epoch: int, now_ms: int, most: int) -> Survey | None: ...
    async def head(self, partition: int, number: str, priority: int, most: int) -> tuple[list[str], int]: ...
    async def fetch(self, partition: int, ids: Sequence[str]) -> list[Stored]: ...
    async def first_in_line(self, partition: int, number: str, user: str) -> str | None: ...
    async def lines(self, partition: int) -> dict[tuple[str, str], int]: ...


class GraphPort(Protocol):
    """The way to Meta."""

    async def send(
        self, phone_number_id: str, token: str, body: bytes, endpoint: Endpoint = "messages"
    ) -> Answer: ...


class OutcomesPort(Protocol):
    """Where outcomes are reported; returns when they are safe."""

    async def report(self, conversation_key: str, event_id: str, event: bytes, type: str) -> None: ...
    async def report_account(self, event: AccountChanged) -> None: ...


class TokensPort(Protocol):
    """Where access tokens are found by reference."""

    def get(self, reference: str) -> str | None: ...


class Ownership(Protocol):
    """The stream processor, as far as it says which partitions are ours."""

    @property
    def owned(self) -> Mapping[int, int]:
        """Partition → the epoch we hold it with."""
        ...

    def published(self, partition: int) -> int:
        """The input offset below which Kafka too knows that the partition's commands were taken in; 0 when not held."""
        ...

    async def doubt(self, partition: int, epoch: int) -> None:
        """Say that the journal no longer knows this epoch: find out who owns the partition, and start over from what is stored."""
        ...


@dataclass(slots=True)
class Gate:
    """The limiter of one number; it outlives a change of lanes. Times are monotonic seconds."""

    pace: Pace = field(default_factory=Pace)
    due_s: float = 0.0

    def enter(self, throughput: int, now_s: float) -> float:
        """Take the next free moment, not before now, and return it."""
        rate = self.pace.rate(throughput, now_s)
        limit = Limit(1 / rate, max(1, int(rate * 0.01)))
        at = limit.next_allowed(self.due_s, now_s)
        self.due_s = limit.taken(self.due_s, at)
        return at

    def ahead(self, throughput: int, now_s: float) -> int:
        """How many commands to claim before their moment: a tenth of a second's worth, which hides the journal's round trip."""
        return max(1, int(self.pace.rate(throughput, now_s) / 10))


async def _nothing(moment: Moment, command_id: str) -> None:
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
    max_in_flight: int = 500
    max_in_flight_per_number: int = 100
    reached: Callable[[Moment, str], Awaitable[None]] = _nothing
    """Called at each moment of a send; tests end the process there."""
    parks: Parks = field(default_factory=Parks)
    gates: dict[str, Gate] = field(default_factory=dict)
    in_flight: set[str] = field(default_factory=set)
    """Command ids that a task of this process works on."""
    called: dict[str, None] = field(default_factory=dict)
    """The latest command ids that were called and not refused, in order: should the journal forget them, we do not."""
    calls: int = 0
    stopping: bool = False

    def now_ms(self) -> int:
        """The clock's time."""
        return int(self.clock.time() * 1000)

    def remember_call(self, command_id: str) -> None:
        """A call is about to be made."""
        self.called[command_id] = None
        if len(self.called) > REMEMBERED_CALLS:
            del self.called[next(iter(self.called))]

    def gate(self, phone_number_id: str) -> Gate:
        """The number's limiter."""
        return self.gates.setdefault(phone_number_id, Gate())

    def throughput(self, phone_number_id: str) -> int:
        """Messages per second that Meta allows the number."""
        number = self.facts().number(phone_number_id)
        return number.throughput if number is not None and number.throughput > 0 else DEFAULT_THROUGHPUT

    def token_reference(self, phone_number_id: str) -> str:
        """Which token the number sends with."""
        number = self.facts().number(phone_number_id)
        return number.token if number is not None else "default"

    def parked(self, waba_id: str, phone_number_id: str) -> bool:
        """Whether nothing may be sent from this number now."""
        if not self.parks.any:
            return False
        now_ms, until = self.now_ms(), self.parks.until
        reference, about = self.token_reference(phone_number_id), self.about(waba_id, phone_number_id)
        scopes: tuple[tuple[ParkScope, str], ...] = (
            ("platform", ""),
            ("app", reference),
            ("waba", f"{waba_id}/{reference}"),
            ("phone_number", phone_number_id),
        )
        return any(until(scope, id, now_ms, about[scope]) is not None for scope, id in scopes)

    def template_parked_until(self, template: str | None) -> int | None:
        """When the template's park ends, in ms; None when it has none."""
        if template is None or not self.parks.any:
            return None
        return self.parks.until("template", template, self.now_ms())

    def park(self, scope: Scope, command: SendMessage, template: str | None, delay_ms: int | None) -> None:
        """Stop what the scope names."""
        number, waba = command.phone_number_id, command.waba_id
        reference, about, now_ms = self.token_reference(number), self.about(waba, number), self.now_ms()
        match scope:
            case "waba":
                self.parks.park("waba", f"{waba}/{reference}", now_ms, delay_ms, about["waba"])
            case "app":
                self.parks.park("app", reference, now_ms, delay_ms, about["app"])
            case "platform":
                self.parks.park("platform", "", now_ms, delay_ms)
            case "template" if template is not None:
                self.parks.park("template", template, now_ms, delay_ms)
            case _:
                self.parks.park("phone_number", number, now_ms, delay_ms, about["phone_number"])

    def about(self, waba_id: str, phone_number_id: str) -> dict[str, Any]:
        """What a park of each scope is about: when it changes, the park ends."""
        facts = self.facts()
        token = self.tokens.get(self.token_reference(phone_number_id))
        return {
            "platform": None,
            "app": (token,),
            "waba": (facts.account(waba_id), token),
            "phone_number": (facts.number(phone_number_id), token),
        }
