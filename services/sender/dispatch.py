"""The dispatcher: one lane per partition that the stream processor holds; ends and begins lanes as partitions come and go."""

import asyncio
from time import monotonic

import structlog

from services.sender.desk import Desk
from services.sender.lane import Lane
from shared.backlog import Note
from shared.metrics import CATEGORIES, OLDEST_UNSENT_SECONDS, QUEUED

log = structlog.get_logger(__name__)

LOOK_S = 0.01
"""How often the partitions held are compared with the lanes, and lanes that got commands are woken; memory only, no round trip."""
GAUGES_S = 1.0
INTAKE_RESTS = 1.0
"""While commands are on their way, a batch of the intake leaves them so many times as long as it took itself."""
INTAKE_RESTS_AT_MOST_S = 0.1
DRAIN_MARGIN_S = 1.0
"""Left of the drain time for the other parts."""


class Dispatcher:
    """A part: start it after the processor, so that it stops before."""

    def __init__(self, desk: Desk, drain_s: float, max_waiting: int) -> None:
        self._desk = desk
        self._drain_s = drain_s
        self._max_waiting = max_waiting
        self._lanes: dict[int, Lane] = {}
        self._seen: dict[int, int] = {}
        self._gauged_s = 0.0

    async def start(self) -> None:
        self._desk.spawn(self._watch(), "dispatcher")

    async def stop(self) -> None:
        """Claim nothing more, let calls in flight end; what the drain time cuts off is found uncertain by the next owner."""
        self._desk.stopping = True
        for lane in self._lanes.values():
            lane.end()
        until_s = monotonic() + max(0.0, self._drain_s - DRAIN_MARGIN_S)
        while self._desk.in_flight and monotonic() < until_s:  # noqa: ASYNC110 (a set has no event; this is the stop)
            await asyncio.sleep(0.01)
        if self._desk.in_flight:
            log.error("drain_cut_off", in_flight=len(self._desk.in_flight))

    def room(self, partition: int) -> bool:
        """Whether the partition may take in more commands; the rest waits in Kafka."""
        lane = self._lanes.get(partition)
        if lane is None or lane.survey is None:
            return True
        return sum(count for count, _ in lane.survey.unsent.values()) < self._max_waiting

    def rest(self, took_s: float) -> float:
        """For how long the intake lets the calls go first after a batch that took so long: a call that is late loses its place for good."""
        return min(INTAKE_RESTS * took_s, INTAKE_RESTS_AT_MOST_S) if self._desk.shares.calls else 0.0

    def backlog(self) -> dict[int, Note]:
        """What waits in each partition: for those who ask the router for more."""
        return {lane.partition: note for lane in self._lanes.values() if (note := lane.backlog()) is not None}

    async def _watch(self) -> None:
        while not self._desk.stopping:
            self._match_lanes()
            if monotonic() - self._gauged_s >= GAUGES_S:
                self._gauged_s = monotonic()
                self._gauge()
            await asyncio.sleep(LOOK_S)

    def _match_lanes(self) -> None:
        owned = self._desk.ownership.owned
        for partition, lane in list(self._lanes.items()):
            if owned.get(partition) != lane.epoch or lane.over:
                lane.end()
                del self._lanes[partition]
        for partition, epoch in list(owned.items()):
            if partition not in self._lanes:
                lane = self._lanes[partition] = Lane(partition, epoch, self._desk)
                self._desk.spawn(lane.run(), f"lane-{partition}")
            published = self._desk.ownership.published(partition)
            if self._seen.get(partition) != published:
                self._seen[partition] = published
                self._lanes[partition].wake.set()

    def _gauge(self) -> None:
        surveys = [lane.survey for lane in self._lanes.values() if lane.survey is not None]
        now_ms = self._desk.now_ms()
        for category in CATEGORIES:
            unsent = [survey.unsent[category] for survey in surveys]
            QUEUED.labels(category).set(sum(count for count, _ in unsent))
            oldest_ms = min((oldest for count, oldest in unsent if count), default=now_ms)
            OLDEST_UNSENT_SECONDS.labels(category).set(max(0.0, (now_ms - oldest_ms) / 1000))
