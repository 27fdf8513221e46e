"""A file's whole way on a real Kafka and Redis: a user sends it, it is described, fetched, told, and given out; slow, broken and false ones; a kill."""

import asyncio
import hashlib
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import time
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest_asyncio
from aiokafka import TopicPartition
from pydantic import SecretStr

from deploy.local.paths import REPOSITORY
from deploy.local.ports import free_ports
from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from services.simulator.app import Simulator
from services.simulator.settings import SimulatorSettings
from shared import kafka
from shared.clock import FileClock
from shared.events import MediaFile, ReceivedMessage
from shared.settings import ServiceSettings
from shared.stream.store import connect
from shared.topics import MEDIA, MESSAGES_RECEIVED, Topic
from tests.conftest import Prefix
from tests.integration.processes import until
from tests.losing import lose

PARTITIONS = 2
NUMBER, USER = "106", "4915112345678"
SECRET, TOKEN = "integration-secret", "integration-token"

_media = msgspec.json.Decoder(MediaFile).decode
_received = msgspec.json.Decoder(ReceivedMessage).decode


class Sent(NamedTuple):
    """A file that a user sent."""

    wamid: str
    media_id: str
    public_url: str
    data: bytes


class World:
    """The fake Meta, and the processes; `media` is the one under test."""

    def __init__(
        self,
        simulator: Simulator,
        settings: ServiceSettings,
        prefix: Prefix,
        env: dict[str, str],
        folder: Path,
        ingress_port: int,
    ) -> None:
        self.simulator, self.settings, self.prefix, self.folder = simulator, settings, prefix, folder
        edge_port, *ready = free_ports(4)
        self.edge = f"http://127.0.0.1:{edge_port}"
        self._ready = dict(zip(("media", "ingress", "router"), ready, strict=True))
        self._processes: dict[str, OwnedProcess] = {}
        modules = {
            "media": "tests.integration.media_process",
            "ingress": "services.ingress",
            "router": "services.router",
        }
        for name, module in modules.items():
            http_port = edge_port if name == "media" else ingress_port
            more = {"WA_METRICS_PORT": str(self._ready[name]), "WA_HTTP_PORT": str(http_port)}
            self._processes[name] = OwnedProcess(
                [sys.executable, "-m", module],
                log_path=folder / f"{name}.log",
                env={**os.environ, **env, **more},
                cwd=REPOSITORY,
            )
        self.http = aiohttp.ClientSession()
        self.reader = kafka.reader(settings)

    @property
    def media(self) -> OwnedProcess:
        return self._processes["media"]

    async def start(self, *names: str) -> None:
        for name in names:
            self._processes[name].spawn()
        for name in names:
            await self._started(name)

    async def _started(self, name: str) -> None:
        process, url = self._processes[name], f"http://127.0.0.1:{self._ready[name]}/ready"
        async with asyncio.timeout(40):
            while process.running:
                try:
                    async with self.http.get(url) as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
        raise AssertionError(process.log_tail())

    async def stop(self) -> None:
        await asyncio.gather(*(process.stop() for process in self._processes.values()))
        await self.reader.stop()
        await self.http.close()

    async def sim(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.simulator.port}/sim{path}"
        async with self.http.request(method, url, json=body) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            return dict(msgspec.json.decode(text))

    async def sends(self, size: int = 5000, user: str = USER, **more: Any) -> Sent:
        data = random.Random(size).randbytes(size)
        body = {"to": NUMBER, "size": size, "seed": size, **more}
        made = await self.sim("POST", f"/users/{user}/files", body)
        return Sent(made["id"], made["media_id"], made["public_url"], data)

    def hurry(self, *slow: Sent) -> None:
        """Let the way to these files be slow no more, under way or not."""
        for sent in slow:
            file = self.simulator.meta.files.find(sent.media_id, time())
            assert file is not None
            file.bytes_per_s = None

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        async with self.http.get(self.edge + path, headers=headers) as answer:
            return answer.status, await answer.read()

    async def rows(self, topic: Topic) -> list[bytes]:
        """All values on a topic, each once."""
        places = [TopicPartition(kafka.name_of(topic, self.settings), n) for n in range(PARTITIONS)]
        ends = await self.reader.end_offsets(places)
        self.reader.assign(places)
        for place in places:
            self.reader.seek(place, 0)
        found: list[bytes] = []
        async with asyncio.timeout(20):
            while any([await self.reader.position(place) < ends[place] for place in places]):
                for batch in (await self.reader.getmany(timeout_ms=200)).values():
                    found += [row.value for row in batch]
        return list(dict.fromkeys(found))

    async def told(self, sent: Sent, within_s: float = 20) -> MediaFile:
        """What became of a file, once it is told."""
        async with asyncio.timeout(within_s):
            while True:
                events = [event for event in map(_media, await self.rows(MEDIA)) if event.wamid == sent.wamid]
                if events:
                    (event,) = events
                    return event
                assert self.media.running, self.media.log_tail()
                await asyncio.sleep(0.05)

    def under_way(self, sent: Sent) -> bool:
        """Whether some of a file is in the store, and not all."""
        return bool(list((self.folder / f"store/files/{NUMBER}").glob(f"{sent.media_id}#*")))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(stack: LocalStack, tmp_path_factory: Any) -> AsyncIterator[World]:
    folder = Path(tmp_path_factory.mktemp("media"))
    prefix = Prefix(topics=f"t{folder.name}-{os.getpid()}.", redis=f"t{folder.name}-{os.getpid()}")
    clock_file = folder / "clock"
    clock = FileClock(clock_file)
    (ingress_port,) = free_ports(1)
    simulator = Simulator(
        SimulatorSettings(
            http_port=0,
            metrics_port=0,
            webhook_url=f"http://127.0.0.1:{ingress_port}/webhooks",
            app_secret=SecretStr(SECRET),
            access_token=SecretStr(TOKEN),
        ),
        clock,
    )
    await simulator.start()
    settings = ServiceSettings(
        kafka_bootstrap=stack.endpoints.kafka_bootstrap,
        redis_url=stack.endpoints.redis_url,
        topic_prefix=prefix.topics,
        partitions=PARTITIONS,
        replication=1,
    )
    await kafka.create_topics(settings)
    env = {
        **prefix.env,
        "WA_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "WA_REDIS_URL": settings.redis_url,
        "WA_PARTITIONS": str(PARTITIONS),
        "WA_REPLICATION": "1",
        "WA_CLOCK_FILE": str(clock_file),
        "WA_SESSION_TIMEOUT_S": "6",
        "WA_APP_SECRET": SECRET,
        "WA_VERIFY_TOKEN": "token",
        "WA_ACCESS_TOKEN": TOKEN,
        "WA_GRAPH_URL": f"http://127.0.0.1:{simulator.port}",
        "WA_MEDIA_STORE": f"file://{folder}/store",
        "WA_MEDIA_AUTO": "true",
        "WA_MEDIA_AT_ONCE": "4",
        "WA_MEDIA_LEASE_S": "2",
        "WA_MEDIA_MAX_BYTES": "40000000",
    }
    made = World(simulator, settings, prefix, env, folder, ingress_port)
    await made.sim(
        "PUT",
        "/accounts",
        {"wabas": [{"id": "W1", "numbers": [{"id": NUMBER, "display_phone_number": "+1 555"}]}]},
    )
    await made.reader.start()
    try:
        await made.start("ingress", "router", "media")
        yield made
    finally:
        await made.stop()
        await simulator.stop()


async def test_a_file_is_described_fetched_told_and_given_out_to_the_byte(world: World) -> None:
    sent = await world.sends(type="document", mime_type="application/pdf", filename="a.pdf")
    event = await world.told(sent)
    (received,) = [
        message
        for message in map(_received, await world.rows(MESSAGES_RECEIVED))
        if message.event_id == f"{sent.wamid}:received"
    ]
    (file,) = received.media
    assert (file.kind, file.id, file.filename) == ("document", sent.media_id, "a.pdf")
    assert event.event == "stored"
    assert (event.path, event.bytes) == (file.path, len(sent.data))
    assert event.sha256 == hashlib.sha256(sent.data).hexdigest()
    assert file.path is not None
    assert await world.get(file.path) == (200, sent.data)
    assert await world.get(file.path, Range="bytes=10-19") == (206, sent.data[10:20])
    assert (world.folder / "store" / str(event.place)).read_bytes() == sent.data


async def test_false_and_too_large_files_fail_and_are_not_kept(world: World) -> None:
    false = await world.sends(told_sha256="00" * 32)
    large = await world.sends(told_bytes=40_000_001)
    for sent, reason in ((false, "checksum"), (large, "too_large")):
        event = await world.told(sent)
        assert (event.event, event.reason) == ("failed", reason)
        assert not (world.folder / f"store/files/{NUMBER}/{sent.media_id}").exists()


async def test_a_file_that_breaks_off_comes_later_and_slow_ones_hold_up_nobody(world: World) -> None:
    broken = await world.sends(400_000, cut_after=100_000)
    slow = [await world.sends(120_000 + n, bytes_per_s=1000) for n in range(3)]  # two minutes each
    quick = [await world.sends(1000 + n) for n in range(10)]
    first = [await world.told(sent) for sent in quick]
    assert {event.event for event in first} == {"stored"}
    world.hurry(*slow)
    await world.sim("POST", "/clock", {"advance_s": 6})
    last = [await world.told(sent) for sent in (broken, *slow)]
    assert [event.bytes for event in last] == [len(sent.data) for sent in (broken, *slow)]
    assert max(event.at for event in first) < min(event.at for event in last[1:])


async def test_a_link_is_asked_for_anew_when_it_is_stale_and_a_file_that_is_too_old_is_gone(
    world: World,
) -> None:
    sent = await world.sends()
    await world.told(sent)
    for path in (f"files/{NUMBER}/{sent.media_id}", f"about/{NUMBER}/{sent.media_id}"):
        (world.folder / "store" / path).unlink()
    await world.sim("POST", "/clock", {"advance_s": 600})
    path = f"/v1/media/{NUMBER}/{sent.media_id}"
    assert await world.get(path) == (200, sent.data)
    (world.folder / f"store/about/{NUMBER}/{sent.media_id}").unlink()
    await world.sim("POST", "/clock", {"advance_s": 7 * 86_400})
    assert (await world.get(path))[0] == 404


async def test_killed_in_the_middle_of_a_file_it_is_whole_after_the_restart(world: World) -> None:
    sent = await world.sends(12_000_000, bytes_per_s=8_000_000)
    await until(lambda: world.under_way(sent), within_s=20)
    await world.media.kill()
    assert not (world.folder / f"store/files/{NUMBER}/{sent.media_id}").exists()
    await world.start("media")
    event = await world.told(sent, within_s=30)
    assert (event.event, event.sha256) == ("stored", hashlib.sha256(sent.data).hexdigest())
    assert await world.get(str(event.path)) == (200, sent.data)


async def test_after_a_loss_of_redis_nothing_is_missing_and_nothing_is_told_in_other_words(
    world: World,
) -> None:
    before = set(await world.rows(MEDIA))
    sent = await world.sends(3_000_000, bytes_per_s=1_000_000)
    await until(lambda: world.under_way(sent), within_s=20)
    await world.media.kill()
    await _lose(world)
    await world.start("media")
    assert (await world.told(sent)).event == "stored"
    new = [_media(value) for value in set(await world.rows(MEDIA)) - before]
    assert [event.wamid for event in new if event.event == "stored"] == [sent.wamid]


async def test_a_loss_of_redis_is_seen_at_the_next_message_by_who_goes_on(world: World) -> None:
    lost = await world.sends(200_000, cut_after=1000)  # waits for its second try
    await until(lambda: f"{lost.media_id}" in world.media.log_tail(20), within_s=20)
    await _lose(world)
    for n in range(10):  # of several users, so that each partition has one
        await world.sends(500 + n, user=f"49151123456{n:02}")
    assert (await world.told(lost)).event == "stored"


async def _lose(world: World) -> None:
    """Delete all that Redis knows of files."""
    redis = connect(world.settings)
    await lose(redis, f"{{{world.prefix.redis}:media}}:*")
    await redis.aclose()


async def test_an_attachment_that_came_as_a_link_is_stored_and_given_out(world: World) -> None:
    stored = await world.sends(2000)
    message = {"mid": "mid.1", "attachments": [{"type": "image", "payload": {"url": stored.public_url}}]}
    item = {"sender": {"id": "7"}, "recipient": {"id": "page"}, "timestamp": 1, "message": message}
    raw = {"object": "page", "entry": [{"id": "page", "time": 1, "messaging": [item]}]}
    await world.sim("POST", "/webhooks", {"raw": raw})
    event = await world.told(Sent("mid.1", "", "", b""))
    assert (event.event, event.channel, event.id) == ("stored", "messenger", None)
    assert await world.get(str(event.path)) == (200, stored.data)


async def test_uploaded_described_downloaded_through_the_edge_and_deleted(world: World) -> None:
    data = random.Random(1).randbytes(50_000)
    form = aiohttp.FormData()
    form.add_field("file", data, content_type="image/png", filename="a.png")
    form.add_field("messaging_product", "whatsapp")
    form.add_field("type", "image/png")
    async with world.http.post(f"{world.edge}/v23.0/{NUMBER}/media", data=form) as answer:
        assert answer.status == 200, await answer.text()
        media_id = (await answer.json())["id"]
    async with world.http.get(f"{world.edge}/v23.0/{media_id}") as answer:
        node = await answer.json()
    assert node["sha256"] == hashlib.sha256(data).hexdigest()
    async with world.http.get(node["url"]) as answer:
        assert await answer.read() == data
    async with world.http.delete(f"{world.edge}/v23.0/{media_id}") as answer:
        assert await answer.json() == {"success": True}
    assert (await world.get(f"/v1/media/{NUMBER}/{media_id}"))[0] == 404


async def test_stopped_in_the_middle_of_a_file_it_ends_well_and_leaves_nothing_half(world: World) -> None:
    sent = await world.sends(3_000_001, bytes_per_s=1_000_000)
    await until(lambda: world.under_way(sent), within_s=20)
    await world.media.stop()
    assert world.media.returncode == 0, world.media.log_tail()
    assert not world.under_way(sent)
