"""Who owns the senders' partitions, as the journal knows it: every takeover begins a new epoch."""

from typing import cast

from redis.asyncio import Redis

from services.sender.app import GROUP
from shared.settings import ServiceSettings
from shared.stream.store import Keys


class Owners:
    """The epochs of all partitions of the senders' group."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._redis = Redis.from_url(settings.redis_url)
        self._metas = [
            Keys(settings.redis_namespace, GROUP, partition).meta for partition in range(settings.partitions)
        ]

    async def stop(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def epochs(self) -> list[int]:
        """The epoch of each partition; 0 of one that nobody ever held."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for meta in self._metas:
                pipe.hget(meta, "epoch")
            return [int(epoch or 0) for epoch in cast(list[bytes | None], await pipe.execute())]

    async def all_new_since(self, epochs: list[int]) -> bool:
        """Whether every partition has been taken since."""
        return all(now > before for now, before in zip(await self.epochs(), epochs, strict=True))
