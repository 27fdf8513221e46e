"""One row per reason, and which of several speaks."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from shared.events import AccountWebhook, Decision, PreferenceChanged, TemplateRef, decode_command
from shared.reasons import REASONS
from shared.stream.fold import Grant, Grants, Outgoing
from shared.topics import SEND_COMMANDS
from tests.unit.router.make import HOUR, KEY, NOW, USER, events, fact, received, request, world
from tests.unit.router.world import World

AMERICAN = "14155550123"
SATELLITE = "881612345678"


def decision(world: World, event: Any) -> Decision:
    found = events(world.play(f"N1:{event.user}", event, event.at_ms))[0].decision
    assert found is not None
    return found


def commands(out: tuple[Outgoing, ...]) -> list[Any]:
    return [decode_command(o.value) for o in out if o.topic is SEND_COMMANDS]


def template_message(*texts: str) -> msgspec.Raw:
    parameters = [{"type": "text", "text": text} for text in texts]
    template = {
        "name": "promo",
        "language": {"code": "en"},
        "components": [{"type": "body", "parameters": parameters}],
    }
    return msgspec.Raw(msgspec.json.encode({"type": "template", "template": template}))


GREETING = fact("template", "promo/en", parameters={"body": ["1"]})

REFUSALS: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("request_expired", [], {"expires_ms": NOW}),
    ("request_expired", [], {"expires_ms": NOW + HOUR, "not_before_ms": NOW + HOUR}),
    ("account_restricted", [fact("account", "W1", status="disabled")], {}),
    ("account_restricted", [fact("account", "W1", restrictions=["RESTRICTED_BIZ_INITIATED_MESSAGING"])], {}),
    ("number_not_registered", [fact("number", "N1", registered=False)], {}),
    ("number_restricted", [fact("number", "N1", status="BANNED")], {}),
    ("paused_by_operator", [fact("account", "W1", paused=True)], {}),
    ("paused_by_operator", [fact("template", "promo/en", paused=True)], {}),
    ("recipient_invalid", [], {"user": "49"}),
    ("recipient_invalid", [], {"user": "DE.13491208655302741918", "template": "login_code"}),
    ("window_closed", [], {"template": None}),
    ("template_unknown", [], {"template": "nobody"}),
    ("template_not_approved", [fact("template", "promo/en", status="IN_APPEAL")], {}),
    ("template_paused", [fact("template", "promo/en", status="PAUSED")], {}),
    ("template_disabled", [fact("template", "promo/en", status="DISABLED")], {}),
    ("template_parameters", [GREETING], {"message": template_message("Anna", "Berlin")}),
    (
        "template_parameters",
        [GREETING, fact("account", "W1", payment_method="failing")],
        {"message": template_message()},
    ),
    (
        "template_paused",
        [GREETING, fact("template", "promo/en", status="PAUSED")],
        {"message": template_message()},
    ),
    ("payment_method_missing", [fact("account", "W1", payment_method="failing")], {}),
    ("marketing_not_allowed", [fact("account", "W1", regime="calendar")], {"user": AMERICAN}),
    ("tier_limit_reached", [fact("account", "W1", messaging_limit=0)], {}),
    ("rate_unknown", [], {"user": SATELLITE}),
    ("max_price_exceeded", [], {"max_price_micros": 1}),
    ("max_price_exceeded", [], {"max_price_micros": 10**9, "max_price_currency": "EUR"}),
    (
        "account_restricted",
        [fact("account", "W1", status="disabled"), fact("number", "N1", registered=False)],
        {},
    ),
    ("window_closed", [fact("account", "W1", payment_method="missing")], {"template": None}),
    ("tier_limit_reached", [fact("account", "W1", messaging_limit=0)], {"user": SATELLITE}),
]


@pytest.mark.parametrize(("reason", "facts", "fields"), REFUSALS)
def test_a_request_is_refused_with_the_first_reason_that_applies(
    reason: str, facts: list[Any], fields: dict[str, Any]
) -> None:
    made = world()
    made.know(*facts)
    out = made.play(KEY, request(**fields), NOW)
    (event,) = events(out)
    assert event.decision is not None
    assert (event.decision.outcome, event.decision.reason) == ("reject", reason)
    assert event.error is not None
    assert event.error.fix == REASONS[reason].fix
    assert commands(out) == []


def test_an_american_gets_utility_and_under_the_guides_rules_marketing_too() -> None:
    calendar, guide = world(regime="calendar"), world()
    assert decision(calendar, request(template="order_update", user=AMERICAN)).outcome == "allow"
    assert decision(guide, request(user=AMERICAN)).outcome == "allow"


def test_a_canadian_gets_marketing() -> None:
    assert decision(world(regime="calendar"), request(user="14165550123")).outcome == "allow"


def test_a_refused_request_gives_back_the_places_it_was_granted() -> None:
    made = world()
    decision(made, request(max_price_micros=1))
    assert made.claims.members("tier:W1") == set()


def test_the_tier_is_of_the_portfolio_over_all_its_accounts() -> None:
    made = world(portfolio_id="P9")
    tier = decision(made, request()).tier
    assert tier is not None
    assert (tier.limit, tier.used, tier.left) == (1000, 1, 999)
    assert made.claims.members("tier:P9") == {USER}


def test_a_dry_run_claims_nothing_and_sends_nothing() -> None:
    made = world()
    out = made.play(KEY, request(dry_run=True), NOW)
    assert events(out)[0].decision is not None
    assert commands(out) == []
    assert made.claims.members("tier:W1") == set()


def test_one_time_passwords_go_first_and_are_void_after_ten_minutes() -> None:
    (command,) = commands(world().play(KEY, request(template="login_code"), NOW))
    assert (command.priority, command.valid_until_ms) == (0, NOW + 600_000)


def test_a_free_form_message_is_not_sent_after_its_window() -> None:
    made = world()
    made.play(KEY, received(at=NOW - 23 * HOUR), NOW)
    (command,) = commands(made.play(KEY, request(template=None), NOW))
    assert command.valid_until_ms == NOW + HOUR
    assert command.conversation_key == KEY


def test_an_opt_out_older_than_the_last_word_does_not_count() -> None:
    made = world()
    for at, opted_out in ((NOW, False), (NOW - HOUR, True)):
        event = PreferenceChanged(
            event_id="p", at_ms=at, phone_number_id="N1", user=USER, opted_out=opted_out
        )
        made.play(KEY, event, NOW)
    assert decision(made, request()).outcome == "allow"


@pytest.mark.parametrize("template", ["promo", None])
def test_a_request_answered_as_was_to_be_expected_need_not_be_folded_again(template: str | None) -> None:
    made = world()
    made.play(KEY, received(), NOW)
    state = made.fold.decode_state(made.states[KEY])
    wish, grants = request(template=template), Grants()
    assumed = made.fold.fold(state, wish, made.facts, grants)
    assert assumed.complete
    answers = {claim.id: grants[claim] for claim in assumed.claims}
    assert answers
    again = made.fold.fold(state, wish, made.facts, Grants(answers))
    assert replace(assumed, claims=()) == again


def test_facts_that_changed_while_claims_were_asked_count_when_an_answer_is_unexpected() -> None:
    made = world()
    asked = made.fold.fold(None, request(), made.facts, Grants())
    made.know(fact("template", "promo/en", status="PAUSED"))
    answers = {claim.id: Grant(True, 7) for claim in asked.claims}
    again = made.fold.fold(None, request(), made.facts, Grants(answers))
    decided = events(again.out)[0].decision
    assert decided is not None
    assert decided.reason == "template_paused"


def test_a_refusal_for_parameters_says_which_and_a_fitting_message_goes_out() -> None:
    made = world()
    made.know(GREETING)
    (event,) = events(made.play(KEY, request(message=template_message("Anna", "Berlin")), NOW))
    assert event.error is not None
    assert (event.error.code, event.error.message) == (132000, "body: 1 parameter needed, 2 given")
    assert commands(made.play(KEY, request("r2", message=template_message("Anna")), NOW))


def test_a_template_whose_definition_is_not_known_is_not_checked() -> None:
    assert decision(world(), request(message=msgspec.Raw(b'{"template":5}'))).outcome == "allow"


@pytest.mark.parametrize(("fallback", "outcome"), [(b'{"components":[]}', "reject"), (b'{"components":[{"type":"BODY","parameters":[{"type":"text","text":"A"}]}]}', "allow")])  # fmt: skip
def test_the_fallback_template_is_checked_when_it_is_what_would_go_out(fallback: bytes, outcome: str) -> None:
    made = world()
    made.know(GREETING)
    fields: dict[str, Any] = {"fallback": msgspec.Raw(fallback), "fallback_ref": TemplateRef("promo", "en")}
    found = decision(made, request(template=None, **fields))
    assert (found.outcome, found.used_fallback) == (outcome, True)
    made.play(KEY, received(), NOW)
    assert decision(made, request("r2", template=None, **fields)).category == "service"


def webhook(field: str, at_ms: int = NOW, **value: Any) -> AccountWebhook:
    named = {"message_template_name": "promo", "message_template_language": "en"} | value
    raw = msgspec.Raw(msgspec.json.encode(named))
    return AccountWebhook(event_id="w", at_ms=at_ms, waba_id="W1", field=field, value=raw)


def test_a_first_pause_ends_by_itself_after_three_hours() -> None:
    made = world()
    made.know(webhook("message_template_status_update", event="PAUSED", other_info={"title": "FIRST_PAUSE"}))
    assert decision(made, request("r1", at=NOW + 3 * HOUR - 1)).reason == "template_paused"
    assert decision(made, request("r2", at=NOW + 3 * HOUR)).outcome == "allow"


def test_an_announced_category_holds_from_its_time_on() -> None:
    made = world()
    made.know(
        webhook(
            "template_category_update",
            new_category="MARKETING",
            correct_category="UTILITY",
            category_update_timestamp=(NOW + HOUR) // 1000,
        )
    )
    assert decision(made, request("r1", at=NOW)).category == "marketing"
    assert decision(made, request("r2", at=NOW + HOUR)).category == "utility"
