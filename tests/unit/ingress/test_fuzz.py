"""A short run of bodies that Meta never sent; `make fuzz` is the long one."""

from collections.abc import Iterator

import pytest
import structlog

from tests.fuzz.judge import least
from tests.fuzz.run import Tally, mutator, over_a_socket, through_the_handler
from tests.unit.ingress.door import MESSAGE, webhook


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def refused_taken_and_parked(tally: Tally) -> bool:
    return {200, 400, 404} <= tally.statuses.keys()


def test_whatever_is_signed_is_refused_published_or_parked() -> None:
    tally = through_the_handler(seed=7, first=0, count=3000)
    assert tally.failures == []
    assert refused_taken_and_parked(tally)
    assert tally.published > 500
    assert tally.parked > 500


async def test_over_a_socket_too() -> None:
    tally = await over_a_socket(seed=7, first=3000, count=300)
    assert (tally.failures, tally.bodies) == ([], 300)
    assert refused_taken_and_parked(tally)


def test_a_seed_gives_the_same_bodies_again() -> None:
    one, other = mutator(3), mutator(3)
    assert [one.body(n) for n in range(50)] == [other.body(n) for n in range(50)]


def test_the_judge_counts_the_updates_of_a_body() -> None:
    assert least(webhook(MESSAGE, MESSAGE, {})) == 3
    assert least(webhook()) == 1
    assert least(b'{"object":"page","entry":[{"id":"1","messaging":[1,2]},{}]}') == 3
    assert least(b'{"object":"user","entry":[1]}') == least(b"[") == 0
