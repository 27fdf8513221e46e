"""The page and the admin API over HTTP, on facts and tallies handed to the composition root."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
import structlog
from aiohttp.test_utils import TestClient, TestServer
from aiokafka.errors import KafkaConnectionError
from pydantic import SecretStr
from structlog.testing import capture_logs

from services.console.access import Tokens
from services.console.applying import Applier
from services.console.routes import Console
from services.console.settling import IndexUnavailable, OpenMessages
from services.console.tally import AsOf, DayLine, FreeTier, FreeTierUse, Month, Tally, Totals
from shared.accounts import AccountFacts
from shared.clock import ManualClock
from shared.events import AccountChanged, UncertainSettled, decode_account_event, encode
from shared.uncertain import RESENT, Uncertain

TOKEN = "let-me-in"
SCRIPT = "<script>alert('x')</script>"
FILE = """
accounts:
  - id: "1"
    name: "<script>alert('x')</script>"
    timezone: America/Sao_Paulo
    numbers: [{id: "10", display_phone_number: "+1 555 010 0101", verified_name: "\\"><img src=x>"}]
    templates: [{name: promo, language: de, category: marketing, status: APPROVED}]
"""


class Topic:
    """account.events in memory; it also follows itself, as the reader does."""

    def __init__(self) -> None:
        self.facts = AccountFacts()
        self.down = False

    async def read(self) -> AccountFacts:
        if self.down:
            raise KafkaConnectionError("no broker")
        return self.facts

    async def publish(self, events: Sequence[AccountChanged]) -> int:
        for event in events:
            self.facts.apply(decode_account_event(encode(event)), self.facts.revision + 1)
        return self.facts.revision

    async def reached(self, revision: int) -> None:
        assert self.facts.revision >= revision


class Billing:
    """Tallies as billing would answer."""

    def __init__(self) -> None:
        self.asked: Mapping[str, str] = {}
        self.up = True

    async def of_months(self, months: Mapping[str, str]) -> dict[str, Month | None]:
        self.asked = months
        totals = {"<b>utility": Totals(3, 2, {"USD": 1_055_000}, conversations_free=7)}
        tier = FreeTier("number", "message", 1000, [FreeTierUse("<i>10", 1200, 0)])
        days = [
            DayLine(3, 0, {}, day="2026-11-02", category="utility"),
            DayLine(0, 2, {"USD": 1_055_000}, day="2026-11-02", category="marketing"),
            DayLine(1, 0, {}, day="2026-11-01", category="utility"),
        ]
        return {
            waba: Month(Tally(waba, month, [], totals, tier, AsOf(4)), days) if self.up else None
            for waba, month in months.items()
        }


class Index:
    """The router's index of open messages, and what operators told of them."""

    def __init__(self) -> None:
        self.open: list[tuple[Uncertain, int]] = []
        self.up = True
        self.told: list[UncertainSettled] = []

    async def read(self) -> list[tuple[Uncertain, int]]:
        if not self.up:
            raise IndexUnavailable("no Redis")
        return self.open

    async def tell(self, words: Iterable[UncertainSettled]) -> int:
        self.told += words
        return 1


class Site:
    """The console on a free port, and what it stands on."""

    def __init__(
        self, client: TestClient[Any, Any], topic: Topic, billing: Billing, index: Index | None = None
    ) -> None:
        self.client = client
        self.index = index or Index()
        self.topic = topic
        self.billing = billing

    async def apply(
        self, text: str, token: str | None = TOKEN, query: str = ""
    ) -> tuple[int, dict[str, Any]]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = await self.client.post(f"/v1/accounts/apply{query}", data=text.encode(), headers=headers)
        return answer.status, await answer.json()

    async def pause(self, body: dict[str, Any], token: str = TOKEN) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self.client.post("/v1/pauses", json=body, headers=headers)
        return answer.status, await answer.json()

    async def settle(self, body: dict[str, Any], token: str = TOKEN) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self.client.post("/v1/uncertain/settle", json=body, headers=headers)
        return answer.status, await answer.json()

    async def page(self) -> str:
        answer = await self.client.get("/")
        assert answer.status == 200
        return await answer.text()


async def serve(token: SecretStr | None) -> AsyncIterator[Site]:
    topic, billing, index = Topic(), Billing(), Index()
    clock = ManualClock(datetime(2026, 12, 1, 1, 30, tzinfo=UTC))
    console = Console(
        reader=topic,
        applier=Applier(topic, clock),
        messages=OpenMessages(index.read, index.tell, lambda user: f"hash of {user}", RESENT, clock),
        tallies=billing,
        tokens=Tokens(token, None),
        is_regime=lambda pin: pin == "calendar",
        is_market=lambda market: market == "India",
        links={"router": "http://127.0.0.1:9102/metrics"},
        clock=clock,
    )
    async with TestClient(TestServer(console.application())) as client:
        yield Site(client, topic, billing, index)


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async for running in serve(SecretStr(TOKEN)):
        yield running


@pytest_asyncio.fixture
async def closed_site() -> AsyncIterator[Site]:
    async for running in serve(None):
        yield running


async def test_names_of_foreign_origin_are_shown_as_text_and_never_run(site: Site) -> None:
    assert (await site.apply(FILE))[0] == 200
    html = await site.page()
    assert SCRIPT not in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in html
    assert "<img" not in html
    assert "<b>" not in html
    assert "<script" not in html


@pytest.mark.parametrize("path", ["/", "/style.css", "/v1/accounts", "/nowhere"])
async def test_every_answer_forbids_scripts_frames_and_sniffing(site: Site, path: str) -> None:
    answer = await site.client.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_page_shows_accounts_numbers_templates_tallies_and_links(site: Site) -> None:
    await site.apply(FILE)
    html = await site.page()
    for shown in (
        "+1 555 010 0101",
        "promo",
        "facts revision 3",
        "1.055 USD",
        '<td class="number">7</td>',
        "free tier of number &lt;i&gt;10: 1,200 of 1,000 service messages used, 0 left",
        "4 entries of the ledger are not counted yet",
        '<td>2026-11-02</td><td class="number">3</td><td class="number">2</td>',
        '<meter max="5" value="5">',
        '<meter max="5" value="1">',
        "http://127.0.0.1:9102/metrics",
    ):
        assert shown in html
    assert site.billing.asked == {"1": "2026-11"}, "the month of the account's own time zone"


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ("marketing_messages_api: true", "by the Marketing Messages API"),
        ("marketing_on_cloud_api_disabled: true", "refused on /messages"),
    ],
)
async def test_the_page_shows_by_which_way_marketing_goes(site: Site, facts: str, shown: str) -> None:
    await site.apply(FILE)
    assert shown not in await site.page()
    assert (await site.apply(FILE.replace("timezone:", f"{facts}\n    timezone:")))[0] == 200
    assert shown in await site.page()


async def test_the_page_is_there_before_any_account_and_without_billing(site: Site) -> None:
    assert "No account is set up yet" in await site.page()
    await site.apply(FILE)
    site.billing.up = False
    assert "Billing does not answer" in await site.page()


async def test_numbers_that_come_before_their_account_are_shown(site: Site) -> None:
    event = AccountChanged(event_id="e", at_ms=1, waba_id="9", subject="number", id="90", fields={})
    await site.topic.publish([event])
    html = await site.page()
    assert "not set up" in html
    assert "90" in html


async def test_a_change_without_the_token_is_401_and_changes_nothing(site: Site) -> None:
    for token in (None, "wrong", ""):
        status, body = await site.apply(FILE, token)
        assert (status, body["error"]["code"]) == (401, "unauthorized")
    assert site.topic.facts.revision == 0


async def test_a_change_is_refused_while_no_token_is_set(closed_site: Site) -> None:
    for token in (None, "", "None"):
        status, body = await closed_site.apply(FILE, token)
        assert (status, body["error"]["code"]) == (403, "no_token_set")


async def test_applying_twice_publishes_once(site: Site) -> None:
    status, first = await site.apply(FILE)
    assert (status, first["published"], first["revision"]) == (200, 3, 3)
    assert {
        "subject": "account",
        "waba_id": "1",
        "id": "1",
        "field": "name",
        "before": None,
        "after": SCRIPT,
    } in first["changes"]
    status, second = await site.apply(FILE)
    assert (status, second["published"], second["changes"], second["revision"]) == (200, 0, [], 3)


async def test_a_dry_run_shows_the_difference_and_publishes_nothing(site: Site) -> None:
    status, body = await site.apply(FILE, query="?dry_run=true")
    assert (status, body["dry_run"], body["published"]) == (200, True, 0)
    assert body["changes"]
    assert site.topic.facts.revision == 0


async def test_a_file_that_is_not_valid_is_400_with_its_lines(site: Site) -> None:
    status, body = await site.apply("accounts:\n  - id: 1\n")
    assert (status, body["error"]["problems"]) == (
        400,
        ["line 2: accounts[0].id: must be text; write it in quotes"],
    )
    assert (await site.apply(FILE, query="?force=perhaps"))[0] == 400


async def test_a_conflict_is_409_and_kafka_away_is_503(site: Site) -> None:
    await site.apply(FILE)
    status, body = await site.apply('accounts: [{id: "2", numbers: [{id: "10"}]}]')
    assert (status, body["error"]["problems"]) == (409, ["number 10 belongs to account 1; --force moves it"])
    site.topic.down = True
    assert (await site.apply(FILE))[0] == 503


async def test_a_body_beyond_the_limit_is_413(site: Site) -> None:
    answer = await site.client.post(
        "/v1/accounts/apply", data=b"x" * 5_000_000, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert answer.status == 413


async def test_accounts_are_readable_as_json(site: Site) -> None:
    await site.apply(FILE)
    body = await (await site.client.get("/v1/accounts")).json()
    assert body["revision"] == 3
    (account,) = body["accounts"]
    assert (account["id"], account["name"], account["numbers"][0]["id"]) == ("1", SCRIPT, "10")
    assert (account["templates"][0]["name"], account["templates"][0]["language"]) == ("promo", "de")


async def test_every_admin_call_leaves_an_audit_line_without_the_token(site: Site) -> None:
    structlog.reset_defaults()
    with capture_logs() as lines:
        await site.apply(FILE, "wrong")
        await site.apply(FILE)
        await site.client.get("/v1/accounts")
    audit = [line for line in lines if line["event"] == "audit"]
    assert [(line["action"], line["by"], line["outcome"]) for line in audit] == [
        ("accounts.apply", None, "unauthorized"),
        ("accounts.apply", "admin", "ok"),
        ("accounts.read", None, "ok"),
    ]
    assert "number 10 verified_name" in audit[1]["changes"]
    assert TOKEN not in str(lines)
    assert "wrong" not in str(lines)


async def test_a_pause_is_set_shown_with_its_reason_and_lifted_again(site: Site) -> None:
    await site.apply(FILE)
    status, body = await site.pause({"kind": "category", "waba_id": "1", "id": "marketing", "reason": "spam"})
    assert (status, body) == (200, {"changed": True, "revision": 4})
    assert (await site.pause({"kind": "category", "waba_id": "1", "id": "marketing", "reason": "spam"}))[
        1
    ] == {
        "changed": False,
        "revision": 4,
    }
    html = await site.page()
    assert "marketing paused" in html
    assert "spam" in html
    status, body = await site.pause({"kind": "category", "waba_id": "1", "id": "marketing", "paused": False})
    assert (status, body["changed"]) == (200, True)
    assert "spam" not in await site.page()


async def test_a_pause_that_makes_no_sense_or_of_nobody_is_refused_and_audited(site: Site) -> None:
    structlog.reset_defaults()
    with capture_logs() as lines:
        assert (await site.pause({"kind": "number", "id": "10"}, token="wrong"))[0] == 401
        assert (await site.pause({"kind": "planet", "id": "10"}))[0] == 400
        assert (await site.pause({"kind": "number", "id": "99"}))[0] == 404
        await site.apply(FILE)
        assert (await site.pause({"kind": "number", "id": "10", "reason": "test"}))[0] == 200
        site.topic.down = True
        assert (await site.pause({"kind": "number", "id": "10", "paused": False}))[0] == 503
    audit = [line for line in lines if line["event"] == "audit" and line["action"] == "pauses.set"]
    assert [line["outcome"] for line in audit] == ["unauthorized", "invalid", "unknown", "ok", "unavailable"]
    assert (audit[3]["by"], audit[3]["kind"], audit[3]["id"], audit[3]["reason"]) == (
        "admin",
        "number",
        "10",
        "test",
    )


async def test_the_page_shows_the_steps_to_the_next_limit_and_which_are_done(site: Site) -> None:
    await site.apply(
        FILE + "    business_verified: true\n    restrictions: [RESTRICTED_ADD_PHONE_NUMBER_ACTION]\n"
    )
    html = await site.page()
    assert "Growth from 250 to 2,000" in html
    assert '<li><span class="pill good">done</span><span>the business verified, or 2,000' in html
    assert '<li><span class="pill warn">to do</span><span>a display name that Meta has approved' in html
    assert "RESTRICTED_ADD_PHONE_NUMBER_ACTION" in html
    (account,) = (await (await site.client.get("/v1/accounts")).json())["accounts"]
    assert account["growth"]["next_limit"] == 2000


SINCE = 1_796_086_800_000  # 2026-12-01T01:00Z
OPEN = Uncertain("10", "4915112345678", "r1#1", "utility", "read timeout", SINCE, SINCE + 4 * 3_600_000)


async def test_open_messages_are_listed_with_a_hash_for_the_user_and_what_comes_next(site: Site) -> None:
    site.index.open = [(OPEN, SINCE + 900_000)]
    answer = await site.client.get("/v1/uncertain")
    assert await answer.json() == {
        "open": [
            {
                "request_id": "r1",
                "attempt": 1,
                "phone_number_id": "10",
                "user": "hash of 4915112345678",
                "category": "utility",
                "cause": "read timeout",
                "since": "2026-12-01T01:00:00.000Z",
                "next": "resend",
                "next_at": "2026-12-01T01:15:00.000Z",
                "valid_until": "2026-12-01T05:00:00.000Z",
            }
        ]
    }


async def test_a_message_is_settled_by_hand_once_and_audited(site: Site) -> None:
    site.index.open = [(OPEN, SINCE + 900_000)]
    wish = {"request_id": "r1", "verdict": "not_sent", "note": "asked the customer"}
    with capture_logs() as lines:
        assert (await site.settle(wish, token="wrong"))[0] == 401
        assert (await site.settle(wish | {"verdict": "perhaps"}))[0] == 400
        assert (await site.settle(wish | {"request_id": "r9"}))[0] == 404
        assert (await site.settle(wish | {"user": "another"}))[0] == 404
        assert site.index.told == []
        assert await site.settle(wish) == (200, {"command_id": "r1#1"})
        site.index.up = False
        assert (await site.settle(wish))[0] == 503
        assert (await site.client.get("/v1/uncertain")).status == 503
    (word,) = site.index.told
    assert (word.command_id, word.user, word.verdict, word.by, word.note) == (
        "r1#1", "4915112345678", "not_sent", "admin", "asked the customer",
    )  # fmt: skip
    audit = [line for line in lines if line["event"] == "audit" and line["action"] == "uncertain.settle"]
    assert [line["outcome"] for line in audit] == [
        "unauthorized", "invalid", "not_open", "not_open", "ok", "unavailable",
    ]  # fmt: skip
    assert (audit[4]["by"], audit[4]["request_id"], audit[4]["verdict"]) == ("admin", "r1", "not_sent")


async def test_of_two_messages_of_one_id_it_must_be_said_which(site: Site) -> None:
    site.index.open = [
        (OPEN, SINCE),
        (Uncertain("10", "4915112345679", "r1#1", "utility", "crash", SINCE, SINCE), SINCE),
    ]
    status, body = await site.settle({"request_id": "r1", "verdict": "sent"})
    assert (status, body["error"]["code"]) == (404, "not_open")
    assert (await site.settle({"request_id": "r1", "verdict": "sent", "user": "hash of 4915112345679"}))[
        0
    ] == 200
    assert [word.user for word in site.index.told] == ["4915112345679"]
