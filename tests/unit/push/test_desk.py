"""What is tried, when, and given up: rules one by one, then a model with random answers."""

from collections import defaultdict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.push.answers import LONGEST_RETRY_MS, Answer, delay_ms, of_status
from services.push.breaker import Breaker, Outages
from services.push.desk import Desk, Taken, Terms
from services.push.lanes import Item, Place

NOW = 1_800_000_000_000
PLACE = Place("wa.send.events.v1", 0)
DAY = 86_400_000
OK = Answer("delivered")
FAILED = Answer("failed", "HTTP 500")
REFUSED = Answer("refused", "HTTP 400")
UNREACHABLE = Answer("failed", "no connection", unreachable=True)


class Office:
    """A desk, its clock, and hands that read and settle."""

    def __init__(self, concurrency: int = 10, batch: int = 1, give_up_ms: int = 3 * DAY) -> None:
        self.desk: Desk[str] = Desk(Terms(concurrency, batch, give_up_ms), Breaker(), Outages())
        self.now = NOW
        self.offset = 0
        self.parked: list[str] = []
        self.desk.lanes.begin(PLACE, 0)

    def read(self, key: str, what: str, at_ms: int | None = None, size: int = 100) -> None:
        at_ms = self.now if at_ms is None else at_ms
        item = Item(PLACE, self.offset, key.encode(), at_ms, size, what)
        self.desk.lanes.read(PLACE, self.offset, item)
        self.offset += 1

    def take(self) -> Taken[str] | None:
        return self.desk.take(self.now)

    def all(self) -> dict[str, Taken[str]]:
        found: dict[str, Taken[str]] = {}
        while (taken := self.take()) is not None:
            name = "+".join(item.what for item in taken.items)
            assert name not in found, "it is under way already"
            found[name] = taken
        return found

    def settle(self, taken: Taken[str], answer: Answer) -> None:
        for item in self.desk.settle(taken, answer, self.now, 1.0).park:
            self.parked.append(item.what)
            self.desk.parked(item)

    def try_all(self, answer: Answer) -> list[str]:
        taken = self.all()
        for one in taken.values():
            self.settle(one, answer)
        return list(taken)

    @property
    def done_to(self) -> int:
        return self.desk.lanes.low_water(PLACE)


def test_events_of_one_key_go_one_by_one_and_other_keys_beside_them() -> None:
    office = Office()
    for key, what in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        office.read(key, what)
    first = office.all()
    assert list(first) == ["a1", "b1"]
    office.settle(first["a1"], OK)
    assert list(office.all()) == ["a2"]


def test_no_more_go_at_once_than_the_endpoint_takes() -> None:
    office = Office(concurrency=2)
    for key in "abc":
        office.read(key, key)
    assert list(office.all()) == ["a", "b"]


def test_what_failed_holds_up_its_key_alone_and_is_tried_again_after_a_while() -> None:
    office = Office()
    office.read("a", "a1")
    office.read("a", "a2")
    office.try_all(FAILED)
    office.read("b", "b1")
    assert office.try_all(OK) == ["b1"]
    assert office.desk.wake_ms() == NOW + 1000
    office.now += 1000
    assert office.try_all(OK) == ["a1"]
    assert office.try_all(OK) == ["a2"]


def test_the_offset_stands_at_the_first_event_that_is_not_delivered() -> None:
    office = Office()
    for key in "abc":
        office.read(key, key)
    taken = office.all()
    office.settle(taken["b"], OK)
    office.settle(taken["c"], OK)
    assert (office.done_to, office.desk.lanes.held(PLACE)) == (0, (3, 100))
    office.settle(taken["a"], OK)
    assert (office.done_to, office.desk.lanes.held(PLACE)) == (3, (0, 0))


def test_a_refused_event_is_tried_three_times_and_parked() -> None:
    office = Office()
    office.read("a", "bad")
    office.read("a", "good")
    for _ in range(3):
        assert office.try_all(REFUSED) == ["bad"]
        office.now += DAY
    assert office.parked == ["bad"]
    assert office.try_all(OK) == ["good"]
    assert office.done_to == 2


def test_a_failing_event_is_parked_when_its_own_time_is_over_not_before() -> None:
    office = Office()
    office.read("a", "bad")
    tries = 0
    while not office.parked:
        assert office.try_all(FAILED) == ["bad"]
        tries += 1
        office.now = office.desk.wake_ms() or office.now
    assert office.now == NOW + 3 * DAY
    assert 17 <= tries <= 22


def test_an_old_event_still_gets_a_few_tries() -> None:
    office = Office()
    office.read("a", "old", at_ms=NOW - 10 * DAY)
    for _ in range(3):
        assert not office.parked
        office.try_all(FAILED)
        office.now += 60_000
    assert office.parked == ["old"]


def test_the_receiver_s_wish_for_a_later_try_is_heeded() -> None:
    office = Office()
    office.read("a", "a1")
    office.try_all(of_status(429, "120", b"", NOW))
    assert office.desk.wake_ms() == NOW + 120_000


def test_one_key_s_failures_do_not_open_the_breaker() -> None:
    office = Office()
    office.read("a", "bad")
    for _ in range(8):
        office.try_all(FAILED)
        office.now += DAY // 8
    assert not office.desk.breaker.open


def test_failures_of_several_keys_open_it_and_then_one_event_at_a_time_is_tried() -> None:
    office = Office()
    for key in "abcdef":
        office.read(key, key)
    assert len(office.try_all(FAILED)) == 6
    assert office.desk.breaker.open
    office.now += 1000
    probe = office.all()
    assert len(probe) == 1
    (taken,) = probe.values()
    office.settle(taken, FAILED)
    assert office.all() == {}
    assert office.desk.wake_ms() == office.now + 2000


def test_a_probe_prefers_an_event_that_has_not_failed() -> None:
    office = Office()
    for key in "abcde":
        office.read(key, key)
    office.try_all(FAILED)
    office.read("new", "new")
    office.now += 1000
    assert list(office.all()) == ["new"]


def test_the_first_success_closes_it_and_all_that_waited_goes_at_once() -> None:
    office = Office()
    for key in "abcde":
        office.read(key, key)
    office.try_all(FAILED)
    office.now += 5 * DAY
    (probe,) = office.all().values()
    office.settle(probe, OK)
    assert len(office.try_all(OK)) == 4
    assert office.done_to == 5


def test_nobody_s_time_passes_while_the_breaker_is_open() -> None:
    office = Office()
    for key in "abcde":
        office.read(key, key)
    office.try_all(UNREACHABLE)
    office.now += 10 * DAY
    (probe,) = office.all().values()
    office.settle(probe, OK)
    (last, *others) = office.all().values()
    for taken in others:
        office.settle(taken, OK)
    office.settle(last, FAILED)
    for _ in range(4):
        office.now += 60_000
        office.try_all(FAILED)
    assert office.parked == []
    assert office.desk.outages.within_ms(NOW, office.now) == 10 * DAY
    while not office.parked:
        office.now = office.desk.wake_ms() or office.now
        office.try_all(FAILED)
    assert office.now == NOW + 13 * DAY


def test_three_connections_that_can_t_be_made_open_it_whatever_the_keys() -> None:
    office = Office()
    office.read("a", "a")
    for _ in range(3):
        assert not office.desk.breaker.open
        office.try_all(UNREACHABLE)
        office.now += 10_000
    assert office.desk.breaker.open


def test_an_endpoint_that_is_gone_is_told_nothing_until_it_is_enabled() -> None:
    office = Office()
    office.read("a", "a")
    office.read("b", "b")
    (first, second) = office.all().values()
    office.settle(first, of_status(410, None, b"", NOW))
    assert not office.desk.enabled
    office.settle(second, OK)
    office.now += DAY
    assert office.all() == {}
    assert office.desk.wake_ms() is None
    office.desk.switch(office.now, enabled=True)
    assert office.try_all(OK) == ["a"]


def test_a_batch_takes_several_keys_and_several_of_one_in_order() -> None:
    office = Office(batch=4)
    for key, what in (("a", "a1"), ("b", "b1"), ("a", "a2"), ("c", "c1"), ("d", "d1")):
        office.read(key, what)
    assert list(office.all()) == ["a1+a2+b1+c1", "d1"]


def test_a_batch_takes_no_more_once_it_is_large() -> None:
    office = Office(batch=100)
    for nth in range(5):
        office.read("ab"[nth % 2], str(nth), size=600_000)
    assert list(office.all()) == ["0+2", "1+3"]


def test_after_a_batch_failed_its_events_go_alone_so_that_one_can_t_spoil_the_others() -> None:
    office = Office(batch=3)
    for key in "abc":
        office.read(key, key)
    assert office.try_all(REFUSED) == ["a+b+c"]
    office.now += 1000
    assert list(office.all()) == ["a", "b", "c"]


def test_a_partition_that_went_to_another_is_forgotten_with_what_is_under_way() -> None:
    office = Office()
    office.read("a", "a1")
    office.read("a", "a2")
    (taken,) = office.all().values()
    office.desk.lanes.forget(PLACE)
    office.settle(taken, FAILED)
    office.now += DAY
    assert office.all() == {}
    office.desk.lanes.begin(PLACE, 0)
    office.offset = 0
    office.read("a", "a1 again")
    assert office.try_all(OK) == ["a1 again"]


def test_a_partition_that_comes_back_is_read_anew_whatever_was_queued_of_it() -> None:
    office = Office()
    office.read("a", "a1")
    office.desk.lanes.forget(PLACE)
    office.desk.lanes.begin(PLACE, 0)
    office.offset = 0
    office.read("a", "a1 again")
    office.read("a", "a2")
    assert list(office.all()) == ["a1 again"]


def test_an_endpoint_that_refuses_everything_gets_nothing_parked_while_it_does() -> None:
    office = Office()
    for key in "abcde":
        office.read(key, key)
    for _ in range(20):
        office.try_all(REFUSED)
        office.now = office.desk.wake_ms() or office.now
    assert office.parked == []
    office.try_all(OK)
    assert len(office.try_all(OK)) == 4


def test_outages_that_follow_each_other_closely_are_one() -> None:
    outages = Outages()
    for start in range(0, 200_000, 20_000):
        outages.begin(NOW + start)
        outages.end(NOW + start + 10_000)
    assert outages.past == [(NOW, NOW + 190_000)]
    outages.join([(NOW + 100_000, NOW + 300_000), (NOW + 400_000, NOW + 500_000)])
    assert outages.past == [(NOW, NOW + 300_000), (NOW + 400_000, NOW + 500_000)]
    assert outages.within_ms(NOW + 290_000, NOW + 450_000) == 60_000


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "delivered"), (204, "delivered"), (301, "refused"), (400, "refused"), (401, "refused"), (404, "refused"),
     (408, "failed"), (409, "failed"), (410, "gone"), (425, "failed"), (429, "failed"), (500, "failed"), (503, "failed")],
)  # fmt: skip
def test_each_status_has_its_meaning(status: int, outcome: str) -> None:
    assert of_status(status, None, b"", NOW).outcome == outcome


@pytest.mark.parametrize(
    ("header", "after_ms"),
    [("5", 5000), ("999999999999", DAY), ("Fri, 15 Jan 2027 08:00:10 GMT", 10_000), ("soon", 0), ("-5", 0), (None, 0)],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, after_ms: int) -> None:
    assert of_status(503, header, b"", NOW).retry_after_ms == after_ms


def test_tries_are_from_a_second_to_a_day_apart_and_scattered() -> None:
    assert [delay_ms(tries, 1.0) for tries in (1, 2, 3, 4)] == [1000, 2000, 4000, 8000]
    assert delay_ms(40, 1.0) == LONGEST_RETRY_MS == DAY
    assert delay_ms(4, 0.0) == 4000


ANSWERS = (OK, OK, FAILED, REFUSED, UNREACHABLE, Answer("failed", "429", 5000))


@settings(max_examples=200)
@given(
    keys=st.lists(st.sampled_from("abcde"), min_size=1, max_size=40),
    concurrency=st.integers(1, 6),
    batch=st.integers(1, 4),
    chance=st.randoms(use_true_random=False),
)
def test_whatever_fails_each_key_keeps_its_order_and_each_event_is_delivered_or_parked(
    keys: list[str], concurrency: int, batch: int, chance: Random
) -> None:
    """The naive model: per key a list of what was read, and what must be found at the end."""
    office = Office(concurrency, batch, give_up_ms=60_000)
    read: defaultdict[str, list[str]] = defaultdict(list)
    ended: defaultdict[str, list[str]] = defaultdict(list)
    under_way: list[Taken[str]] = []
    waiting = list(enumerate(keys))
    restarted = False

    def settle(answer: Answer) -> None:
        taken = under_way.pop(chance.randrange(len(under_way)))
        before = len(office.parked)
        office.settle(taken, answer)
        done = (
            [item.what for item in taken.items] if answer.outcome == "delivered" else office.parked[before:]
        )
        for what in done:
            ended[what[0]].append(what)

    for _ in range(10_000):
        if waiting and chance.random() < 0.5:
            nth, key = waiting.pop(0)
            read[key].append(f"{key}{nth}")
            office.read(key, f"{key}{nth}")
        while (taken := office.take()) is not None:
            under_way.append(taken)
            assert len(under_way) <= concurrency
            assert len(taken.items) <= batch
        lanes = [item.key for taken in under_way for item in {i.key: i for i in taken.items}.values()]
        assert len(set(lanes)) == len(lanes), "a key is under way twice"
        if under_way:
            # After a while all is well, so that the run ends.
            calm = office.now > NOW + 10 * DAY
            settle(OK if calm else chance.choice(ANSWERS))
        elif (wake_ms := office.desk.wake_ms()) is not None:
            office.now = max(office.now, wake_ms)
        elif not waiting:
            break
        if not restarted and chance.random() < 0.02:
            restarted = True
            office.desk.switch(office.now, enabled=False)
            office.desk.switch(office.now + 1, enabled=True)
        office.now += 1
    assert not under_way
    for key, whats in read.items():
        assert ended[key] == whats
    assert office.done_to == len(keys)
    assert office.desk.lanes.idle
