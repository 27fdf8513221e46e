"""The HTTP edge through all services: what a business system is answered, and what Meta saw of it."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import jsonschema
import pytest
import pytest_asyncio
from pywa.client import WhatsApp
from pywa.errors import ReEngagementMessage, WhatsAppError
from pywa.types.callback import Button
from pywa.types.templates import TemplateLanguage

from deploy.local.demo.stage import PEOPLE, Stage
from deploy.local.ports import free_ports
from deploy.local.service import ServiceProcess
from deploy.local.services import EDGE_TOKEN
from deploy.local.system import LocalSystem
from services.console.steps import template_message, text_message
from services.ingress.edge.openapi import openapi
from shared.events import SendEvent
from shared.topics import MESSAGES_RECEIVED, SEND_EVENTS
from tests.e2e.test_main_path import write
from tests.integration.stream.harness import until

pytestmark = pytest.mark.timeout(300)
VERSION = "v23.0"


class Edge:
    """A business system that speaks to the edge by HTTP alone; every answer is compared with the OpenAPI description."""

    def __init__(self, http: aiohttp.ClientSession, url: str, number: str) -> None:
        self.http = http
        self.url = url
        self.number = number
        self.description = openapi()

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, path, json=body, headers=named) as answer:
            found = json.loads(await answer.read())
            self._compare(method, path, answer.status, found)
            return answer.status, found, dict(answer.headers)

    async def send(self, message: Any, **headers: str) -> tuple[int, Any, dict[str, str]]:
        return await self.call("POST", f"/{VERSION}/{self.number}/messages", message, **headers)

    async def status(self, request_id: str) -> Any:
        return (await self.call("GET", f"/v1/requests/{request_id}"))[1]

    def _compare(self, method: str, path: str, status: int, answer: Any) -> None:
        segments = path.partition("?")[0].split("/")
        for described, operations in self.description["paths"].items():
            parts = described.split("/")
            same = len(parts) == len(segments) and all(
                part == segment or part.startswith("{") for part, segment in zip(parts, segments, strict=True)
            )
            if same and method.lower() in operations:
                responses = operations[method.lower()]["responses"]
                response = responses.get(str(status)) or responses["default"]
                schema = response["content"]["application/json"]["schema"]
                components = self.description["components"]
                jsonschema.validate(answer, {**schema, "components": components})
                return
        raise AssertionError(f"{method} {path} is not described")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def edge(system: LocalSystem, stage: Stage) -> AsyncIterator[Edge]:
    headers = {"Authorization": f"Bearer {EDGE_TOKEN}"}
    url = f"http://127.0.0.1:{system.ports.edge}"
    async with aiohttp.ClientSession(base_url=url, headers=headers) as http:
        yield Edge(http, url, stage.number("shop"))


def text(who: str, words: str) -> dict[str, object]:
    return text_message(f"+{PEOPLE[who]}", words)


async def until_standing(edge: Edge, request_id: str, *events: str) -> Any:
    """The status of a request, once it has had all these events."""
    async with asyncio.timeout(60):
        while True:
            status = await edge.status(request_id)
            if set(events) <= {event["event"] for event in status.get("events", [])}:
                return status
            await asyncio.sleep(0.05)


async def test_a_message_is_answered_with_metas_id_and_its_life_can_be_asked_for(
    edge: Edge, stage: Stage
) -> None:
    await write(stage, "Anna", "Hello")
    body = {**text("Anna", "On its way"), "biz_opaque_callback_data": "order-4711"}
    status, answer, _ = await edge.send(body, Idempotency_Key="edge-1")
    assert status == 200
    wamid = answer["messages"][0]["id"]
    assert wamid.startswith("wamid.")
    assert answer["contacts"] == [{"input": f"+{PEOPLE['Anna']}", "wa_id": PEOPLE["Anna"]}]
    told = await until_standing(edge, "edge-1", "decided", "accepted", "sent", "delivered", "read")
    assert (told["standing"], told["wamid"], told["decision"]["outcome"]) == ("accepted", wamid, "allow")
    assert {event.correlation_id for event in stage.business.send_events() if event.wamid == wamid} == {
        "order-4711"
    }


async def test_a_repetition_is_answered_the_same_and_another_body_is_a_conflict(
    edge: Edge, stage: Stage
) -> None:
    await write(stage, "Anna", "Hello")
    first = await edge.send(text("Anna", "Once"), Idempotency_Key="edge-once")
    again = await edge.send(text("Anna", "Once"), Idempotency_Key="edge-once")
    other = await edge.send(text("Anna", "Twice"), Idempotency_Key="edge-once")
    assert (first[0], again[:2]) == (200, first[:2])
    assert other[0] == 409
    assert other[1]["error"]["error_data"]["details"].startswith("idempotency_conflict: ")
    assert await stage.simulator.calls_of("edge-once") == 1


async def test_an_id_that_the_topic_used_for_another_message_is_a_conflict_told_by_the_router(
    edge: Edge, stage: Stage
) -> None:
    await write(stage, "Anna", "Hello")
    await stage.business.request({"request_id": "edge-topic", "message": text("Anna", "From the topic")})
    await until_standing(edge, "edge-topic", "accepted")
    status, answer, _ = await edge.send(text("Anna", "From the edge"), Idempotency_Key="edge-topic")
    assert status == 409, answer
    assert (await edge.status("edge-topic"))["standing"] == "accepted"


async def test_a_refusal_has_metas_code_and_our_reason(edge: Edge, stage: Stage) -> None:
    status, answer, _ = await edge.send(text_message("+4915112345698", "Nobody wrote"))
    assert (status, answer["error"]["code"]) == (400, 131047)
    assert answer["error"]["error_data"]["details"].startswith("window_closed: ")
    assert answer["error"]["message"].startswith("(#131047) ")


async def test_what_meta_refuses_comes_back_with_metas_own_code(edge: Edge, stage: Stage) -> None:
    rule = {"match": {"command_id": "edge-refused"}, "then": {"error": 131026}}
    await stage.simulator.call("POST", "/sim/script", rule)
    promo = template_message(f"+{PEOPLE['Clara']}", "promo", "de", [])
    status, answer, _ = await edge.send(promo, Idempotency_Key="edge-refused")
    assert (status, answer["error"]["code"]) == (400, 131026)
    assert (await edge.status("edge-refused"))["standing"] == "failed"


async def test_a_malformed_body_is_told_field_by_field(edge: Edge) -> None:
    status, answer, _ = await edge.send({**text("Anna", ""), "context": {}})
    assert (status, answer["error"]["code"]) == (400, 100)
    problems = answer["error"]["error_data"]["problems"]
    assert [problem.partition(":")[0] for problem in problems] == ["context.message_id", "text.body"]


async def test_a_deferred_message_gets_our_id_which_a_later_call_can_name(edge: Edge, stage: Stage) -> None:
    body = {
        "request_id": "edge-later",
        "from": edge.number,
        "message": text("Ben", "Later"),
        "not_before_at": (stage.now() + timedelta(days=1)).isoformat(),
    }
    taken = await edge.call("POST", "/v1/requests", body)
    assert taken[0] == 202
    assert taken[1]["requests"] == [{"index": 0, "request_id": "edge-later"}]
    assert taken[2]["Location"] == "/v1/requests/edge-later"
    told = await until_standing(edge, "edge-later", "decided")
    assert told["standing"] == "deferred"
    reply = {**text("Ben", "About that"), "context": {"message_id": "edge-later"}}
    status, answer, _ = await edge.send(reply)
    assert (status, answer["error"]["code"]) == (400, 131009)
    status, answer, _ = await edge.call("DELETE", "/v1/requests/edge-later")
    assert (status, answer["outcome"], answer["status"]["decision"]["reason"]) == (
        200,
        "cancelled",
        "cancelled",
    )


async def test_our_id_names_a_message_once_it_is_sent(edge: Edge, stage: Stage) -> None:
    await write(stage, "Dina", "Hello")
    _, first, _ = await edge.send(text("Dina", "First"), Idempotency_Key="edge-first")
    reply = {**text("Dina", "Second"), "context": {"message_id": "edge-first"}}
    status, _, _ = await edge.send(reply, Idempotency_Key="edge-second")
    assert status == 200
    # The answer may be here before this business has read the event.
    await stage.business.until(
        lambda: stage.business.of_request("edge-second", "accepted") or None,
        "acceptance of edge-second",
        ("sender", "router"),
        within_s=60,
    )
    assert first["messages"][0]["id"].startswith("wamid.")


async def test_an_estimate_decides_and_sends_nothing(edge: Edge, stage: Stage) -> None:
    body = {"message": template_message(f"+{PEOPLE['Emil']}", "promo", "de", []), "from": edge.number}
    status, answer, _ = await edge.call("POST", "/v1/estimate", body)
    assert (status, answer["decision"]["outcome"]) == (200, "allow")
    assert answer["decision"]["price"]["amount_micros"] > 0
    assert await stage.simulator.calls_of(answer["request_id"]) == 0


async def test_a_list_is_taken_one_by_one(edge: Edge, stage: Stage) -> None:
    await write(stage, "Emil", "Hello")
    name = uuid.uuid4().hex
    good = [
        {"request_id": f"{name}-{n}", "from": edge.number, "message": text("Emil", str(n))} for n in range(3)
    ]
    bad = {"request_id": f"{name}-bad", "from": edge.number, "message": {"to": "nobody"}}
    foreign = {**good[0], "request_id": f"{name}-foreign", "tags": {"a": 1}}
    status, answer, _ = await edge.call("POST", "/v1/requests", [*good, bad, foreign])
    assert status == 202
    assert [("error" in one) for one in answer["requests"]] == [False, False, False, True, True]
    waited = await edge.call("POST", "/v1/requests", good[0], Prefer="wait=10")
    assert (waited[0], waited[1]["standing"]) == (200, "accepted")
    assert waited[2]["Preference-Applied"] == "wait=10"


async def test_templates_and_numbers_go_through_with_the_accounts_own_token(edge: Edge, stage: Stage) -> None:
    waba = stage.accounts.shop.id
    status, answer, _ = await edge.call("GET", f"/{VERSION}/{waba}/message_templates?limit=2&fields=name")
    assert status == 200
    assert len(answer["data"]) == 2
    assert answer["paging"]["next"].startswith(f"{edge.url}/{VERSION}/")
    template = {
        "name": "from_the_edge",
        "language": "de",
        "category": "UTILITY",
        "components": [{"type": "BODY", "text": "Hallo"}],
    }
    path = f"/{VERSION}/{waba}/message_templates"
    made = await edge.call("POST", path, template, Idempotency_Key="template-1")
    again = await edge.call("POST", path, template, Idempotency_Key="template-1")
    other = await edge.call("POST", path, {**template, "name": "x"}, Idempotency_Key="template-1")
    assert (made[0], again[:2], other[0]) == (200, made[:2], 409)
    assert (await edge.call("GET", f"/{VERSION}/{made[1]['id']}"))[1]["name"] == "from_the_edge"
    status, answer, _ = await edge.call("GET", f"/{VERSION}/{edge.number}?fields=verified_name")
    assert (status, answer["verified_name"]) == (200, "Nordlicht Versand")


async def test_killed_between_publication_and_answer_a_repetition_sends_nothing_twice(
    system: LocalSystem, edge: Edge, stage: Stage
) -> None:
    await write(stage, "Fritz", "Hello")
    sender = system.services["sender"]
    sender.pause()  # so that nobody is answered yet
    name = f"edge-killed-{uuid.uuid4().hex[:6]}"
    keys = [f"{name}-{n}" for n in range(10)]
    calls = [asyncio.create_task(edge.send(text("Fritz", key), Idempotency_Key=key)) for key in keys]
    async with asyncio.timeout(30):
        while not all(stage.business.of_request(key, "decided") for key in keys):
            await asyncio.sleep(0.02)
    await system.services["ingress.edge"].kill()
    assert all(
        isinstance(one, aiohttp.ClientError) for one in await asyncio.gather(*calls, return_exceptions=True)
    )
    sender.resume()
    await system.start_service("ingress.edge")
    answers = [await edge.send(text("Fritz", key), Idempotency_Key=key) for key in keys]
    assert [answer[0] for answer in answers] == [200] * len(keys)
    assert [await stage.simulator.calls_of(key) for key in keys] == [1] * len(keys)


async def test_several_processes_share_the_work_and_whoever_waits_is_told(
    system: LocalSystem, edge: Edge, stage: Stage, tmp_path: Path
) -> None:
    port, metrics = free_ports(2)
    env = {
        **system.specs["ingress.edge"].env,
        "WA_HTTP_PORT": str(port),
        "WA_METRICS_PORT": str(metrics),
        "WA_INSTANCE": "second",
    }
    second = ServiceProcess("ingress.edge", env, tmp_path)
    await second.start(f"http://127.0.0.1:{metrics}/ready", timeout_s=60)
    try:
        await asyncio.gather(*(write(stage, who, "Hello") for who in PEOPLE))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=edge.http.headers) as http:
            both = [edge, Edge(http, f"http://127.0.0.1:{port}", edge.number)]
            calls = [one.send(text(who, f"To {who}")) for who in PEOPLE for one in both]
            answers = await asyncio.gather(*calls)
    finally:
        shares = _shares(system)
        await second.stop()

        async def shared_anew() -> bool:
            return _shares(system) > shares

        await until(shared_anew, "whoever comes next finds a process that hears of all requests", every_s=0.2)
    assert [answer[0] for answer in answers] == [200] * len(answers)


def _shares(system: LocalSystem) -> int:
    """How often the edge was given all partitions."""
    return (
        system.services["ingress.edge"].log_tail(10_000).count('"partitions": 16, "event": "edge_assigned"')
    )


# --- pywa, unmodified


@pytest.fixture(scope="module")
def pywa(system: LocalSystem, stage: Stage) -> WhatsApp:
    """The client as everybody uses it, but for the address."""
    session = httpx.Client(timeout=30)
    client = WhatsApp(phone_id=stage.number("shop"), token=EDGE_TOKEN, session=session, filter_updates=False)
    session.base_url = httpx.URL(f"http://127.0.0.1:{system.ports.edge}/{VERSION}")
    return client


async def test_pywa_sends_what_it_sends_to_meta(pywa: WhatsApp, stage: Stage) -> None:
    received = await write(stage, "Gerda", "Hello")
    wamid, gerda = received.event_id.removesuffix(":received"), f"+{PEOPLE['Gerda']}"

    def all_of_it() -> list[str]:
        sent = pywa.send_message(gerda, "Hello back", reply_to_message_id=wamid, tracker="from-pywa")
        buttons = pywa.send_message(gerda, "Choose", buttons=[Button("Yes", "y"), Button("No", "n")])
        reaction = pywa.send_reaction(gerda, "👍", wamid)
        template = pywa.send_template(gerda, "promo", TemplateLanguage.GERMAN)
        assert pywa.mark_message_as_read(wamid).success
        assert pywa.indicate_typing(wamid).success
        return [one.id for one in (sent, buttons, reaction, template)]

    ids = await asyncio.to_thread(all_of_it)
    assert all(id.startswith("wamid.") for id in ids)
    ledger = await stage.simulator.call("GET", "/sim/ledger")
    assert len([mark for mark in ledger["marks"] if mark["message_id"] == wamid]) == 2
    assert {"text", "interactive", "reaction", "template"} <= {call["type"] for call in ledger["calls"]}


async def test_pywa_raises_its_own_error_for_what_is_refused(pywa: WhatsApp) -> None:
    with pytest.raises(ReEngagementMessage) as refused:
        await asyncio.to_thread(pywa.send_message, "+4915112345699", "Nobody wrote")
    assert str(refused.value.details).startswith("window_closed: ")
    pywa.api._session.headers["Authorization"] = "Bearer wrong"
    try:
        with pytest.raises(WhatsAppError) as wrong:
            await asyncio.to_thread(pywa.send_message, "+4915112345699", "Wrong token")
    finally:
        pywa.api._session.headers["Authorization"] = f"Bearer {EDGE_TOKEN}"
    assert (wrong.value.code, wrong.value.status_code) == (190, 401)


async def test_pywa_uploads_a_file_and_sends_it(pywa: WhatsApp, stage: Stage) -> None:
    pytest.importorskip("services.ingress.media", reason="the media calls are not here")
    await write(stage, "Gerda", "Hello")

    def upload_and_send() -> str:
        media = pywa.upload_media(b"Hello", mime_type="text/plain", filename="note.txt")
        return pywa.send_document(f"+{PEOPLE['Gerda']}", media, filename="note.txt").id

    assert (await asyncio.to_thread(upload_and_send)).startswith("wamid.")


async def test_pywa_understands_what_is_pushed_in_metas_format(pywa: Any, stage: Stage) -> None:
    kinds = pytest.importorskip("services.push.kinds", reason="the push is not here")
    meta_format = pytest.importorskip("services.push.meta_format")
    heard: list[str] = []
    pywa.on_message()(lambda _, message: heard.append(str(message.text)))
    pywa.on_message_status()(lambda _, status: heard.append(f"{status.status.value} {status.tracker}"))
    gerda = {"to": stage.number("shop"), "text": "Can you hear me?", "bsuid": "DE.13491208655302741918"}
    wrote = await stage.simulator.call("POST", f"/sim/users/{PEOPLE['Gerda']}/messages", gerda)
    message = await stage.business.until(
        lambda: next(iter(stage.business.received(wrote["id"])), None), "message", ("router",), within_s=60
    )
    sent = await asyncio.to_thread(pywa.send_message, f"+{PEOPLE['Gerda']}", "Yes", tracker="order-1")

    def delivered() -> list[bytes] | None:
        return [
            one.value
            for one in stage.business.told()
            if isinstance(one.event, SendEvent)
            and (one.event.wamid, one.event.event) == (sent.id, "delivered")
        ] or None

    values = await stage.business.until(delivered, "delivered", ("sender", "router"), within_s=60)
    for topic, value in [(MESSAGES_RECEIVED, message.value), *((SEND_EVENTS, value) for value in values)]:
        body = meta_format.body(kinds.read(topic, value), lambda _: "+1 555 010 0101")
        await asyncio.to_thread(pywa.webhook_update_handler, body)
    assert heard == ["Can you hear me?", "delivered order-1"]


# --- last: the consumers may be a while in finding each other again


async def test_while_kafka_is_away_calls_are_refused_and_repeated_ones_are_sent_once(
    system: LocalSystem, edge: Edge, stage: Stage
) -> None:
    await write(stage, "Clara", "Hello")
    await system.stack.kafka.kill()
    refused = await edge.send(text("Clara", "Are you there?"), Idempotency_Key="edge-kafka")
    assert (refused[0], refused[1]["error"]["code"]) == (503, 2)
    await system.stack.kafka.start()
    async with asyncio.timeout(120):
        while (again := await edge.send(text("Clara", "Are you there?"), Idempotency_Key="edge-kafka"))[
            0
        ] != 200:
            await asyncio.sleep(0.2)
    assert again[1]["messages"][0]["id"].startswith("wamid.")
    assert await stage.simulator.calls_of("edge-kafka") == 1
    system.require_running()
