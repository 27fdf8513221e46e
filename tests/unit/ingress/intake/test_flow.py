"""How many requests may be released: never more out than the horizon allows, never forgotten before the sender counts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingress.intake.flow import FEWEST, PATIENCE_S, Ends, Flow
from shared.backlog import Load, Note

RATE = 80


def flow(horizon_s: float = 3.0) -> Flow:
    return Flow(horizon_s, commands_of=lambda number: 0)


def looked(
    one: Flow,
    *,
    router: int = 0,
    sender: int = 0,
    waiting: int = 0,
    events: int = 0,
    commands: int = 0,
    now_s: float = 0.0,
    per_s: int = RATE,
) -> None:
    loads = {"106": Load(waiting, per_s)} if waiting or per_s != RATE else {}
    ends = Ends({0: events}, {0: commands})
    one.looked({0: Note(router)}, {0: Note(sender, loads)}, ends, now_s)


def released(one: Flow, requests: int) -> None:
    for _ in range(requests):
        one.released("106", 0)


def test_a_number_of_which_nobody_says_anything_has_room_for_its_horizon() -> None:
    one = flow()
    looked(one)
    assert one.room("106", RATE) == 240


def test_while_no_sender_is_at_work_nothing_is_released() -> None:
    one = flow()
    assert one.room("106", RATE) == 0
    one.looked({}, {1: Note(0)}, Ends({}, {}), 0.0)
    assert one.room("106", RATE) == 0


def test_what_waits_at_the_sender_and_a_lower_pace_leave_less_room() -> None:
    one = flow()
    looked(one, waiting=200)
    assert one.room("106", RATE) == 40
    looked(one, waiting=100, per_s=20)
    assert one.room("106", RATE) == 0


def test_a_request_is_out_until_the_router_has_passed_it_and_the_sender_what_it_made_of_it() -> None:
    one = flow()
    looked(one)
    released(one, 100)
    assert one.room("106", RATE) == 140
    looked(one, router=99, events=100)
    assert (one.undecided, one.room("106", RATE)) == (100, 140)
    looked(one, router=100, events=100, commands=60)
    assert (one.undecided, one.room("106", RATE)) == (0, 140), "the sender may not have taken them in"
    looked(one, router=100, sender=59, events=100, commands=90)
    assert one.room("106", RATE) == 140
    looked(one, router=100, sender=60, waiting=100, events=100, commands=90)
    assert one.room("106", RATE) == 140, "now the sender counts them"
    looked(one, router=100, sender=90, events=100, commands=90)
    assert one.room("106", RATE) == 240


def test_of_all_numbers_together_no_more_is_undecided_than_the_router_is_asked() -> None:
    one = flow()
    looked(one)
    most = one.room_in_all()
    released(one, most)
    assert one.room_in_all() == 0


def test_a_router_that_is_slow_is_asked_less_and_one_that_keeps_up_more() -> None:
    one = flow()
    first = one.most_undecided
    released(one, first)
    assert one.room_in_all() == 0
    looked(one, router=first, events=first)
    assert one.most_undecided > first
    released(one, 10)
    looked(one, router=first, events=first + 10, now_s=1.0)
    looked(one, router=first, events=first + 10, now_s=1.0 + 2 * PATIENCE_S)
    assert one.most_undecided < first
    for nth in range(20):
        looked(one, router=first, events=first + 10, now_s=3.0 + nth)
    assert one.most_undecided == FEWEST


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60)), max_size=40
    )
)
def test_never_more_is_out_than_the_horizon_whatever_router_and_sender_do_and_when_they_tell(
    steps: list[tuple[int, int, int, int]],
) -> None:
    """Against the truth: requests as they move from the release through the router and the sender to Meta; half of them are refused."""
    one = flow(1.0)
    events = decided = commands = taken = sent = 0
    for decides, takes, sends, at_most in steps:
        one.looked(
            {0: Note(decided)},
            {0: Note(taken, {"106": Load(taken - sent, RATE)})},
            Ends({0: events}, {0: commands}),
            0.0,
        )
        free = min(one.room("106", RATE), at_most)
        released(one, free)
        events += free
        in_router, made = events - decided, 0
        decides = min(decides, in_router)
        decided += decides
        made = decides // 2
        commands += made
        taken = min(commands, taken + takes)
        sent = min(taken, sent + sends)
        assert (events - decided) + (commands - sent) <= RATE


@pytest.mark.parametrize(("router_s", "sender_s", "numbers"), [(0.1, 0.1, 1), (0.1, 0.1, 20), (1.0, 1.0, 1)])
def test_a_number_never_runs_dry_while_there_is_something_to_release(
    router_s: float, sender_s: float, numbers: int
) -> None:
    """A minute in steps of 50 ms: what is released is decided so much later, taken in by the sender as much later again, and noted a quarter of a second after that."""
    step_s, stale = 0.05, 5
    to_router, to_sender = round(router_s / step_s), round(sender_s / step_s)
    one = Flow(5.0, commands_of=lambda number: 0)
    history: list[int] = []
    """Requests released up to each step."""
    sent = [0.0] * numbers
    notes: list[tuple[int, int, dict[str, Load]]] = []
    for nth in range(round(60 / step_s)):
        total = history[-1] if history else 0
        decided = history[-to_router] if nth >= to_router else 0
        taken = history[-to_router - to_sender] if nth >= to_router + to_sender else 0
        for number in range(numbers):
            sent[number] = min(taken / numbers, sent[number] + RATE * step_s)
        loads = {str(n): Load(int(taken / numbers - sent[n]), RATE) for n in range(numbers)}
        notes.append((decided, taken, loads))
        if nth % 2 == 0:
            then_decided, then_taken, then_loads = notes[-stale] if nth >= stale else notes[0]
            ends = Ends({0: total}, {0: decided})
            one.looked({0: Note(then_decided)}, {0: Note(then_taken, then_loads)}, ends, nth * step_s)
        rooms = {str(n): one.room(str(n), RATE) for n in range(numbers)}
        spare = min(one.room_in_all(), 200)
        for turn in range(max(rooms.values())):
            for name in [name for name, room in rooms.items() if room > turn][: max(0, spare)]:
                one.released(name, 0)
                total, spare = total + 1, spare - 1
        history.append(total)
    begins_s = router_s + sender_s + 0.5
    assert sum(sent) > 0.97 * numbers * RATE * (60 - begins_s)
