"""One batch of one partition: order, held-back keys, poison, and what is written."""

from types import SimpleNamespace
from typing import Any

import msgspec

from shared.events import TimerFired
from shared.stream.fold import Claim, Grant, Grants, Recalled, Step
from shared.stream.folding import TIMERS, Folding, Item
from tests.integration.stream.counting import Add, Burst, Counting, Event, Timer, Total, Totalled

FACTS = "facts"


def item(offset: int, key: str, event: Event, grants: Grants | None = None) -> Item[Any]:
    source = SimpleNamespace(offset=offset, partition=0, key=key.encode(), value=b"", headers=())
    return Item(source, key, event, grants or Grants())


def folding(**states: Total) -> Folding[Total, Event, str]:
    return Folding(Counting(), FACTS, dict(states))


def ids(made: Folding[Total, Event, str]) -> list[str]:
    return [out.id for offset in sorted(made.out) for out in made.out[offset][1]]


def test_records_of_one_key_are_folded_in_order() -> None:
    made = folding()
    made.feed([item(0, "a", Add("a/1", 1)), item(1, "b", Add("b/1", 2)), item(2, "a", Add("a/2", 3))])
    assert made.states == {"a": Total(2, 4), "b": Total(1, 2)}
    assert ids(made) == ["a/1", "b/1", "a/2"]


def test_a_key_that_waits_for_claims_holds_back_its_later_records_and_no_others() -> None:
    made = folding()
    made.feed(
        [item(0, "a", Add("a/1", 1, claim=True)), item(1, "a", Add("a/2", 2)), item(2, "b", Add("b/1", 3))]
    )
    assert [claim.id for claim in made.wanted] == ["a/1"]
    assert made.states == {"b": Total(1, 3)}
    made.answer({"a/1": Grant(granted=True, used=1)})
    assert made.wanted == []
    assert made.states["a"] == Total(2, 3, granted=1)


def test_two_claims_of_one_key_are_asked_one_after_the_other() -> None:
    made = folding()
    made.feed([item(0, "a", Add("a/1", 1, claim=True)), item(1, "a", Add("a/2", 1, claim=True))])
    made.answer({"a/1": Grant(granted=True, used=1)})
    assert [claim.id for claim in made.wanted] == ["a/2"]
    made.answer({"a/2": Grant(granted=False, used=1)})
    assert made.states["a"] == Total(2, 2, granted=1)


def test_a_record_gets_the_answers_to_its_own_claims_and_what_its_fold_had_found_out() -> None:
    class Asking(Counting):
        def fold(self, state: Total | None, event: Event, facts: str, grants: Grants) -> Step[Total]:
            asked.append(grants)
            claims = tuple(Claim("scope", f"{id}{len(grants.answers)}", id, 1, 1) for id in [event.id])  # type: ignore[union-attr]
            return Step(state, claims=claims if len(grants.answers) < 2 else (), work=len(asked))

    asked: list[Grants] = []
    made = Folding(Asking(), FACTS, {})
    made.feed([item(0, "a", Add("a", 1)), item(1, "b", Add("b", 1))])
    while made.wanted:
        made.answer({claim.id: Grant(granted=True, used=1) for claim in made.wanted})
    assert [(list(grants.answers), grants.work) for grants in asked] == [
        ([], None), ([], None), (["a0"], 1), (["b0"], 2), (["a0", "a1"], 3), (["b0", "b1"], 4),
    ]  # fmt: skip


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
    assert msgspec.json.decode(made.out[0][1][0].value, type=Totalled).decided_by == "who decided then"


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
