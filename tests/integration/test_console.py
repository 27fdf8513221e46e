"""The CLI and the console process on a real Kafka: facts go in once and come back equal."""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiokafka import TopicPartition

from deploy.local.paths import REPOSITORY
from deploy.local.ports import free_ports
from deploy.local.stack import LocalStack
from services.console.document import parse
from shared import kafka
from shared.account_reader import read_once
from shared.events import (
    Decision,
    PreferenceChanged,
    ReceiverVerified,
    SendError,
    SendEvent,
    UserPreference,
    UserRef,
    decode_conversation_event,
    encode,
)
from shared.settings import ServiceSettings
from shared.topics import (
    ACCOUNT_EVENTS,
    CONVERSATION_EVENTS,
    DEAD_LETTERS,
    PREFERENCES,
    SEND_EVENTS,
    SEND_REQUESTS,
    TOPICS,
)
from tests.conftest import Prefix
from tests.forking import ForkedProcess, fork
from tests.integration.processes import until
from tests.reading import read_all

EXAMPLE = REPOSITORY / "config" / "accounts.example.yaml"
NUMBER = "106540352242922"
"""A number of the example."""
TOKEN = "integration-token"
SUBJECTS = 11
"""Accounts, numbers and templates of the example."""


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Operator:
    """Someone at a terminal of this deployment."""

    def __init__(self, stack: LocalStack, prefix: Prefix, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count(1)
        self.settings = ServiceSettings(
            kafka_bootstrap=stack.endpoints.kafka_bootstrap,
            topic_prefix=prefix.topics,
            partitions=4,
            replication=1,
        )
        self.env = {
            **os.environ,
            "WA_KAFKA_BOOTSTRAP": stack.endpoints.kafka_bootstrap,
            "WA_REDIS_URL": stack.endpoints.redis_url,
            "WA_PARTITIONS": "4",
            "WA_REPLICATION": "1",
            "COLUMNS": "200",
            **prefix.env,
        }

    async def wam(self, *arguments: str, typed: str = "", **env: str) -> Ran:
        streams = [self.folder / f"{next(self._numbers)}.{name}" for name in ("typed", "out", "err")]
        streams[0].write_text(typed)
        process = fork(
            "services.console.cli",
            arguments,
            self.env | env,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
        )
        await until(lambda: process.poll() is not None, within_s=60)
        return Ran(process.wait(), *(path.read_text() for path in streams[1:]))

    async def revision(self) -> int:
        """How many account events there are."""
        consumer = kafka.reader(self.settings)
        await consumer.start()
        try:
            partition = TopicPartition(kafka.name_of(ACCOUNT_EVENTS, self.settings), 0)
            return int((await consumer.end_offsets([partition]))[partition])
        finally:
            await consumer.stop()


@pytest.fixture
def operator(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> Operator:
    return Operator(stack, prefix, tmp_path)


@pytest_asyncio.fixture
async def ready_operator(operator: Operator) -> Operator:
    await kafka.create_topics(operator.settings)
    return operator


async def test_topics_are_created_once_and_listed(operator: Operator) -> None:
    before = await operator.wam("accounts", "show")
    assert (before.code, "wam topics create" in before.err) == (3, True), before
    listed = await operator.wam("topics", "list")
    assert listed.out.count("missing") == len(TOPICS) + len(DEAD_LETTERS) + 1
    assert (
        await operator.wam("topics", "create")
    ).out == f"Created {len(TOPICS) + len(DEAD_LETTERS)} topics.\n"
    assert "Nothing to do" in (await operator.wam("topics", "create")).out
    listed = await operator.wam("topics", "list")
    assert "missing" not in listed.out
    assert "for ever" in listed.out


async def test_applying_twice_publishes_once_and_the_facts_read_back_equal(ready_operator: Operator) -> None:
    operator = ready_operator
    first = await operator.wam("apply", str(EXAMPLE), "--yes")
    assert first.code == 0, first.err
    assert f"Published {SUBJECTS} events; facts revision {SUBJECTS}." in first.out
    second = await operator.wam("apply", str(EXAMPLE), "--yes")
    assert (second.code, second.out) == (0, f"Nothing to do; facts revision {SUBJECTS}.\n")
    assert await operator.revision() == SUBJECTS
    facts = await read_once(operator.settings)
    for account in parse(EXAMPLE.read_text("utf-8"), lambda _: True, lambda _: True).accounts:
        found = facts.account(account.id)
        assert {name: getattr(found, name) for name in account.facts()} == account.facts()
        for number in account.numbers:
            assert facts.waba_of(number.id) == account.id
            seen = facts.number(number.id)
            assert {name: getattr(seen, name) for name in number.facts()} == number.facts()
        for template in account.templates:
            kept = facts.template(account.id, template.name, template.language)
            assert {name: getattr(kept, name) for name in template.facts()} == template.facts()
    assert facts.default_number() == "106540352242922"
    shown = json.loads((await operator.wam("accounts", "show", "--json")).out)
    assert shown["revision"] == SUBJECTS
    assert "Café Morgenrot" in (await operator.wam("accounts", "show")).out


async def test_nothing_is_published_without_consent_or_from_a_file_with_a_token(
    ready_operator: Operator,
) -> None:
    operator = ready_operator
    dry = await operator.wam("apply", str(EXAMPLE), "--dry-run")
    assert (dry.code, "payment_method" in dry.out) == (0, True)
    unasked = await operator.wam("apply", str(EXAMPLE))
    assert (unasked.code, "give --yes" in unasked.err) == (1, True)
    token = "EAAG" + "z" * 150
    text = EXAMPLE.read_text("utf-8").replace("token: default", f"token: {token}")
    leaked = await operator.wam("apply", "-", "--yes", typed=text)
    assert (leaked.code, "access token" in leaked.err) == (1, True)
    assert token not in leaked.out + leaked.err
    assert await operator.revision() == 0


async def answer(settings: ServiceSettings, *events: SendEvent) -> dict[str, Any]:
    """Stand in for the system behind the topics: take the next request, answer it with these events."""
    consumer, producer = kafka.reader(settings), kafka.producer(settings)
    await consumer.start()
    await producer.start()
    try:
        topic = kafka.name_of(SEND_REQUESTS, settings)
        partitions = [TopicPartition(topic, number) for number in await producer.partitions_for(topic)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        record = await asyncio.wait_for(consumer.getone(*partitions), 30)
        for event in events:
            await producer.send_and_wait(kafka.name_of(SEND_EVENTS, settings), encode(event), b"10:49")
        request: dict[str, Any] = json.loads(record.value)
        return request
    finally:
        await producer.stop()
        await consumer.stop()


def event(kind: str, outcome: str = "allow", reason: str = "ok", request_id: str = "r1") -> SendEvent:
    decided = Decision(outcome=outcome, final=True, reason=reason, category=None, facts_version="1")  # type: ignore[arg-type]
    refused = SendError(origin="policy", reason=reason, fix="send an approved template")
    return SendEvent(
        event_id=f"{request_id}:{kind}",
        event=kind,  # type: ignore[arg-type]
        seq=1,
        at="2026-12-01T09:00:00.000Z",
        request_id=request_id,
        correlation_id=None,
        tags={},
        waba_id=None,
        phone_number_id="10",
        user=None,
        decision=decided if kind == "decided" else None,
        error=refused if outcome == "reject" else None,
    )


async def test_a_request_is_followed_until_it_is_delivered(ready_operator: Operator) -> None:
    others = event("failed", request_id="r2")
    events = (
        event("decided"),
        event("accepted"),
        event("accepted"),
        others,
        event("delivered"),
        event("read"),
    )
    ran, request = await asyncio.gather(
        ready_operator.wam(
            *("send", "--from", "10", "--to", "+4915112345678", "--template", "promo/de", "--param", "Ada"),
            *("--request-id", "r1", "--json"),
        ),
        answer(ready_operator.settings, *events),
    )
    assert ran.code == 0, ran.err
    assert [json.loads(line)["event"] for line in ran.out.splitlines()] == [
        "decided",
        "accepted",
        "delivered",
    ]
    assert (request["request_id"], request["from"], request["message"]["type"]) == ("r1", "10", "template")


async def test_a_refused_request_ends_with_its_reason_and_exit_code_1(ready_operator: Operator) -> None:
    ran, _ = await asyncio.gather(
        ready_operator.wam("send", "--to", "+4915112345678", "--text", "hi", "--request-id", "r1"),
        answer(ready_operator.settings, event("decided", "reject", "window_closed")),
    )
    assert ran.code == 1, ran.err
    assert "reason=window_closed" in ran.out
    assert "send an approved template" in ran.out


async def test_a_request_nobody_answers_ends_with_exit_code_3(ready_operator: Operator) -> None:
    ran = await ready_operator.wam("send", "--to", "+4915112345678", "--text", "hi", "--timeout", "0.5")
    assert (ran.code, "may still go out" in ran.err) == (3, True)


async def test_a_tally_is_read_from_billing(operator: Operator) -> None:
    async def month(request: web.Request) -> web.Response:
        if request.match_info["waba_id"] == "9":
            error = {"code": "unknown_account", "message": "nobody knows account '9'"}
            return web.json_response({"error": error}, status=404)
        counts = {"free": 1, "paid": 2, "conversations_free": 77, "micros": {"USD": 40_000}}
        tier = {"scope": "waba", "unit": "message", "units_per_month": 1000, "use": []}
        use = {"owner": "1", "used": 12, "left": 988}
        return web.json_response(
            {
                **request.match_info,
                "as_of": {"at": "2026-11-20T12:00:00.000Z", "waiting": 3},
                "rows": [],
                "totals": {"utility": counts},
                "free_tier": {**tier, "use": [use]},
                "days": [{**counts, "day": "2026-11-20", "hour": None, "category": "utility"}],
            }
        )

    app = web.Application()
    app.router.add_get("/v1/tallies/{waba_id}/{month}", month)
    app.router.add_get("/v1/tallies/{waba_id}/{month}/days", month)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ran = await operator.wam("tally", "1", "2026-11", "--days", WA_TALLIES_URL=url)
        unknown = await operator.wam("tally", "9", "2026-11", WA_TALLIES_URL=url)
    finally:
        await runner.cleanup()
    assert ran.code == 0, ran
    for shown in ("0.04 USD", "77", "988 left", "3 entries of the ledger are not counted yet", "2026-11-20"):
        assert shown in ran.out, ran.out
    assert (unknown.code, "nobody knows account '9'" in unknown.err) == (1, True), unknown
    away = await operator.wam("tally", "1", "2026-11", WA_TALLIES_URL=url)
    assert (away.code, "billing does not answer" in away.err) == (3, True), away


async def test_a_verified_receiver_is_told_to_the_conversation(ready_operator: Operator) -> None:
    verify = ("receivers", "verify", "--from", NUMBER, "--to")
    unknown = await ready_operator.wam(*verify, "+49 1511 2345678")
    assert (unknown.code, f"no number {NUMBER}" in unknown.err) == (1, True), unknown
    assert (await ready_operator.wam("apply", str(EXAMPLE), "--yes")).code == 0
    ran = await ready_operator.wam(*verify, "+49 1511 2345678")
    assert ran.code == 0, ran.err
    consumer = kafka.reader(ready_operator.settings)
    await consumer.start()
    try:
        topic = kafka.name_of(CONVERSATION_EVENTS, ready_operator.settings)
        partitions = [TopicPartition(topic, number) for number in range(4)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        record = await asyncio.wait_for(consumer.getone(*partitions), 30)
    finally:
        await consumer.stop()
    found = decode_conversation_event(record.value)
    assert isinstance(found, ReceiverVerified)
    key = f"{NUMBER}:4915112345678".encode()
    assert (record.key, found.phone_number_id, found.user) == (key, NUMBER, "4915112345678")


async def words(settings: ServiceSettings) -> list[tuple[bytes, PreferenceChanged]]:
    rows = await read_all(settings, CONVERSATION_EVENTS)
    found = [(row.key, decode_conversation_event(row.value)) for row in rows]
    return [(key, event) for key, event in found if isinstance(event, PreferenceChanged)]


async def test_a_list_of_preferences_is_taken_over_and_its_bad_lines_are_kept_with_their_numbers(
    ready_operator: Operator,
) -> None:
    operator = ready_operator
    assert (await operator.wam("apply", str(EXAMPLE), "--yes")).code == 0
    file, number = operator.folder / "list.csv", "106540352242922"
    good = [f"{number},+49151123456{n:02},{'in' if n % 2 else 'out'},2026-03-01,form {n}" for n in range(50)]
    bad = [f"{number},nobody,out,2026-03-01,x", "99,+4915112345678,out,2026-03-01,x"]
    file.write_text("\n".join(["\ufefffrom,to,marketing,at,evidence", *good, *bad]) + "\n", "utf-8")
    ran = await operator.wam("preferences", "import", str(file), "--by", "kim")
    assert (ran.code, ran.out) == (1, "50 lines taken over.\n"), ran
    assert "line 52: to: no phone number" in ran.err
    rejects = (operator.folder / "list.csv.rejects.csv").read_text("utf-8").splitlines()
    assert [line.split(",")[0] for line in rejects] == ["line", "52", "53"]
    first = await words(operator.settings)
    assert len(first) == 50
    assert {(event.source, event.by) for _, event in first} == {("import", "kim")}
    assert {key.decode() for key, _ in first} == {f"{number}:{event.user}" for _, event in first}
    await operator.wam("preferences", "import", str(file), "--by", "lee")
    both = await words(operator.settings)
    assert (len(both), {event.event_id for _, event in both}) == (100, {event.event_id for _, event in first})
    file.write_text("from,to\n", "utf-8")
    assert (await operator.wam("preferences", "import", str(file))).code == 1
    assert (await operator.wam("preferences", "import", str(operator.folder / "none.csv"))).code == 2


async def test_the_last_word_of_a_user_is_shown_with_where_it_was_read(ready_operator: Operator) -> None:
    operator, ids = ready_operator, ("--from", "10", "--to", "+4915112345678")
    unknown = await operator.wam("preferences", "show", *ids)
    assert (unknown.code, "read from" in unknown.err) == (1, True), unknown
    producer = kafka.producer(operator.settings)
    await producer.start()
    for marketing in ("out", "in"):
        word = UserPreference(
            event_id=marketing, at="2026-12-01T09:00:00.000Z", waba_id="1", phone_number_id="10",
            user=UserRef(user_id="4915112345678"), marketing=marketing, source="stop_word",
            evidence="START", reference="wamid.7", by=None,
        )  # fmt: skip
        await producer.send_and_wait(
            kafka.name_of(PREFERENCES, operator.settings), encode(word), b"10:4915112345678"
        )
    await producer.stop()
    shown = await operator.wam("preferences", "show", *ids)
    assert shown.code == 0, shown
    assert all(text in shown.out for text in ("START", "wamid.7", "offset 1", "preferences.v1")), shown
    # The topic has as many partitions as it has, whatever the settings of who asks say.
    elsewhere = await operator.wam("preferences", "show", *ids, "--json", WA_PARTITIONS="64")
    assert json.loads(elsewhere.out)["marketing"] == "in", elsewhere


async def test_an_operators_word_names_who_said_it(ready_operator: Operator) -> None:
    ids = ("--from", NUMBER, "--to", "+4915112345678")
    word = ("preferences", "set", *ids, "--marketing", "out", "--evidence", "ticket 7", "--by", "kim")
    unknown = await ready_operator.wam(*word)
    assert (unknown.code, f"no number {NUMBER}" in unknown.err) == (1, True), unknown
    assert (await ready_operator.wam("apply", str(EXAMPLE), "--yes")).code == 0
    ran = await ready_operator.wam(*word)
    assert ran.code == 0, ran
    ((key, event),) = await words(ready_operator.settings)
    assert (key, event.opted_out, event.source, event.evidence, event.by) == (
        f"{NUMBER}:4915112345678".encode(), True, "operator", "ticket 7", "kim",
    )  # fmt: skip


async def test_a_pause_outlasts_the_file_and_is_resumed_by_name(ready_operator: Operator) -> None:
    operator, waba = ready_operator, "102290129340398"
    text = EXAMPLE.read_text("utf-8").replace(
        "business_verified: true", "business_verified: true\n    paused: false\n    paused_categories: []"
    )
    assert (await operator.wam("apply", "-", "--yes", typed=text)).code == 0
    for what in (["account", waba], ["number", "106540352242922"], ["category", waba, "marketing"]):
        ran = await operator.wam("pause", *what, "--reason", "complaints")
        assert (ran.code, "is paused; facts revision" in ran.out) == (0, True), ran
    assert "was paused" in (await operator.wam("pause", "account", waba, "--reason", "complaints")).out
    kept = await operator.wam("apply", "-", "--yes", typed=text)
    assert "set by operator; --force overrides" in kept.out, kept
    account = (await read_once(operator.settings)).account(waba)
    assert account is not None
    assert (account.paused, account.paused_categories, account.pause_reason) == (
        True,
        ["marketing"],
        "complaints",
    )
    assert "complaints" in (await operator.wam("accounts", "show")).out
    for what in (["account", waba], ["category", waba, "marketing"]):
        assert (await operator.wam("resume", *what)).code == 0
    account = (await read_once(operator.settings)).account(waba)
    assert account is not None
    assert (account.paused, account.paused_categories, account.pause_reason) == (False, [], None)
    assert (await operator.wam("pause", "number", "1")).code == 1
    assert (await operator.wam("pause", "category", "marketing")).code == 2


async def test_kafka_away_is_told_in_one_line_with_exit_code_3(operator: Operator) -> None:
    away = f"127.0.0.1:{free_ports(1)[0]}"
    for command in (["accounts", "show"], ["topics", "list"], ["send", "--to", "1", "--text", "hi"]):
        ran = await operator.wam(*command, WA_KAFKA_BOOTSTRAP=away)
        assert (ran.code, len(ran.err.splitlines())) == (3, 1), ran
        assert "WA_KAFKA_BOOTSTRAP" in ran.err


class Running(NamedTuple):
    """The console as a process."""

    url: str
    ready: str
    operator: Operator


@pytest_asyncio.fixture
async def console(ready_operator: Operator) -> AsyncIterator[Running]:
    http, metrics = free_ports(2)
    process = ForkedProcess(
        "services.console",
        log_path=ready_operator.folder / "console.log",
        env=ready_operator.env
        | {"WA_HTTP_PORT": str(http), "WA_METRICS_PORT": str(metrics), "WA_ADMIN_TOKEN": TOKEN},
    )
    process.spawn()
    running = Running(f"http://127.0.0.1:{http}", f"http://127.0.0.1:{metrics}/ready", ready_operator)
    try:
        async with asyncio.timeout(30):
            while not await is_ready(running.ready):
                assert process.running, process.log_path.read_text()
                await asyncio.sleep(0.05)
        yield running
    finally:
        await process.stop()
    assert process.returncode == 0


async def is_ready(url: str) -> bool:
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(url) as answered:
                return answered.status == 200
        except aiohttp.ClientConnectionError:
            return False


async def test_the_console_applies_and_shows_what_it_applied(console: Running) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(console.url) as session:
        for published in (SUBJECTS, 0):
            async with session.post(
                "/v1/accounts/apply", data=EXAMPLE.read_bytes(), headers=headers
            ) as answered:
                body = await answered.json()
            assert (answered.status, body["published"], body["revision"]) == (200, published, SUBJECTS)
        async with session.post("/v1/accounts/apply", data=EXAMPLE.read_bytes()) as answered:
            assert answered.status == 401
        async with session.get("/v1/accounts") as answered:
            assert (await answered.json())["revision"] == SUBJECTS
        async with session.get("/") as answered:
            page = await answered.text()
    assert "Nordlicht Versand" in page
    assert "Billing does not answer" in page
    assert await console.operator.revision() == SUBJECTS
    log = (console.operator.folder / "console.log").read_text()
    assert '"action": "accounts.apply"' in log
    assert TOKEN not in log
