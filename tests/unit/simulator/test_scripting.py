"""Scripted failures of single calls."""

import asyncio

import aiohttp
import pytest

from tests.unit.simulator.bench import N1, TOKEN, A, B, Bench, template
from tests.unit.simulator.receiver import BOUND_S

pytestmark = pytest.mark.asyncio


async def test_a_rule_serves_once_unless_told_otherwise(bench: Bench) -> None:
    await bench.sim("POST", "/script", {"then": {"error": 131000}})
    await bench.sim("POST", "/script", {"match": {"to": B}, "then": {"error": 130429, "times": 2}})
    codes = [(await bench.call(template(to=B)))[1].get("error", {}).get("code") for _ in range(4)]
    assert codes == [131000, 130429, 130429, None]
    rules = (await bench.sim("GET", "/script"))["rules"]
    assert [r["used"] for r in rules] == [1, 2]
    await bench.sim("DELETE", "/script")
    assert (await bench.sim("GET", "/script"))["rules"] == []


async def test_a_rule_for_the_nth_call_leaves_the_others_alone(bench: Bench) -> None:
    await bench.sim("POST", "/script", {"match": {"nth": 2}, "then": {"error": 2}})
    assert [(await bench.call(template()))[0] for _ in range(3)] == [200, 503, 200]


async def test_a_bare_http_status_has_no_graph_body(bench: Bench) -> None:
    rule = {"then": {"http_status": 502, "headers": {"Retry-After": "3"}}}
    await bench.sim("POST", "/script", rule)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with bench.http.post(f"/v23.0/{N1}/messages", json=template(), headers=headers) as answer:
        assert (answer.status, answer.content_type, answer.headers["Retry-After"]) == (502, "text/html", "3")


async def test_a_dropped_answer_was_processed(bench: Bench) -> None:
    rule = {"match": {"command_id": "r1#1"}, "then": {"drop_answer_after_processing": True}}
    await bench.sim("POST", "/script", rule)
    with pytest.raises(aiohttp.ClientConnectionError):
        await bench.call(template(opaque=f"{N1}:{A}|r1#1"))
    await bench.advance(1)
    assert [s["status"] for s in bench.receiver.statuses()] == ["sent", "delivered"]
    assert (await bench.sim("GET", "/ledger"))["commands"] == {"r1#1": {"calls": 1, "accepted": 1}}


async def test_a_reset_call_was_not_processed(bench: Bench) -> None:
    await bench.sim("POST", "/script", {"then": {"reset": True}})
    with pytest.raises(aiohttp.ClientConnectionError):
        await bench.call(template())
    counts = await bench.counts()
    assert (counts["calls"], counts["accepted"]) == (1, 0)
    assert (await bench.sim("GET", "/quiet"))["quiet"] is True


async def test_a_hanging_call_is_processed_though_the_caller_gave_up(bench: Bench) -> None:
    await bench.sim("POST", "/script", {"then": {"hang_s": 60}})
    calling = asyncio.create_task(bench.call(template()))
    async with asyncio.timeout(BOUND_S):
        while not bench.simulator.meta.ledger.calls:
            await asyncio.sleep(0)
    assert (await bench.counts())["calls"] == 1
    assert calling.cancel(), "it was answered meanwhile"
    with pytest.raises(asyncio.CancelledError):
        await calling
    await bench.advance(1)
    assert (await bench.counts())["delivered"] == 1


async def test_statuses_come_exactly_as_scripted(bench: Bench) -> None:
    steps = ["sent", {"status": "failed", "after_s": 5, "code": 131049}]
    await bench.sim("POST", "/script", {"then": {"statuses": steps}})
    await bench.call(template())
    await bench.advance(4)
    assert [s["status"] for s in bench.receiver.statuses()] == ["sent"]
    await bench.advance(1)
    assert bench.receiver.statuses()[1]["errors"][0]["code"] == 131049


async def test_without_automatic_statuses_nothing_follows(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"auto_statuses": False})
    await bench.call(template())
    assert (await bench.sim("GET", "/quiet"))["quiet"] is True


async def test_a_misspelt_script_is_refused(bench: Bench) -> None:
    async with bench.http.post("/sim/script", json={"then": {"eror": 1}}) as answer:
        assert answer.status == 422
        assert (await answer.json())["error"][0]["at"] == "then.eror"


@pytest.mark.parametrize(
    ("let_go", "statuses"), [({}, ["sent", "delivered"]), ({"drop_code": 132015}, ["failed"])]
)
async def test_a_templates_messages_are_held_until_they_are_let_go_or_dropped(
    bench: Bench, let_go: dict[str, int], statuses: list[str]
) -> None:
    await bench.sim("POST", "/templates/promo/hold", {"as": "held_for_quality_assessment"})
    body = (await bench.call(template()))[1]
    assert body["messages"][0]["message_status"] == "held_for_quality_assessment"
    await bench.advance(86_400)
    assert bench.receiver.statuses() == []
    assert (await bench.sim("GET", "/quiet"))["quiet"] is True
    assert await bench.sim("POST", "/templates/promo/let_go", let_go) == {"messages": 1}
    await bench.advance(1)
    assert [s["status"] for s in bench.receiver.statuses()] == statuses
    assert (await bench.call(template(to=B)))[1]["messages"][0]["message_status"] == "accepted"
    assert await bench.sim("POST", "/templates/promo/let_go", {}) == {"messages": 0}
