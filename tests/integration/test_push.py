"""Push as a process on a real Kafka, told to real HTTP servers: nothing lost, order kept, one dead endpoint delays no other."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from standardwebhooks.webhooks import Webhook
from typer.testing import CliRunner

from deploy.local.ports import free_ports
from deploy.local.stack import LocalStack, ServiceProcess
from services.push.cli import app as wam_push
from shared import kafka
from shared.settings import ServiceSettings
from shared.topics import MESSAGES_RECEIVED, PUSH, SEND_EVENTS
from tests.conftest import Prefix
from tests.integration.processes import until
from tests.reading import read_all

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PARTITIONS = 2


@dataclass
class Receiver:
    """A business's HTTP server: verifies, answers as `answer` says, remembers what it took."""

    port: int = 0
    answer: Callable[[dict[str, Any]], int] = lambda event: 200
    taken: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    tries: list[str] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    async def open(self) -> None:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_post("/hooks", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        event = Webhook(SECRET).verify(await request.read(), dict(request.headers))
        name = event["data"]["event_id"]
        self.tries.append(name)
        status = self.answer(event["data"])
        if status == 200:
            self.taken.append(event["data"])
            self.ids.append(request.headers["webhook-id"])
        return web.Response(status=status)

    def distinct(self) -> list[str]:
        """The ids taken, each once, in the order of their first delivery."""
        return list(dict.fromkeys(event["event_id"] for event in self.taken))


class Push:
    """The running process, its endpoints file, and the topics it reads."""

    def __init__(self, stack: LocalStack, prefix: Prefix, folder: Path) -> None:
        self.settings = ServiceSettings(
            kafka_bootstrap=stack.endpoints.kafka_bootstrap,
            topic_prefix=prefix.topics,
            partitions=PARTITIONS,
            replication=1,
        )
        self.file = folder / "push.yaml"
        self.port = free_ports(1)[0]
        self.env = {
            **prefix.env,
            "WA_KAFKA_BOOTSTRAP": stack.endpoints.kafka_bootstrap,
            "WA_PARTITIONS": str(PARTITIONS),
            "WA_REPLICATION": "1",
            "WA_METRICS_PORT": str(self.port),
            "WA_SESSION_TIMEOUT_S": "6",
            "WA_PUSH_ENDPOINTS_FILE": str(self.file),
            "WA_PUSH_ALLOW_PRIVATE": "true",
            "WA_PUSH_RELOAD_S": "0.1",
            "HOOK_SECRET": SECRET,
        }
        self.process = ServiceProcess("push", self.env, folder)

    def endpoints(self, **receivers: Receiver | dict[str, Any]) -> None:
        """Write the file: a receiver, or fields of an endpoint, by name."""
        found = []
        for name, given in receivers.items():
            fields = {"receiver": given} if isinstance(given, Receiver) else dict(given)
            port = fields.pop("receiver").port
            base = {"url": f"http://127.0.0.1:{port}/hooks", "secrets": [{"env": "HOOK_SECRET"}]}
            found.append(
                {"name": name, "events": ["*"], "start": "beginning", "timeout_s": 10} | base | fields
            )
        draft = self.file.with_suffix(".new")
        draft.write_text(yaml.safe_dump({"endpoints": found}))
        draft.replace(self.file)

    async def start(self) -> None:
        await self.process.start(f"http://127.0.0.1:{self.port}/ready", 60)

    async def produce(self, count: int, keys: str = "abcdefgh", start: int = 0) -> list[str]:
        """Events in turn of each key; their ids."""
        producer = kafka.producer(self.settings, linger_ms=5)
        await producer.start()
        ids = []
        for nth in range(start, start + count):
            key = keys[nth % len(keys)]
            ids.append(f"{key}{nth}")
            value = json.dumps(
                {
                    "event_id": ids[-1],
                    "event": "sent",
                    "at": "2026-11-26T20:00:00.000Z",
                    "waba_id": "1",
                    "key": key,
                }
            )
            await producer.send(kafka.name_of(SEND_EVENTS, self.settings), value.encode(), key=key.encode())
        await producer.stop()
        return ids

    async def wam(self, *arguments: str) -> str:
        """What a command of `wam push` prints."""
        done = await asyncio.to_thread(CliRunner().invoke, wam_push, arguments, env=self.env)
        assert done.exit_code == 0, done.output
        return done.output

    async def status(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(await self.wam("status", "--json"))
        return next(row for row in found if row["name"] == name)


@asynccontextmanager
async def pushing(stack: LocalStack, prefix: Prefix, folder: Path, **receivers: Any) -> AsyncIterator[Push]:
    push = Push(stack, prefix, folder)
    await kafka.create_topics(push.settings)
    for given in receivers.values():
        await (given if isinstance(given, Receiver) else given["receiver"]).open()
    push.endpoints(**receivers)
    await push.start()
    try:
        yield push
    finally:
        await push.process.stop()
        for given in receivers.values():
            await (given if isinstance(given, Receiver) else given["receiver"]).close()


def in_order(ids: list[str]) -> bool:
    """Whether the ids of each key come in the order they were produced in."""
    numbers: dict[str, list[int]] = {}
    for name in ids:
        numbers.setdefault(name[0], []).append(int(name[1:]))
    return all(found == sorted(found) for found in numbers.values())


async def test_events_come_signed_once_and_in_order_though_the_process_is_killed_in_the_middle(
    stack: LocalStack, prefix: Prefix, tmp_path: Path
) -> None:
    receiver = Receiver()
    async with pushing(stack, prefix, tmp_path, shop=receiver) as push:
        ids = await push.produce(600)
        await until(lambda: len(receiver.taken) > 200, within_s=20)
        await push.process.kill()
        assert len(receiver.distinct()) < 600
        await push.start()
        await until(lambda: len(receiver.distinct()) == 600, within_s=30)
    assert sorted(receiver.distinct()) == sorted(ids)
    assert in_order(receiver.distinct())
    assert {event["event_id"] for event in receiver.taken} == set(receiver.ids)


async def test_a_poisoned_key_and_a_dead_endpoint_hold_up_nobody_else(
    stack: LocalStack, prefix: Prefix, tmp_path: Path
) -> None:
    good, dead = Receiver(), Receiver()
    good.answer = lambda event: 400 if event["key"] == "c" and event["event_id"] == "c2" else 200
    async with pushing(stack, prefix, tmp_path, good=good, dead=dead) as push:
        await dead.close()
        ids = await push.produce(80)
        others = [name for name in ids if name[0] != "c"]
        await until(lambda: set(others) <= set(good.distinct()), within_s=15)
        await until(lambda: len(good.distinct()) == 79, within_s=20)
        assert in_order(good.distinct())
        assert good.tries.count("c2") == 3
        last = max(nth for nth, name in enumerate(good.tries) if name == "c2")
        assert good.tries.index("c10") > last, "what follows a failed event waits"
        beside = {name for name in good.tries[:last] if name[0] in "abe" and int(name[1:]) > 2}
        assert beside, "what stands behind it in its partition, and is of other keys, does not wait"
        (letter,) = await read_all(push.settings, PUSH.dead_letters)
        assert json.loads(letter.value)["event_id"] == "c2"
        assert letter.headers["push-endpoint"] == b"good"
        assert letter.headers["dlq-reason"] == b"HTTP 400 after 3 tries"
        assert letter.headers["dlq-source"].startswith(kafka.name_of(SEND_EVENTS, push.settings).encode())

        # The dead one is back: it gets everything, for its breaker was open and nobody's time passed.
        async with asyncio.timeout(15):
            while (row := await push.status("dead"))["breaker"] != "open":
                await asyncio.sleep(0.1)
        assert (row["enabled"], row["lag"]) == (True, 80)
        assert row["oldest_undelivered"] is not None
        assert row["last_error"].startswith("no connection")
        await dead.open()
        await until(lambda: len(dead.distinct()) == 80, within_s=30)
        assert in_order(dead.distinct())

        # What was parked is delivered once more on demand, once.
        good.answer = lambda event: 200
        assert "1 events go to good" in await push.wam("redeliver", "good", "--parked", "--by", "ops")
        await until(lambda: "c2" in good.distinct(), within_s=15)
        assert good.ids[-1] == "c2"


async def test_an_endpoint_that_is_gone_is_told_nothing_until_it_is_enabled_and_a_change_of_the_file_loses_no_place(
    stack: LocalStack, prefix: Prefix, tmp_path: Path
) -> None:
    receiver = Receiver(answer=lambda event: 410)
    async with pushing(stack, prefix, tmp_path, shop=receiver) as push:
        ids = await push.produce(4, keys="a")
        await until(lambda: receiver.tries.count("a0") == 1, within_s=15)
        async with asyncio.timeout(15):
            while (await push.status("shop"))["enabled"]:
                await asyncio.sleep(0.1)
        row = await push.status("shop")
        assert row["disabled_because"] == "HTTP 410 (by push)"

        receiver.answer = lambda event: 200
        await push.process.kill()
        await push.start()
        assert receiver.tries.count("a0") == 1, "a restart does not enable it"
        await push.wam("enable", "shop", "--by", "ops")
        await until(lambda: receiver.distinct() == ids, within_s=15)

        # The file changes: another receiver goes on where the first one stopped, and is told what is asked for once more.
        second = Receiver()
        await second.open()
        began_ms = time.time()
        log = tmp_path / "push.log"
        begun = log.read_text().count('"push_endpoints"')
        push.endpoints(shop={"receiver": second, "events": ["send.*"]})
        await until(lambda: log.read_text().count('"push_endpoints"') > begun, within_s=15)
        more = await push.produce(3, keys="a", start=4)
        await until(lambda: second.distinct() == more, within_s=30)
        assert receiver.distinct() == ids
        assert "1 events" in await push.wam("redeliver", "shop", "--event-id", "a1")
        await until(lambda: second.distinct() == [*more, "a1"], within_s=15)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began_ms))
        await push.wam("redeliver", "shop", "--from", since)
        await until(lambda: len(second.taken) >= 7, within_s=15)
        assert second.distinct() == [*more, "a1"]
        await second.close()
    logged = log.read_text()
    assert '"by": "ops"' in logged
    assert not re.search(r"\ba1\b", logged), "no ids of events in the log"
    assert SECRET not in logged


async def test_a_file_that_can_t_be_used_is_told_and_the_one_before_goes_on(
    stack: LocalStack, prefix: Prefix, tmp_path: Path
) -> None:
    receiver = Receiver()
    async with pushing(
        stack, prefix, tmp_path, shop={"receiver": receiver, "events": ["message.received"]}
    ) as push:
        push.file.write_text("endpoints: [{name: shop}]")
        await until(lambda: "push_endpoints_invalid" in (tmp_path / "push.log").read_text(), within_s=10)
        producer = kafka.producer(push.settings)
        await producer.start()
        value = json.dumps(
            {"event_id": "m1", "sent_at": "2026-11-26T20:00:00.000Z", "phone_number_id": "1"}
        ).encode()
        await producer.send_and_wait(kafka.name_of(MESSAGES_RECEIVED, push.settings), value, key=b"k")
        await producer.stop()
        await until(lambda: receiver.distinct() == ["m1"], within_s=15)
