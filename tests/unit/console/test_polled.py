"""What Meta's answers and the facts come to: changes, and none where there is none."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from deploy.local.paths import REPOSITORY
from services.console import meta_facts
from services.console.plan import Plan
from services.console.polled import Asked, Snapshot, difference
from shared.account_tokens import token_references
from shared.accounts import Account, AccountFacts, Author, Number, Subject, Template
from shared.events import AccountChanged, AccountEvent, AccountWebhook, decode_account_event, encode
from shared.template_definition import Shape

FIXTURES = REPOSITORY / "tests" / "fixtures" / "graph"
W = "102290129340398"
N = "106540352242922"
NOW = 1_764_000_000_500
BELIEVED_MS = 1_800_000
ACCOUNT = ("account", W, W)
NUMBER = ("number", W, N)


def fold(facts: AccountFacts, *events: AccountEvent) -> AccountFacts:
    """Append the events as they would come back from the topic."""
    for event in events:
        facts.apply(decode_account_event(encode(event)), facts.revision + 1)
    return facts


def said(
    subject: Subject, id: str, fields: dict[str, Any], *, by: Author = "operator", at_ms: int = NOW - 60_000
) -> AccountChanged:
    return AccountChanged(event_id="e", at_ms=at_ms, waba_id=W, subject=subject, id=id, fields=fields, by=by)


def account(**fields: Any) -> AccountChanged:
    return said("account", W, fields)


def known(*events: AccountEvent) -> AccountFacts:
    return fold(AccountFacts(), account(payment_method="valid", currency="EUR"), *events)


def polled(facts: AccountFacts, at_ms: int = NOW, **answers: list[dict[str, Any]]) -> Plan:
    asked_ = {name: Asked(at_ms, tuple(nodes)) for name, nodes in answers.items()}
    return difference(Snapshot(W, "shop", **asked_), facts, BELIEVED_MS)


def changed(plan: Plan) -> dict[str, Any]:
    return {f"{change.key[2]} {change.field}": change.after for change in plan.changes}


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text("utf-8"))


def health(waba: str, *codes: int) -> dict[str, Any]:
    entity: dict[str, Any] = {"entity_type": "WABA", "can_send_message": waba}
    if codes:
        entity["errors"] = [{"error_code": code} for code in codes]
    return {"health_status": {"can_send_message": waba, "entities": [entity]}}


def test_an_account_a_number_and_a_template_are_read_as_meta_shows_them() -> None:
    facts = known()
    plan = polled(
        facts,
        account=[fixture("account.json")],
        numbers=fixture("phone_numbers.json")["data"],
        templates=fixture("message_templates.json")["data"] + fixture("message_templates_2.json")["data"],
    )
    assert {event.by for event in plan.events} == {"meta"}
    fold(facts, *plan.events)
    assert facts.account(W) == Account(
        currency="EUR", payment_method="valid", business_verified=True, messaging_limit=10_000
    )
    assert facts.number(N) == Number(
        display_phone_number="+1 555-010-0101",
        verified_name="Nordlicht Versand",
        quality="YELLOW",
        name_status="APPROVED",
        throughput=1000,
        token="shop",
    )
    on_the_app, unregistered = facts.number("106540352242933"), facts.number("106540352242944")
    assert on_the_app is not None
    assert unregistered is not None
    assert (on_the_app.throughput, on_the_app.quality, on_the_app.status) == (
        20,
        "UNKNOWN",
        "A_WORD_OF_NEXT_YEAR",
    )
    assert (unregistered.registered, unregistered.throughput) == (False, 80)
    assert facts.template(W, "promo", "pt_BR") == Template(
        status="REJECTED", rejection_reason="INVALID_FORMAT", meta_id="1627019861106475", parameters=Shape()
    )
    order_update = facts.template(W, "order_update", "de")
    assert order_update is not None
    assert order_update.parameters == Shape(body=["1"])
    assert facts.template(W, "login_code", "en_US") == Template(
        category="authentication", status="PAUSED", meta_id="1627019861106476"
    )


def test_what_is_as_meta_says_is_not_published_again() -> None:
    facts = known()
    answers = {
        "account": [fixture("account.json")],
        "numbers": fixture("phone_numbers.json")["data"],
        "templates": fixture("message_templates.json")["data"],
    }
    fold(facts, *polled(facts, **answers).events)
    again = polled(facts, NOW + 900_000, **answers)
    assert (again.changes, again.events) == ((), ())


def test_one_phone_number_written_in_two_ways_is_no_difference() -> None:
    facts = known(said("number", N, {"display_phone_number": "+1 555 010 0101"}))
    assert polled(facts, numbers=[{"id": N, "display_phone_number": "+1 (555) 010-0101"}]).events == ()


def test_a_field_that_meta_leaves_out_and_a_word_nobody_knows_change_nothing() -> None:
    facts = known(said("number", N, {"throughput": 40, "quality": "GREEN", "registered": False}))
    node = {"id": N, "throughput": {"level": "WARP"}, "quality_rating": None, "platform_type": 7}
    assert (
        polled(facts, account=[{"id": W, "timezone_id": "47", "currency": ""}], numbers=[node]).events == ()
    )


def test_the_limit_of_the_portfolio_is_taken_from_a_number_where_the_account_does_not_tell_it() -> None:
    node = {"id": N, "whatsapp_business_manager_messaging_limit": "TIER_UNLIMITED"}
    facts = known(said("number", N, {}))
    assert changed(polled(facts, account=[{"id": W}], numbers=[node])) == {f"{W} messaging_limit": -1}


def template_webhook(status: str, at_ms: int) -> AccountWebhook:
    value = {"message_template_name": "promo", "message_template_language": "de", "event": status}
    return AccountWebhook(
        event_id=f"t:{at_ms}",
        at_ms=at_ms,
        waba_id=W,
        field="message_template_status_update",
        value=Raw(msgspec.json.encode(value)),
    )


PENDING = {"name": "promo", "language": "de", "status": "PENDING", "category": "MARKETING"}


def test_a_webhook_that_came_after_meta_was_asked_stays() -> None:
    facts = known(template_webhook("APPROVED", NOW + 1000))
    assert polled(facts, templates=[PENDING]).events == ()


def test_a_webhook_of_the_second_in_which_meta_was_asked_wins_before_and_after_the_poll() -> None:
    second = NOW // 1000 * 1000
    before = known(template_webhook("APPROVED", second))
    assert polled(before, templates=[PENDING]).events == ()
    after = known(template_webhook("IN_APPEAL", second - 5000))
    fold(after, *polled(after, templates=[PENDING]).events)
    fold(after, template_webhook("APPROVED", second))
    template = after.template(W, "promo", "de")
    assert template is not None
    assert template.status == "APPROVED"


def test_a_file_applied_in_the_second_in_which_meta_was_asked_gives_way() -> None:
    facts = known(said("number", N, {"quality": "RED"}, at_ms=NOW - 100))
    fold(facts, *polled(facts, numbers=[{"id": N, "quality_rating": "GREEN"}]).events)
    number = facts.number(N)
    assert number is not None
    assert number.quality == "GREEN"


def test_a_template_and_a_number_that_meta_no_longer_lists_are_deleted() -> None:
    facts = known(said("number", N, {}), said("template", "promo/de", {"status": "APPROVED"}))
    plan = polled(facts, numbers=[], templates=[])
    assert changed(plan) == {f"{N} status": "DELETED", f"{N} registered": False, "promo/de status": "DELETED"}
    fold(facts, *plan.events)
    assert polled(facts, NOW + 900_000, numbers=[], templates=[]).events == ()


def test_a_question_that_was_not_answered_deletes_nothing() -> None:
    facts = known(said("number", N, {}), said("template", "promo/de", {"status": "APPROVED"}))
    assert polled(facts, account=[{"id": W}]).events == ()


def test_a_pause_that_should_be_over_and_a_category_announced_hold_only_as_long_as_meta_agrees() -> None:
    announced = {"next_category": "marketing", "next_category_ms": NOW - 1000}
    paused = {"status": "PAUSED", "paused_until_ms": NOW - 1000, "category": "utility", **announced}
    facts = known(said("template", "promo/de", paused, by="meta", at_ms=NOW - 60_000))
    plan = polled(facts, templates=[PENDING | {"status": "PAUSED", "category": "UTILITY"}])
    assert changed(plan) == {
        "promo/de paused_until_ms": None,
        "promo/de next_category": None,
        "promo/de next_category_ms": None,
    }


def test_what_became_known_after_meta_was_asked_is_not_taken_for_deleted() -> None:
    submitted = said("template", "news/de", {"status": "PENDING"}, by="meta", at_ms=NOW + 10)
    applied = said("number", N, {"token": "shop"}, at_ms=NOW + 10)
    assert polled(known(submitted, applied), numbers=[], templates=[]).events == ()


def test_a_number_that_has_moved_to_another_account_is_not_deleted_there() -> None:
    facts = known(said("number", N, {}))
    moved = AccountChanged(event_id="m", at_ms=NOW - 1, waba_id="other", subject="number", id=N, fields={})
    fold(facts, moved)
    assert polled(facts, numbers=[]).events == ()
    assert facts.waba_of(N) == "other"


def payment(facts: AccountFacts) -> tuple[str, int | None]:
    found = facts.account(W)
    assert found is not None
    return found.payment_method, found.payment_failing_until_ms


def test_a_payment_that_meta_cannot_charge_fails_until_the_next_poll_is_sure_to_have_come() -> None:
    facts = known()
    fold(facts, *polled(facts, account=[fixture("account_without_payment.json")]).events)
    assert payment(facts) == ("failing", NOW + BELIEVED_MS)
    fold(facts, *polled(facts, NOW + 900_000, account=[fixture("account_without_payment.json")]).events)
    assert payment(facts) == ("failing", NOW + 900_000 + BELIEVED_MS)
    fold(facts, *polled(facts, NOW + 1_800_000, account=[fixture("account.json")]).events)
    assert payment(facts) == ("valid", None)


def test_a_payment_that_a_send_found_failing_is_mended_by_health_and_not_shortened_by_illness() -> None:
    failing = {"payment_method": "failing", "payment_failing_until_ms": NOW + 3_600_000}
    by_sender = said("account", W, failing, by="sender")
    assert polled(known(by_sender), account=[health("BLOCKED", 141006)]).events == ()
    facts = known(by_sender)
    fold(facts, *polled(facts, account=[health("AVAILABLE")]).events)
    assert payment(facts) == ("valid", None)


def test_what_a_send_found_after_meta_was_asked_is_not_mended() -> None:
    failing = {"payment_method": "failing", "payment_failing_until_ms": NOW + 3_600_000}
    facts = known(said("account", W, failing, by="sender", at_ms=NOW + 1))
    assert polled(facts, account=[health("AVAILABLE")]).events == ()


def test_an_operators_missing_and_failing_payment_methods_stay() -> None:
    for method in ("missing", "failing"):
        for word, codes in (("AVAILABLE", ()), ("BLOCKED", (141006,))):
            facts = known(said("account", W, {"payment_method": method}))
            assert polled(facts, account=[health(word, *codes)]).events == (), (method, word)


def test_an_account_that_is_blocked_for_another_reason_says_nothing_of_its_payment() -> None:
    failing = {"payment_method": "failing", "payment_failing_until_ms": NOW + 3_600_000}
    facts = known(said("account", W, failing, by="sender"))
    assert polled(facts, account=[health("BLOCKED", 141010)]).events == ()
    assert polled(known(), account=[health("BLOCKED", 141010)]).events == ()


def test_a_number_that_complains_of_payment_speaks_for_its_account() -> None:
    facts = known(said("number", N, {}))
    plan = polled(facts, account=[{"id": W}], numbers=[{"id": N, **health("BLOCKED", 131042)}])
    assert changed(plan)[f"{W} payment_method"] == "failing"


def test_the_same_difference_found_by_two_consoles_has_the_same_ids() -> None:
    facts = known()
    one, two = (polled(facts, at_ms, account=[fixture("account.json")]) for at_ms in (NOW, NOW + 3000))
    assert [event.event_id for event in one.events] == [event.event_id for event in two.events]


def test_an_account_is_asked_for_with_the_token_of_its_default_number_first() -> None:
    facts = known(
        said("number", "1", {"token": "b"}),
        said("number", "2", {"token": "a", "default": True}),
        said("number", "3", {"token": "b"}),
    )
    assert token_references(facts, W) == ["a", "b", "default"]


json_values = st.recursive(
    st.sampled_from(("GREEN", "NA", "TIER_10K", "CLOUD_API", "HIGH", "verified", "EUR", "NONE", "de", N))
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from((*meta_facts.ACCOUNT_FIELDS, *meta_facts.NUMBER_FIELDS, *meta_facts.TEMPLATE_FIELDS))
nodes = st.lists(st.dictionaries(fields, json_values, max_size=8), max_size=3)


@given(nodes, nodes, nodes)
def test_whatever_meta_answers_the_events_can_be_folded_and_then_nothing_differs(
    accounts: list[dict[str, Any]], numbers: list[dict[str, Any]], templates: list[dict[str, Any]]
) -> None:
    facts = known(said("number", N, {}), said("template", "promo/de", {"status": "APPROVED"}))
    fold(facts, *polled(facts, account=accounts, numbers=numbers, templates=templates).events)
    again = polled(facts, NOW + 60_000, account=accounts, numbers=numbers, templates=templates)
    assert again.events == ()


def test_meta_tells_that_marketing_is_closed_on_messages_and_open_again() -> None:
    facts = known()
    closed = {"id": W, "disable_marketing_messages_on_cloud_api": True}
    assert changed(polled(facts, account=[closed])) == {f"{W} marketing_on_cloud_api_disabled": True}
    fold(facts, account(marketing_on_cloud_api_disabled=True))
    opened = closed | {"disable_marketing_messages_on_cloud_api": False}
    assert changed(polled(facts, account=[opened])) == {f"{W} marketing_on_cloud_api_disabled": False}
    assert changed(polled(facts, account=[{"id": W}])) == {}
