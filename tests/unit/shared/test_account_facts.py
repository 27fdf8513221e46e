"""What Meta's webhooks about accounts and numbers mean."""

from typing import Any

import msgspec
import pytest

from shared.accounts import UNLIMITED, Account, AccountFacts, Number, restrictions_in_force
from shared.events import AccountChanged, AccountWebhook

NOW = 1_793_620_800_000


def facts(*webhooks: tuple[str, dict[str, Any]]) -> AccountFacts:
    known = AccountFacts()
    known.apply(
        AccountChanged(
            event_id="n", at_ms=NOW, waba_id="W1", subject="number", id="N1",
            fields={"display_phone_number": "+1 555 010-0101", "quality": "GREEN"},
        ),
        1,
    )  # fmt: skip
    for later, (field, value) in enumerate(webhooks, start=2):
        raw = msgspec.Raw(msgspec.json.encode(value))
        known.apply(
            AccountWebhook(event_id=f"w{later}", at_ms=NOW + later, waba_id="W1", field=field, value=raw),
            later,
        )
    return known


def account(*webhooks: tuple[str, dict[str, Any]]) -> Account:
    found = facts(*webhooks).account("W1")
    assert found is not None
    return found


def number(*webhooks: tuple[str, dict[str, Any]]) -> Number:
    found = facts(*webhooks).number("N1")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        ({"max_daily_conversations_per_business": 2000}, 2000),
        ({"max_daily_conversations_per_business": "2000"}, 2000),
        ({"max_daily_conversations_per_business": "TIER_2K"}, 2000),
        ({"max_daily_conversations_per_business": -1}, UNLIMITED),
        ({"max_daily_conversations_per_business": "-1"}, UNLIMITED),
        ({"max_daily_conversations_per_business": "TIER_UNLIMITED"}, UNLIMITED),
        ({"max_daily_conversation_per_phone": "TIER_10K"}, 10_000),
    ],
)
def test_a_messaging_limit_is_read_however_meta_writes_it(value: dict[str, Any], limit: int) -> None:
    assert account(("business_capability_update", value)).messaging_limit == limit


@pytest.mark.parametrize("raw", [True, -7, "TIER_NOT_SET", "", None, "-", "²", 1.5, []])
def test_what_names_no_limit_changes_nothing(raw: Any) -> None:
    value = {"max_daily_conversations_per_business": raw}
    assert facts(("business_capability_update", value)).account("W1") is None


QUALITY = "phone_number_quality_update"
PHONE = {"display_phone_number": "15550100101"}


def test_a_flag_is_a_low_quality_and_without_it_the_quality_is_unknown() -> None:
    assert number((QUALITY, {**PHONE, "event": "FLAGGED"})).quality == "RED"
    both = ((QUALITY, {**PHONE, "event": "FLAGGED"}), (QUALITY, {**PHONE, "event": "UNFLAGGED"}))
    assert number(*both).quality == "UNKNOWN"


def test_a_throughput_upgrade_is_a_thousand_messages_a_second() -> None:
    update = {**PHONE, "event": "THROUGHPUT_UPGRADE", "current_limit": "TIER_UNLIMITED"}
    assert number((QUALITY, update)).throughput == 1000
    assert account((QUALITY, update)).messaging_limit == UNLIMITED


def test_the_limit_of_the_business_counts_before_the_one_of_the_number() -> None:
    update = {
        "event": "UPGRADE",
        "current_limit": "TIER_1K",
        "max_daily_conversations_per_business": "TIER_10K",
    }
    assert account((QUALITY, PHONE | update)).messaging_limit == 10_000
    assert (
        facts((QUALITY, {**PHONE, "event": "ONBOARDING", "current_limit": "TIER_NOT_SET"})).account("W1")
        is None
    )


def test_a_number_that_nobody_knows_gets_no_facts() -> None:
    assert facts((QUALITY, {"display_phone_number": "1555", "event": "FLAGGED"})).number("N1") == number()


@pytest.mark.parametrize(
    "value",
    [
        {"entity_id": "1", "alert_info": {"alert_status": "NONE", "alert_type": "OBA_APPROVED"}},
        {"entity_id": 1, "alert_status": "NONE", "alert_type": "OBA_APPROVED"},
    ],
    ids=["nested", "flat"],
)
def test_an_alert_is_read_nested_and_flat(value: dict[str, Any]) -> None:
    assert account(("account_alerts", value)).alert == "OBA_APPROVED"


def test_reviews_and_changes_of_the_pin_are_kept() -> None:
    assert account(("account_review_update", {"decision": "APPROVED"})).review == "APPROVED"
    assert number(("security", {**PHONE, "event": "PIN_CHANGED"})).security_event == "PIN_CHANGED"
    assert (
        facts(("account_review_update", {}), ("account_alerts", {}), ("security", PHONE)).account("W1")
        is None
    )


def test_an_account_upgraded_from_a_sandbox_is_not_thereby_verified() -> None:
    assert facts(("account_update", {"event": "VERIFIED_ACCOUNT"})).account("W1") is None


def restricted(*infos: Any) -> tuple[str, dict[str, Any]]:
    return "account_update", {"event": "ACCOUNT_RESTRICTION", "restriction_info": list(infos)}


def test_a_restriction_holds_until_its_end_and_one_without_an_end_until_it_is_lifted() -> None:
    kept = account(
        restricted(
            {"restriction_type": "A", "expiration": NOW // 1000 + 60},
            {"restriction_type": "B", "expiration": str(NOW // 1000 + 90)},
            {"restriction_type": "C"},
            "nonsense",
        )
    )
    assert kept.restrictions == {"A": NOW + 60_000, "B": NOW + 90_000, "C": None}
    assert restrictions_in_force(kept, NOW + 59_999) == {"A", "B", "C"}
    assert restrictions_in_force(kept, NOW + 60_000) == {"B", "C"}
    assert restrictions_in_force(kept, NOW + 10**12) == {"C"}


def test_an_empty_list_lifts_all_restrictions() -> None:
    lifted = account(restricted({"restriction_type": "A"}), restricted())
    assert lifted.restrictions == {}


def test_restrictions_written_as_a_list_by_the_version_before_have_no_end() -> None:
    known = AccountFacts()
    known.apply(
        AccountChanged(
            event_id="a", at_ms=NOW, waba_id="W1", subject="account", id="W1", fields={"restrictions": ["A"]}
        ),
        1,
    )
    found = known.account("W1")
    assert found is not None
    assert restrictions_in_force(found, NOW + 10**12) == {"A"}


def test_a_number_belongs_to_the_account_named_last_by_its_own_time_in_whatever_order_they_come() -> None:
    known = AccountFacts()
    for revision, (at_ms, waba) in enumerate([(NOW, "W1"), (NOW + 2000, "W2"), (NOW + 1000, "W1")], start=1):
        moved = AccountChanged(
            event_id=f"n{at_ms}", at_ms=at_ms, waba_id=waba, subject="number", id="N1",
            fields={"default": True},
        )  # fmt: skip
        known.apply(moved, revision)
    assert known.waba_of("N1") == "W2"
    assert known.default_number() == "N1"


def test_an_account_whose_payment_failed_counts_as_failing_until_that_is_believed_no_more() -> None:
    known = AccountFacts()
    accounts: list[tuple[str, dict[str, Any]]] = [
        ("W1", {"payment_method": "failing", "payment_failing_until_ms": NOW + 1000}),
        ("W2", {"payment_method": "failing"}),
        ("W3", {"payment_method": "missing"}),
        ("W4", {"payment_method": "valid"}),
    ]
    for revision, (waba, fields) in enumerate(accounts, start=1):
        set_up = AccountChanged(
            event_id=waba, at_ms=NOW, waba_id=waba, subject="account", id=waba, fields=fields
        )
        known.apply(set_up, revision)
    assert [known.payment_failing(NOW + later) for later in (0, 999, 1000)] == [2, 2, 1]


@pytest.mark.parametrize(("by", "fields"), [("sender", {"registered": False}), ("meta", {"refused": None})])
def test_what_was_said_of_a_message_does_not_say_whose_its_number_is(by: Any, fields: dict[str, Any]) -> None:
    known = AccountFacts()
    for revision, (at_ms, waba, who, told) in enumerate(
        [(NOW, "W1", "operator", {}), (NOW + 1, "W2", "operator", {}), (NOW + 2, "W1", by, fields)], start=1
    ):
        event = AccountChanged(
            event_id=f"n{at_ms}", at_ms=at_ms, waba_id=waba, subject="number", id="N1", fields=told, by=who
        )
        known.apply(event, revision)
    assert known.waba_of("N1") == "W2"
