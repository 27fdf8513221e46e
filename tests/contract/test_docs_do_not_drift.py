"""The generated documentation is what the code says, and the schemas are what is published."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from docs import generate
from services.ingress.requests import SendRequest
from shared.events import (
    AccountChange,
    BillingAlert,
    ChargePredicted,
    ConversationUse,
    Decision,
    LedgerEntry,
    Price,
    ReceivedMessage,
    ReplyTo,
    SendError,
    SendEvent,
    Tier,
    UserPreference,
    UserRef,
    encode,
)
from shared.reasons import REASONS
from tests.unit.messages import GOOD, LIMITS, having, whole

DOCS = Path(generate.__file__).parent
GUIDE_PRECEDENCE = [
    "malformed",
    "request_expired",
    "idempotency_conflict",
    "account_restricted",
    "number_not_registered",
    "number_restricted",
    "paused_by_operator",
    "recipient_invalid",
    "window_closed",
    "template_",
    "payment_method_missing",
    "sender_not_default",
    "recipient_not_verified",
    "opted_out",
    "marketing_not_allowed",
    "not_marketing",
    "marketing_on_cloud_api_disabled",
    "free_tier_exhausted",
    "tier_limit_reached",
    "rate_unknown",
    "max_price_exceeded",
    "budget_exceeded",
]


def test_the_generated_files_are_up_to_date(tmp_path: Path) -> None:
    generate.write(tmp_path)
    fresh = {path.relative_to(tmp_path): path.read_text("utf-8") for path in tmp_path.rglob("*.*")}
    kept = {name: (DOCS / name).read_text("utf-8") for name in fresh if (DOCS / name).exists()}
    stale = sorted(str(name) for name in fresh if kept.get(name) != fresh[name])
    assert not stale, f"run `make docs`: {', '.join(stale)}"
    leftover = {path.name for path in (DOCS / "schemas").iterdir()} - {name.name for name in fresh}
    assert not leftover, f"run `make docs`: schemas of nothing: {', '.join(sorted(leftover))}"


def test_schemas_of_payloads_that_are_no_more_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "gone.json").write_text("{}")
    generate.write(tmp_path)
    assert not (tmp_path / "schemas" / "gone.json").exists()


def test_reasons_stand_in_the_precedence_of_the_acceptance_cases() -> None:
    ours = ("ok", "cancelled", "predecessor_failed", "refused_for_now")  # the guide knows nothing of these
    order = [name for name in REASONS if name not in ours]
    expected = [group for group in GUIDE_PRECEDENCE for name in order if name.startswith(group)]
    assert [next(group for group in GUIDE_PRECEDENCE if name.startswith(group)) for name in order] == expected


def test_every_variable_of_a_secret_is_named_and_none_is_shown() -> None:
    page = generate.settings_page()
    assert "`WA_ADMIN_TOKEN` | secret | not set" in page
    for default in ("change-me", "simulator-secret", "simulator-token"):
        assert default not in page


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = yaml.safe_load((DOCS / "asyncapi.yaml").read_text("utf-8"))
    references = list(_references(document))
    assert len(references) >= 4 * len(generate.PUBLIC)
    for reference in references:
        file, _, pointer = reference.partition("#")
        if file:
            assert (DOCS / file).exists(), reference
            continue
        found = document
        for part in pointer.strip("/").split("/"):
            found = found[part]


def _references(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


@pytest.mark.parametrize("name", GOOD)
def test_the_schema_of_messages_takes_every_type(name: str) -> None:
    schema = json.loads((DOCS / "schemas" / "message-content.json").read_text("utf-8"))
    jsonschema.validate(whole(GOOD[name]), schema)


@pytest.mark.parametrize("of", ["text", "reply buttons", "list", "template"])
def test_the_schema_of_messages_has_the_limits_of_single_fields(of: str) -> None:
    schema = json.loads((DOCS / "schemas" / "message-content.json").read_text("utf-8"))
    limit = next(limit for limit in LIMITS if limit.of == of)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(having(limit.of, limit.way, limit.breaks), schema)


AT = "2026-12-01T09:00:00.000Z"
CHARGE = ChargePredicted(
    counted=True,
    unit="conversation",
    conversation_id="c",
    category="utility",
    market="Germany",
    regime="2023-06-01",
    rate_card="illustrative_usd_guide",
    month="2026-12",
    type="regular",
    amount_micros=20_000,
    currency="USD",
)
EVENTS: list[msgspec.Struct] = [
    SendEvent(
        event_id="r1:decided",
        event="decided",
        seq=1,
        at=AT,
        request_id="r1",
        correlation_id=None,
        tags={"cost_center": "logistics"},
        waba_id="1",
        phone_number_id="10",
        user=UserRef(user_id="4915112345678"),
        decision=Decision(
            outcome="allow",
            final=True,
            reason="ok",
            category="utility",
            facts_version="7",
            conversation=ConversationUse(id="c", action="open", category="utility"),
            price=Price(
                regime="2023-06-01",
                rate_card="illustrative_usd_guide",
                market="Germany",
                type="regular",
                amount_micros=20_000,
                currency="USD",
            ),
            tier=Tier(limit=None, used=1, left=None),
        ),
        charge=CHARGE,
        error=SendError(origin="meta", reason="window_closed", code=131047),
        meta=msgspec.Raw(b'{"status":"sent"}'),
    ),
    ReceivedMessage(
        event_id="e",
        channel="whatsapp",
        waba_id="1",
        phone_number_id="10",
        sent_at=AT,
        received_at=AT,
        user=UserRef(user_id=None, bsuid="DE.1349"),
        window_expires_at=AT,
        reply_to=ReplyTo(wamid="wamid.1"),
        message=msgspec.Raw(b'{"type":"text"}'),
    ),
    UserPreference(
        event_id="e",
        at=AT,
        waba_id="1",
        phone_number_id="10",
        user=UserRef(user_id="4915112345678"),
        marketing="out",
        source="stop_word",
        evidence="STOP",
        reference="wamid.1",
        by=None,
    ),
    AccountChange(
        event_id="e",
        at=AT,
        waba_id="1",
        subject="template",
        id="promo/de",
        before={"status": "PENDING"},
        after={"status": "APPROVED"},
        by="meta",
    ),
    LedgerEntry(
        event_id="e",
        entry="charge",
        at=AT,
        month="2026-12",
        waba_id="1",
        phone_number_id="10",
        user_ref="0123456789abcdef",
        wamid="wamid.1",
        request_id="r1",
        conversation_id=None,
        unit="message",
        category="utility",
        market="Germany",
        regime="2025-07-01",
        rate_card="c",
        type="regular",
        free=False,
        counts=1,
        amount_micros=55_000,
        currency="USD",
        basis="meta",
        tags={},
        meta_pricing=msgspec.Raw(b'{"billable":true,"pricing_model":"PMP"}'),
    ),
    BillingAlert(
        event_id="1:utility:2026-12:forecast:100",
        alert="forecast",
        at=AT,
        waba_id="1",
        month="2026-12",
        percent=100,
        category="utility",
        currency="USD",
        budget_micros=55_000_000,
        spent_micros=20_000_000,
        expected_micros=60_000_000,
        low_micros=50_000_000,
        high_micros=70_000_000,
        method="weekdays",
        reached_on="2026-12-24",
    ),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_as_it_is_published_fits_its_schema(event: msgspec.Struct) -> None:
    (public,) = (public for public in generate.PUBLIC if public.payload is type(event))
    published = msgspec.json.decode(encode(event))
    schema = generate.schema_of(public)
    jsonschema.validate(published, schema, jsonschema.Draft202012Validator)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**published, "event_id": 1}, schema, jsonschema.Draft202012Validator)


def test_a_request_that_ingress_takes_fits_its_schema() -> None:
    request = {
        "request_id": "4711-shipped",
        "from": "106540352242922",
        "message": {
            "messaging_product": "whatsapp",
            "to": "+4915112345678",
            "type": "text",
            "text": {"body": "Hi"},
        },
        "fallback_template": {"name": "shipped", "language": {"code": "de"}},
        "expires_at": "2026-12-02T09:00:00Z",
        "max_price": {"amount_micros": 60_000, "currency": "USD"},
    }
    SendRequest.model_validate_json(msgspec.json.encode(request))
    schema = generate.schema_of(generate.PUBLIC[0])
    jsonschema.validate(request, schema, jsonschema.Draft202012Validator)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"message": request["message"]}, schema, jsonschema.Draft202012Validator)
