"""What businesses hear of their accounts."""

import msgspec
import pytest

from services.router.account_changes import AccountsFold, Known
from shared.accounts import InvalidFacts
from shared.events import AccountChange, AccountEvent, AccountWebhook
from shared.stream.fold import Grants
from tests.unit.router.make import NOW, fact

decode = msgspec.json.Decoder(AccountChange).decode


def told(*events: AccountEvent) -> list[AccountChange]:
    fold, state, found = AccountsFold(), None, []
    for event in events:
        step = fold.fold(state, event, None, Grants())
        found += [decode(out.value) for out in step.out]
        state = None if step.state is None else fold.decode_state(fold.encode_state(step.state))
    return found


def webhook(field: str, at: int = NOW + 1, **value: object) -> AccountWebhook:
    raw = msgspec.Raw(msgspec.json.encode(value))
    return AccountWebhook(event_id=f"{field}:{at}", at_ms=at, waba_id="W1", field=field, value=raw)


def test_a_template_that_meta_pauses_is_told_with_before_and_after() -> None:
    change = told(
        fact("template", "promo/en", status="APPROVED", category="marketing"),
        webhook(
            "message_template_status_update",
            message_template_name="promo",
            message_template_language="en",
            event="PAUSED",
        ),
    )[-1]
    assert (change.subject, change.id, change.by) == ("template", "promo/en", "meta")
    assert (change.before, change.after) == ({"status": "APPROVED"}, {"status": "PAUSED"})


def test_the_same_fact_twice_is_told_once() -> None:
    assert len(told(fact("account", "W1", paused=True), fact("account", "W1", paused=True))) == 1


def test_an_older_webhook_that_comes_later_changes_nothing() -> None:
    update = {"message_template_name": "promo", "message_template_language": "en"}
    changes = told(
        fact("template", "promo/en", status="PENDING"),
        webhook("message_template_status_update", at=NOW + 20, event="APPROVED", **update),
        webhook("message_template_status_update", at=NOW + 10, event="REJECTED", **update),
    )
    assert [change.after["status"] for change in changes] == ["PENDING", "APPROVED"]


def test_a_name_decision_finds_its_number_by_what_is_displayed() -> None:
    change = told(
        fact("number", "N1", display_phone_number="+1 555 0101"),
        webhook(
            "phone_number_name_update",
            display_phone_number="15550101",
            decision="APPROVED",
            requested_verified_name="Shop",
        ),
    )[-1]
    assert (change.subject, change.id, change.after["verified_name"]) == ("number", "N1", "Shop")


def test_a_fact_that_cannot_be_is_left_to_the_dead_letters() -> None:
    with pytest.raises(InvalidFacts):
        AccountsFold().fold(Known(1, {}), fact("account", "W1", colour="red"), None, Grants())


def test_a_template_named_with_a_hyphen_is_the_one_known_with_an_underscore() -> None:
    changes = told(
        fact("template", "promo/en_US", status="APPROVED", category="utility"),
        fact("template", "promo/en-US", quality="GREEN"),
        webhook(
            "message_template_components_update",
            message_template_name="promo",
            message_template_language="en-US",
            message_template_element="Hello {{1}}",
        ),
    )
    assert {change.id for change in changes} == {"promo/en_US"}
    assert (changes[1].before, changes[1].after) == ({"quality": "UNKNOWN"}, {"quality": "GREEN"})
    assert list(changes[2].after) == ["parameters"]
    assert changes[2].after["parameters"]["body"] == ["1"]
