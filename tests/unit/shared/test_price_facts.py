"""What Meta's account_update webhooks say of prices, and how separate notices come together."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.accounts import Account, AccountFacts, InvalidFacts
from shared.events import AccountChanged, AccountWebhook, decode_account_event, encode
from shared.price_facts import (
    MONTHS_KEPT,
    AuthInternational,
    Tiers,
    joined,
    read,
    tier_at,
    tier_bounds,
    tier_key,
)

AT_MS = 1_793_620_800_000
INFO = {
    "tier_update_time": 1_793_000_000,
    "pricing_category": "UTILITY",
    "tier": "25000001:50000000",
    "effective_month": "2026-11",
    "region": "INDIA",
}


def webhook(value: dict[str, Any], at_ms: int = AT_MS) -> AccountWebhook:
    return AccountWebhook(
        event_id=f"w{at_ms}",
        at_ms=at_ms,
        waba_id="W",
        field="account_update",
        value=msgspec.Raw(msgspec.json.encode(value)),
    )


def notice(at_ms: int = AT_MS, **changes: Any) -> AccountWebhook:
    return webhook({"event": "VOLUME_BASED_PRICING_TIER_UPDATE", "volume_tier_info": INFO | changes}, at_ms)


def by_operator(at_ms: int = AT_MS, **fields: Any) -> AccountChanged:
    return AccountChanged(event_id="o", at_ms=at_ms, waba_id="W", subject="account", id="W", fields=fields)


def account(*events: AccountWebhook | AccountChanged) -> Account:
    facts = AccountFacts()
    for event in events:
        facts.apply(decode_account_event(encode(event)), facts.revision + 1)
    found = facts.account("W")
    return Account() if found is None else found


@pytest.mark.parametrize(
    ("country", "known"), [("IN", "IN"), (" in ", "IN"), (None, None), ("", None), (91, "US"), ("IND", "US")]
)
def test_the_primary_location_is_two_letters_or_not_verified_and_nonsense_changes_nothing(
    country: object, known: str | None
) -> None:
    told = webhook({"event": "BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE", "country": country})
    assert account(by_operator(0, primary_location="US"), told).primary_location == known


@pytest.mark.parametrize("start", [1_790_000_000, "1790000000", 1_790_000_000.0, 1_790_000_000_000])
def test_a_start_is_read_as_number_or_text_in_seconds_or_milliseconds(start: object) -> None:
    eligibility = {
        "start_time": start,
        "exception_countries": [
            {"country_code": "in", "start_time": start},
            {"country_code": "NG", "start_time": None},
            {"country_code": 7, "start_time": 1},
            "nonsense",
        ],
    }
    told = webhook(
        {"event": "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE", "auth_international_rate_eligibility": eligibility}
    )
    expected = AuthInternational(start_ms=1_790_000_000_000, exceptions={"IN": 1_790_000_000_000, "NG": None})
    assert account(told).auth_international == expected


def test_an_exception_has_its_own_start_and_without_one_nothing_is_owed_there() -> None:
    owed = AuthInternational(start_ms=100, exceptions={"IN": 200, "NG": None})
    assert [owed.owed("ID", at_ms) for at_ms in (99, 100)] == [False, True]
    assert [owed.owed("IN", at_ms) for at_ms in (100, 199, 200)] == [False, False, True]
    assert not owed.owed("NG", 10**15)
    assert not AuthInternational().owed("IN", 10**15)


@pytest.mark.parametrize(
    "value",
    [
        {"event": "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE"},
        {"event": "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE", "auth_international_rate_eligibility": {"start_time": -1}},
        {"event": "BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE"},
        {"event": "VOLUME_BASED_PRICING_TIER_UPDATE", "volume_tier_info": []},
        {"event": "VOLUME_BASED_PRICING_TIER_UPDATE", "volume_tier_info": INFO | {"tier": "many"}},
        {"event": "VOLUME_BASED_PRICING_TIER_UPDATE", "volume_tier_info": INFO | {"effective_month": "2026-13"}},
        {"event": "VOLUME_BASED_PRICING_TIER_UPDATE", "volume_tier_info": INFO | {"region": None}},
        {"event": "SOMETHING_NEW"},
    ],
)  # fmt: skip
def test_what_can_not_be_read_sets_nothing(value: dict[str, Any]) -> None:
    assert read(value, AT_MS) == {}


@pytest.mark.parametrize(
    ("tier", "bounds"),
    [
        ("25000001:50000000", (25_000_001, 50_000_000)),
        ("0:1000", (1, 1000)),
        ("1:1000", (1, 1000)),
        ("5001:MAX", (5001, None)),
        ("5001:max", None),
        ("5001", None),
        ("-1:5", None),
    ],
)
def test_a_tier_is_two_inclusive_bounds(tier: str, bounds: tuple[int, int | None] | None) -> None:
    assert tier_bounds(tier) == bounds


def test_a_notice_tells_the_tier_of_a_category_month_and_market() -> None:
    told = account(notice(), notice(tier="50000001:max", tier_update_time="1793500000"))
    assert told.tier_notices == {
        "utility/2026-11/india": {
            "25000001:50000000": 1_793_000_000_000,
            "50000001:MAX": 1_793_500_000_000,
        }
    }


def test_a_notice_without_a_time_counts_from_its_own_webhook() -> None:
    told = account(notice(tier_update_time=None))
    assert told.tier_notices == {"utility/2026-11/india": {"25000001:50000000": AT_MS}}


def test_markets_are_the_same_however_card_and_notice_write_them() -> None:
    written = ("Rest of Central & Eastern Europe", "REST_OF_CENTRAL_AND_EASTERN_EUROPE")
    assert len({tier_key("utility", market, "2026-11") for market in written}) == 1


def test_of_one_change_told_twice_the_smaller_time_counts_in_either_order() -> None:
    earlier, later = notice(tier_update_time=1_793_000_000), notice(AT_MS + 1, tier_update_time=1_793_000_009)
    for told in (account(earlier, later), account(later, earlier)):
        assert told.tier_notices == {"utility/2026-11/india": {"25000001:50000000": 1_793_000_000_000}}


def test_the_tier_in_force_is_the_one_reached_last_and_a_late_duplicate_does_not_bring_back_the_one_before() -> (
    None
):
    climb = [
        notice(tier="1001:5000", tier_update_time=10),
        notice(tier="5001:MAX", tier_update_time=20),
        notice(tier="1001:5000", tier_update_time=25),
    ]
    reached = account(*climb).tier_notices["utility/2026-11/india"]
    found = [tier_at(reached, at_s * 1000) for at_s in (9, 10, 19, 20, 30)]
    assert found == [None, "1001:5000", "1001:5000", "5001:MAX", "5001:MAX"]


def test_of_tiers_reached_at_once_the_highest_is_in_force_whatever_came_first() -> None:
    tiers = {"1:77": 5, "0:1000": 5, "1001:5000": 5}
    assert tier_at(tiers, 5) == "1001:5000"
    del tiers["1001:5000"]
    assert tier_at(tiers, 5) == tier_at(dict(reversed(tiers.items())), 5) == "1:77"


def test_an_old_notice_that_comes_late_is_added_and_no_other_fact_is_set_back() -> None:
    newer = notice(AT_MS + 5, region="Brazil")
    late = notice(AT_MS - 5)
    told = account(newer, by_operator(AT_MS + 9, volume_tiers={}), late)
    assert set(told.tier_notices) == {"utility/2026-11/brazil", "utility/2026-11/india"}


def test_an_operators_tiers_are_replaced_and_never_touch_what_meta_told() -> None:
    first = by_operator(1, volume_tiers={"utility/2026-11/india": {"1:5": 0}})
    second = by_operator(2, volume_tiers={"utility/2026-11/brazil": {"1:5": 0}})
    told = account(notice(), second, first)
    assert told.volume_tiers == {"utility/2026-11/brazil": {"1:5": 0}}
    assert set(told.tier_notices) == {"utility/2026-11/india"}


@pytest.mark.parametrize("tiers", [7, {"a": 7}, {"a": {"b": "c"}}])
def test_tiers_of_another_form_are_refused_whole(tiers: object) -> None:
    facts = AccountFacts()
    facts.apply(notice(), 1)
    before = facts.account("W")
    with pytest.raises(InvalidFacts):
        facts.apply(by_operator(tier_notices=tiers, name="N"), 2)
    assert facts.account("W") == before


keys = st.builds(
    tier_key, st.sampled_from(["utility", "authentication"]), st.sampled_from(["India", "Brazil"]),
    st.sampled_from([f"2026-{month:02}" for month in range(1, 13)]),
)  # fmt: skip
maps = st.dictionaries(keys, st.dictionaries(st.sampled_from(["1:5", "6:9", "10:MAX"]), st.integers(0, 9)))


@given(st.lists(maps, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_notices_come_to_the_same_in_any_order_and_any_number_of_times(told: list[Tiers], order: Any) -> None:
    again = [*told, *told]
    order.shuffle(again)
    assert _all(told) == _all(again)


def _all(told: list[Tiers]) -> Tiers:
    known: Tiers = {}
    for tiers in told:
        known = joined(known, tiers)
    return known


def test_only_the_last_months_are_kept() -> None:
    told = [{tier_key("utility", "India", f"2026-{month:02}"): {"1:5": 0}} for month in range(1, 13)]
    assert len(_all(told)) == MONTHS_KEPT
    assert min(_all(told)) == "utility/2026-09/india"
