"""Reads and template submission that a set-up needs, and the operations port."""

import json
from pathlib import Path

import aiohttp
import pytest

from services.simulator.app import Simulator
from services.simulator.settings import SimulatorSettings
from shared.clock import SystemClock
from tests.unit.simulator.bench import ACCOUNTS, N1, N3, A, B, Bench, template, text

pytestmark = pytest.mark.asyncio


async def test_numbers_are_listed_and_read_by_field(bench: Bench) -> None:
    _, listed = await bench.get("/v23.0/W1/phone_numbers")
    assert listed["data"][0]["id"] == N1
    assert listed["data"][0]["quality_rating"] == "GREEN"
    _, number = await bench.get(f"/v23.0/{N3}?fields=status,throughput")
    assert number == {"id": N3, "status": "PENDING", "throughput": {"level": "STANDARD"}}
    _, waba = await bench.get("/v23.0/W1?fields=currency,timezone_id")
    assert waba == {"id": "W1", "currency": "USD", "timezone_id": "UTC"}


async def test_templates_are_paged(bench: Bench) -> None:
    _, first = await bench.get("/v23.0/W1/message_templates?limit=3")
    _, second = await bench.get(
        f"/v23.0/W1/message_templates?limit=3&after={first['paging']['cursors']['after']}"
    )
    names = [t["name"] for t in first["data"] + second["data"]]
    assert names == ["promo", "order_update", "login_code", "draft"]
    assert "next" in first["paging"]
    assert "next" not in second["paging"]
    _, named = await bench.get("/v23.0/W1/message_templates?name=promo")
    assert [(t["category"], t["status"]) for t in named["data"]] == [("MARKETING", "APPROVED")]


async def test_an_unknown_object_and_a_wrong_token_are_refused(bench: Bench) -> None:
    status, answer = await bench.get("/v23.0/W9/phone_numbers")
    assert (status, answer["error"]["code"], answer["error"]["error_subcode"]) == (400, 100, 33)
    async with bench.http.get("/v23.0/W1", headers={"Authorization": "Bearer no"}) as refused:
        assert refused.status == 401


async def test_a_submitted_template_waits_for_its_review(bench: Bench) -> None:
    headers = {"Authorization": "Bearer t0ken"}
    body = {
        "name": "news",
        "language": "en",
        "category": "MARKETING",
        "components": [{"type": "BODY", "text": "x"}],
    }
    async with bench.http.post("/v23.0/W1/message_templates", json=body, headers=headers) as answer:
        made = await answer.json()
    assert (made["status"], made["category"]) == ("PENDING", "MARKETING")
    async with bench.http.post("/v23.0/W1/message_templates", json=body, headers=headers) as again:
        assert (await again.json())["error"]["error_subcode"] == 2388024
    assert (await bench.call(template("news")))[1]["error"]["code"] == 132001
    await bench.sim("POST", "/templates/news/review", {"status": "APPROVED"})
    await bench.settled()
    [value] = bench.receiver.values("message_template_status_update")
    assert (value["event"], value["message_template_name"]) == ("APPROVED", "news")
    assert value["message_template_id"] == int(made["id"]) > 2**31
    assert (await bench.call(template("news")))[0] == 200


async def test_a_submitted_template_is_approved_by_itself_after_the_delay_that_was_set(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"review_after_s": 60})
    body = {"name": "news", "language": "en", "category": "MARKETING", "components": []}
    headers = {"Authorization": "Bearer t0ken"}
    async with bench.http.post("/v23.0/W1/message_templates", json=body, headers=headers) as answer:
        assert answer.status == 200
    await bench.advance(59)
    assert bench.receiver.values("message_template_status_update") == []
    await bench.advance(1)
    [value] = bench.receiver.values("message_template_status_update")
    assert (value["event"], value["message_template_name"]) == ("APPROVED", "news")
    assert (await bench.call(template("news")))[0] == 200


async def test_a_template_is_deleted_in_one_language_or_in_all(bench: Bench) -> None:
    _, listed = await bench.get("/v23.0/W1/message_templates?name=promo")
    headers = {"Authorization": "Bearer t0ken"}
    url = "/v23.0/W1/message_templates?name=promo"
    for query, status in (("&hsm_id=1", 400), (f"&hsm_id={listed['data'][0]['id']}", 200), ("", 400)):
        async with bench.http.delete(url + query, headers=headers) as answer:
            assert answer.status == status
    assert (await bench.get("/v23.0/W1/message_templates?name=promo"))[1]["data"] == []


async def test_health_tells_of_a_payment_method_that_can_not_be_charged(bench: Bench) -> None:
    _, well = await bench.get("/v23.0/W1?fields=health_status")
    assert well["health_status"]["can_send_message"] == "AVAILABLE"
    await bench.sim("PATCH", "/accounts/W1", {"payment_method": "failing"})
    for node in ("W1", N1):
        _, ill = await bench.get(f"/v23.0/{node}?fields=health_status")
        assert ill["health_status"]["can_send_message"] == "BLOCKED"
        codes = [e["errors"][0]["error_code"] for e in ill["health_status"]["entities"] if "errors" in e]
        assert codes == [141006]


async def test_calls_about_an_account_are_counted_and_refused_beyond_the_hours_allowance(
    bench: Bench,
) -> None:
    await bench.sim("POST", "/options", {"management_calls": 2})
    headers = {"Authorization": "Bearer t0ken"}
    used = []
    for status in (200, 200, 400):
        async with bench.http.get("/v23.0/W1/phone_numbers", headers=headers) as answer:
            assert answer.status == status
            [use] = json.loads(answer.headers["X-Business-Use-Case-Usage"])["W1"]
            used.append((use["call_count"], use["estimated_time_to_regain_access"]))
            body = await answer.json()
    assert used == [(50, 0), (100, 0), (100, 60)]
    assert body["error"]["code"] == 80008
    await bench.advance(3600)
    assert (await bench.get("/v23.0/W1/phone_numbers"))[0] == 200


async def test_a_faulty_account_is_refused_with_its_fault(bench: Bench) -> None:
    for change in ({"timezone": "Mars/Phobos"}, {"regime": "2019"}, {"colour": "red"}):
        async with bench.http.patch("/sim/accounts/W1", json=change) as answer:
            assert answer.status == 422
            assert (await answer.json())["error"][0]["at"] == next(iter(change))


async def test_the_operations_port_tells_readiness_and_counts(bench: Bench) -> None:
    await bench.call(template())
    async with aiohttp.ClientSession(f"http://127.0.0.1:{bench.simulator.operations_port}") as http:
        async with http.get("/ready") as answer:
            assert answer.status == 200
        async with http.get("/metrics") as answer:
            assert 'wa_simulator_calls_total{outcome="accepted"} 1.0' in await answer.text()


async def test_accounts_can_come_from_a_file_and_the_systems_clock_stays(tmp_path: Path) -> None:
    (tmp_path / "accounts.json").write_text(json.dumps(ACCOUNTS))
    settings = SimulatorSettings(http_port=0, metrics_port=0, accounts_file=tmp_path / "accounts.json")
    simulator = Simulator(settings, SystemClock())
    await simulator.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{simulator.port}") as http:
        async with http.get("/sim/accounts") as answer:
            assert [w["id"] for w in (await answer.json())["wabas"]] == ["W1"]
        async with http.post("/sim/clock", json={"advance_s": 1}) as answer:
            assert answer.status == 409
    await simulator.stop()


async def test_a_reset_leaves_the_accounts_as_they_were_set_up(bench: Bench) -> None:
    await bench.sim("PATCH", "/accounts/W1", {"free_used": 999, "payment_method": "missing"})
    await bench.sim("POST", "/options", {"delay_s": 0, "read": True})
    for _ in range(2):
        for user, code in ((A, None), (B, 131042)):
            await bench.writes(user)
            answer = (await bench.call(text(user)))[1]
            assert answer.get("error", {}).get("code") == code
            await bench.settled()
        await bench.quiet_when(lambda state: state["quiet"])
        bench.receiver.bodies.clear()
        await bench.sim("POST", "/reset")
        assert (await bench.counts())["calls"] == 0
        assert (await bench.call(text()))[1]["error"]["code"] == 131047
        await bench.sim("DELETE", "/ledger")
    assert (await bench.sim("DELETE", "/options"))["delay_s"] == 1.0
