"""Messages of unknown outcome between a real Kafka and Redis, the router, the sender, ingress and a fake Meta, on a clock that is moved."""

from collections.abc import AsyncIterator
from os import environ
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio

from deploy.local.demo.simulator import Simulator
from deploy.local.ports import free_ports
from deploy.local.process import OwnedProcess
from deploy.local.services import ACCESS_TOKEN, APP_SECRET, VERIFY_TOKEN
from deploy.local.stack import LocalStack
from services.console.open_messages import OpenMessage, Settling, Verdict
from services.console.settling import OpenMessages, RedisIndex
from shared.clock import FileClock
from shared.events import (
    AccountChanged,
    CancelRequested,
    SendEvent,
    SendRequested,
    TemplateRef,
    UncertainSettled,
    decode_send_event,
    encode,
)
from shared.ids import conversation_key
from shared.topics import ACCOUNT_EVENTS, SEND_COMMANDS, SEND_EVENTS
from shared.uncertain import RESENT
from tests.conftest import Prefix
from tests.forking import ForkedProcess
from tests.integration.stream.harness import Bench, until
from tests.losing import lose

NUMBER, OTHER = "1001", "1002"
TEMPLATES = {"order_update": "utility", "login_code": "authentication"}
QUARTER_S = 16 * 60.0
"""Past the first look at a message of unknown outcome."""


def user_of(request_id: str) -> str:
    return f"4915110{sum(map(ord, request_id)):06}"


class UncertainBench(Bench):
    """One test's topics, the services, and Meta."""

    def __init__(self, stack: LocalStack, prefix: Prefix, logs: Path) -> None:
        super().__init__(stack, prefix, logs)
        self.simulator_port, self.ingress_port = free_ports(2)
        self.clock = FileClock(logs / "clock")
        self.meta = Simulator(f"http://127.0.0.1:{self.simulator_port}")
        self.router: OwnedProcess

    def spawn(self, service: str, **env: str) -> OwnedProcess:
        process = ForkedProcess(
            f"services.{service}",
            log_path=self.logs / f"{service}-{len(self._workers)}.log",
            env={**environ, **self.env, **env},
        )
        process.spawn()
        self._workers.append(process)
        return process

    async def begin(self) -> None:
        """Start everything, and set up one account with two numbers at Meta and here."""
        self.spawn("simulator", WA_HTTP_PORT=str(self.simulator_port), WA_WEBHOOK_URL=self.webhook_url)
        self.spawn(
            "ingress", WA_HTTP_PORT=str(self.ingress_port), WA_APP_SECRET=APP_SECRET, WA_VERIFY_TOKEN=VERIFY_TOKEN
        )  # fmt: skip
        self.spawn("ingress.intake")
        self.router = self.spawn("router")
        self.spawn(
            "sender", WA_GRAPH_URL=f"http://127.0.0.1:{self.simulator_port}", WA_ACCESS_TOKEN=ACCESS_TOKEN
        )
        await self.meta.start()
        templates = [{"name": name, "language": "en", "category": of} for name, of in TEMPLATES.items()]
        numbers = [{"id": id_, "display_phone_number": f"+1 555 {id_}"} for id_ in (NUMBER, OTHER)]

        async def up() -> bool:
            try:
                await self.meta.call("PUT", "/sim/accounts", {
                    "wabas": [{"id": "W1", "numbers": numbers, "templates": templates}]
                })  # fmt: skip
            except OSError:
                return False
            return True

        await until(up, "the simulator's start")
        wanted: list[tuple[Any, str, dict[str, Any]]] = [
            ("account", "W1", {"regime": "2025-07-01", "payment_method": "valid"}),
            *(("number", number, {}) for number in (NUMBER, OTHER)),
            *(
                ("template", f"{name}/en", {"category": category, "status": "APPROVED"})
                for name, category in TEMPLATES.items()
            ),
        ]
        facts = [
            AccountChanged(
                event_id=f"set-{id_}", at_ms=1, waba_id="W1", subject=subject, id=id_, fields=fields
            )
            for subject, id_, fields in wanted
        ]
        await self.feed([("W1", encode(fact)) for fact in facts], ACCOUNT_EVENTS)

    async def stop(self) -> None:
        await self.meta.stop()
        await super().stop()

    @property
    def webhook_url(self) -> str:
        return f"http://127.0.0.1:{self.ingress_port}/webhooks"

    async def ask(
        self,
        request_id: str,
        template: str = "order_update",
        number: str = NUMBER,
        patience_s: int | None = None,
    ) -> None:
        """Ask to send; each request to a user of its own."""
        now_ms = int(self.clock.time() * 1000)
        user = user_of(request_id)
        message = {
            "messaging_product": "whatsapp", "to": f"+{user}", "type": "template",
            "template": {"name": template, "language": {"code": "en"}},
        }  # fmt: skip
        request = SendRequested(
            event_id=request_id, at_ms=now_ms, request_id=request_id, phone_number_id=number,
            user=user, type="template", message=msgspec.Raw(msgspec.json.encode(message)), digest="d",
            template=TemplateRef(template, "en"), expires_ms=None if patience_s is None else now_ms + 1000 * patience_s,
        )  # fmt: skip
        await self.feed([(conversation_key(number, user), encode(request))])

    async def take_back(self, request_id: str) -> None:
        """Take a request back."""
        user = user_of(request_id)
        event = CancelRequested(
            event_id="c", at_ms=int(self.clock.time() * 1000), request_id=request_id, phone_number_id=NUMBER, user=user
        )  # fmt: skip
        await self.feed([(conversation_key(NUMBER, user), encode(event))])

    async def lose(self, request_id: str, template: str = "order_update", **then: Any) -> None:
        """Ask to send, let the first call or its answer be lost, and wait until nobody knows what became of it."""
        await self.meta.call("POST", "/sim/script", {"match": {"command_id": request_id}, "then": then})
        await self.ask(request_id, template)
        await self.told(request_id, "uncertain")

    async def steps(self, request_id: str) -> list[SendEvent]:
        """Everything told of a request, once each."""
        values = dict.fromkeys(row.value for row in await self.read(SEND_EVENTS))
        return [event for event in map(decode_send_event, values) if event.request_id == request_id]

    async def told(self, request_id: str, last: str) -> list[str]:
        """The steps of a request, once it has come to this one."""

        async def come() -> bool:
            return last in [event.event for event in await self.steps(request_id)]

        await until(come, f"{last} of {request_id}")
        return [event.event for event in await self.steps(request_id)]

    def messages(self) -> OpenMessages:
        """As the console has them."""

        async def tell(words: Any) -> int:
            events: list[UncertainSettled] = list(words)
            await self.feed([(conversation_key(e.phone_number_id, e.user), encode(e)) for e in events])
            return len(events)

        index = RedisIndex(self.redis, self.settings.redis_namespace, self.settings.partitions)
        return OpenMessages(index.read, tell, str, RESENT, self.clock)

    async def looked_at_again(self, before: OpenMessage) -> OpenMessage:
        """An open message, once it has been looked at and left for later."""

        async def later() -> bool:
            return [m.next_at for m in await self.messages().list() if m.request_id == before.request_id] > [
                before.next_at
            ]

        await until(later, f"another look at {before.request_id}")
        return next(m for m in await self.messages().list() if m.request_id == before.request_id)


@pytest_asyncio.fixture
async def bench(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[UncertainBench]:
    bench = UncertainBench(stack, prefix, tmp_path)
    await bench.start()
    await bench.begin()
    yield bench
    await bench.stop()


async def test_a_lost_answer_is_told_by_the_status_and_a_lost_call_is_sent_once_more_but_no_password(
    bench: UncertainBench,
) -> None:
    late: dict[str, Any] = {
        "statuses": [{"status": "sent", "after_s": 30}, {"status": "delivered", "after_s": 31}]
    }
    await bench.lose("answered", drop_answer_after_processing=True, **late)
    await bench.lose("unheard", reset=True)
    await bench.lose("password", "login_code", reset=True)
    await bench.ask("later")
    await bench.told("later", "delivered")
    bench.clock.advance(60)
    assert await bench.told("answered", "delivered") == [
        "decided", "uncertain", "accepted", "sent", "delivered",
    ]  # fmt: skip
    listed = {message.request_id: message.next for message in await bench.messages().list()}
    assert listed == {"unheard": "resend", "password": "give_up"}
    bench.clock.advance(QUARTER_S)
    assert await bench.told("unheard", "delivered") == [
        "decided", "uncertain", "resent", "accepted", "sent", "delivered",
    ]  # fmt: skip
    assert await bench.told("password", "failed") == ["decided", "uncertain", "failed"]

    commands = [row.headers["ce_id"] for row in await bench.read(SEND_COMMANDS)]
    await bench.settled()
    await bench.router.kill()
    await lose(bench.redis, f"{{{bench.settings.redis_namespace}:router*")
    bench.router = bench.spawn("router")
    bench.clock.advance(4 * 3600)
    await bench.ask("afterwards")
    await bench.told("afterwards", "delivered")
    after = [row.headers["ce_id"] for row in await bench.read(SEND_COMMANDS)]
    assert sorted(after) == sorted([*commands, b"afterwards#1"]), (
        "what was sent once more is not sent a third time"
    )
    calls = {id_: await bench.meta.calls_of(id_) for id_ in ("answered", "unheard", "password", "later")}
    assert calls == {"answered": 1, "unheard": 2, "password": 1, "later": 1}
    assert await bench.messages().list() == []


async def test_while_webhooks_are_down_nothing_is_sent_again_unless_an_operator_says_so(
    bench: UncertainBench,
) -> None:
    await bench.ask("before")
    await bench.told("before", "delivered")
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}/webhooks"
    await bench.meta.call("POST", "/sim/options", {"webhook_url": nobody})
    await bench.lose("mute", reset=True)
    await bench.lose("settled", reset=True)
    await bench.lose("lost", reset=True)
    await bench.ask("later")
    await bench.told("later", "accepted")
    await bench.ask("another", number=OTHER)
    await bench.told("another", "accepted")
    found = {message.request_id: message for message in await bench.messages().list()}
    bench.clock.advance(QUARTER_S)
    for _ in range(3):
        found["mute"] = await bench.looked_at_again(found["mute"])
        bench.clock.advance(310)
    assert await bench.told("mute", "uncertain") == ["decided", "uncertain"]
    verdicts: dict[str, Verdict] = {"settled": "resend", "lost": "not_sent"}
    for request_id, verdict in verdicts.items():
        await bench.messages().settle(Settling(request_id, verdict), "Mia")
    assert await bench.told("settled", "accepted") == ["decided", "uncertain", "resent", "accepted"]
    assert await bench.told("lost", "failed") == ["decided", "uncertain", "failed"]
    bench.clock.advance(4 * 3600)
    assert await bench.told("mute", "failed") == ["decided", "uncertain", "failed"]
    error = (await bench.steps("mute"))[-1].error
    assert error is not None
    assert error.reason == "uncertain_webhooks_missing"
    assert {id_: await bench.meta.calls_of(id_) for id_ in ("mute", "settled", "lost")} == {
        "mute": 1, "settled": 2, "lost": 1,
    }  # fmt: skip
    await bench.meta.call("POST", "/sim/options", {"webhook_url": bench.webhook_url})
    assert (await bench.told("settled", "delivered"))[-1] == "delivered"


async def test_without_the_answer_to_a_second_call_too_both_messages_are_told_and_nothing_goes_out_a_third_time(
    bench: UncertainBench,
) -> None:
    quiet = {"delivery": "none"}
    await bench.meta.call("POST", "/sim/script", {
        "match": {"command_id": "twice#2"}, "then": {"drop_answer_after_processing": True, **quiet}
    })  # fmt: skip
    first: dict[str, Any] = {
        "statuses": [{"status": "sent", "after_s": 1500}, {"status": "delivered", "after_s": 1501}]
    }
    await bench.lose("twice", drop_answer_after_processing=True, **first)
    await bench.ask("later")
    await bench.told("later", "delivered")
    bench.clock.advance(QUARTER_S)
    await bench.told("twice", "resent")

    async def doubted() -> bool:
        return [e.event for e in await bench.steps("twice")].count("uncertain") == 2

    await until(doubted, "the second message is of unknown outcome too")
    bench.clock.advance(600)  # past the statuses of the first, and not yet to the look at the second
    assert await bench.told("twice", "delivered") == [
        "decided", "uncertain", "resent", "uncertain", "accepted", "sent", "delivered",
    ]  # fmt: skip
    bench.clock.advance(4 * 3600)

    async def resolved() -> bool:
        return await bench.messages().list() == []

    await until(resolved, "nothing is open")
    assert [e.event for e in await bench.steps("twice")][-1] == "delivered"
    assert [e.seq for e in await bench.steps("twice")] == [1, 2, 3, 4, 5, 6, 7]
    assert await bench.meta.calls_of("twice") == 2


async def test_what_waits_at_the_sender_is_taken_back_and_what_has_gone_out_is_told_so(
    bench: UncertainBench,
) -> None:
    await bench.ask("known")
    await bench.told("known", "accepted")
    maintenance = {"kind": "maintenance", "for_s": 3600, "phone_number_id": NUMBER}
    await bench.meta.call("POST", "/sim/troubles", maintenance)
    queued = [f"queued{n}" for n in range(8)]
    for request_id in queued:
        await bench.ask(request_id)
    await bench.told(queued[-1], "decided")
    await bench.take_back(queued[-1])
    assert await bench.told(queued[-1], "cancelled") == ["decided", "cancelled"]
    await bench.meta.call("DELETE", "/sim/troubles")
    bench.clock.advance(61)
    await bench.told(queued[-2], "delivered")
    await bench.take_back(queued[-2])
    await bench.ask("last")
    await bench.told("last", "delivered")
    assert [event.event for event in await bench.steps(queued[-2])].count("cancelled") == 0
    called = (await bench.meta.call("GET", "/sim/ledger?calls=0"))["commands"]
    accepted = {command: counts["accepted"] for command, counts in called.items()}
    assert accepted == {f"{request_id}#1": 1 for request_id in ("known", *queued[:-1], "last")}
