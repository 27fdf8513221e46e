"""How webhooks reach the business: batches, duplicates, disorder, repetition, clock jumps."""

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from services.simulator.app import Simulator
from services.simulator.settings import SimulatorSettings
from shared.clock import FileClock
from tests.unit.simulator.bench import ACCOUNTS, N1, SECRET, TOKEN, A, Bench, template, text
from tests.unit.simulator.receiver import Receiver

pytestmark = pytest.mark.asyncio


async def test_a_jump_of_the_clock_releases_what_was_due_in_order_and_in_batches(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"batch": 1000, "delay_s": 600})
    for n in range(60):
        await bench.call(template(to=f"49151000{n:05d}"))
        bench.clock.advance(1)
    await bench.sim("POST", "/options", {"batch": 25})
    await bench.advance(86_400)
    delivered = [s for s in bench.receiver.statuses() if s["status"] == "delivered"]
    times = [int(s["timestamp"]) for s in delivered]
    assert len(times) == 60
    assert times == sorted(times)
    assert times[-1] - times[0] == 59
    assert max(bench.receiver.updates()) == 25


async def test_a_thousand_updates_fit_one_post(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"batch": 1000})
    await bench.sim("POST", "/script", {"then": {"statuses": ["delivered"] * 1000, "delivered_after_s": 5}})
    await bench.call(template())
    await bench.advance(5)
    assert bench.receiver.updates() == [1000]


async def test_updates_come_twice_with_the_probability_asked_for(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"duplicate": 1.0})
    await bench.call(template())
    await bench.advance(1)
    await bench.receiver.until(lambda: len(bench.receiver.statuses()) == 4)
    seen = Counter(s["status"] for s in bench.receiver.statuses())
    assert seen == {"sent": 2, "delivered": 2}
    assert (await bench.counts())["delivered"] == 1


async def test_disorder_is_reproducible_by_its_seed(bench: Bench) -> None:
    orders = []
    for _ in range(2):
        # One connection: what is posted at once over several arrives in no order that a seed decides.
        options = {"shuffle": True, "shuffle_s": 30, "seed": 7, "batch": 1, "connections": 1}
        await bench.sim("POST", "/options", options)
        bench.receiver.bodies.clear()
        await bench.sim("POST", "/reset")
        for n in range(20):
            await bench.call(template(to=f"49151000{n:05d}"))
        await bench.sim("POST", "/clock", {"advance_s": 1})
        await bench.sim("POST", "/clock", {"advance_s": 30})
        await bench.receiver.until(lambda: len(bench.receiver.statuses()) == 40)
        orders.append([(s["status"], s["recipient_id"]) for s in bench.receiver.statuses()])
    assert orders[0] == orders[1]
    firsts = {recipient: status for status, recipient in reversed(orders[0])}
    assert "delivered" in firsts.values()


async def test_a_refused_post_is_repeated_until_it_is_answered_with_200(bench: Bench) -> None:
    bench.receiver.answers.extend([503, 500, 302])
    wamid = await bench.writes(A)
    for _ in range(3):
        assert (await bench.quiet_when(lambda state: not state["in_flight"]))["quiet"] is False
        assert bench.receiver.messages() == []
        bench.clock.advance(5)
    await bench.receiver.until(lambda: bool(bench.receiver.messages()))
    assert [m["id"] for m in bench.receiver.messages()] == [wamid]
    assert (await bench.counts())["webhooks"]["refused"] == 3


async def test_a_post_is_given_up_after_seven_days(bench: Bench) -> None:
    bench.receiver.answers.extend([503] * 2)
    await bench.writes(A)
    await bench.quiet_when(lambda state: not state["in_flight"])
    bench.clock.advance(7 * 86_400)
    await bench.quiet_when(lambda state: state["quiet"])
    assert (await bench.counts())["webhooks"]["dropped_updates"] == 1
    assert bench.receiver.messages() == []


async def test_quiet_tells_what_is_to_come(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"delay_s": 3600})
    await bench.call(template())
    await bench.receiver.until(lambda: len(bench.receiver.statuses()) == 1)
    all_of_it = await bench.quiet_when(lambda state: not state["in_flight"])
    assert (all_of_it["quiet"], all_of_it["scheduled"]) == (False, 1)
    assert (await bench.sim("GET", "/quiet?within_s=60"))["quiet"] is True
    await bench.advance(3600)
    await bench.quiet_when(lambda state: state["quiet"])


async def test_an_account_webhook_of_any_shape_is_signed_and_believed_by_meta_itself(bench: Bench) -> None:
    value = {"event": "PAUSED", "message_template_name": "promo", "message_template_language": "en"}
    webhook = {"waba_id": "W1", "field": "message_template_status_update", "value": value}
    await bench.sim("POST", "/webhooks", webhook)
    await bench.settled()
    assert bench.receiver.bodies[0] == {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": "W1",
                "time": int(bench.clock.time()),
                "changes": [{"value": value, "field": "message_template_status_update"}],
            }
        ],
    }
    assert (await bench.call(template()))[1]["error"]["code"] == 132015
    raw = {"object": "instagram", "entry": [{"id": "17", "time": 1, "messaging": []}]}
    await bench.sim("POST", "/webhooks", {"raw": raw})
    await bench.receiver.until(lambda: len(bench.receiver.bodies) == 2)
    assert bench.receiver.bodies[1] == raw


async def test_a_changed_category_and_a_restriction_change_the_answers(bench: Bench) -> None:
    change = {"message_template_name": "promo", "message_template_language": "en", "new_category": "UTILITY"}
    await bench.sim(
        "POST", "/webhooks", {"waba_id": "W1", "field": "template_category_update", "value": change}
    )
    await bench.call(template())
    await bench.advance(1)
    assert await bench.tally() == {"utility": (0, 1)}
    ends = int(bench.clock.time()) + 3600
    restriction = {
        "event": "ACCOUNT_RESTRICTION",
        "restriction_info": [{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": ends}],
    }
    await bench.sim("POST", "/webhooks", {"waba_id": "W1", "field": "account_update", "value": restriction})
    assert (await bench.call(template()))[1]["error"]["code"] == 368
    await bench.advance(3600)
    assert (await bench.call(template()))[0] == 200
    del restriction["restriction_info"][0]["expiration"]  # type: ignore[attr-defined]
    await bench.sim("POST", "/webhooks", {"waba_id": "W1", "field": "account_update", "value": restriction})
    assert (await bench.call(template()))[1]["error"]["code"] == 368
    await bench.sim(
        "POST",
        "/webhooks",
        {"waba_id": "W1", "field": "account_update", "value": {"event": "ACCOUNT_RECONNECTED"}},
    )
    assert (await bench.call(template()))[0] == 200


async def test_what_meta_says_until_when_is_over_then(bench: Bench) -> None:
    async def tell(field: str, **value: Any) -> None:
        named = {"message_template_name": "promo", "message_template_language": "en", **value}
        await bench.sim("POST", "/webhooks", {"waba_id": "W1", "field": field, "value": named})

    at = int(bench.clock.time())
    ends = {"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": str(at + 3600)}
    await tell("message_template_status_update", event="PAUSED", other_info={"title": "FIRST_PAUSE"})
    await tell("account_update", event="ACCOUNT_RESTRICTION", restriction_info=[ends])
    await tell(
        "template_category_update",
        new_category="MARKETING",
        correct_category="UTILITY",
        category_update_timestamp=at + 3 * 3600,
    )
    assert (await bench.call(template()))[1]["error"]["code"] == 132015
    await bench.advance(3600 - 1)
    assert (await bench.call(template("order_update")))[1]["error"]["code"] == 368
    await bench.advance(1)
    assert (await bench.call(template("order_update")))[0] == 200
    await bench.advance(2 * 3600 - 1)
    assert (await bench.call(template()))[1]["error"]["code"] == 132015
    await bench.advance(1)
    assert (await bench.call(template()))[0] == 200
    await bench.advance(1)
    assert await bench.tally() == {"utility": (0, 1)}


async def test_any_type_of_message_comes_as_given(bench: Bench) -> None:
    image = {"id": "1", "mime_type": "image/jpeg", "sha256": "x"}
    await bench.writes(A, type="image", image=image, context={"id": "wamid.Y"}, name="Ana")
    await bench.settled()
    [value] = bench.receiver.values()
    assert value["contacts"] == [{"profile": {"name": "Ana"}, "wa_id": A}]
    [message] = value["messages"]
    assert (message["type"], message["image"], message["context"]) == ("image", image, {"id": "wamid.Y"})
    assert "text" not in message


async def test_the_shared_clock_file_moves_the_simulator_from_outside(tmp_path: Path) -> None:
    clock, other = FileClock(tmp_path / "clock"), FileClock(tmp_path / "clock")
    async with Receiver(SECRET) as receiver:
        settings = SimulatorSettings(
            http_port=0,
            metrics_port=0,
            webhook_url=receiver.url,
            app_secret=SecretStr(SECRET),
            access_token=SecretStr(TOKEN),
        )
        simulator = Simulator(settings, clock)
        await simulator.start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{simulator.port}") as http:
            bench = Bench(simulator, receiver, clock, http)
            await bench.sim("PUT", "/accounts", ACCOUNTS)
            await bench.sim("POST", "/options", {"delay_s": 7200})
            await bench.call(template())
            await receiver.until(lambda: len(receiver.statuses()) == 1)
            other.advance(7200)
            await receiver.until(lambda: len(receiver.statuses()) == 2)
            moved = await bench.sim("POST", "/clock", {"advance_s": 60})
            assert moved["movable"] is True
            assert abs(datetime.fromisoformat(moved["now"]).timestamp() - other.time()) < 1
            assert other.offset_s == 7260
        await simulator.stop()


async def test_messages_of_several_numbers_and_accounts_keep_apart(bench: Bench) -> None:
    other = {"id": "W2", "numbers": [{"id": "2", "display_phone_number": "+49 30 1"}]}
    await bench.sim("PUT", "/accounts", {"wabas": [other]})
    bench.receiver.answers.append(503)
    await bench.writes(A, N1)
    for number in (N1, "2", N1):
        await bench.writes(A, number)
    await bench.receiver.until(lambda: len(bench.receiver.messages()) == 3)
    told = {
        (entry["id"], change["value"]["metadata"]["phone_number_id"])
        for body in bench.receiver.bodies
        for entry in body["entry"]
        for change in entry["changes"]
    }
    assert told == {("W1", N1), ("W2", "2")}


async def test_a_users_call_opens_the_window_and_is_told(bench: Bench) -> None:
    assert (await bench.call(text()))[1]["error"]["code"] == 131047
    call_id = (await bench.sim("POST", f"/users/+{A}/calls", {"to": N1}))["id"]
    await bench.settled()
    [value] = bench.receiver.values("calls")
    assert value["metadata"] == {"display_phone_number": "+1 555 025 3483", "phone_number_id": N1}
    [item] = value["calls"]
    assert (item["id"], item["from"], item["to"], item["event"]) == (call_id, A, "15550253483", "connect")
    assert (await bench.call(text()))[0] == 200


async def test_a_user_can_stop_marketing_messages(bench: Bench) -> None:
    await bench.sim("POST", f"/users/{A}/preferences", {"to": N1, "marketing": "stop"})
    await bench.settled()
    [value] = bench.receiver.values("user_preferences")
    [item] = value["user_preferences"]
    assert (item["wa_id"], item["category"], item["value"]) == (A, "marketing_messages", "stop")


async def test_nobody_calls_or_prefers_at_a_number_that_is_not_there(bench: Bench) -> None:
    for what, body in (("calls", {"to": "7"}), ("preferences", {"to": "7", "marketing": "resume"})):
        async with bench.http.post(f"/sim/users/{A}/{what}", json=body) as answer:
            assert answer.status == 404
