"""One batch of one partition: order, held-back keys, poison, and what is written."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.events import TimerFired
from shared.stream.fold import Claim, Expected, Grant, Grants, Outgoing, Owned, Recalled, Step
from shared.stream.folding import TIMERS, Folding, Item
from tests.integration.stream.counting import Add, Burst, Counting, Event, Timer, Total, Totalled

FACTS = "facts"


def item(offset: int, key: str, event: Event, grants: Grants | None = None) -> Item[Any]:
    source = SimpleNamespace(offset=offset, partition=0, key=key.encode(), value=b"", headers=())
    return Item(source, key, event, grants or Grants())


@dataclass
class Watched(Counting):
    """Notes what it folds; an event of `named` wants a name of its own, else it is nothing; one of `fails_after_a_grant` does."""

    folded: list[str] = field(default_factory=list)
    named: frozenset[str] = frozenset()
    fails_after_a_grant: frozenset[str] = frozenset()

    def fold(self, state: Total | None, event: Event, facts: str, grants: Grants) -> Step[Total]:
        id = event.event_id if isinstance(event, TimerFired) else event.id
        self.folded.append(id)
        if id in self.fails_after_a_grant and state is not None and state.granted:
            raise RuntimeError("granted")
        step = super().fold(state, event, facts, grants)
        if id not in self.named:
            return step
        name = Owned(f"{id}|own", id, "a", 9, 1)
        claims = (*step.claims, *grants.unanswered(name))
        return replace(step, claims=claims) if grants[name].granted else Step(state, claims=claims)


def folding(fold: Counting | None = None, **states: Total) -> Folding[Total, Event, str]:
    return Folding(fold or Counting(), FACTS, dict(states))


def ids(made: Folding[Total, Event, str]) -> list[str]:
    return [out.id for offset in sorted(made.out) for out in made.out[offset][1].out]


def told(made: Folding[Total, Event, str]) -> dict[int, tuple[Total | None, tuple[Outgoing, ...]]]:
    """What each record brought forth, and from what state."""
    return {offset: (item.before, step.out) for offset, (item, step) in made.out.items()}


def test_records_of_one_key_are_folded_in_order() -> None:
    made = folding()
    made.feed([item(0, "a", Add("a/1", 1)), item(1, "b", Add("b/1", 2)), item(2, "a", Add("a/2", 3))])
    assert made.states == {"a": Total(2, 4), "b": Total(1, 2)}
    assert ids(made) == ["a/1", "b/1", "a/2"]


def granted(used: int) -> Grant:
    return Grant(granted=True, used=used)


def test_a_record_counts_once_its_claim_is_answered_as_was_to_be_expected_and_is_folded_once() -> None:
    fold = Watched()
    made = folding(fold)
    made.feed([item(0, "a", Add("a/1", 1, claim=True)), item(1, "b", Add("b/1", 3))])
    assert [claim.id for claim in made.wanted] == ["a/1"]
    assert ids(made) == ["b/1"]
    made.answer({"a/1": granted(1)})
    assert made.wanted == []
    assert made.states == {"a": Total(1, 1, granted=1), "b": Total(1, 3)}
    assert fold.folded == ["a/1", "b/1"]


def test_a_record_whose_claim_is_answered_otherwise_is_folded_again_with_the_answer() -> None:
    fold = Watched()
    made = folding(fold)
    made.feed([item(0, "a", Add("a/1", 1, claim=True)), item(1, "a", Add("a/2", 2))])
    made.answer({"a/1": Grant(granted=False, used=50)})
    assert made.states["a"] == Total(2, 3, granted=0)
    assert fold.folded == ["a/1", "a/2", "a/1", "a/2"]
    assert ids(made) == ["a/1", "a/2"]


def test_what_follows_a_claim_that_had_to_wait_is_folded_once() -> None:
    fold, expected = Watched(), Expected()
    made = folding(fold)
    made.feed(
        item(offset, f"{key}", Add(f"{key}/{nth}", 1, claim=nth < 3), Grants(expected=expected))
        for offset, (key, nth) in enumerate((key, nth) for key in "abc" for nth in (1, 2, 3))
    )
    places = count(1)
    while made.wanted:
        made.answer({claim.id: granted(next(places)) for claim in made.wanted})
    assert next(places) == 7
    assert made.states == {key: Total(3, 3, granted=2) for key in "abc"}
    assert [fold.folded.count(f"{key}/3") for key in "abc"] == [1, 1, 1]


def test_what_a_scope_answered_last_is_expected_of_it_next() -> None:
    expected = Expected()
    limit = Claim("places", "1", "user", 2, 2**52)
    assert expected[limit] == granted(1)
    expected.note(limit, granted(1))
    assert expected[replace(limit, id="2")] == granted(2)
    assert expected[replace(limit, id="2", take=False)] == granted(1)
    expected.note(limit, Grant(False, 2, 99))
    assert expected[replace(limit, id="3")] == Grant(False, 2, 99)
    assert expected[replace(limit, id="4", limit=5)] == granted(3)
    assert expected[Owned("n|own", "n", "a", 9, 1)] == granted(1)


def test_a_record_that_wants_a_place_waits_until_the_records_before_it_are_certain() -> None:
    fold, plain = Watched(), Grants()
    made = folding(fold)
    made.feed([item(n, "a", Add(f"a/{n}", 1, claim=n != 1), plain) for n in range(4)])
    assert [claim.id for claim in made.wanted] == ["a/0"]
    made.answer({"a/0": granted(1)})
    assert [claim.id for claim in made.wanted] == ["a/2"]
    made.answer({"a/2": granted(2)})
    made.answer({"a/3": granted(3)})
    assert made.states["a"] == Total(4, 4, granted=3)
    assert fold.folded == ["a/0", "a/1", "a/2", "a/3"]


def test_names_are_asked_ahead_and_what_was_answered_counts_when_the_key_goes_back() -> None:
    made = folding(Watched(named=frozenset({"a/1", "a/2"})))
    made.feed([item(n, "a", Add(f"a/{n}", 1, claim=n == 0)) for n in range(3)])
    assert [claim.id for claim in made.wanted] == ["a/0", "a/1|own", "a/2|own"]
    made.answer({"a/0": Grant(False, 50), "a/1|own": Grant(False, 1), "a/2|own": granted(1)})
    assert made.wanted == []
    assert made.states["a"] == Total(2, 2)
    assert ids(made) == ["a/0", "a/2"]


def test_a_step_that_is_not_complete_is_nothing_but_its_claims() -> None:
    class Asking(Counting):
        def fold(self, state: Total | None, event: Event, facts: str, grants: Grants) -> Step[Total]:
            asked.append(list(grants.answers))
            id = event.id  # type: ignore[union-attr]
            if len(grants.answers) == 2:
                return Step(Total(1))
            return Step(
                None, claims=(Claim("scope", f"{id}{len(grants.answers)}", id, 1, 1),), complete=False
            )

    asked: list[list[str]] = []
    made = Folding(Asking(), FACTS, {"a": Total()})
    made.feed([item(0, "a", Add("a", 1)), item(1, "b", Add("b", 1))])
    while made.wanted:
        assert made.states.get("a") == Total()
        made.answer({claim.id: granted(1) for claim in made.wanted})
    assert asked == [[], [], ["a0"], ["b0"], ["a0", "a1"], ["b0", "b1"]]
    assert made.states == {"a": Total(1), "b": Total(1)}


def test_a_record_that_fails_on_a_state_that_was_only_assumed_is_tried_again_on_the_true_one() -> None:
    made = folding(Watched(fails_after_a_grant=frozenset({"a/2"})))
    made.feed([item(0, "a", Add("a/1", 1, claim=True)), item(1, "a", Add("a/2", 5))])
    assert made.poisoned == {}
    made.answer({"a/1": Grant(granted=False, used=50)})
    assert made.poisoned == {}
    assert made.states["a"] == Total(2, 6)


def test_a_fold_that_raises_leaves_the_state_as_it_was_and_the_key_goes_on() -> None:
    made = folding()
    made.feed([item(0, "a", Add("a/1", 1)), item(1, "a", Burst("a/2")), item(2, "a", Add("a/3", 5))])
    assert made.states["a"] == Total(2, 6)
    assert made.poisoned[1][1] == "RuntimeError: burst"


def test_a_recalled_decision_is_taken_over_though_the_limit_would_refuse_now() -> None:
    before = msgspec.json.encode(Totalled("a/1", 1, True, "who decided then"))
    recalled = Grants({}, Recalled((before,)))
    made = folding()
    made.feed([item(0, "a", Add("a/1", 1, claim=True), recalled)])
    assert [claim.id for claim in made.wanted] == ["a/1"]
    made.answer({"a/1": Grant(granted=True, used=51)})
    assert made.states["a"] == Total(1, 1, granted=1)
    assert msgspec.json.decode(made.out[0][1].out[0].value, type=Totalled).decided_by == "who decided then"


def test_only_what_changed_is_written() -> None:
    known = Total(1, 1)
    made = folding(a=known, b=known)
    moot = Timer(event_id="t", at_ms=5, key="b", name="ring", due_ms=5)
    made.feed([item(0, "a", Add("a/2", 1)), item(1, "b", moot)])
    changes = made.changes({"a": known, "b": known})
    assert list(changes.states) == ["a"]
    assert (TIMERS, "b\nring", 5, "due") in changes.ranks


def test_a_timer_set_anew_in_the_same_batch_outlives_the_removal_of_the_one_that_fired() -> None:
    made = folding(a=Total(ring_at_ms=5))
    fired: TimerFired = Timer(event_id="t", at_ms=5, key="a", name="ring", due_ms=5)
    made.feed([item(0, "a", fired), item(1, "a", Add("a/1", 1, ring_at_ms=9))])  # type: ignore[arg-type]
    assert made.ranks[-1] == (TIMERS, "a\nring", 9, "set")
    assert made.fired == ["a\nring"]


@given(
    events=st.lists(
        st.builds(
            Add, st.from_regex("[ab]/[0-9]", fullmatch=True), st.integers(0, 9), st.booleans(),
            st.sampled_from([None, 7]),
        ),
        max_size=12,
    ),
    named=st.frozensets(st.from_regex("[ab]/[0-9]", fullmatch=True)),
    failing=st.frozensets(st.from_regex("[ab]/[0-9]", fullmatch=True)),
    refused=st.frozensets(st.from_regex("[ab]/[0-9]([|]own)?", fullmatch=True)),
)  # fmt: skip
def test_whatever_is_answered_a_batch_comes_to_what_its_records_come_to_one_by_one(
    events: list[Add], named: frozenset[str], failing: frozenset[str], refused: frozenset[str]
) -> None:
    def answered(claims: Iterable[Claim | Owned]) -> dict[str, Grant]:
        return {claim.id: Grant(claim.id not in refused, 1) for claim in claims}

    fold = Watched(named=named, fails_after_a_grant=failing)
    whole, single = folding(fold), folding(fold)
    plain = Grants()
    whole.feed(item(n, event.id[0], event, plain) for n, event in enumerate(events))
    while whole.wanted:
        whole.answer(answered(whole.wanted))
    for n, event in enumerate(events):
        names = (Claim("", event.id, "", 1, 1), Owned(f"{event.id}|own", "", "", 1, 1))
        single.feed([item(n, event.id[0], event, Grants(answered(names)))])
    assert whole.states == single.states
    assert whole.poisoned.keys() == single.poisoned.keys()
    assert told(whole) == told(single)
    assert sorted(whole.ranks) == sorted(single.ranks)
