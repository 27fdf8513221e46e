"""The edge over HTTP: what callers are answered in every turn, and that no client can hurt it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
import pytest_asyncio

from services.ingress.edge import book
from services.ingress.edge.index import Heard
from services.ingress.edge.openapi import openapi
from services.ingress.edge.table import CALLS
from shared.events import SendError
from shared.ids import conflict_event_id
from tests.unit.ingress.edge.test_book import ALLOW, decision, event
from tests.unit.ingress.edge.world import FOREIGN, NUMBER, World, world

TEXT = {"messaging_product": "whatsapp", "to": "+4915112345678", "type": "text", "text": {"body": "hi"}}
MESSAGES = f"/v23.0/{NUMBER}/messages"
ALLOWED = event("decided", decision=ALLOW)
ACCEPTED = event("accepted", 2)


@pytest_asyncio.fixture
async def edge(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as running:
        yield running


def sending(edge: World, key: str = "r1", message: Any = TEXT, **headers: str) -> asyncio.Task[Any]:
    return asyncio.create_task(edge.call("POST", MESSAGES, message, Idempotency_Key=key, **headers))


async def test_a_message_waits_for_metas_id(edge: World) -> None:
    call = sending(edge)
    (asked,) = await edge.asked()
    assert (asked.request_id, asked.phone_number_id, asked.user) == ("r1", NUMBER, "4915112345678")
    await edge.tell(ALLOWED, ACCEPTED)
    status, answer, _ = await call
    assert (status, answer["messages"][0]["id"]) == (200, ACCEPTED.wamid)


async def test_what_takes_too_long_is_answered_with_our_id(tmp_path: Path) -> None:
    async with world(tmp_path, edge_wait_s=0.05) as edge:
        status, answer, headers = await edge.call("POST", MESSAGES, TEXT)
    (asked,) = await edge.asked()
    assert (status, answer["messages"]) == (202, [{"id": asked.request_id}])
    assert headers["Location"] == f"/v1/requests/{asked.request_id}"
    assert asked.request_id.startswith("edge-")


async def test_a_deferred_message_is_answered_at_once(edge: World) -> None:
    call = sending(edge)
    await edge.asked()
    await edge.tell(event("decided", decision=decision("defer", "tier_limit_reached"), id="r1#1:deferred:1"))
    assert (await call)[0] == 202


async def test_a_refusal_comes_in_graphs_shape(edge: World) -> None:
    call = sending(edge)
    await edge.asked()
    error = SendError(origin="policy", reason="window_closed", message="It is shut.", fix="Use a template.")
    await edge.tell(event("decided", decision=decision("reject", "window_closed"), error=error))
    status, answer, _ = await call
    fbtrace = answer["error"].pop("fbtrace_id")
    assert fbtrace
    assert (status, answer["error"]) == (
        400,
        {
            "message": "(#131047) title of 131047",
            "type": "OAuthException",
            "code": 131047,
            "error_data": {
                "messaging_product": "whatsapp",
                "details": "window_closed: It is shut. Use a template.",
            },
        },
    )


async def test_a_row_of_before_answers_only_once_the_router_has_answered_this_call(edge: World) -> None:
    """The id may have been used on the topic for another message, which was accepted."""
    await edge.tell(ALLOWED, ACCEPTED)
    call = sending(edge)
    (asked,) = await edge.asked()
    await asyncio.sleep(0)
    assert not call.done()
    refused = decision("reject", "idempotency_conflict")
    await edge.tell(event("decided", decision=refused, id=conflict_event_id("r1", asked.digest)))
    assert (await call)[0] == 409


async def test_a_repetition_is_published_again_and_answered_from_the_row(edge: World) -> None:
    first = sending(edge)
    await edge.asked()
    await edge.tell(ALLOWED, ACCEPTED)
    again = sending(edge)
    await edge.asked(2)
    await edge.tell(ALLOWED)
    assert (await first)[:2] == (await again)[:2]


async def test_another_body_under_the_same_key_is_refused_without_a_record(edge: World) -> None:
    call = sending(edge)
    await edge.asked()
    await edge.tell(ALLOWED, ACCEPTED)
    await call
    status, _, _ = await edge.call("POST", MESSAGES, {**TEXT, "to": "+4915112345679"}, Idempotency_Key="r1")
    assert (status, len(edge.publisher.records)) == (409, 1)


async def test_who_waits_is_answered_when_the_edge_stops(edge: World) -> None:
    call = sending(edge)
    await edge.asked()
    await edge.waiting.stop()
    status, answer, _ = await call
    assert (status, answer["messages"]) == (202, [{"id": "r1"}])


async def test_news_that_may_have_been_missed_are_read_from_the_row(edge: World) -> None:
    call = sending(edge)
    await edge.asked()
    for one in (ALLOWED, ACCEPTED):
        told = book.told(one)
        assert told is not None
        await edge.index.tell({told[0]: [told[1]]}, {})
    edge.waiting.look_again()
    assert (await call)[0] == 200


async def test_kafka_that_takes_nothing_is_503_and_says_how_to_repeat(edge: World) -> None:
    edge.publisher.taking = False
    status, answer, headers = await edge.call("POST", MESSAGES, TEXT)
    assert (status, answer["error"]["code"], headers["Retry-After"]) == (503, 2, "6")
    assert "Idempotency-Key" in answer["error"]["error_data"]["details"]


async def test_redis_that_does_not_answer_is_503_before_anything_is_published(edge: World) -> None:
    edge.index.gone = True
    assert (await edge.call("POST", MESSAGES, TEXT))[0] == 503
    assert edge.publisher.records == []


async def test_the_mark_of_a_received_message_finds_its_user(edge: World) -> None:
    edge.index.received["wamid.in"] = Heard(NUMBER, "4915112345678")
    mark = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.in"}
    call = sending(edge, message=mark)
    (asked,) = await edge.asked()
    assert (asked.marks, asked.user) == ("wamid.in", "4915112345678")
    await edge.tell(ALLOWED, event("accepted", 2, wamid=None))
    assert (await call)[:2] == (200, {"success": True})
    unknown = {**mark, "message_id": "wamid.nobodys"}
    assert (await edge.call("POST", MESSAGES, unknown))[1]["error"]["code"] == 131009


async def test_our_id_is_replaced_by_metas_when_it_is_known(edge: World) -> None:
    first = sending(edge)
    await edge.asked()
    await edge.tell(ALLOWED, ACCEPTED)
    await first
    call = sending(edge, "r2", {**TEXT, "context": {"message_id": "r1"}})
    asked = (await edge.asked(2))[-1]
    assert json.loads(bytes(asked.message))["context"] == {"message_id": ACCEPTED.wamid}
    await edge.tell(event("decided", request="r2", decision=decision("reject", "window_closed")))
    assert (await call)[0] == 400


@pytest.mark.parametrize(
    ("token", "path", "status", "code"),
    [
        ("nobodys", MESSAGES, 401, 190),
        ("other-token", MESSAGES, 403, 10),
        ("shop-token", f"/v23.0/{FOREIGN}/messages", 403, 10),
        ("reader-token", MESSAGES, 403, 200),
        ("shop-token", "/v23.0/55/nothing", 404, 100),
        ("nobodys", "/v23.0/55/nothing", 401, 190),
        ("shop-token", "/v23.0/55/message_templates", 403, 200),
    ],
)
async def test_who_may_not_is_told_so_as_meta_does(
    edge: World, token: str, path: str, status: int, code: int
) -> None:
    found = await edge.call("POST", path, TEXT, token=token)
    assert (found[0], found[1]["error"]["code"]) == (status, code)
    assert edge.publisher.records == []


async def test_beyond_its_rate_a_token_waits(edge: World) -> None:
    found = [await edge.call("GET", "/v1/requests/r1", token="slow-token") for _ in range(3)]
    assert [one[0] for one in found] == [404, 404, 429]
    assert found[2][1]["error"]["code"] == 80007
    assert 9 <= int(found[2][2]["Retry-After"]) <= 11


async def test_a_list_counts_as_so_many_calls(edge: World) -> None:
    body = [{"request_id": f"r{n}", "message": TEXT} for n in range(200)]
    assert (await edge.call("POST", "/v1/requests", body, token="slow-token"))[0] == 202
    assert (await edge.call("POST", "/v1/requests", body, token="slow-token"))[0] == 429


async def test_a_request_of_others_is_not_known(edge: World) -> None:
    await edge.tell(ALLOWED)
    assert (await edge.call("GET", "/v1/requests/r1"))[1]["decision"]["outcome"] == "allow"
    assert (await edge.call("GET", "/v1/requests/r1", token="other-token"))[0] == 404


async def test_an_id_with_a_slash_is_found(edge: World) -> None:
    call = sending(edge, "orders/4711")
    await edge.asked()
    await edge.waiting.stop()
    _, _, headers = await call
    assert (await edge.call("GET", headers["Location"]))[1]["request_id"] == "orders/4711"


async def test_a_cancellation_says_what_became_of_it(edge: World) -> None:
    call = asyncio.create_task(edge.call("DELETE", "/v1/requests/r1"))
    assert (await call)[0] == 404
    await edge.tell(ALLOWED)
    call = asyncio.create_task(edge.call("DELETE", "/v1/requests/r1"))
    await edge.asked(1)
    await edge.tell(event("cancelled", 2))
    assert (await call)[1]["outcome"] == "cancelled"
    await edge.tell(event("decided", request="r2", decision=ALLOW), event("accepted", 2, request="r2"))
    assert (await edge.call("DELETE", "/v1/requests/r2"))[1]["outcome"] == "too_late"
    assert len(edge.publisher.records) == 1


async def test_a_request_of_the_topic_can_be_taken_back_too(edge: World) -> None:
    await edge.tell(ALLOWED)
    call = asyncio.create_task(edge.call("DELETE", "/v1/requests/r1"))
    await edge.asked(0)
    while not edge.publisher.records:
        await asyncio.sleep(0.01)
    row = await edge.index.row("r1")
    assert isinstance(book.entries(row)[0], book.Taken)  # so that the news of it are told
    assert book.taken_by(row) is None
    await edge.tell(event("cancelled", 2))
    assert (await call)[1]["outcome"] == "cancelled"


async def test_a_fault_of_ours_costs_one_call(edge: World) -> None:
    async def broken(_: object) -> None:
        raise ZeroDivisionError

    edge.publisher.publish = broken  # type: ignore[assignment,method-assign]
    status, answer, _ = await edge.call("POST", MESSAGES, TEXT)
    assert (status, answer["error"]["code"]) == (500, 1)


async def test_an_unknown_member_of_a_list_does_not_hold_up_the_others(edge: World) -> None:
    body = [
        {"request_id": "a", "message": TEXT},
        5,
        {"request_id": "b"},
        {"request_id": "a", "message": TEXT, "from": FOREIGN},
    ]
    status, answer, _ = await edge.call("POST", "/v1/requests", body)
    assert status == 202
    assert [one.get("error", {}).get("code") for one in answer["requests"]] == [None, 100, 100, 10]
    assert len(edge.publisher.records) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"[" * 50_000, b'"x"', b"[" + b"{}," * 1000 + b"{}]", b"\xff"]
)
@pytest.mark.parametrize("path", [MESSAGES, "/v1/requests", "/v1/estimate"])
async def test_nonsense_is_400_and_nothing_comes_of_it(edge: World, path: str, body: bytes) -> None:
    status, answer, _ = await edge.call("POST", path, body)
    assert (status, answer["error"]["code"]) == (400, 100)
    assert edge.publisher.records == []


async def test_a_body_too_large_too_slow_or_encoded_is_refused(edge: World) -> None:
    head = f"POST {MESSAGES} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer shop-token\r\n".encode()
    chunk = b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
    answers = await asyncio.gather(
        edge.raw(head + b"Content-Length: 99999999\r\n\r\n{"),
        edge.raw(head + b"Content-Length: 100\r\n\r\n{"),
        edge.raw(head + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
        edge.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 5),
    )
    assert [answer.split(b" ", 2)[1] for answer in answers] == [b"413", b"408", b"415", b"413"]


async def test_a_head_too_large_or_too_slow_ends_the_connection(edge: World) -> None:
    assert b" 400 " in await edge.raw(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n")
    assert b" 400 " in await edge.raw(b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n")
    assert await edge.raw(b"GET / HTTP/1.1\r\nHost:") == b""
    assert await edge.raw(b"") == b""


async def test_beyond_its_bound_in_flight_it_refuses_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, edge_max_in_flight=2) as edge:
        calls = [sending(edge, f"r{n}") for n in range(2)]
        await edge.asked(2)
        status, _, headers = await edge.call("GET", "/v1/requests/r0")
        assert (status, headers["Retry-After"]) == (503, "6")
        await edge.waiting.stop()
        assert [(await call)[0] for call in calls] == [202, 202]
        assert edge.door.in_flight == 0


async def test_a_client_that_goes_away_leaves_nothing_behind(edge: World) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sending(edge), 0.1)
    await edge.tell(ALLOWED, ACCEPTED)
    async with asyncio.timeout(5):
        while edge.door.in_flight:
            await asyncio.sleep(0.01)


async def test_the_description_is_served_to_anybody_and_is_valid(edge: World) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{edge.url}/v1/openapi.json") as answer:
        served = await answer.json()
    assert served == json.loads(json.dumps(openapi()))
    for name, schema in served["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert name
    described = {(method, path) for path, operations in served["paths"].items() for method in operations}
    assert len(described) == len(CALLS)


async def test_no_secret_and_no_number_is_in_the_log(edge: World, capsys: pytest.CaptureFixture[str]) -> None:
    await edge.call("POST", MESSAGES, {**TEXT, "text": 5})
    await edge.call("POST", MESSAGES, TEXT, token="wrong-token")
    logged = capsys.readouterr().out
    assert "edge_refused" in logged
    assert not [secret for secret in ("wrong-token", "shop-token", "4915112345678") if secret in logged]
