"""The simulator's own count of conversations and messages: what the product's tally is compared with."""

import pytest

from tests.unit.simulator.bench import N1, N2, A, B, Bench, template, text

pytestmark = pytest.mark.asyncio
DAY = 86_400


async def test_a_template_reuses_its_conversation_for_24_hours_from_delivery(bench: Bench) -> None:
    await bench.call(template())
    await bench.advance(DAY - 60)
    await bench.call(template())
    await bench.advance(62)
    await bench.call(template())
    await bench.advance(1)
    assert await bench.tally() == {"marketing": (0, 2)}
    first, second, third = (s for s in bench.receiver.statuses() if s["status"] == "delivered")
    assert first["conversation"]["id"] == second["conversation"]["id"] != third["conversation"]["id"]


async def test_each_category_has_its_own_conversation_side_by_side(bench: Bench) -> None:
    for name in ("promo", "order_update", "login_code", "order_update"):
        await bench.call(template(name))
        await bench.advance(60)
    assert await bench.tally() == {"authentication": (0, 1), "marketing": (0, 1), "utility": (0, 1)}


async def test_free_form_inside_an_open_conversation_opens_none(bench: Bench) -> None:
    await bench.call(template("order_update"))
    await bench.advance(3600)
    await bench.writes(A)
    await bench.call(text())
    await bench.advance(1)
    assert await bench.tally() == {"utility": (0, 1)}
    last = bench.receiver.statuses()[-1]
    assert last["conversation"]["origin"] == {"type": "utility"}
    assert last["pricing"] == {"billable": True, "pricing_model": "CBP", "category": "utility"}


async def test_a_failed_message_opens_nothing(bench: Bench) -> None:
    await bench.sim("POST", "/script", {"match": {"to": A}, "then": {"delivery": "failed", "code": 131026}})
    await bench.call(template())
    await bench.advance(60)
    assert await bench.tally() == {}
    await bench.call(template())
    await bench.advance(1)
    assert await bench.tally() == {"marketing": (0, 1)}
    assert (await bench.counts())["delivered"] == 1


async def test_messages_in_flight_share_a_conversation_whoever_arrives_first(bench: Bench) -> None:
    await bench.sim("POST", "/script", {"then": {"delivered_after_s": 10}})
    await bench.call(template())
    await bench.advance(1)
    await bench.call(template())
    await bench.advance(20)
    assert await bench.tally() == {"marketing": (0, 1)}
    assert len({s["conversation"]["id"] for s in bench.receiver.statuses()}) == 1


async def test_a_conversation_lasts_from_delivery_not_from_sending(bench: Bench) -> None:
    await bench.sim("POST", "/script", {"then": {"delivered_after_s": 7200}})
    await bench.call(template())
    start = int(bench.clock.time())
    await bench.advance(25 * 3600)
    assert bench.receiver.statuses()[0]["conversation"]["expiration_timestamp"] == str(start + 26 * 3600)
    await bench.call(template())
    await bench.advance(3601)
    assert await bench.tally() == {"marketing": (0, 1)}
    await bench.call(template())
    await bench.advance(1)
    assert await bench.tally() == {"marketing": (0, 2)}


async def test_read_without_delivered_opens_the_conversation_once(bench: Bench) -> None:
    await bench.sim("POST", "/script", {"then": {"statuses": ["read", "sent"]}})
    await bench.call(template())
    await bench.advance(60)
    read, sent = bench.receiver.statuses()
    assert (read["status"], sent["status"]) == ("read", "sent")
    assert read["pricing"] == sent["pricing"]
    assert read["conversation"]["id"] == sent["conversation"]["id"]
    assert int(sent["timestamp"]) == int(read["timestamp"]) - 1
    assert await bench.tally() == {"marketing": (0, 1)}


async def test_an_answer_to_an_ad_makes_72_free_hours(bench: Bench) -> None:
    await bench.writes(A, referral="ad")
    await bench.advance(3600)
    await bench.call(text())
    await bench.advance(49 * 3600)
    await bench.call(template())
    await bench.advance(1)
    assert bench.receiver.statuses()[-1]["conversation"]["origin"] == {"type": "referral_conversion"}
    assert bench.receiver.statuses()[-1]["pricing"]["billable"] is False
    assert await bench.tally() == {"referral_conversion": (1, 0)}
    await bench.advance(23 * 3600)
    await bench.call(template())
    await bench.advance(1)
    assert await bench.tally() == {"marketing": (0, 1), "referral_conversion": (1, 0)}
    assert bench.receiver.messages()[0]["referral"]["source_type"] == "ad"


async def test_the_thousand_free_are_counted_over_all_numbers_of_the_account(bench: Bench) -> None:
    await bench.sim("PATCH", "/accounts/W1", {"free_used": 999})
    await bench.writes(A, N2)
    await bench.call(text(), number=N2)
    await bench.advance(60)
    await bench.writes(B, N1)
    await bench.call(text(B))
    await bench.advance(60)
    await bench.call(text(), number=N2)
    await bench.advance(1)
    assert await bench.tally() == {"service": (1, 1)}


async def test_the_month_begins_anew_in_the_accounts_own_time_zone(bench: Bench) -> None:
    await bench.advance(30 * DAY + 17 * 3600)  # 2027-01-01T02:00Z, still December in São Paulo
    await bench.sim("PATCH", "/accounts/W1", {"timezone": "America/Sao_Paulo", "free_used": 1000})
    await bench.writes(A)
    await bench.writes(B)
    await bench.call(text())
    await bench.advance(3600)
    await bench.call(text(B))
    await bench.advance(1)
    rows = [(r["month"], r["free"], r["paid"]) for r in (await bench.counts())["tally"]]
    assert rows == [("2026-12", 0, 1), ("2027-01", 1, 0)]


async def test_from_2024_11_service_is_free_without_a_limit(bench: Bench) -> None:
    await bench.sim("PATCH", "/accounts/W1", {"regime": "2024-11-01", "free_used": 1000})
    await bench.writes(A)
    await bench.call(text())
    await bench.advance(1)
    assert await bench.tally() == {"service": (1, 0)}


async def test_from_2025_07_each_delivered_template_counts(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"pricing": "2025-07-01"})
    for name in ("promo", "promo", "order_update"):
        await bench.call(template(name))
        await bench.advance(60)
    await bench.writes(A)
    await bench.call(template("order_update"))
    await bench.call(text())
    await bench.sim("POST", "/script", {"match": {"template": "promo"}, "then": {"delivery": "failed"}})
    await bench.call(template())
    await bench.advance(1)
    assert await bench.tally() == {"marketing": (0, 2), "service": (1, 0), "utility": (1, 1)}
    delivered = [s for s in bench.receiver.statuses() if s["status"] == "delivered"]
    assert delivered[0]["pricing"] == {
        "billable": True,
        "pricing_model": "PMP",
        "category": "marketing",
        "type": "regular",
    }
    assert [s["pricing"]["type"] for s in delivered[-2:]] == ["free_customer_service"] * 2
    assert all("conversation" not in s for s in delivered)


async def test_from_2026_10_service_is_counted_per_number(bench: Bench) -> None:
    numbers = [
        {"id": N1, "display_phone_number": "+1 555 025 3483", "free_used": 1000},
        {"id": N2, "display_phone_number": "+1 555 025 3484", "free_used": 999},
    ]
    await bench.sim("PATCH", "/accounts/W1", {"regime": "2026-10-01", "numbers": numbers})
    for number in (N1, N2, N2):
        await bench.writes(A, number)
        await bench.call(text(), number=number)
        await bench.advance(60)
    await bench.call(template("order_update"))
    await bench.advance(1)
    assert await bench.tally() == {"service": (1, 2), "utility": (0, 1)}


async def test_old_webhooks_name_a_conversation_for_each_message(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"pricing": "2025-07-01", "webhook_version": 23})
    await bench.call(template())
    await bench.call(template())
    await bench.advance(1)
    assert len({s["conversation"]["id"] for s in bench.receiver.statuses()}) == 2


async def test_the_same_message_twice_is_received_once(bench: Bench) -> None:
    await bench.writes(A, id="wamid.1")
    await bench.advance(5 * 3600)
    await bench.writes(A, id="wamid.1")
    await bench.settled()
    assert len(bench.receiver.messages()) == 2
    assert (await bench.counts())["received"] == 1
    await bench.advance(19 * 3600)
    assert (await bench.call(text()))[1]["error"]["code"] == 131047


async def test_the_ledger_counts_calls_by_command(bench: Bench) -> None:
    opaque = f"{N1}:{A}|order-4711#1"
    await bench.sim("POST", "/script", {"match": {"command_id": "order-4711"}, "then": {"error": 130429}})
    await bench.call(template(opaque=opaque))
    await bench.call(template(opaque=opaque))
    await bench.call(template(opaque=f"{N1}:{A}|order-4711#2"))
    await bench.advance(1)
    ledger = await bench.sim("GET", "/ledger")
    assert ledger["commands"] == {
        "order-4711#1": {"calls": 2, "accepted": 1},
        "order-4711#2": {"calls": 1, "accepted": 1},
    }
    refused, accepted, _ = ledger["calls"]
    assert refused["answer"] == {"http_status": 400, "code": 130429}
    assert accepted["statuses"] == ["sent", "delivered"]
    assert (accepted["type"], accepted["template"], accepted["to"]) == ("template", "promo", A)
    assert accepted["biz_opaque_callback_data"] == opaque
    assert ledger["counts"]["refused"] == {"130429": 1}
    assert len((await bench.sim("GET", "/ledger?since=2"))["calls"]) == 1
    await bench.sim("DELETE", "/ledger")
    assert (await bench.sim("GET", "/ledger"))["counts"]["calls"] == 0
