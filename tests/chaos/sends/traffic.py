"""The business of a run: asks for messages at a steady rate, and hears what became of each."""

import asyncio
import contextlib
from collections import Counter
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.local.demo.simulator import Simulator
from shared import events, kafka
from shared.events import SendEvent, decode_send_event
from shared.settings import ServiceSettings
from shared.topics import SEND_EVENTS, SEND_REQUESTS
from tests.bench import load
from tests.chaos.sends.plan import BEHAVIOURS, WRITERS, AnswerFault, Request, requests, writer
from tests.chaos.sends.verdict import is_final

TICK_S = 0.1


class Traffic:
    """Requests from entering to `end`; `told` is what came back, each event once and in order."""

    def __init__(self, settings: ServiceSettings, meta: Simulator, seed: int, per_s: float) -> None:
        self.asked: dict[str, Request] = {}
        self.told: dict[str, list[SendEvent]] = {}
        self.answers_lost: Counter[AnswerFault] = Counter()
        self._settings = settings
        self._meta = meta
        self._coming = requests(seed)
        self._per_s = per_s
        self._known: set[str] = set()
        self._producer: AIOKafkaProducer
        self._consumer: AIOKafkaConsumer
        self._places: list[TopicPartition] = []
        self._asking: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._producer = kafka.producer(self._settings, linger_ms=5)
        self._consumer = kafka.reader(self._settings)
        await self._producer.start()
        await self._consumer.start()
        name = kafka.name_of(SEND_EVENTS, self._settings)
        self._places = [TopicPartition(name, partition) for partition in range(self._settings.partitions)]
        self._consumer.assign(self._places)
        await self._consumer.seek_to_beginning(*self._places)
        await self._customers_write()
        self._asking = asyncio.create_task(self._ask_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._asking.cancel()
        await asyncio.gather(self._asking, return_exceptions=True)
        await self._consumer.stop()
        await self._producer.stop()

    async def end(self) -> None:
        """Ask for nothing more. Raises what went wrong with the asking."""
        self._asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._asking

    async def open(self) -> set[str]:
        """The requests of which the last word has not been said by now."""
        await self._listen()
        return {id for id in self.asked if not is_final(self.told.get(id, ()))}

    @property
    def words(self) -> int:
        """How many events have been told."""
        return sum(map(len, self.told.values()))

    def uncertain(self, id: str) -> bool:
        """Whether the business was told, last of all, that nobody knows about this request."""
        return bool(self.told.get(id)) and self.told[id][-1].event == "uncertain"

    async def _customers_write(self) -> None:
        """Open the windows in which free-form messages may go out."""
        for index in range(WRITERS):
            number, user = writer(index)
            body = {"to": load.number_id(number), "text": "hello"}
            await self._meta.call("POST", f"/sim/users/{user}/messages", body)
        await self._meta.quiet()

    async def _ask_on(self) -> None:
        loop = asyncio.get_running_loop()
        began, asked = loop.time(), 0
        while True:
            while asked < (loop.time() - began) * self._per_s:
                await self._ask(next(self._coming))
                asked += 1
            await asyncio.sleep(TICK_S)

    async def _ask(self, request: Request) -> None:
        if request.lost is not None:
            rule = {"match": {"command_id": f"{request.id}#1"}, "then": BEHAVIOURS[request.lost]}
            await self._meta.call("POST", "/sim/script", rule)
            self.answers_lost[request.lost] += 1
        self.asked[request.id] = request
        name = kafka.name_of(SEND_REQUESTS, self._settings)
        await self._producer.send(name, events.encode(request.body), key=request.id.encode())

    async def _listen(self) -> None:
        """Read on to the end that the topic has now."""
        await self._producer.flush()
        ends = await self._consumer.end_offsets(self._places)
        for place, end in ends.items():
            while await self._consumer.position(place) < end:
                for records in (await self._consumer.getmany(place, timeout_ms=200)).values():
                    for record in records:
                        self._hear(decode_send_event(record.value))

    def _hear(self, event: SendEvent) -> None:
        if event.request_id is not None and event.event_id not in self._known:
            self._known.add(event.event_id)
            self.told.setdefault(event.request_id, []).append(event)
