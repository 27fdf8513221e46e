"""The send endpoint over real sockets: answers, refusals, statuses, signatures."""

import re
from typing import Any

import pytest

from tests.unit.simulator.bench import N1, N3, A, B, Bench, template, text

pytestmark = pytest.mark.asyncio


async def test_an_accepted_template_is_answered_as_meta_does(bench: Bench) -> None:
    status, body = await bench.call(template(opaque=f"{N1}:{A}|r1#1"))
    assert status == 200
    assert body["messaging_product"] == "whatsapp"
    assert body["contacts"] == [{"input": A, "wa_id": A}]
    [sent] = body["messages"]
    assert re.fullmatch(r"wamid\.[A-Za-z0-9+/=]{20,122}", sent["id"])
    assert sent["message_status"] == "accepted"


async def test_a_free_form_answer_has_no_message_status(bench: Bench) -> None:
    await bench.writes(A)
    _, body = await bench.call(text())
    assert set(body["messages"][0]) == {"id"}
    assert body["contacts"] == [{"input": f"+{A}", "wa_id": A}]


async def test_statuses_are_signed_and_echo_the_opaque_data(bench: Bench) -> None:
    opaque = f"{N1}:{A}|r1#1"
    _, body = await bench.call(template(opaque=opaque))
    await bench.advance(1)
    sent, delivered = bench.receiver.statuses()
    assert bench.receiver.bad_signatures == 0
    assert (sent["status"], delivered["status"]) == ("sent", "delivered")
    assert sent["id"] == delivered["id"] == body["messages"][0]["id"]
    assert sent["biz_opaque_callback_data"] == delivered["biz_opaque_callback_data"] == opaque
    start = int(bench.clock.time()) - 1
    assert (sent["timestamp"], delivered["timestamp"]) == (str(start), str(start + 1))
    assert sent["conversation"]["expiration_timestamp"] == str(start + 1 + 86_400)
    assert sent["conversation"]["id"] == delivered["conversation"]["id"]
    assert sent["conversation"]["origin"] == {"type": "marketing"}
    assert "expiration_timestamp" not in delivered["conversation"]
    assert delivered["pricing"] == {"billable": True, "pricing_model": "CBP", "category": "marketing"}
    assert bench.receiver.values()[0]["metadata"]["phone_number_id"] == N1


async def test_read_follows_when_asked_for_and_carries_no_second_price(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"read": True})
    await bench.call(template())
    await bench.advance(2)
    assert [s["status"] for s in bench.receiver.statuses()] == ["sent", "delivered", "read"]
    assert "pricing" not in bench.receiver.statuses()[2]


async def test_the_signature_is_over_escaped_bytes(bench: Bench) -> None:
    await bench.writes(A, text="äöü <50% @ 1/2>")
    await bench.settled()
    [raw] = bench.receiver.raw
    assert b"\\u00e4\\u00f6\\u00fc \\u003C50\\u0025 \\u0040 1\\/2>" in raw
    assert bench.receiver.messages()[0]["text"]["body"] == "äöü <50% @ 1/2>"


def mark(message_id: str, **more: object) -> dict[str, Any]:
    return {"messaging_product": "whatsapp", "status": "read", "message_id": message_id, **more}


async def test_a_read_mark_is_answered_with_success_and_remembered_apart_from_messages(bench: Bench) -> None:
    wamid = await bench.writes(A)
    assert await bench.call(mark(wamid, typing_indicator={"type": "text"})) == (200, {"success": True})
    ledger = await bench.sim("GET", "/ledger")
    assert (ledger["calls"], ledger["counts"]["calls"], ledger["counts"]["marks"]) == ([], 0, 1)
    [noted] = ledger["marks"]
    assert (noted["message_id"], noted["phone_number_id"], noted["typing"]) == (wamid, N1, True)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (mark("wamid.unknown"), 100),
        (mark("wamid.unknown", to=A), 100),
        (mark(""), 131009),
        (mark("wamid.unknown", typing_indicator={}), 131008),
    ],
)
async def test_a_read_mark_of_nothing_is_refused(bench: Bench, body: dict[str, Any], code: int) -> None:
    _, answer = await bench.call(body)
    assert answer["error"]["code"] == code
    assert (await bench.counts())["marks"] == 0


async def test_marketing_goes_to_its_own_endpoint_and_nothing_else_does(bench: Bench) -> None:
    async def posted(body: dict[str, Any], endpoint: str = "marketing_messages") -> int | None:
        _, answer = await bench.call(body, endpoint=endpoint)
        code: int | None = answer.get("error", {}).get("code")
        return code

    policy = {"product_policy": "STRICT", "message_activity_sharing": True}
    await bench.writes(A)
    assert await posted(template() | policy) is None
    assert await posted(template("order_update")) == 134100
    assert await posted(text()) == 134100
    assert await posted(template() | policy, "messages") == 100
    assert await posted(template(), "messages") is None
    await bench.sim("PATCH", "/accounts/W1", {"disable_marketing_messages_on_cloud_api": True})
    assert await posted(template(), "messages") == 131063
    assert await posted(template()) is None
    assert await posted(template("order_update"), "messages") is None
    await bench.advance(1)
    told = {s["pricing"]["category"] for s in bench.receiver.statuses() if "pricing" in s}
    assert told == {"marketing", "marketing_lite", "utility"}
    assert set(await bench.tally()) == {"marketing", "utility"}
    calls = (await bench.sim("GET", "/ledger"))["calls"]
    assert [call["endpoint"] for call in calls if call["wamid"]] == [
        *("marketing_messages", "messages", "marketing_messages", "messages")
    ]


REFUSALS: list[tuple[str, dict[str, Any], str, int, int]] = [
    ("free-form outside the window", text(), N1, 400, 131047),
    ("a template nobody submitted", template("nobody"), N1, 404, 132001),
    ("a template not approved", template("draft"), N1, 404, 132001),
    ("an unregistered number", template(), N3, 400, 133010),
    ("an unknown number", template(), "1", 400, 100),
    ("to itself", template(to="15550253483"), N1, 400, 131021),
    ("no product", {"to": A, "type": "text", "text": {"body": "x"}}, N1, 400, 100),
    ("no body of the type", {"messaging_product": "whatsapp", "to": A, "type": "image"}, N1, 400, 131008),
    ("text too long", text(body="x" * 4097), N1, 400, 131009),
    ("an unknown type", {**text(), "type": "telegram"}, N1, 400, 100),
    ("opaque data too long", text(opaque="x" * 513), N1, 400, 100),
    ("no phone number", {**text(), "to": "nobody"}, N1, 400, 131009),
]


@pytest.mark.parametrize(
    ("body", "number", "status", "code"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
async def test_a_refusal_has_metas_code_and_shape(
    bench: Bench, body: dict[str, Any], number: str, status: int, code: int
) -> None:
    answered, answer = await bench.call(body, number=number)
    assert (answered, answer["error"]["code"]) == (status, code)
    assert answer["error"]["type"] == "OAuthException"
    assert answer["error"]["error_data"]["details"]
    assert answer["error"]["fbtrace_id"]


async def test_a_wrong_parameter_count_is_refused(bench: Bench) -> None:
    body = template("order_update")
    del body["template"]["components"]
    assert (await bench.call(body))[1]["error"]["code"] == 132000


async def test_a_wrong_token_is_190_and_none_is_200(bench: Bench) -> None:
    status, answer = await bench.call(template(), token="wrong-ü")
    assert (status, answer["error"]["code"]) == (401, 190)
    assert (await bench.call(template(), token=None))[1]["error"]["code"] == 200
    assert (await bench.counts())["accepted"] == 0


async def test_the_window_is_open_for_24_hours_of_the_clock(bench: Bench) -> None:
    await bench.writes(A)
    await bench.advance(86_399)
    assert (await bench.call(text()))[0] == 200
    await bench.advance(1)
    assert (await bench.call(text()))[1]["error"]["code"] == 131047


async def test_a_late_message_opens_no_window_today(bench: Bench) -> None:
    await bench.writes(A, sent_at=bench.clock.time() - 3 * 86_400)
    assert (await bench.call(text()))[1]["error"]["code"] == 131047


async def test_without_a_payment_method_only_answers_in_the_free_tier_go_out(bench: Bench) -> None:
    changes = {"payment_method": "missing", "verified_receivers": [A], "free_used": 999}
    await bench.sim("PATCH", "/accounts/W1", changes)
    assert (await bench.call(template()))[1]["error"]["code"] == 131042
    await bench.writes(A)
    await bench.writes(B)
    assert (await bench.call(text(B)))[1]["error"]["code"] == 131030
    assert (await bench.call(text(A)))[0] == 200
    await bench.advance(1)
    await bench.sim("PATCH", "/accounts/W1", {"verified_receivers": [A, B]})
    assert (await bench.call(text(A)))[0] == 200
    assert (await bench.call(text(B)))[1]["error"]["code"] == 131042
    await bench.sim("PATCH", "/accounts/W1", {"payment_method": "valid"})
    assert (await bench.call(template()))[0] == 200


async def test_an_asynchronous_error_comes_as_a_failed_status(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"async_errors": [131047]})
    assert (await bench.call(text()))[0] == 200
    await bench.receiver.until(lambda: bool(bench.receiver.statuses()))
    [failed] = bench.receiver.statuses()
    assert failed["status"] == "failed"
    assert failed["errors"][0]["code"] == 131047
    assert set(failed["errors"][0]) == {"code", "title", "message", "error_data", "href"}


async def test_limits_answer_as_meta_when_switched_on(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"pair_rate": True})
    codes = [(await bench.call(template()))[1].get("error", {}).get("code") for _ in range(46)]
    assert codes == [None] * 45 + [131056]
    bench.clock.advance(6)
    assert (await bench.call(template()))[0] == 200


async def test_a_rewritten_number_is_told_and_used(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"rewrites": {"5511912345678": "551112345678"}})
    _, answer = await bench.call(template(to="5511912345678"))
    assert answer["contacts"] == [{"input": "5511912345678", "wa_id": "551112345678"}]
    await bench.advance(1)
    assert {s["recipient_id"] for s in bench.receiver.statuses()} == {"551112345678"}


async def test_a_user_known_by_a_scoped_id_is_answered_by_it(bench: Bench) -> None:
    await bench.writes(A, bsuid="DE.1234567890", hide_phone=True)
    message = {k: v for k, v in text().items() if k != "to"} | {"recipient": "DE.1234567890"}
    status, answer = await bench.call(message)
    assert (status, answer["contacts"]) == (200, [{"input": "DE.1234567890", "user_id": "DE.1234567890"}])
    await bench.advance(1)
    assert "from" not in bench.receiver.messages()[0]
    assert {s["recipient_user_id"] for s in bench.receiver.statuses()} == {"DE.1234567890"}
