"""The sender between a real Kafka, a real Redis and a simulator that has troubles: what is lost, repeated, uncertain, and when all goes on."""

import hmac
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from pydantic import SecretStr

from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from services.simulator.app import Simulator
from services.simulator.settings import SimulatorSettings
from shared.events import SendFailed
from tests.conftest import Prefix
from tests.integration.sender_bench import TOKEN, SenderBench
from tests.integration.stream.harness import until

SECRET = "integration-app-secret"
LOAD = 150
"""Two seconds' worth at the throughput of a number."""


class Troubled(SenderBench):
    """A sender bench whose Meta is the simulator."""

    def __init__(self, stack: LocalStack, prefix: Prefix, logs: Path) -> None:
        super().__init__(stack, prefix, logs)
        settings = SimulatorSettings(
            http_port=0,
            metrics_port=0,
            webhook_url="http://127.0.0.1:9/none",
            access_token=SecretStr(TOKEN),
            app_secret=SecretStr(SECRET),
        )
        self.meta = Simulator(settings, self.clock)
        self.http: aiohttp.ClientSession

    async def start(self) -> None:
        await super().start()
        await self.meta.start()
        self.http = aiohttp.ClientSession(f"http://127.0.0.1:{self.meta.port}")
        numbers = [{"id": f"{n}001", "display_phone_number": f"+1 555 000 000{n}"} for n in (1, 2)]
        wabas = [{"id": f"{n}0", "numbers": [number]} for n, number in enumerate(numbers, 1)]
        for waba in wabas:
            waba["templates"] = [{"name": "note", "language": "de", "category": "utility"}]
        await self.ask("PUT", "/accounts", {"wabas": wabas})
        await self.ask("POST", "/options", {"auto_statuses": False, "require_appsecret_proof": True})

    async def stop(self) -> None:
        await super().stop()
        await self.http.close()
        await self.meta.stop()

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Use the control API."""
        async with self.http.request(method, f"/sim{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    async def trouble(self, kind: str, for_s: float, **more: object) -> None:
        """Begin a trouble."""
        await self.ask("POST", "/troubles", {"kind": kind, "for_s": for_s, **more})

    def sends(self, instance: str = "0", **env: str) -> OwnedProcess:
        """Start a sender that sends to the simulator."""
        return self.sender(
            instance, WA_GRAPH_URL=f"http://127.0.0.1:{self.meta.port}", WA_APP_SECRET=SECRET, **env
        )

    async def load(self, name: str, count: int = LOAD, **more: Any) -> None:
        """Order so many messages of one number."""
        more = {"number": "1001", "waba": "10", "template": "note", **more}
        await self.order(*(self.command(f"{name}{i}", **more) for i in range(count)))

    @property
    def calls(self) -> list[Any]:
        return self.meta.meta.ledger.calls

    @property
    def accepted(self) -> int:
        return sum(call.wamid is not None for call in self.calls)

    async def until_accepted(self, count: int) -> None:
        """Wait for so many accepted messages."""

        async def enough() -> bool:
            return self.accepted >= count

        await until(enough, f"{count} accepted, {self.accepted} are", 30)

    async def ends(self, count: int) -> Counter[str]:
        """Wait until so many commands have an outcome; how many of each kind. Nothing may have been sent twice."""
        told = await self.until_told(count)
        assert all(len(kinds) == 1 for kinds in told.values()), told
        repeated = {id: n for id, n in self.meta.meta.ledger.commands().items() if n["accepted"] > 1}
        assert not repeated
        return Counter(kind for kinds in told.values() for kind in kinds)


@pytest_asyncio.fixture
async def bench(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[Troubled]:
    bench = Troubled(stack, prefix, tmp_path)
    await bench.start()
    yield bench
    await bench.stop()


async def test_a_replaced_token_is_taken_by_itself_and_shows_nowhere(bench: Troubled, tmp_path: Path) -> None:
    """The token lies where Kubernetes would mount it; the account's calls stop at the first refusal, and the first blind try comes long after this test."""
    folder = tmp_path / "tokens"
    for version, token in (("..1", TOKEN), ("..2", "the-new-token")):
        (folder / version).mkdir(parents=True)
        (folder / version / "default").write_text(token)
    (folder / "..data").symlink_to("..1")
    (folder / "default").symlink_to("..data/default")
    sender = bench.sends(WA_TOKEN_DIR=str(folder), WA_LOG_LEVEL="debug")
    await bench.load("a", 30)
    await bench.until_accepted(30)
    await bench.ask("POST", "/options", {"access_token": "the-new-token"})
    await bench.load("b")

    async def refused() -> bool:
        return any(call.code == 190 for call in bench.calls)

    await until(refused, "a refusal", 10)
    (folder / "..data.new").symlink_to("..2")
    (folder / "..data.new").replace(folder / "..data")
    assert await bench.ends(30 + LOAD) == {"SendAccepted": 30 + LOAD}
    assert sum(call.code == 190 for call in bench.calls) < LOAD // 10
    log = sender.log_path.read_text()
    proofs = [
        hmac.digest(SECRET.encode(), token.encode(), "sha256").hex() for token in (TOKEN, "the-new-token")
    ]
    assert "circuit_opened" in log
    for secret in (TOKEN, "the-new-token", SECRET, *proofs):
        assert secret not in log


async def test_a_replaced_app_secret_is_taken_by_itself_and_nothing_fails(
    bench: Troubled, tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "default").write_text("the-old-secret")
    bench.sends(WA_APP_SECRET_DIR=str(folder))
    await bench.load("a")

    async def refused() -> bool:
        return any(call.code == 100 for call in bench.calls)

    await until(refused, "a refusal", 20)
    (folder / ".new").write_text(SECRET)
    (folder / ".new").replace(folder / "default")
    assert await bench.ends(LOAD) == {"SendAccepted": LOAD}
    assert sum(call.code == 100 for call in bench.calls) < LOAD // 10


async def test_a_malformed_token_ends_no_sender_and_holds_only_its_account_back(
    bench: Troubled, tmp_path: Path
) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "shop").write_text("first-line\nsecond-line")
    await bench.set_number("1001", token="shop")
    sender = bench.sends(WA_TOKEN_DIR=str(folder))
    await bench.load("a", 40)
    await bench.load("b", 40, number="2001", waba="20")
    await bench.until_accepted(40)
    assert {call.phone_number_id for call in bench.calls} == {"2001"}
    (folder / ".new").write_text(TOKEN)
    (folder / ".new").replace(folder / "shop")
    assert await bench.ends(80) == {"SendAccepted": 80}
    log = sender.log_path.read_text()
    assert "secret_malformed" in log
    assert "-line" not in log


async def test_a_number_out_of_the_token_s_reach_costs_one_call_and_others_go_on(bench: Troubled) -> None:
    bench.sends()
    await bench.load("a", 40, number="9009")
    await bench.load("b", 40, number="2001", waba="20")
    await bench.until_accepted(40)
    assert await bench.ends(40) == {"SendAccepted": 40}
    assert [call.code for call in bench.calls if call.phone_number_id == "9009"] == [100]


async def test_a_proxy_that_refuses_in_metas_place_fails_nothing(bench: Troubled) -> None:
    sender = bench.sends()
    await bench.load("a")
    await bench.until_accepted(30)
    await bench.ask("POST", "/script", {"then": {"http_status": 403, "times": None}})
    await bench.load("b")

    async def refused() -> bool:
        return [call.http_status for call in bench.calls].count(403) >= 5

    await until(refused, "refusals", 20)
    await bench.ask("DELETE", "/script")
    assert await bench.ends(2 * LOAD) == {"SendAccepted": 2 * LOAD}
    assert '"reason": "unreachable"' in sender.log_path.read_text()


async def test_a_hang_leaves_a_handful_uncertain_and_all_else_goes_when_it_is_over(bench: Troubled) -> None:
    bench.sends(WA_CALL_TIMEOUT_S="2")
    await bench.load("a")
    await bench.until_accepted(30)
    await bench.trouble("hang", 6)  # three times as long as a call may take
    total = 4 * LOAD
    await bench.load("b", total - LOAD)
    outcomes = await bench.ends(total)
    assert outcomes.keys() <= {"SendAccepted", "SendUncertain"}
    assert 1 <= outcomes["SendUncertain"] < total // 10


async def test_a_meta_that_answers_with_5xx_costs_a_handful_and_all_else_goes_when_it_is_over(
    bench: Troubled,
) -> None:
    bench.sends()
    await bench.load("a")
    await bench.until_accepted(30)
    await bench.trouble("failing", 5, processed=True)
    await bench.load("b")
    outcomes = await bench.ends(2 * LOAD)
    assert outcomes.keys() <= {"SendAccepted", "SendUncertain"}
    assert 3 <= outcomes["SendUncertain"] < 2 * LOAD // 10


@pytest.mark.long
async def test_connections_that_are_refused_cost_nothing_but_their_time(bench: Troubled) -> None:
    bench.sends()
    await bench.load("a")
    await bench.until_accepted(30)
    await bench.trouble("refusing", 4)
    await bench.load("b")
    outcomes = await bench.ends(2 * LOAD)
    assert outcomes["SendFailed"] == 0
    assert outcomes["SendUncertain"] < 2 * LOAD // 10  # those under way when the connections were cut


@pytest.mark.long
async def test_a_throughput_that_falls_is_followed_at_once_and_back_by_itself(bench: Troubled) -> None:
    bench.sends()
    await bench.load("a")
    await bench.until_accepted(30)
    await bench.trouble("throttled", 5, mps=10)
    await bench.load("b", 2 * LOAD)
    assert await bench.ends(3 * LOAD) == {"SendAccepted": 3 * LOAD}
    assert 1 <= sum(call.code == 130429 for call in bench.calls) <= 100


async def test_a_number_in_maintenance_waits_a_minute_and_others_go_on(bench: Troubled) -> None:
    bench.sends()
    await bench.load("a", 20)
    await bench.until_accepted(20)
    await bench.trouble("maintenance", 30, phone_number_id="1001")
    await bench.load("b", 40)
    await bench.load("c", 40, number="2001", waba="20")
    await bench.until_accepted(60)
    assert sum(call.code == 131057 for call in bench.calls) < 40 // 2
    bench.clock.advance(60)
    assert await bench.ends(100) == {"SendAccepted": 100}


async def test_spam_costs_one_message_and_a_new_owner_one_more(bench: Troubled) -> None:
    await bench.ask("POST", "/script", {"then": {"error": 131048, "times": None}})
    sender = bench.sends()
    await bench.load("a", 40, valid_for_s=90_000)
    assert list((await bench.until_told(1)).values()) == [{"SendFailed"}]
    await sender.stop()
    assert len(bench.calls) == 1
    bench.sends()
    await bench.until_told(2)
    await bench.ask("DELETE", "/script")
    await bench.load("c", 1, number="2001", waba="20")  # goes: it is another number
    await bench.until_accepted(1)
    assert len(bench.calls) == 3
    bench.clock.advance(4 * 3600)
    await bench.until_accepted(39)
    failed = [event for event in await bench.outcomes() if isinstance(event, SendFailed)]
    assert {(event.code, event.reason) for event in failed} == {(131048, "number_quality_limited")}
    assert len(failed) == 2


async def test_when_the_allowance_is_nearly_used_a_campaign_waits_and_passwords_go(bench: Troubled) -> None:
    await bench.ask("POST", "/options", {"account_usage_percent": 95})
    bench.sends()
    await bench.load("first", 1)
    await bench.until_accepted(1)
    await bench.load("m", 60, category="marketing")
    for nth in range(3):
        await bench.load(f"otp{nth}", 1, category="authentication")
        await bench.until_accepted(2 + nth)
    commands = bench.meta.meta.ledger.commands()
    assert not [id for id in commands if id.startswith("m")]
    await bench.ask("POST", "/options", {"account_usage_percent": 50})
    await bench.load("last", 1, category="authentication")
    assert await bench.ends(65) == {"SendAccepted": 65}


async def test_answers_that_are_lost_after_the_send_are_never_sent_again(bench: Troubled) -> None:
    bench.sends()
    await bench.load("a")
    await bench.until_accepted(30)
    await bench.trouble("lost_answers", 3)
    outcomes = await bench.ends(LOAD)
    assert outcomes.keys() <= {"SendAccepted", "SendUncertain"}
    assert 3 <= outcomes["SendUncertain"] < LOAD // 5
    assert bench.accepted == LOAD
    assert max(Counter(call.opaque for call in bench.calls).values()) == 1
