"""What a new process goes on from: outages that were, a breaker that was open, a word of an operator."""

from typing import Any

from services.push.breaker import Breaker, Outages
from services.push.desk import Desk, Terms
from services.push.standing import (
    EndpointState,
    EndpointSwitched,
    Standing,
    Word,
    decode,
    key_of,
    recall,
    told_ms,
)
from shared.events import encode

NOW = 1_800_000_000_000
HOUR = 3_600_000


def state(instance: str = "0", **fields: Any) -> EndpointState:
    return EndpointState(endpoint="shop", instance=instance, at_ms=NOW - HOUR, **fields)


def switched(*, enabled: bool, at_ms: int) -> EndpointSwitched:
    return EndpointSwitched(endpoint="shop", at_ms=at_ms, enabled=enabled, by="ops")


def recalled(*words: EndpointState | EndpointSwitched) -> Desk[str]:
    standing = Standing()
    for word in words:
        standing.take(decode(encode(word)))
    desk: Desk[str] = Desk(Terms(1, 1, HOUR), Breaker(), Outages())
    recall(desk, standing, "shop", "0", NOW)
    return desk


def test_an_endpoint_that_nobody_spoke_of_is_told() -> None:
    desk = recalled()
    assert desk.enabled
    assert not desk.breaker.open


def test_a_breaker_that_was_open_is_open_and_tried_at_once() -> None:
    desk = recalled(state(breaker="open", outage_since_ms=NOW - 5 * HOUR))
    assert desk.breaker.may_probe(NOW)
    assert desk.outages.within_ms(0, NOW) == 5 * HOUR


def test_outages_that_other_processes_saw_count_too() -> None:
    desk = recalled(
        state("0", outages=((NOW - 9 * HOUR, NOW - 8 * HOUR),)),
        state("1", outages=((NOW - 7 * HOUR, NOW - 5 * HOUR),)),
    )
    assert desk.outages.within_ms(0, NOW) == 3 * HOUR


def test_a_disabled_endpoint_stays_so_and_its_time_stands_since() -> None:
    desk = recalled(switched(enabled=False, at_ms=NOW - 3 * HOUR), state(outage_since_ms=NOW - 3 * HOUR))
    assert not desk.enabled
    assert desk.outages.within_ms(0, NOW) == 3 * HOUR


def test_one_that_was_enabled_while_push_was_down_was_shut_until_then() -> None:
    desk = recalled(state(outage_since_ms=NOW - 3 * HOUR), switched(enabled=True, at_ms=NOW - HOUR))
    assert desk.enabled
    assert desk.outages.within_ms(0, NOW) == 2 * HOUR


def test_of_each_endpoint_and_process_the_last_word_is_kept() -> None:
    words: list[Word] = [
        switched(enabled=True, at_ms=1),
        switched(enabled=False, at_ms=2),
        state("0"),
        state("1"),
    ]
    assert len({key_of(word) for word in words}) == 3


def test_forgotten_offsets_are_found_by_the_processes_that_still_serve() -> None:
    assert told_ms([]) == 0
    old = EndpointState(
        endpoint="shop", instance="9", at_ms=NOW - 90 * 24 * HOUR, told_ms=NOW - 91 * 24 * HOUR
    )
    assert told_ms([state(told_ms=NOW - 2 * HOUR), state("1", told_ms=NOW - 3 * HOUR), old]) == NOW - 3 * HOUR
