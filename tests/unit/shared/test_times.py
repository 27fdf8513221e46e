"""Times as text and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.times import parse_rfc3339, rfc3339


@given(st.integers(0, 4_000_000_000_000))
def test_a_time_survives_its_text(ms: int) -> None:
    assert parse_rfc3339(rfc3339(ms)) == ms


def test_times_read_like_the_documented_form() -> None:
    assert rfc3339(1_796_202_000_007) == "2026-12-02T09:00:00.007Z"


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="without an offset"):
        parse_rfc3339("2026-12-02T09:00:00")
