"""How far router and sender have come, and how much waits at the sender for each number: noted by them, read by intake, which releases campaigns accordingly.

Notes live in Redis for some seconds: where there is none, nobody is at work. `{namespace:backlog}:{group}:{partition}`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.backlog import Note
from shared.lifecycle import Service

log = structlog.get_logger(__name__)

EVERY_S = 0.1
KEPT_MS = 10_000


class BacklogNotes:
    """A part of router and sender: writes the notes of the partitions they own."""

    def __init__(
        self,
        service: Service,
        redis: Redis,
        namespace: str,
        group: str,
        notes: Callable[[], Mapping[int, Note]],
    ) -> None:
        self._service, self._redis, self._namespace, self._group = service, redis, namespace, group
        self._notes = notes

    async def start(self) -> None:
        self._service.spawn(self._write(), f"{self._group}-backlog-notes")

    async def stop(self) -> None:
        """Nothing to stop."""

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            notes = self._notes()
            if not notes:
                continue
            pipeline = self._redis.pipeline(transaction=False)
            for partition, note in notes.items():
                key = _key(self._namespace, self._group, partition)
                pipeline.set(key, msgspec.msgpack.encode(note), px=KEPT_MS)
            try:
                await pipeline.execute()
            except RedisError as error:
                log.warning("backlog_not_noted", group=self._group, error=repr(error))


_decode = msgspec.msgpack.Decoder(Note).decode


async def backlogs(redis: Redis, namespace: str, group: str, partitions: int) -> dict[int, Note]:
    """The latest note of each partition that somebody works on.

    Raises:
        RedisError: Redis can't be asked.
    """
    keys = [_key(namespace, group, partition) for partition in range(partitions)]
    values: Sequence[Any] = await redis.mget(keys)
    return {partition: _decode(value) for partition, value in enumerate(values) if value is not None}


def _key(namespace: str, group: str, partition: int) -> str:
    return f"{{{namespace}:backlog}}:{group}:{partition}"
