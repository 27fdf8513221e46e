"""What goes through to Meta, with whose token, and when Meta is not asked at all."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from shared.events import AccountChanged
from tests.unit.ingress.edge.world import NUMBER, WABA, World, world

TEMPLATES = f"/v19.0/{WABA}/message_templates"
MANAGER = "manager-token"


@dataclass
class Graph:
    """A Graph API that notes its calls and answers as it is told."""

    calls: list[tuple[str, str, dict[str, str], str, bytes]] = field(default_factory=list)
    status: int = 200
    body: Any = field(default_factory=lambda: {"data": []})
    headers: dict[str, str] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.Response:
        token = request.headers["Authorization"]
        self.calls.append((request.method, request.path, dict(request.query), token, await request.read()))
        return web.json_response(self.body, status=self.status, headers=self.headers)


@pytest_asyncio.fixture
async def graph() -> AsyncIterator[tuple[Graph, str]]:
    fake = Graph()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    server = TestServer(app)
    await server.start_server()
    yield fake, str(server.make_url(""))
    await server.close()


@pytest_asyncio.fixture
async def edge(graph: tuple[Graph, str], tmp_path: Path) -> AsyncIterator[World]:
    options = {"access_token": SecretStr("metas-token"), "graph_version": "v23.0"}
    async with world(tmp_path, graph_url=graph[1], **options) as running:
        yield running


def template(edge: World, id: str) -> None:
    fields = {"category": "utility", "status": "APPROVED", "meta_id": id}
    fact = AccountChanged(
        event_id="t", at_ms=1, waba_id=WABA, subject="template", id="hello/de", fields=fields
    )
    edge.facts.apply(fact, 2)


async def test_a_call_goes_out_with_the_accounts_token_and_none_of_the_callers_secrets(
    graph: tuple[Graph, str], edge: World
) -> None:
    path = f"{TEMPLATES}?limit=3&access_token=mine&appsecret_proof=ff"
    status, answer, _ = await edge.call("GET", path, token=MANAGER)
    assert (status, answer) == (200, {"data": []})
    assert graph[0].calls == [
        ("GET", f"/v23.0/{WABA}/message_templates", {"limit": "3"}, "Bearer metas-token", b"")
    ]


@pytest.mark.parametrize(
    ("method", "path", "token", "status", "code"),
    [
        ("GET", "/v23.0/77/message_templates", MANAGER, 403, 10),
        ("GET", TEMPLATES, "shop-token", 403, 10),
        ("POST", TEMPLATES, "reader-token", 403, 200),
        ("GET", "/v23.0/12345", MANAGER, 400, 100),
        ("GET", f"/v23.0/{NUMBER}", "other-token", 403, 10),
        ("GET", f"/v23.0/{WABA}/subscribed_apps", MANAGER, 404, 100),
        ("POST", f"/v23.0/{NUMBER}/register", MANAGER, 404, 100),
    ],
)
async def test_what_is_not_the_callers_or_not_on_the_list_never_reaches_meta(
    graph: tuple[Graph, str], edge: World, method: str, path: str, token: str, status: int, code: int
) -> None:
    found = await edge.call(method, path, {} if method == "POST" else None, token=token)
    assert (found[0], found[1]["error"]["code"]) == (status, code)
    assert graph[0].calls == []


@pytest.mark.parametrize(
    "query",
    ["method=delete&name=x", "ids=77,78", "fields=owner_business{owned_whatsapp_business_accounts{id}}"],
)
async def test_a_query_can_not_make_another_call_of_it(
    graph: tuple[Graph, str], edge: World, query: str
) -> None:
    status, answer, _ = await edge.call("GET", f"{TEMPLATES}?{query}", token=MANAGER)
    assert (status, answer["error"]["code"]) == (400, 100)
    assert answer["error"]["error_data"]["problems"]
    assert graph[0].calls == []


async def test_a_template_is_found_by_its_id_once_facts_or_metas_answer_told_it(
    graph: tuple[Graph, str], edge: World
) -> None:
    template(edge, "1001")
    assert (await edge.call("GET", "/v23.0/1001", token=MANAGER))[0] == 200
    graph[0].body = {"id": "1002", "status": "PENDING", "category": "UTILITY"}
    await edge.call("POST", TEMPLATES, {"name": "x"}, token=MANAGER)
    assert (await edge.call("POST", "/v23.0/1002", {"category": "MARKETING"}, token=MANAGER))[0] == 200
    assert [call[1] for call in graph[0].calls] == [
        "/v23.0/1001",
        f"/v23.0/{WABA}/message_templates",
        "/v23.0/1002",
    ]


async def test_metas_refusal_comes_back_with_its_code_and_status(
    graph: tuple[Graph, str], edge: World
) -> None:
    graph[0].status, graph[0].body = 404, {"error": {"code": 132001, "message": "no such template"}}
    status, answer, _ = await edge.call("DELETE", f"{TEMPLATES}?name=x", token=MANAGER)
    assert (status, answer["error"]["code"]) == (404, 132001)
    assert answer["error"]["error_data"]["details"] == "refused_by_meta: no such template"


@pytest.mark.parametrize("code", [4, 80007, 80008])
async def test_while_the_allowance_is_used_up_meta_is_not_asked(
    graph: tuple[Graph, str], edge: World, code: int
) -> None:
    graph[0].status, graph[0].body = 400, {"error": {"code": code, "message": "too many calls"}}
    assert (await edge.call("GET", TEMPLATES, token=MANAGER))[1]["error"]["code"] == code
    status, answer, headers = await edge.call("GET", TEMPLATES, token=MANAGER)
    assert (status, answer["error"]["code"], headers["Retry-After"]) == (429, 80007, "301")
    assert len(graph[0].calls) == 1


async def test_the_usage_headers_stop_calls_before_meta_refuses_one(
    graph: tuple[Graph, str], edge: World
) -> None:
    usage = {WABA: [{"type": "whatsapp", "call_count": 100, "estimated_time_to_regain_access": 7}]}
    graph[0].headers = {"X-Business-Use-Case-Usage": json.dumps(usage)}
    assert (await edge.call("GET", TEMPLATES, token=MANAGER))[0] == 200
    assert (await edge.call("GET", TEMPLATES, token=MANAGER))[2]["Retry-After"] == "421"
    assert len(graph[0].calls) == 1


async def test_no_more_calls_go_out_in_an_hour_than_meta_grants(
    graph: tuple[Graph, str], edge: World
) -> None:
    fact = AccountChanged(
        event_id="u", at_ms=2, waba_id=WABA, subject="number", id=NUMBER, fields={"registered": False}
    )
    edge.facts.apply(fact, 3)
    found = [(await edge.call("GET", TEMPLATES, token=MANAGER))[0] for _ in range(110)]
    assert found == [200] * 100 + [429] * 10


async def test_a_post_with_a_key_is_made_once(graph: tuple[Graph, str], edge: World) -> None:
    async def post(body: Any) -> tuple[int, Any, Any]:
        return await edge.call("POST", TEMPLATES, body, token=MANAGER, Idempotency_Key="k")

    graph[0].body = {"id": "1"}
    first, again, other = await post({"name": "a"}), await post({"name": "a"}), await post({"name": "b"})
    assert (first[:2], again[:2], other[0]) == ((200, {"id": "1"}), (200, {"id": "1"}), 409)
    assert again[2]["Idempotent-Replayed"] == "true"
    assert len(graph[0].calls) == 1


async def test_a_post_that_failed_may_be_made_again_under_its_key(
    graph: tuple[Graph, str], edge: World
) -> None:
    graph[0].status, graph[0].body = 500, {"error": {"code": 1, "message": "unknown"}}
    assert (await edge.call("POST", TEMPLATES, {}, token=MANAGER, Idempotency_Key="k"))[0] == 500
    graph[0].status, graph[0].body = 200, {"id": "1"}
    assert (await edge.call("POST", TEMPLATES, {}, token=MANAGER, Idempotency_Key="k"))[0] == 200
