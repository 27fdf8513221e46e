"""What businesses hear of their accounts."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.router.account_changes import AccountsFold, Known
from services.router.state import REMEMBER_MS
from shared.accounts import InvalidFacts
from shared.events import AccountChange, AccountEvent, AccountWebhook, PassedWebhook
from shared.stream.fold import Grants, Outgoing
from shared.topics import ACCOUNT_CHANGES, WEBHOOKS_PASSED
from tests.unit.router.make import NOW, fact

decode = msgspec.json.Decoder(AccountChange).decode
decode_passed = msgspec.json.Decoder(PassedWebhook).decode


def folded(*events: AccountEvent) -> list[Outgoing]:
    fold, state, found = AccountsFold(), None, list[Outgoing]()
    for event in events:
        step = fold.fold(state, event, None, Grants())
        found += step.out
        state = None if step.state is None else fold.decode_state(fold.encode_state(step.state))
    return found


def told(*events: AccountEvent) -> list[AccountChange]:
    return [decode(out.value) for out in folded(*events) if out.topic is ACCOUNT_CHANGES]


def passed(*events: AccountEvent) -> list[PassedWebhook]:
    return [decode_passed(out.value) for out in folded(*events) if out.topic is WEBHOOKS_PASSED]


def webhook(field: str, at: int = NOW + 1, **value: object) -> AccountWebhook:
    raw = msgspec.Raw(msgspec.json.encode(value))
    return AccountWebhook(
        event_id=f"{field}:{at}", at_ms=at, waba_id="W1", field=field, value=raw, received_ms=at + 500
    )


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


def test_every_webhook_of_an_account_is_passed_on_as_it_came_beside_what_it_changes() -> None:
    out = folded(webhook("account_review_update", decision="APPROVED"), webhook("flows", flow_id="1"))
    assert [o.topic for o in out] == [ACCOUNT_CHANGES, WEBHOOKS_PASSED, WEBHOOKS_PASSED]
    assert {o.key for o in out} == {"W1"}
    review, flow = passed(
        webhook("account_review_update", decision="APPROVED"), webhook("flows", flow_id="1")
    )
    assert (review.field, review.channel, review.list, review.waba_id) == (
        "account_review_update", "whatsapp", None, "W1",
    )  # fmt: skip
    assert (review.phone_number_id, review.user) == (None, None)
    assert msgspec.json.decode(flow.value) == {"flow_id": "1"}
    assert flow.received_at > flow.at


def test_a_webhook_that_meta_sends_again_is_passed_on_once_for_eight_days() -> None:
    first, other = webhook("security", event="PIN_CHANGED"), webhook("flows", at=NOW + 2, flow_id="1")
    late = [msgspec.structs.replace(first, received_ms=NOW + n * REMEMBER_MS // 4) for n in range(4)]
    assert len(passed(first, *late)) == 1
    after = msgspec.structs.replace(other, received_ms=NOW + REMEMBER_MS + 2000)
    assert [one.field for one in passed(first, after, first)] == ["security", "flows", "security"]


def test_facts_that_are_applied_pass_nothing_on() -> None:
    assert passed(fact("account", "W1", paused=True)) == []


def test_a_webhook_that_no_facts_can_be_read_from_is_passed_on_all_the_same() -> None:
    nameless = webhook("phone_number_name_update", display_phone_number="1", decision="APPROVED",
                       requested_verified_name={"not": "a name"})  # fmt: skip
    endless = msgspec.structs.replace(
        webhook("account_update", at=NOW + 5), value=msgspec.Raw(b'{"event":1e999}')
    )
    number = fact("number", "N1", display_phone_number="1")
    assert [one.field for one in passed(number, nameless, endless)] == [
        "phone_number_name_update",
        "account_update",
    ]
    assert [change.after.get("verified_name") for change in told(number, nameless)] == [None]


def test_the_state_of_the_version_before_is_read() -> None:
    fold = AccountsFold()
    known = fold.decode_state(
        msgspec.msgpack.encode([1, {"account": {"W1": {"paused": [NOW, True, "meta"]}}}])
    )
    assert known == Known(1, {"account": {"W1": {"paused": (NOW, True, "meta")}}}, b"")


FIXTURES = Path(__file__).parents[2] / "fixtures" / "webhooks"
TOLD = [
    (update["event"]["field"], update["event"]["value"])
    for path in sorted(FIXTURES.glob("*.json"))
    for update in json.loads(path.read_text())["expected"]
    if update.get("topic") == "account.events.v1"
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(max_size=6)
    | st.sampled_from(["9" * 5000, "\u0663", "-1", "TIER_2K"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@st.composite
def distorted(draw: st.DrawFn) -> tuple[str, Any]:
    """A fixture's field and value, in which something is of another type, or gone."""
    field, value = draw(st.sampled_from(TOLD))
    value = node = json.loads(json.dumps({"": value}))
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 3)):
            node = node[key]
        elif key != "" and isinstance(node, dict) and draw(st.integers(0, 3)) == 0:
            del node[key]
            break
        else:
            node[key] = draw(JSON)
            break
    return field, value[""]


@settings(max_examples=150, deadline=None)
@given(st.lists(distorted(), min_size=1, max_size=3))
@example(
    [
        (
            "account_update",
            {
                "event": "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE",
                "auth_international_rate_eligibility": {"start_time": 1, "exception_countries": 1},
            },
        )
    ]
)
def test_whatever_types_meta_gives_an_account_webhook_it_is_passed_on_and_harms_nobody(
    told: list[tuple[str, Any]],
) -> None:
    """Every service reads all of them whenever it starts: one that it died of would be the end of it."""
    number = fact("number", "N1", display_phone_number="15550783881")
    webhooks = [
        AccountWebhook(event_id=f"w{n}", at_ms=NOW + n, waba_id="W1", field=field, value=msgspec.Raw(msgspec.json.encode(value)))
        for n, (field, value) in enumerate(told)
    ]  # fmt: skip
    assert [one.field for one in passed(number, *webhooks)] == [field for field, _ in told]
