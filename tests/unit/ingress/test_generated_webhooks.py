"""Whatever order, batch and company Meta's updates come in, and however often, they come to the same. `make webhooks N=100000` plays many."""

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.webhooks.compared import compare
from tests.webhooks.told import Told, tellings


@settings(
    max_examples=25,
    deadline=None,
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(tellings(1, 40), st.integers(0, 2**32))
def test_updates_in_any_disorder_have_the_effects_of_clean_ones_one_by_one(
    told: list[Told], seed: int
) -> None:
    compare(told, seed)
