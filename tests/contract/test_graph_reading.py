"""The console's adapter to the Graph API: one suite on answers as Meta documents them and on the simulator's."""

import asyncio
import json
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import SecretStr

from deploy.local.paths import REPOSITORY
from services.console.graph import Graph
from services.console.meta_facts import ACCOUNT_FIELDS, NUMBER_FIELDS, TEMPLATE_FIELDS
from services.console.polled import Asked, Snapshot, difference
from services.simulator.app import Simulator
from services.simulator.settings import SimulatorSettings
from shared.accounts import AccountFacts
from shared.clock import ManualClock
from shared.events import AccountChanged, decode_account_event, encode
from shared.graph_calls import GraphRefused, GraphUnavailable
from shared.tokens import Credentials

FIXTURES = REPOSITORY / "tests" / "fixtures" / "graph"
W, N = "102290129340398", "106540352242922"
TOKEN = "t0ken"
CREDENTIALS = Credentials(SecretStr(TOKEN), SecretStr("simulator-secret"))
NOW_MS = 1_764_000_000_000
ACCOUNTS = {
    "id": W,
    "currency": "EUR",
    "timezone": "Europe/Berlin",
    "numbers": [
        {
            "id": N,
            "display_phone_number": "+1 555-010-0101",
            "verified_name": "Nordlicht Versand",
            "quality_rating": "YELLOW",
            "throughput": "HIGH",
            "messaging_limit": "TIER_10K",
        },
        {"id": "106540352242933", "display_phone_number": "+49 30 55500102", "on_app": True},
        {"id": "106540352242944", "display_phone_number": "+49 30 55500103", "registered": False},
    ],
    "templates": [
        {"name": "order_update", "language": "de", "category": "utility"},
        {"name": "promo", "language": "pt_BR", "category": "marketing", "status": "REJECTED", "rejected_reason": "INVALID_FORMAT"},
        {"name": "login_code", "language": "en_US", "category": "authentication", "status": "PAUSED"},
    ],
}  # fmt: skip


class Recorded:
    """Answers as Meta documents them, from files; without the right token it refuses as Meta does."""

    def __init__(self) -> None:
        app = web.Application()
        app.add_routes(
            [
                web.get("/v23.0/{id}", self._account),
                web.get("/v23.0/{id}/phone_numbers", self._numbers),
                web.get("/v23.0/{id}/message_templates", self._templates),
            ]
        )
        self.runner = web.AppRunner(app)

    async def _account(self, request: web.Request) -> web.Response:
        wanted = request.query["fields"].split(",")
        if unknown := [name for name in wanted if name == "of_a_later_version"]:
            text = f"(#100) Tried accessing nonexisting field ({unknown[0]}) on node type (WhatsAppBusinessAccount)"
            return web.json_response(
                {"error": {"message": text, "type": "OAuthException", "code": 100}}, status=400
            )
        return self._answer(request, "account.json")

    async def _numbers(self, request: web.Request) -> web.Response:
        return self._answer(request, "phone_numbers.json")

    async def _templates(self, request: web.Request) -> web.Response:
        second = request.query.get("after") == "MgZDZD"
        return self._answer(request, "message_templates_2.json" if second else "message_templates.json")

    def _answer(self, request: web.Request, name: str) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            error = {"message": "Invalid OAuth access token", "type": "OAuthException", "code": 190}
            return web.json_response({"error": error}, status=401)
        use = {
            "type": "whatsapp_business_management",
            "call_count": 28,
            "total_cputime": 25,
            "total_time": 55,
        }
        usage = {W: [use | {"estimated_time_to_regain_access": 0}]}
        headers = {"X-Business-Use-Case-Usage": json.dumps(usage)}
        return web.json_response(json.loads((FIXTURES / name).read_text("utf-8")), headers=headers)


class Meta(NamedTuple):
    """Who answers, the adapter that asks, and how much of the allowance the three questions use at most."""

    graph: Graph
    used_percent: float
    simulator: Simulator | None


@pytest_asyncio.fixture(params=["recorded", "simulator"])
async def meta(request: pytest.FixtureRequest) -> AsyncIterator[Meta]:
    recorded, simulator = Recorded(), None
    if request.param == "recorded":
        await recorded.runner.setup()
        await web.TCPSite(recorded.runner, "127.0.0.1", 0).start()
        port = recorded.runner.addresses[0][1]
    else:
        settings = SimulatorSettings(http_port=0, metrics_port=0, access_token=SecretStr(TOKEN))
        simulator = Simulator(settings, ManualClock(datetime(2026, 12, 1, tzinfo=UTC)))
        await simulator.start()
        port = simulator.port
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            await control(http, "PUT", "/sim/accounts", {"wabas": [ACCOUNTS]})
            options = {"page": 2, "unknown_fields": ["of_a_later_version"]}
            await control(http, "POST", "/sim/options", options)
    graph = Graph(f"http://127.0.0.1:{port}/", "v23.0", timeout_s=5, connect_timeout_s=5)
    await graph.start()
    yield Meta(graph, 55 if simulator is None else 2, simulator)
    await graph.stop()
    await recorded.runner.cleanup()
    if simulator is not None:
        await simulator.stop()


async def control(http: aiohttp.ClientSession, method: str, path: str, body: object) -> None:
    async with http.request(method, path, json=body) as answer:
        assert answer.status == 200, await answer.text()


async def test_account_numbers_and_templates_are_read_over_all_pages(meta: Meta) -> None:
    account = await meta.graph.account(W, ACCOUNT_FIELDS, CREDENTIALS)
    numbers = await meta.graph.numbers(W, NUMBER_FIELDS, CREDENTIALS)
    templates = await meta.graph.templates(W, TEMPLATE_FIELDS, CREDENTIALS)
    facts = AccountFacts()
    owner = AccountChanged(event_id="e", at_ms=0, waba_id=W, subject="account", id=W, fields={})
    facts.apply(owner, 1)
    answers = (Asked(NOW_MS, reply.nodes) for reply in (account, numbers, templates))
    for event in difference(Snapshot(W, "default", *answers), facts, 0).events:
        facts.apply(decode_account_event(encode(event)), 2)
    found = facts.account(W)
    assert found is not None
    assert (found.currency, found.business_verified, found.messaging_limit) == ("EUR", True, 10_000)
    assert [facts.number(id).throughput for id in (N, "106540352242933", "106540352242944")] == [1000, 20, 80]  # type: ignore[union-attr]
    assert [
        (template.status, template.rejection_reason, (template.meta_id or "").isdigit())
        for name in ("order_update/de", "promo/pt_BR", "login_code/en_US")
        if (template := facts.template(W, *name.split("/")))
    ] == [("APPROVED", None, True), ("REJECTED", "INVALID_FORMAT", True), ("PAUSED", None, True)]
    assert max(reply.used_percent for reply in (account, numbers, templates)) == meta.used_percent
    assert templates.regain_s is None


async def test_a_field_this_version_does_not_know_is_left_out_and_the_rest_comes(meta: Meta) -> None:
    for _ in range(2):
        reply = await meta.graph.account(W, ("currency", "of_a_later_version"), CREDENTIALS)
        assert reply.nodes[0]["currency"] == "EUR"


async def test_a_wrong_token_is_told_with_metas_code(meta: Meta) -> None:
    with pytest.raises(GraphRefused) as raised:
        await meta.graph.numbers(W, NUMBER_FIELDS, Credentials(SecretStr("expired"), CREDENTIALS.app_secret))
    assert (raised.value.answer.http_status, raised.value.answer.code) == (401, 190)
    assert "expired" not in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        {"data": [], "paging": {"next": "https://a.example"}},
        {"data": [], "paging": {"cursors": {"after": "A"}, "next": "https://a.example"}},
        {"paging": {}},
        [],
        "<html>",
        "[" * 20_000,
    ],
)
async def test_a_list_that_does_not_end_as_it_should_gives_nothing(answer: Any) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=answer) if isinstance(answer, str) else web.json_response(answer)

    app = web.Application()
    app.router.add_get("/v23.0/W1/message_templates", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    graph = Graph(f"http://127.0.0.1:{runner.addresses[0][1]}", "v23.0", timeout_s=5, connect_timeout_s=5)
    await graph.start()
    try:
        with pytest.raises(GraphUnavailable):
            await graph.templates("W1", TEMPLATE_FIELDS, CREDENTIALS)
    finally:
        await graph.stop()
        await runner.cleanup()


async def test_a_failure_shows_neither_token_nor_proof() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 nonsense\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    graph = Graph(f"http://127.0.0.1:{port}", "v23.0", timeout_s=5, connect_timeout_s=5)
    await graph.start()
    with pytest.raises(GraphUnavailable) as raised:
        await graph.account("W1", ACCOUNT_FIELDS, CREDENTIALS)
    await graph.stop()
    server.close()
    printed = "".join(traceback.format_exception(raised.value)) + repr(raised.value.__cause__)
    assert "ClientResponseError" in printed
    assert TOKEN not in printed
    assert CREDENTIALS.query["appsecret_proof"] not in printed


async def test_nobody_at_home_is_told_as_unavailable() -> None:
    graph = Graph("http://127.0.0.1:9", "v23.0", timeout_s=5, connect_timeout_s=5)
    await graph.start()
    with pytest.raises(GraphUnavailable):
        await graph.account("W1", ACCOUNT_FIELDS, CREDENTIALS)
    await graph.stop()
