"""Where router and sender are, and where their topics end: one look at Redis and Kafka in, a `Flow` that knows it out."""

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from services.ingress.intake.flow import Ends, Flow
from shared import kafka
from shared.backlog_notes import backlogs
from shared.settings import ServiceSettings
from shared.topics import CONVERSATION_EVENTS, SEND_COMMANDS


class Looks:
    """Looks with a consumer that somebody else starts and stops."""

    def __init__(self, settings: ServiceSettings, redis: Redis, reader: AIOKafkaConsumer) -> None:
        self._redis, self._reader = redis, reader
        self._namespace, self._partitions = settings.redis_namespace, settings.partitions
        self._events, self._commands = (
            [TopicPartition(kafka.name_of(topic, settings), one) for one in range(settings.partitions)]
            for topic in (CONVERSATION_EVENTS, SEND_COMMANDS)
        )

    async def look(self, flow: Flow, now_s: float) -> None:
        """Tell the flow of the latest notes. The ends are asked last: what a note has seen must lie before them.

        Raises:
            RedisError, KafkaError: one of the two can't be asked.
        """
        router = await backlogs(self._redis, self._namespace, "router", self._partitions)
        sender = await backlogs(self._redis, self._namespace, "sender", self._partitions)
        ends = await self._reader.end_offsets([*self._events, *self._commands])
        events = {place.partition: ends[place] for place in self._events}
        commands = {place.partition: ends[place] for place in self._commands}
        flow.looked(router, sender, Ends(events, commands), now_s)
