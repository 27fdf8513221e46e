"""What waits in a partition: in the order of its number, in bounded memory, nothing lost, nothing twice."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from services.ingress.intake.held import AT_HAND, Held, in_turn


@dataclass(frozen=True)
class Written:
    """A record."""

    offset: int
    number: str


def held_of(numbers: str, *, keep: bool = True, begin: int = 0) -> tuple[Held, list[Written]]:
    rows = [Written(begin + nth, number) for nth, number in enumerate(numbers)]
    held = Held(begin)
    for row in rows:
        held.add(row.number, row, keep=keep)
    return held, rows


def take(held: Held, room: dict[str, int], most: int = 10_000) -> list[int]:
    return [row.offset for _, row in in_turn(list(held.queues.values()), lambda n: room.get(n, 0), most)]


def test_numbers_take_turns_and_keep_their_own_order() -> None:
    held, _ = held_of("aaaabbc")
    assert take(held, {"a": 9, "b": 9, "c": 9}) == [0, 4, 6, 1, 5, 2, 3]


def test_a_number_without_room_holds_up_nobody_and_the_low_water_mark_waits_for_it() -> None:
    held, _ = held_of("ababab")
    assert take(held, {"b": 9}) == [1, 3, 5]
    held.drop_empty()
    assert (held.low_water, len(held)) == (0, 3)
    assert take(held, {"a": 2}) == [0, 2]
    assert held.low_water == 4
    assert take(held, {"a": 2}) == [4]
    held.drop_empty()
    assert held.low_water == 6, "all is done up to where was looked"


def test_no_more_is_taken_than_asked_for() -> None:
    held, _ = held_of("ab" * 10)
    assert len(take(held, {"a": 9, "b": 9}, most=7)) == 7


def test_of_a_long_queue_only_the_first_are_at_hand_and_the_rest_is_read_when_its_turn_comes() -> None:
    held, rows = held_of("a" * 1000)
    assert held.at_hand == AT_HAND
    assert held.wanted(lambda number: True) is None, "there is enough at hand"
    taken = take(held, {"a": 1000})
    assert taken == list(range(AT_HAND))
    assert held.wanted(lambda number: False) is None
    assert held.wanted(lambda number: True) == AT_HAND
    held.read_again(rows[AT_HAND : AT_HAND + 50])
    assert take(held, {"a": 1000}) == list(range(AT_HAND, AT_HAND + 50))


def test_reading_again_serves_every_number_that_passes_by() -> None:
    held, rows = held_of("abab" * 10, keep=False)
    held.read_again(rows)
    assert held.at_hand == 40
    assert sorted(take(held, {"a": 99, "b": 99})) == list(range(40))


def test_what_is_let_go_is_read_again() -> None:
    held, rows = held_of("aabb")
    held.let_go(lambda number: number == "b")
    assert held.at_hand == 2
    assert held.wanted(lambda number: True) == 0
    held.read_again(rows)
    assert sorted(take(held, {"a": 9, "b": 9})) == [0, 1, 2, 3]


def test_what_the_topic_has_lost_is_counted_and_holds_up_nothing() -> None:
    held, rows = held_of("aaaa", keep=False, begin=10)
    assert held.drop_unread(below=12) == 2
    held.read_again(rows[2:])
    assert take(held, {"a": 9}) == [12, 13]


@given(
    st.text("abc", max_size=600),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 120), st.booleans()), max_size=60),
    st.booleans(),
)
def test_each_request_comes_out_once_in_the_order_of_its_number_and_the_mark_is_never_above_one_that_waits(
    numbers: str, steps: list[tuple[str, int, bool]], keep: bool
) -> None:
    held, rows = held_of(numbers, keep=keep)
    out: list[int] = []
    for number, room, forgets in [*steps, *(("abc"[nth % 3], 1000, False) for nth in range(30))]:
        if forgets:
            held.let_go(lambda one, number=number: one == number)  # type: ignore[misc]
        wanted = held.wanted(lambda one, number=number: one == number)  # type: ignore[misc]
        if wanted is not None:
            held.read_again(rows[wanted : wanted + 300])
        out += take(held, {number: room})
        held.drop_empty()
        waiting = set(range(len(rows))) - set(out)
        assert held.low_water == min(waiting, default=len(rows))
        assert len(held) == len(waiting)
        assert held.at_hand <= 3 * AT_HAND
    for number in "abc":
        own = [offset for offset in out if rows[offset].number == number]
        assert own == [row.offset for row in rows if row.number == number]
