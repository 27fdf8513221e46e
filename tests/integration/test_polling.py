"""Polling and submitting on a real Kafka: the simulator plays Meta, the facts are read back from the topic."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest_asyncio
from pydantic import SecretStr

from deploy.local.ports import free_ports
from deploy.local.stack import LocalStack
from services.simulator.app import Simulator
from services.simulator.settings import SimulatorSettings
from shared import kafka
from shared.account_reader import AccountReader, read_once
from shared.accounts import AccountFacts, Template
from shared.clock import SystemClock
from shared.lifecycle import Service
from shared.template_definition import Shape
from tests.conftest import Prefix
from tests.forking import ForkedProcess
from tests.integration.test_console import Operator

TOKEN = "integration-token"
FILE = """
accounts:
  - id: W1
    payment_method: valid
    numbers:
      - {id: "1", display_phone_number: "+1 555 010 0101", verified_name: Nordlicht, name_status: APPROVED, quality: GREEN, token: shop}
      - {id: "2", display_phone_number: "+1 555 010 0102"}
    templates:
      - {name: promo, language: de, category: marketing, status: PENDING}
      - {name: gone, language: de, category: marketing, status: APPROVED}
"""
AT_META: dict[str, Any] = {
    "id": "W1",
    "currency": "EUR",
    "numbers": [
        {"id": "1", "display_phone_number": "+1 555-010-0101", "verified_name": "Nordlicht", "messaging_limit": "TIER_2K"},
        {"id": "3", "display_phone_number": "+1 555-010-0103"},
    ],
    "templates": [
        {"name": "promo", "language": "de", "category": "marketing"},
        {"name": "order_update", "language": "de", "category": "utility"},
    ],
}  # fmt: skip
TEMPLATE = """
name: news
language: de
category: marketing
components:
  - {type: BODY, text: "Hello {{1}}", example: {body_text: [[Ada]]}}
"""


class Meta(NamedTuple):
    """The fake Meta, and an operator whose account is known by a file."""

    http: aiohttp.ClientSession
    operator: Operator

    async def sim(self, method: str, path: str, body: object) -> None:
        async with self.http.request(method, f"/sim{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def facts(self) -> AccountFacts:
        return await read_once(self.operator.settings)


@pytest_asyncio.fixture
async def meta(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[Meta]:
    settings = SimulatorSettings(http_port=0, metrics_port=0, access_token=SecretStr(TOKEN))
    simulator = Simulator(settings, SystemClock())
    await simulator.start()
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    (tokens / "shop").write_text(TOKEN)
    operator = Operator(stack, prefix, tmp_path)
    graph = {"WA_GRAPH_URL": f"http://127.0.0.1:{simulator.port}", "WA_TOKEN_DIR": str(tokens)}
    operator.env |= graph
    await kafka.create_topics(operator.settings)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{simulator.port}") as http:
        made = Meta(http, operator)
        await made.sim("PUT", "/accounts", {"wabas": [AT_META]})
        applied = await operator.wam("apply", "-", "--yes", typed=FILE)
        assert applied.code == 0, applied.err
        yield made
    await simulator.stop()


async def test_a_poll_shows_the_difference_publishes_it_and_then_finds_none(meta: Meta) -> None:
    before = await meta.operator.revision()
    dry = await meta.operator.wam("poll", "--dry-run")
    assert (dry.code, "order_update/de" in dry.out) == (0, True), dry
    assert await meta.operator.revision() == before
    first = await meta.operator.wam("poll", "--waba", "W1")
    assert (first.code, "Published" in first.out) == (0, True), first
    facts = await meta.facts()
    account, number, added, gone = (
        facts.account("W1"),
        facts.number("1"),
        facts.number("3"),
        facts.number("2"),
    )
    assert account is not None
    assert number is not None
    assert added is not None
    assert gone is not None
    assert (account.currency, account.messaging_limit, account.business_verified) == ("EUR", 2000, True)
    assert (number.display_phone_number, number.quality, number.token) == ("+1 555 010 0101", "GREEN", "shop")
    assert (added.status, added.token) == ("CONNECTED", "shop")
    assert (gone.status, gone.registered) == ("DELETED", False)
    found = {name: facts.template("W1", name, "de") for name in ("promo", "order_update", "gone")}
    assert {name: template.status for name, template in found.items() if template} == {
        "promo": "APPROVED",
        "order_update": "APPROVED",
        "gone": "DELETED",
    }
    revision = await meta.operator.revision()
    again = await meta.operator.wam("poll")
    assert (again.code, again.out) == (0, f"Account W1 is as Meta says; facts revision {revision}.\n")
    kept = await meta.operator.wam("apply", "-", "--yes", typed=FILE)
    assert "set by meta" in kept.out


async def test_a_refusal_and_a_missing_token_publish_nothing_and_say_what_to_do(meta: Meta) -> None:
    before = await meta.operator.revision()
    (meta.operator.folder / "tokens" / "shop").write_text("expired")
    refused = await meta.operator.wam("templates", "list")
    assert (refused.code, "190" in refused.err, "Renew the access token" in refused.err) == (1, True, True), (
        refused
    )
    polled = await meta.operator.wam("poll")
    assert (polled.code, "expired" in polled.out + polled.err.replace("expired token", "")) == (1, False), (
        polled
    )
    (meta.operator.folder / "tokens" / "shop").unlink()
    missing = await meta.operator.wam("poll")
    assert (missing.code, "no token for shop" in missing.err) == (1, True), missing
    away = await meta.operator.wam(
        "poll", WA_GRAPH_URL=f"http://127.0.0.1:{free_ports(1)[0]}", WA_ACCESS_TOKEN="x"
    )
    assert away.code == 3, away
    assert await meta.operator.revision() == before


async def test_a_template_is_submitted_listed_approved_and_deleted(meta: Meta) -> None:
    faulty = await meta.operator.wam("templates", "submit", "-", typed=TEMPLATE.replace("news", "News"))
    assert (faulty.code, "line 2: name" in faulty.err) == (1, True), faulty
    submitted = await meta.operator.wam("templates", "submit", "-", typed=TEMPLATE)
    assert (submitted.code, "news/de is PENDING" in submitted.out) == (0, True), submitted
    pending = (await meta.facts()).template("W1", "news", "de")
    assert pending is not None
    assert pending.meta_id is not None
    assert pending == Template(
        category="marketing", status="PENDING", meta_id=pending.meta_id, parameters=Shape(body=["1"])
    )
    twice = await meta.operator.wam("templates", "submit", "-", typed=TEMPLATE)
    assert (twice.code, "already content in this language" in twice.err) == (1, True), twice
    listed = await meta.operator.wam("templates", "list")
    assert (listed.code, pending.meta_id in listed.out) == (0, True), listed

    await meta.sim("POST", "/templates/news/review", {"status": "APPROVED"})
    assert (await meta.operator.wam("poll")).code == 0
    approved = (await meta.facts()).template("W1", "news", "de")
    assert approved is not None
    assert approved.status == "APPROVED"

    assert (await meta.operator.wam("templates", "delete", "news/de")).code == 1
    deleted = await meta.operator.wam("templates", "delete", "news/de", "--yes")
    assert (deleted.code, deleted.out) == (0, "Deleted news/de.\n"), deleted
    assert (await meta.operator.wam("poll")).code == 0
    template = (await meta.facts()).template("W1", "news", "de")
    assert template is not None
    assert template.status == "DELETED"


async def test_a_number_is_proved_and_registered(meta: Meta) -> None:
    new = {"id": "9", "display_phone_number": "+1 555-010-0109", "registered": False, "code_verified": False}
    await meta.sim("PATCH", "/accounts/W1", {"numbers": [*AT_META["numbers"], new]})
    early = await meta.operator.wam("numbers", "register", "9", "--pin", "123456")
    assert (early.code, "133006" in early.err) == (1, True), early
    assert (await meta.operator.wam("numbers", "request-code", "9", "--waba", "W1")).code == 0
    wrong = await meta.operator.wam("numbers", "verify-code", "9", "--code", "000000")
    assert (wrong.code, "136025" in wrong.err) == (1, True), wrong
    assert (await meta.operator.wam("numbers", "verify-code", "9", typed="123456\n")).code == 0
    assert (await meta.facts()).number("9") is None
    registered = await meta.operator.wam("numbers", "register", "9", WA_NUMBER_PIN="123456")
    assert registered.code == 0, registered
    number = (await meta.facts()).number("9")
    assert number is not None
    assert (number.registered, number.token) == (True, "shop")


class Following:
    """Reads the facts as they grow, until they are as a test waits for."""

    def __init__(self, operator: Operator) -> None:
        self.reader = AccountReader(Service("test", operator.settings), operator.settings)

    async def until(self, condition: Callable[[AccountFacts], bool]) -> None:
        """TimeoutError after a bound."""
        async with asyncio.timeout(30):
            while not condition(self.reader.facts):
                await self.reader.reached(self.reader.facts.revision + 1)


async def test_two_consoles_poll_by_themselves_and_agree(meta: Meta) -> None:
    processes = []
    for name in ("one", "two"):
        http, metrics = free_ports(2)
        ports = {"WA_HTTP_PORT": str(http), "WA_METRICS_PORT": str(metrics), "WA_POLL_PERIOD_S": "1"}
        log = meta.operator.folder / f"{name}.log"
        processes.append(
            ForkedProcess(
                "services.console",
                log_path=log,
                env=meta.operator.env | ports,
            )
        )
    following = Following(meta.operator)
    await following.reader.start()
    try:
        for process in processes:
            process.spawn()
        await following.until(lambda facts: facts.template("W1", "order_update", "de") is not None)
        await meta.sim("PATCH", "/accounts/W1", {"payment_method": "failing"})
        await following.until(lambda facts: _payment(facts) == "failing")
        await meta.sim("PATCH", "/accounts/W1", {"payment_method": "valid"})
        await following.until(lambda facts: _payment(facts) == "valid")
    finally:
        for process in processes:
            await process.stop()
        await following.reader.stop()
    assert [process.returncode for process in processes] == [0, 0], processes[0].log_path.read_text()
    logs = "".join(process.log_path.read_text() for process in processes)
    assert '"event": "polled"' in logs
    assert TOKEN not in logs


def _payment(facts: AccountFacts) -> str | None:
    account = facts.account("W1")
    return account.payment_method if account is not None else None
