"""The ledger against a naive model: whatever the order and however often repeated, the sum is that of the latest word on each message."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from services.billing.ledger import Remembered
from shared.events import LedgerEntry, SendEvent, decode_ledger_entry
from shared.stream.fold import Grants, Recalled
from tests.unit.billing.events import charge, event, pmp
from tests.unit.billing.test_ledger import BOOK, FOLD, facts

CATEGORIES = ("marketing", "utility", "service")
RATES = {c: BOOK.cards.by_id["usd_2026-10-01"].micros["Germany", c] for c in CATEGORIES}  # type: ignore[index]
FACTS = facts()


class Message(NamedTuple):
    """What happened to one message: the prediction, and Meta's words in the order she said them."""

    category: str
    free: bool
    said: tuple[tuple[str, bool], ...]
    with_delivery: bool

    def truth(self) -> tuple[str, bool, int]:
        category, billable = self.said[-1] if self.said else (self.category, not self.free)
        return category, not billable, RATES[category] if billable else 0

    def events(self, wamid: str) -> list[SendEvent]:
        first = self.said[0] if self.said and self.with_delivery else None
        predicted = charge(
            category=self.category,
            type="free_customer_service" if self.free else "regular",
            amount_micros=0 if self.free else RATES[self.category],
        )
        pricing = pmp(first[0], billable=first[1]) if first else None
        events = [event("delivered", wamid=wamid, predicted=predicted, pricing=pricing)]
        for index, (category, billable) in enumerate(self.said[bool(first) :]):
            word: dict[str, Any] = pmp(category, billable=billable)
            events.append(event("priced", wamid=wamid, seq=4 + index, pricing=word, after_s=index))
        return events


messages = st.builds(
    Message,
    st.sampled_from(CATEGORIES),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(CATEGORIES), st.booleans()), max_size=3).map(tuple),
    st.booleans(),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Message], list[SendEvent]]:
    """Messages, and their events shuffled and partly repeated."""
    drawn = draw(st.lists(messages, min_size=1, max_size=4))
    events = [one for index, message in enumerate(drawn) for one in message.events(f"wamid.{index}")]
    repeated = draw(st.lists(st.sampled_from(events), max_size=6))
    return drawn, draw(st.permutations([*events, *repeated]))


def run(events: Sequence[SendEvent]) -> tuple[dict[str, Remembered | None], list[LedgerEntry]]:
    states: dict[str, Remembered | None] = {}
    entries = []
    for one in events:
        key = FOLD.key("N1:49", one)
        step = FOLD.fold(states.get(key), one, FACTS, Grants())
        states[key] = step.state
        entries += [decode_ledger_entry(out.value) for out in step.out]
    return states, entries


def tally(entries: Sequence[LedgerEntry]) -> Counter[tuple[str, bool]]:
    counts: Counter[tuple[str, bool]] = Counter()
    for entry in entries:
        counts[entry.category, entry.free] += entry.counts
    return Counter({line: count for line, count in counts.items() if count})


@given(histories())
def test_the_sum_is_that_of_the_latest_word_on_each_message(
    history: tuple[list[Message], list[SendEvent]],
) -> None:
    drawn, events = history
    _, entries = run(events)
    truths = [message.truth() for message in drawn]
    assert sum(entry.amount_micros for entry in entries) == sum(amount for _, _, amount in truths)
    assert tally(entries) == Counter((category, free) for category, free, _ in truths)


@given(histories())
def test_no_entry_has_the_id_of_another_and_a_replay_of_all_adds_none(
    history: tuple[list[Message], list[SendEvent]],
) -> None:
    _, events = history
    _, once = run(events)
    _, twice = run([*events, *events])
    assert len({entry.event_id for entry in once}) == len(once)
    assert once == twice


@given(histories())
def test_each_message_begins_with_its_charge(history: tuple[list[Message], list[SendEvent]]) -> None:
    _, events = history
    _, entries = run(events)
    seen: Counter[str] = Counter()
    for entry in entries:
        assert entry.event_id == (
            f"{entry.wamid}:correction:{seen[entry.wamid]}" if seen[entry.wamid] else f"{entry.wamid}:charge"
        )
        seen[entry.wamid] += 1


@given(histories())
def test_a_rebuild_from_the_ledger_ends_in_the_same_states(
    history: tuple[list[Message], list[SendEvent]],
) -> None:
    _, events = history
    live: dict[str, Remembered | None] = {}
    rebuilt: dict[str, Remembered | None] = {}
    for one in events:
        key = FOLD.key("N1:49", one)
        step = FOLD.fold(live.get(key), one, FACTS, Grants())
        live[key] = step.state
        silent = Grants(recalled=Recalled(tuple(out.value for out in step.out)))
        rebuilt[key] = FOLD.fold(rebuilt.get(key), one, FACTS, silent).state
    assert rebuilt == live
