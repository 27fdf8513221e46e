"""The way to the next messaging limit, as the guide tells it and as Meta has it today."""

import pytest

from services.console.growth import growth
from shared.accounts import UNLIMITED, Account, Number

GOOD = Number(quality="GREEN", name_status="APPROVED")


@pytest.mark.parametrize(
    ("regime", "limit", "next_limit"),
    [
        ("guide", 250, 1000),
        ("guide", 1000, 10_000),
        ("calendar", 250, 2000),
        ("calendar", 1000, 2000),
        ("calendar", 2000, 10_000),
        ("calendar", 10_000, 100_000),
        ("calendar", 100_000, UNLIMITED),
        ("calendar", UNLIMITED, None),
    ],
)
def test_each_limit_has_its_next(regime: str, limit: int, next_limit: int | None) -> None:
    grown = growth(Account(regime=regime, messaging_limit=limit), [GOOD])
    assert (grown.limit, grown.next_limit) == (limit, next_limit)
    assert bool(grown.steps) == (next_limit is not None)


def test_a_new_account_grows_by_verification_or_by_volume_then_by_a_name() -> None:
    steps = growth(Account(regime="guide"), [Number()]).steps
    assert [step.done for step in steps] == [None, False, True]
    assert steps[0].text.startswith("the business verified, or 1,000 high-quality messages")
    verified = growth(Account(regime="guide", business_verified=True), [Number(), GOOD])
    assert [step.done for step in verified.steps] == [True, True, True]


def test_further_up_the_business_must_be_verified_and_the_use_of_the_limit_is_not_known() -> None:
    steps = growth(Account(messaging_limit=2000), [GOOD]).steps
    assert [step.done for step in steps] == [False, None, True, True]


def test_one_number_of_low_quality_stands_in_the_way() -> None:
    steps = growth(Account(), [GOOD, Number(quality="RED")]).steps
    assert [step.done for step in steps if "quality" in step.text][-1] is False


def test_metas_refusal_to_raise_the_limit_is_a_step() -> None:
    steps = growth(Account(alert="INCREASED_CAPABILITIES_ELIGIBILITY_NEED_MORE_INFO"), [GOOD]).steps
    assert (steps[-1].text, steps[-1].done) == (
        "Meta wants to know more before it raises the limit: see WhatsApp Manager",
        False,
    )
    assert len(growth(Account(alert="OBA_APPROVED"), [GOOD]).steps) == len(steps) - 1
