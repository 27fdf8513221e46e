"""What the registry of templates makes of Meta's webhooks, in whatever order they come."""

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.accounts import AccountFacts, Template, category_at, status_at
from shared.events import AccountChanged, AccountEvent, AccountWebhook, decode_account_event
from shared.template_definition import Button, Shape

FIXTURES = Path(__file__).parents[2] / "fixtures" / "webhooks"
HOUR = 3_600_000
NOW = 1_793_620_800_000
SECOND = NOW // 1000


def webhook(field: str, at_ms: int = NOW, language: str = "en-US", **value: Any) -> AccountWebhook:
    named = {"message_template_name": "promo", "message_template_language": language} | value
    raw = msgspec.Raw(msgspec.json.encode(named))
    return AccountWebhook(event_id="w", at_ms=at_ms, waba_id="W", field=field, value=raw)


def status(event: str, at_ms: int = NOW, **value: Any) -> AccountWebhook:
    return webhook("message_template_status_update", at_ms, event=event, **value)


def paused(title: str, at_ms: int = NOW, event: str = "PAUSED") -> AccountWebhook:
    return status(event, at_ms, other_info={"title": title, "description": "…"})


def category(at_ms: int = NOW, **value: Any) -> AccountWebhook:
    return webhook("template_category_update", at_ms, **value)


def template(*events: AccountEvent) -> Template:
    facts = AccountFacts()
    for revision, event in enumerate(events, 1):
        facts.apply(event, revision)
    found = facts.template("W", "promo", "en_US")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("title", "lasts_ms"),
    [("FIRST_PAUSE", 3 * HOUR), ("SECOND_PAUSE", 6 * HOUR), ("RATE_LIMITING_PAUSE", None), ("", None)],
)
@pytest.mark.parametrize("event", ["PAUSED", "LOCKED"])
def test_a_pause_lasts_as_long_as_its_title_says(title: str, lasts_ms: int | None, event: str) -> None:
    found = template(paused(title, event=event))
    assert found.paused_until_ms == (None if lasts_ms is None else NOW + lasts_ms)
    if lasts_ms is not None:
        assert status_at(found, NOW + lasts_ms - 1) == "PAUSED"
        assert status_at(found, NOW + lasts_ms) == "APPROVED"
    elif event == "PAUSED":
        assert status_at(found, NOW + 10**12) == "PAUSED"


def test_whatever_is_said_later_outlives_the_pause_in_any_order() -> None:
    told: tuple[AccountEvent, ...] = (
        paused("FIRST_PAUSE"),
        status("DISABLED", NOW + HOUR, disable_info={"disable_date": SECOND}),
    )
    for events in itertools.permutations(told):
        found = template(*events)
        assert (found.status, found.paused_until_ms, found.disabled_at_ms) == ("DISABLED", None, NOW)
        assert status_at(found, NOW + 9 * HOUR) == "DISABLED"


@pytest.mark.parametrize("end", [status("APPROVED", NOW + 1), status("REINSTATED", NOW + 1), paused("UNPAUSE", NOW + 1, "LOCKED")])  # fmt: skip
def test_a_template_that_is_approved_again_is_not_paused_any_more(end: AccountWebhook) -> None:
    found = template(paused("SECOND_PAUSE"), end)
    assert (found.status, found.paused_until_ms) == ("APPROVED", None)


def test_an_operators_later_word_ends_what_meta_said_of_the_pause() -> None:
    said = AccountChanged(
        event_id="o",
        at_ms=NOW + 1,
        waba_id="W",
        subject="template",
        id="promo/en-US",
        fields={"status": "PAUSED"},
    )
    told: tuple[AccountEvent, ...] = (paused("FIRST_PAUSE"), said)
    for events in itertools.permutations(told):
        assert status_at(template(*events), NOW + 9 * HOUR) == "PAUSED"


def test_a_rejection_keeps_its_reason_and_metas_advice_until_the_next_status() -> None:
    rejected = status("REJECTED", message_template_id=278077987957091, reason="INVALID_FORMAT", rejection_info={"reason": "…", "recommendation": "Shorten it"})  # fmt: skip
    found = template(rejected)
    assert (found.rejection_reason, found.recommendation) == ("INVALID_FORMAT", "Shorten it")
    assert found.meta_id == "278077987957091"
    again = template(rejected, status("APPROVED", NOW + 1))
    assert (again.rejection_reason, again.recommendation) == (None, None)
    assert again.meta_id == "278077987957091"


ANNOUNCED = category(
    new_category="UTILITY", correct_category="MARKETING", category_update_timestamp=str(SECOND + 3600)
)


def test_an_announced_category_counts_from_its_time_on() -> None:
    found = template(ANNOUNCED)
    assert category_at(found, NOW + HOUR - 1) == "utility"
    assert category_at(found, NOW + HOUR) == "marketing"


@pytest.mark.parametrize(
    ("later", "then"),
    [
        (category(NOW + HOUR + 1000, previous_category="UTILITY", new_category="MARKETING"), "marketing"),
        (category(NOW + 1000, new_category="UTILITY"), "utility"),
        (status("APPROVED", NOW + 2 * HOUR, message_template_category="UTILITY"), "utility"),
        (status("APPROVED", NOW + 1000, message_template_category="UTILITY"), "marketing"),
    ],
)
def test_an_announced_category_gives_way_to_what_is_said_after_it(later: AccountWebhook, then: str) -> None:
    for events in itertools.permutations((ANNOUNCED, later)):
        assert category_at(template(*events), NOW + 3 * HOUR) == then


def test_an_announcement_without_a_time_changes_nothing_yet() -> None:
    found = template(category(new_category="UTILITY", correct_category="MARKETING"))
    assert category_at(found, NOW + 10**12) == "utility"


def test_an_edited_template_has_its_new_shape_and_one_that_cannot_be_read_none() -> None:
    def edited(element: Any, at_ms: int) -> AccountWebhook:
        return webhook("message_template_components_update", at_ms, message_template_element=element)

    known = Shape(header=None, body=["1", "2"], buttons=None, offer=None, cards=None)
    assert template(edited("{{1}} {{2}}", NOW + 1), edited("{{1}}", NOW)).parameters == known
    assert template(edited("{{1}}", NOW), edited("{{1}} {{3}}", NOW + 1)).parameters is None


def test_a_hyphened_language_is_the_same_template() -> None:
    facts = AccountFacts()
    facts.apply(status("APPROVED", language="en-US"), 1)
    (change,) = facts.apply(status("DISABLED", NOW + 1, language="en_US"), 2)
    assert (change.id, change.before["status"]) == ("promo/en_US", "APPROVED")
    assert len(facts.known()) == 1


@pytest.mark.parametrize("odd", [{"other_info": 5}, {"other_info": {"title": []}}, {"disable_info": {"disable_date": "soon"}}, {"rejection_info": None, "reason": 5}])  # fmt: skip
@pytest.mark.parametrize("event", ["PAUSED", "DISABLED", "REJECTED", "LOCKED"])
def test_odd_details_do_not_hide_the_status(odd: dict[str, Any], event: str) -> None:
    assert template(status(event, **odd)).status == event


def test_the_webhooks_as_meta_sends_them_make_one_template() -> None:
    facts = AccountFacts()
    for revision, shape in enumerate(
        ("template_status_paused", "template_components", "template_category_announced")
    ):
        event = json.loads((FIXTURES / f"{shape}.json").read_text())["expected"][0]["event"]
        facts.apply(decode_account_event(json.dumps(event).encode()), revision)
    found = facts.template("102290129340398", "order_confirmation", "en_US")
    assert found == Template(
        category="utility",
        status="PAUSED",
        paused_until_ms=1_746_082_800_000 + 3 * HOUR,
        next_category="marketing",
        next_category_ms=1_746_169_200_000,
        meta_id="1315502779341834",
        parameters=Shape(
            header="TEXT",
            header_variables=["1"],
            body=["1", "2"],
            buttons=[Button("URL", variable=True), Button("PHONE_NUMBER")],
            offer=None,
            cards=None,
        ),
    )
