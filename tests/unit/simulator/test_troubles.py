"""Troubles of a given duration, token rotation, the app secret's proof, usage headers."""

import asyncio
import hmac
import json

import aiohttp
import pytest

from tests.unit.simulator.bench import N1, N2, SECRET, TOKEN, A, Bench, template, text
from tests.unit.simulator.receiver import BOUND_S

pytestmark = pytest.mark.asyncio


async def codes(bench: Bench, count: int, number: str = N1) -> list[int | None]:
    """Meta's codes of so many calls, None for an acceptance."""
    return [
        (await bench.call(template(), number=number))[1].get("error", {}).get("code") for _ in range(count)
    ]


async def test_a_throughput_that_falls_is_told_and_is_back_after_its_time(bench: Bench) -> None:
    await bench.sim("POST", "/troubles", {"kind": "throttled", "for_s": 10, "mps": 2})
    assert await codes(bench, 4) == [None, None, 130429, 130429]
    bench.clock.advance(1)
    assert await codes(bench, 3) == [None, None, 130429]
    bench.clock.advance(9)
    assert await codes(bench, 20) == [None] * 20


@pytest.mark.parametrize(("kind", "code"), [("maintenance", 131057), ("token_expired", 190)])
async def test_a_trouble_of_one_number_ends_by_itself_and_touches_no_other(
    bench: Bench, kind: str, code: int
) -> None:
    await bench.sim("POST", "/troubles", {"kind": kind, "for_s": 60, "phone_number_id": N1})
    assert await codes(bench, 2) == [code] * 2
    assert await codes(bench, 1, N2) == [None]
    bench.clock.advance(60)
    assert await codes(bench, 1) == [None]
    assert (await bench.sim("GET", "/troubles"))["troubles"] == []


@pytest.mark.parametrize(("processed", "accepted"), [(False, 0), (True, 1)])
async def test_a_failing_meta_may_or_may_not_have_sent_the_message(
    bench: Bench, processed: bool, accepted: int
) -> None:
    trouble = {"kind": "failing", "for_s": 60, "http_status": 503, "code": 131016, "processed": processed}
    await bench.sim("POST", "/troubles", trouble)
    status, body = await bench.call(template(opaque=f"{N1}:{A}|r1#1"))
    assert (status, body["error"]["code"]) == (503, 131016)
    assert (await bench.sim("GET", "/ledger"))["commands"] == {"r1#1": {"calls": 1, "accepted": accepted}}


async def test_a_lost_answer_was_to_a_message_that_went_out(bench: Bench) -> None:
    await bench.sim("POST", "/troubles", {"kind": "lost_answers", "for_s": 60})
    with pytest.raises(aiohttp.ClientConnectionError):
        await bench.call(template())
    assert (await bench.counts())["accepted"] == 1


@pytest.mark.parametrize(("processed", "accepted"), [(False, 0), (True, 1)])
async def test_a_hang_ends_with_the_trouble(bench: Bench, processed: bool, accepted: int) -> None:
    await bench.sim("POST", "/troubles", {"kind": "hang", "for_s": 0.2, "processed": processed})
    if processed:
        assert (await bench.call(template()))[0] == 200
    else:
        with pytest.raises(aiohttp.ClientConnectionError):
            await bench.call(template())
    assert (await bench.counts())["accepted"] == accepted


async def test_nobody_connects_to_a_meta_that_refuses_and_then_all_is_as_before(bench: Bench) -> None:
    await bench.call(template())
    refused = troubles = 0
    async with asyncio.timeout(BOUND_S):
        while not refused:  # a machine that stands still may sleep through one
            await bench.sim("POST", "/troubles", {"kind": "refusing", "for_s": 0.5})
            troubles += 1
            answered = False
            while not answered:
                try:
                    answered = (await bench.call(template()))[0] == 200
                except aiohttp.ClientConnectionError as failure:  # the one under way may just be cut
                    refused += isinstance(failure, aiohttp.ClientConnectorError)
                    await asyncio.sleep(0.01)
    assert (await bench.counts())["accepted"] == 1 + troubles


async def test_troubles_can_be_ended_at_once(bench: Bench) -> None:
    await bench.sim("POST", "/troubles", {"kind": "maintenance", "for_s": 60})
    assert [one["kind"] for one in (await bench.sim("GET", "/troubles"))["troubles"]] == ["maintenance"]
    await bench.sim("DELETE", "/troubles")
    assert await codes(bench, 1) == [None]


async def test_a_rotated_token_is_the_only_one_accepted(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"access_token": "new"})
    assert (await bench.call(text()))[1]["error"]["code"] == 190
    assert (await bench.call(template(), token="new"))[0] == 200


async def test_a_wrong_proof_is_always_refused_and_a_missing_one_where_it_is_asked_for(bench: Bench) -> None:
    proof = hmac.digest(SECRET.encode(), TOKEN.encode(), "sha256").hex()

    async def status(query: dict[str, str]) -> tuple[int, int | None]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with bench.http.post(
            f"/v23.0/{N1}/messages", json=template(), headers=headers, params=query
        ) as answer:
            return answer.status, (await answer.json()).get("error", {}).get("code")

    assert await status({}) == (200, None)
    assert await status({"appsecret_proof": proof}) == (200, None)
    assert await status({"appsecret_proof": "0" * 64}) == (400, 100)
    await bench.sim("POST", "/options", {"require_appsecret_proof": True})
    assert await status({}) == (400, 100)
    assert await status({"appsecret_proof": proof}) == (200, None)


async def test_usage_is_told_in_metas_headers(bench: Bench) -> None:
    options = {"app_usage_percent": 40, "account_usage_percent": 95, "regain_minutes": 3}
    await bench.sim("POST", "/options", options)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with bench.http.post(f"/v23.0/{N1}/messages", json=template(), headers=headers) as answer:
        assert json.loads(answer.headers["X-App-Usage"])["call_count"] == 40
        (use,) = json.loads(answer.headers["X-Business-Use-Case-Usage"])["W1"]
        assert (use["call_count"], use["estimated_time_to_regain_access"]) == (95, 3)
