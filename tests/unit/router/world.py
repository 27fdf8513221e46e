"""A conversation's world without Kafka and Redis: plays events through the router's fold as the processor does, claims and timers included."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from msgspec.structs import replace

from services.router.fold import RouterFold
from services.router.heard import sent_ms
from services.router.meta_errors import MetaErrors
from services.router.state import State
from services.router.stop_words import StopWords
from shared.accounts import AccountFacts
from shared.events import (
    AccountEvent,
    ConversationEvent,
    SendEvent,
    StatusReceived,
    TimerFired,
    decode_send_event,
    encode,
)
from shared.pricing import PriceBook
from shared.stream.fold import Expected, Grants, Outgoing, Recalled, Step
from shared.topics import CONVERSATION_EVENTS, SEND_EVENTS
from shared.uncertain import UNCERTAIN
from tests.claims_book import Claims

CONFIG = Path(__file__).parents[3] / "config"


@lru_cache(maxsize=1)
def book() -> PriceBook:
    return PriceBook.load(CONFIG)


@lru_cache(maxsize=1)
def words() -> StopWords:
    return StopWords.parse((CONFIG / "stop_words.yaml").read_text("utf-8"))


@lru_cache(maxsize=1)
def errors() -> MetaErrors:
    return MetaErrors.load(CONFIG)


@dataclass
class Record:
    """One record as it was folded, and what it brought forth."""

    key: str
    event: ConversationEvent
    now_ms: int
    out: tuple[Outgoing, ...]


@dataclass
class World:
    """States by key, the shared claims, the timers, and all that was published."""

    fold: RouterFold = field(default_factory=lambda: RouterFold(book(), errors(), words()))
    facts: AccountFacts = field(default_factory=AccountFacts)
    claims: Claims = field(default_factory=Claims)
    expected: Expected = field(default_factory=Expected)
    states: dict[str, bytes] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    uncertain: dict[str, int] = field(default_factory=dict)
    """The index of open messages."""
    out: list[Outgoing] = field(default_factory=list)
    log: list[Record] = field(default_factory=list)
    told: list[tuple[ConversationEvent, State | None, Step[State]]] = field(default_factory=list)
    """Each event that brought forth others, the state before it, and its step."""

    def know(self, *events: AccountEvent) -> None:
        for event in events:
            self.facts.apply(event, self.facts.revision + 1)

    def play(self, key: str, event: ConversationEvent, now_ms: int) -> tuple[Outgoing, ...]:
        """Fold one event; its bytes go through the codec, and the state too."""
        self.fire(now_ms)
        return self._fold(key, event, now_ms)

    def fire(self, now_ms: int) -> None:
        """Let every timer due by now fire, the earliest first."""
        while due := [(due_ms, key) for key, due_ms in self.timers.items() if due_ms <= now_ms]:
            due_ms, key = min(due)
            fired = TimerFired(event_id=f"{key}:{due_ms}", at_ms=due_ms, key=key, name="wake", due_ms=due_ms)
            self._fold(key, fired, due_ms)

    def _fold(self, key: str, event: ConversationEvent, now_ms: int) -> tuple[Outgoing, ...]:
        out = self._step(key, event, now_ms, None)
        self.log.append(Record(key, event, now_ms, out))
        self.out += out
        for own in out:
            if own.topic is CONVERSATION_EVENTS:  # what the router appends to its own log comes back to it
                self._fold(own.key, self.fold.decode(own.value), now_ms)
        return out

    def replay(self, records: Iterable[Record]) -> list[tuple[Outgoing, ...]]:
        """Fold records silently, each with the send events it had brought forth; what each would have published, were it not silent."""
        silenced = []
        for record in records:
            events = tuple(out.value for out in record.out if out.topic is SEND_EVENTS)
            silenced.append(self._step(record.key, record.event, record.now_ms, Recalled(events)))
        return silenced

    def _step(
        self, key: str, event: ConversationEvent, now_ms: int, recalled: Recalled | None
    ) -> tuple[Outgoing, ...]:
        event = self.fold.decode(encode(event))
        known = self.states.get(key)
        state: State | None = None if known is None else self.fold.decode_state(known)
        grants = Grants(recalled=recalled, expected=self.expected)
        step = self.fold.fold(state, event, self.facts, grants)
        for _ in range(4):  # free tier, then budgets; of what is sent once more for the look and the decision
            if not step.claims:
                break
            assumed, told = step, [grants[c] for c in step.claims]
            answers = [self.claims.ask(c, now_ms, force=recalled is not None) for c in step.claims]
            for claim, answer in zip(step.claims, answers, strict=True):
                self.expected.note(claim, answer)
            own = {claim.id: answer for claim, answer in zip(step.claims, answers, strict=True)}
            grants = Grants({**grants.answers, **own}, recalled, self.expected)
            step = self.fold.fold(state, event, self.facts, grants)
            if assumed.complete and told == answers:
                assert replace(assumed, claims=()) == step, "what rests on the right answers must be right"
        assert not step.claims, "a fold must not ask without end"
        assert step.complete
        if recalled is None and step.out:
            self.told.append((event, state, step))
        for rank in step.ranks:
            assert rank.set == UNCERTAIN
            if rank.score is None:
                del self.uncertain[rank.member]
            else:
                self.uncertain[rank.member] = rank.score
        if isinstance(event, StatusReceived) and state is not None and recalled is None:
            sent = sent_ms(state, event)
            if sent is not None:
                self.fold.resending.heard.note(state.number, sent, event.received_ms)
        for release in step.releases:
            self.claims.release(release, now_ms)
        if step.state is None:
            self.states.pop(key, None)
        elif step.state is not state:
            self.states[key] = self.fold.encode_state(step.state)
        if isinstance(event, TimerFired) and self.timers.get(key) == event.due_ms:
            del self.timers[key]
        for name, due_ms in step.timers.items():
            assert name == "wake"
            if due_ms is None:
                self.timers.pop(key, None)
            else:
                self.timers[key] = due_ms
        return step.out

    def send_events(self) -> list[SendEvent]:
        return [decode_send_event(out.value) for out in self.out if out.topic is SEND_EVENTS]
