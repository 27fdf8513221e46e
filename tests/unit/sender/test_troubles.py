"""How the dispatch lives through troubles: the world in memory, the clock in hand."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from aiohttp import web
from prometheus_client import generate_latest
from pydantic import SecretStr

from services.sender.answers import Accepted, Answer, NoAnswer, Refused
from services.sender.breakers import PROBE_FIRST_MS, BreakerScope
from services.sender.graph import Graph
from services.sender.lane import Lane
from services.sender.settings import SenderSettings
from shared.events import AccountChanged, SendFailed
from shared.graph_answers import Usage
from shared.metrics import CIRCUIT_REASONS, REGISTRY
from shared.tokens import Credentials, Tokens
from tests.unit.sender.fakes import NOW_MS, TABLE, Office, ScriptedGraph, command

Answering = Callable[[str], Awaitable[Answer]]


@pytest_asyncio.fixture
async def office() -> AsyncIterator[Office]:
    office = Office()
    yield office
    await office.close()


def serve(office: Office) -> Lane:
    lane = Lane(0, 1, office.desk)
    office.spawn(lane.run(), "lane")
    return lane


def answer_with(office: Office, answer: Callable[[str], Answer]) -> None:
    async def answering(command_id: str, body: dict[str, Any]) -> Answer:
        return answer(command_id)

    office.graph = office.desk.graph = ScriptedGraph(answering)


def accepted(command_id: str) -> Answer:
    return Accepted(f"wamid.{command_id}", None, None)


def fast_numbers(office: Office, *numbers: str, **fields: Any) -> None:
    for number in numbers:
        known = {"throughput": 1000, **fields}
        event = AccountChanged(
            event_id=number, at_ms=NOW_MS, waba_id="10", subject="number", id=number, fields=known
        )
        office.facts.apply(event, office.facts.revision + 1)


async def at_rest(office: Office, lane: Lane) -> int:
    """Calls made, once ten looks of the lane in a row have added none."""
    looks = 0
    while looks < 10:
        calls, before = len(office.graph.calls), lane.survey
        lane.wake.set()
        await office.until(lambda seen=before: lane.survey is not seen)  # type: ignore[misc]
        looks = looks + 1 if calls == len(office.graph.calls) else 0
    return len(office.graph.calls)


class Rotated:
    """One token at a time."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get(self, reference: str) -> Credentials | None:
        return Credentials(SecretStr(self.text))


# --- policy and spam


async def test_spam_fails_one_message_and_holds_the_number_for_hours(office: Office) -> None:
    fast_numbers(office, "1001", "1002")
    answer_with(office, lambda id: Refused(400, 131048, "spam") if id.startswith("r") else accepted(id))
    office.journal.take_in(*(command(f"r{i}", valid_for_ms=99_000_000) for i in range(30)))
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 1)
    office.journal.take_in(command("elsewhere", number="1002"))
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 2)
    assert await at_rest(office, lane) == 2
    (failed,) = [event for event in office.heard.events if isinstance(event, SendFailed)]
    assert (failed.code, failed.reason) == (131048, "number_quality_limited")
    assert office.desk.permits.open_circuits("phone_number", "quality") == 1
    office.clock.advance(4 * 3600)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 3)
    assert await at_rest(office, lane) == 3


async def test_a_policy_block_costs_an_account_one_call_and_ends_with_the_first_acceptance(
    office: Office,
) -> None:
    fast_numbers(office, "1001")
    blocked = True
    answer_with(office, lambda id: Refused(403, 368, "policy") if blocked else accepted(id))
    office.journal.take_in(*(command(f"r{i}", valid_for_ms=9_000_000) for i in range(30)))
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 1)
    assert await at_rest(office, lane) == 1
    blocked = False
    office.clock.advance(PROBE_FIRST_MS / 1000)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 30)
    assert office.desk.permits.open_circuits("waba", "account") == 0


@pytest.mark.parametrize("code", [3, 10, 200])
async def test_a_permission_that_one_account_lacks_holds_no_other_of_the_same_token(
    office: Office, code: int
) -> None:
    answer_with(office, lambda id: Refused(403, code, "no") if id.startswith("r") else accepted(id))
    office.journal.take_in(command("r1"), command("r2"))
    lane = serve(office)
    await office.until(lambda: office.graph.calls == ["r1#1"])
    office.journal.take_in(*(command(f"o{i}", number="2001", waba="20") for i in range(10)))
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 10)
    assert await at_rest(office, lane) == 11
    assert office.desk.permits.open_circuits("waba", "permission") == 1


@pytest.mark.parametrize(("code", "scope", "label"), [(4, "app", "rate_app"), (80007, "waba", "rate_waba")])
async def test_an_allowance_that_stays_used_up_costs_single_calls_and_no_message(
    office: Office, code: int, scope: BreakerScope, label: str
) -> None:
    fast_numbers(office, "1001")
    answer_with(office, lambda id: Refused(400, code, "limit"))
    office.journal.take_in(*(command(f"r{i}", valid_for_ms=14_400_000) for i in range(30)))
    lane = serve(office)
    for calls in range(1, 13):  # an hour
        await office.until(lambda made=calls: len(office.graph.calls) == made)  # type: ignore[misc]
        assert await at_rest(office, lane) == calls
        assert office.desk.permits.open_circuits(scope, label) == 1
        office.clock.advance(300)
    failed = [event for event in office.heard.events if isinstance(event, SendFailed)]
    assert {event.command_id for event in failed} == {"r0#1", "r1#1"}, "five tries each"
    assert all(event.retry_ms is not None for event in failed), "the router decides them anew"


async def test_one_number_alone_tries_for_an_account_whose_numbers_all_wait(office: Office) -> None:
    numbers = [f"100{n}" for n in range(6)]
    fast_numbers(office, *numbers)
    answer_with(office, lambda id: Refused(403, 368, "policy"))
    office.journal.take_in(*(command(f"r{n}", number=n, valid_for_ms=9_000_000) for n in numbers))
    office.journal.take_in(*(command(f"s{n}", number=n, valid_for_ms=9_000_000) for n in numbers))
    lane = serve(office)
    first = await at_rest(office, lane)
    assert first == len(numbers)  # none knew of the others when it began
    office.clock.advance(PROBE_FIRST_MS / 1000)
    assert await at_rest(office, lane) == first + 1


async def test_a_maintenance_is_waited_for_and_goes_on_by_itself(office: Office) -> None:
    fast_numbers(office, "1001")
    upgrading = True
    answer_with(office, lambda id: Refused(500, 131057, "maintenance") if upgrading else accepted(id))
    office.journal.take_in(*(command(f"r{i}") for i in range(30)))
    lane = serve(office)
    await office.until(lambda: office.desk.permits.open_circuits("phone_number", "platform") == 1)
    assert await at_rest(office, lane) == 1
    upgrading = False
    office.clock.advance(60)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 30)
    assert set(map(tuple, office.heard.kinds().values())) == {("SendAccepted",)}
    assert len(office.graph.calls) == 31


# --- tokens


async def test_an_expired_token_costs_one_call_and_its_replacement_lets_all_go_at_once(
    office: Office,
) -> None:
    fast_numbers(office, "1001")
    token = Rotated("old")
    office.desk.tokens = token
    office.desk.__post_init__()
    answer_with(office, lambda id: Refused(401, 190, "expired") if token.text == "old" else accepted(id))
    office.journal.take_in(*(command(f"r{i}") for i in range(30)))
    lane = serve(office)
    await office.until(lambda: office.desk.permits.open_circuits("waba", "auth") == 1)
    assert await at_rest(office, lane) == 1
    token.text = "new"  # the clock stands still
    await office.until(lambda: len(office.heard.events) == 30)
    assert len(office.graph.calls) == 31
    assert office.heard.kinds()["r0#1"] == ["SendAccepted"]


async def test_a_replacement_that_is_no_good_either_costs_one_more_call(office: Office) -> None:
    fast_numbers(office, "1001")
    token = Rotated("old")
    office.desk.tokens = token
    office.desk.__post_init__()
    answer_with(office, lambda id: Refused(401, 190, "expired"))
    office.journal.take_in(*(command(f"r{i}") for i in range(30)))
    lane = serve(office)
    await office.until(lambda: office.desk.permits.open_circuits("waba", "auth") == 1)
    token.text = "also expired"
    await office.until(lambda: len(office.graph.calls) == 2)
    assert await at_rest(office, lane) == 2
    assert office.heard.events == []


async def test_a_token_that_is_replaced_while_its_refusal_is_on_the_way_lets_all_go(office: Office) -> None:
    fast_numbers(office, "1001")
    token = Rotated("old")
    office.desk.tokens = token
    office.desk.__post_init__()

    def answer(command_id: str) -> Answer:
        if token.text == "new":
            return accepted(command_id)
        token.text = "new"
        return Refused(401, 190, "expired")

    answer_with(office, answer)
    office.journal.take_in(*(command(f"r{i}") for i in range(30)))
    serve(office)
    await office.until(lambda: len(office.heard.events) == 30)
    assert len(office.graph.calls) == 31


async def test_a_malformed_token_holds_its_account_back_and_no_other_until_it_is_replaced(
    office: Office, tmp_path: Path
) -> None:
    fast_numbers(office, "1001", token="shop")
    fast_numbers(office, "1002")
    (tmp_path / "shop").write_text("one\ntwo")
    office.desk.tokens = Tokens(SecretStr("t"), tmp_path)
    office.desk.__post_init__()
    office.journal.take_in(*(command(f"r{i}") for i in range(30)))
    office.journal.take_in(*(command(f"s{i}", number="1002") for i in range(30)))
    lane = serve(office)
    await office.until(lambda: office.desk.permits.open_circuits("waba", "auth") == 1)
    assert await at_rest(office, lane) == 30
    assert {id[0] for id in office.graph.calls} == {"s"}
    (tmp_path / "shop").write_text("one")  # the clock stands still
    await office.until(lambda: len(office.heard.events) == 60)
    assert set(map(tuple, office.heard.kinds().values())) == {("SendAccepted",)}


# --- refusals that are not about the message


class Secretive:
    """One token; its app's secret is replaced."""

    def __init__(self, secret: str | None) -> None:
        self.secret = secret

    def get(self, reference: str) -> Credentials | None:
        return Credentials(SecretStr("t"), None if self.secret is None else SecretStr(self.secret))


@pytest.mark.parametrize("before", [None, "old"])
async def test_a_wrong_or_missing_app_secret_costs_one_call_and_its_replacement_lets_all_go(
    office: Office, before: str | None
) -> None:
    fast_numbers(office, "1001")
    tokens = Secretive(before)
    office.desk.tokens = tokens
    office.desk.__post_init__()
    wrong = Refused(400, 100, "Invalid appsecret_proof provided in the API argument")
    answer_with(office, lambda id: accepted(id) if tokens.secret == "new" else wrong)
    office.journal.take_in(*(command(f"r{i}") for i in range(30)))
    lane = serve(office)
    await office.until(lambda: office.desk.permits.open_circuits("waba", "auth") == 1)
    assert await at_rest(office, lane) == 1
    tokens.secret = "new"  # the clock stands still
    await office.until(lambda: len(office.heard.events) == 30)
    assert set(map(tuple, office.heard.kinds().values())) == {("SendAccepted",)}
    assert len(office.graph.calls) == 31


async def test_a_number_that_the_token_lost_waits_and_others_go_on(office: Office) -> None:
    fast_numbers(office, "1001", "1002")
    lost = Refused(400, 100, "Unsupported post request. Object with ID '1001' does not exist", subcode=33)
    back = False
    answer_with(office, lambda id: lost if id.startswith("r") and not back else accepted(id))
    office.journal.take_in(*(command(f"r{i}", valid_for_ms=9_000_000) for i in range(30)))
    office.journal.take_in(*(command(f"s{i}", number="1002") for i in range(30)))
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 30)
    await office.until(lambda: office.desk.permits.open_circuits("phone_number", "permission") == 1)
    assert await at_rest(office, lane) == 31
    assert office.heard.accounts == []
    back = True
    office.clock.advance(PROBE_FIRST_MS / 1000)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 60)
    assert set(map(tuple, office.heard.kinds().values())) == {("SendAccepted",)}


@pytest.mark.parametrize("status", [403, 404, 407])
async def test_what_a_proxy_answers_in_metas_place_fails_nothing_and_is_tried_by_single_messages(
    office: Office, status: int
) -> None:
    fast_numbers(office, "1001")
    between = True
    answer_with(office, lambda id: Refused(status, None, None) if between else accepted(id))
    office.journal.take_in(*(command(f"r{i}", valid_for_ms=90_000_000) for i in range(100)))
    with structlog.testing.capture_logs() as logged:
        lane = serve(office)
        await office.until(lambda: office.desk.permits.open_circuits("phone_number", "unreachable") == 1)
        assert await at_rest(office, lane) == 3
    warned = [line for line in logged if line["event"] == "answer_not_metas"]
    assert [(line["http_status"], line["log_level"]) for line in warned] == [(status, "warning")] * 3
    assert "circuit_opened" in {line["event"] for line in logged}
    for tries in range(20):  # each after the longest pause; for hours if need be
        office.clock.advance(15)
        lane.wake.set()
        assert await at_rest(office, lane) == 4 + tries
    assert office.heard.events == []
    between = False
    for _ in range(2):
        office.clock.advance(60)
        lane.wake.set()
        await at_rest(office, lane)
    await office.until(lambda: len(office.heard.events) == 100)
    assert set(map(tuple, office.heard.kinds().values())) == {("SendAccepted",)}
    assert office.desk.permits.open_circuits("phone_number", "unreachable") == 0


async def test_a_message_that_alone_is_turned_away_on_its_way_stops_no_other(office: Office) -> None:
    fast_numbers(office, "1001")
    answer_with(office, lambda id: Refused(403, None, None) if id == "r0#1" else accepted(id))
    office.journal.take_in(*(command(f"r{i}", valid_for_ms=600_000) for i in range(100)))
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 99)
    office.clock.advance(601)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 100)
    (failed,) = [event for event in office.heard.events if isinstance(event, SendFailed)]
    assert (failed.command_id, failed.reason) == ("r0#1", "expired")


# --- silence


async def test_a_hang_leaves_only_what_was_in_flight_uncertain(office: Office) -> None:
    fast_numbers(office, "1001")
    hanging, gate = False, asyncio.Event()

    async def answering(command_id: str, body: dict[str, Any]) -> Answer:
        if hanging:
            await gate.wait()
            return NoAnswer("TimeoutError")
        return accepted(command_id)

    office.graph = office.desk.graph = ScriptedGraph(answering)
    office.journal.take_in(*(command(f"a{i}") for i in range(100)))
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 100)
    usual, hanging = office.graph.at_once, True
    office.journal.take_in(*(command(f"b{i}") for i in range(200)))
    lane.wake.set()
    await office.until(lambda: len(office.graph.calls) > 100)
    stuck = await at_rest(office, lane) - 100
    assert 1 <= stuck <= 2 * usual + 4
    gate.set()
    await office.until(lambda: len(office.heard.events) == 100 + stuck)
    hanging = False
    office.clock.advance(15)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 300)
    uncertain = [id for id, kinds in office.heard.kinds().items() if kinds == ["SendUncertain"]]
    assert len(uncertain) == stuck
    assert max(office.graph.calls.count(id) for id in set(office.graph.calls)) == 1


async def test_a_meta_that_answers_5xx_is_tried_by_single_messages(office: Office) -> None:
    fast_numbers(office, "1001")
    failing = True
    answer_with(office, lambda id: Refused(502, None, None) if failing else accepted(id))
    office.journal.take_in(*(command(f"r{i}") for i in range(100)))
    lane = serve(office)
    await office.until(lambda: office.desk.permits.open_circuits("phone_number", "no_answer") == 1)
    assert await at_rest(office, lane) == 3
    for wait_s, calls in ((0.5, 4), (1, 5), (2, 6)):
        office.clock.advance(wait_s)
        lane.wake.set()
        assert await at_rest(office, lane) == calls
    failing = False
    office.clock.advance(4)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 100)
    assert len([kinds for kinds in office.heard.kinds().values() if kinds == ["SendUncertain"]]) == 6


# --- usage


async def test_when_the_allowance_is_nearly_used_passwords_and_service_go_and_the_rest_waits(
    office: Office,
) -> None:
    fast_numbers(office, "1001")
    percent = 91.0
    answer_with(office, lambda id: Accepted(f"wamid.{id}", None, None, Usage(10, percent, None)))
    office.journal.take_in(command("first"))
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 1)
    office.journal.take_in(
        *(command(f"m{i}", category="marketing") for i in range(20)),
        *(command(f"u{i}", category="utility") for i in range(20)),
        command("s", category="service"),
        command("o", category="authentication"),
    )
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 3)
    assert await at_rest(office, lane) == 3
    assert office.graph.calls[1:] == ["o#1", "s#1"]
    assert office.desk.permits.usage("waba") == 91
    percent = 50
    office.clock.advance(61)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 43)


async def test_an_allowance_that_is_lost_holds_the_account_until_it_is_regained(office: Office) -> None:
    fast_numbers(office, "1001")
    answer_with(office, lambda id: Accepted(f"wamid.{id}", None, None, Usage(None, 60, 120)))
    office.journal.take_in(command("first"))
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 1)
    office.journal.take_in(command("o", category="authentication"))
    lane.wake.set()
    assert await at_rest(office, lane) == 1
    assert office.desk.permits.open_circuits("waba", "rate_waba") == 1
    office.clock.advance(120)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 2)


# --- what is told


def test_every_label_that_can_hold_something_back_has_its_gauge() -> None:
    holding = ("park", "stop")
    opening = {row.label for row in TABLE.rows if row.action in holding or row.exhausted in holding}
    assert opening <= set(CIRCUIT_REASONS)
    assert {"no_answer", "unreachable"} <= set(CIRCUIT_REASONS)


async def test_no_secret_shows_in_logs_metrics_settings_failures_or_anything_printed(
    office: Office, tmp_path: Path, caplog: Any
) -> None:
    """A meta that hangs, cuts, refuses and is away; everything logged at the finest level."""
    secrets = ("EAAtokenOne", "EAAtokenTwo", "appsecretOne")
    (tmp_path / "default").write_text(secrets[0])
    tokens = Tokens(SecretStr(secrets[1]), tmp_path, SecretStr(secrets[2]))
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(str(request.query.get("appsecret_proof")))
        if len(seen) % 3 == 0 and request.transport is not None:
            request.transport.abort()
        return web.json_response({"error": {"code": 190, "message": "Invalid token"}}, status=401)

    app = web.Application()
    app.router.add_post("/v23.0/{id}/messages", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    graph = Graph(f"http://127.0.0.1:{port}", "v23.0", timeout_s=5, connect_timeout_s=1)
    await graph.start()
    credentials = tokens.get("default")
    assert credentials is not None
    proof = credentials.query["appsecret_proof"]
    printed: list[str] = []
    with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as logged:
        office.desk.tokens, office.desk.graph = tokens, graph
        office.desk.__post_init__()
        office.journal.take_in(*(command(f"r{i}") for i in range(10)))
        serve(office)
        await office.until(lambda: office.desk.permits.open_circuits("waba", "auth") == 1)
        printed += [repr(await graph.send("1001", credentials, b"{}")) for _ in range(3)]
        await runner.cleanup()
        printed.append(repr(await graph.send("1001", credentials, b"{}")))
        await graph.stop()
    settings = SenderSettings(
        access_token=SecretStr(secrets[1]), token_dir=tmp_path, app_secret=SecretStr(secrets[2])
    )
    permits = office.desk.permits
    held = (vars(permits), permits._breakers, office.desk, tokens, credentials, settings)
    printed += [caplog.text, repr(logged), generate_latest(REGISTRY).decode(), *map(repr, held)]
    printed += [settings.model_dump_json(), str(settings), repr(office.heard.events)]
    everything = "\n".join(printed)
    assert seen[0] == proof
    assert "circuit_opened" in everything
    for secret in (*secrets, proof):
        assert secret not in everything
