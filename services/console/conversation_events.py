"""Adapter to `conversation.events`: tells what an operator knows of users, preferences, verified receivers and messages of unknown outcome."""

import asyncio
from collections.abc import Iterable
from itertools import islice

from shared import kafka
from shared.events import PreferenceChanged, ReceiverVerified, UncertainSettled, encode
from shared.ids import conversation_key
from shared.settings import ServiceSettings
from shared.topics import CONVERSATION_EVENTS

WINDOW = 2000
"""Events sent before their acks are waited for: bounds the memory that a long list takes."""


async def publish(
    settings: ServiceSettings, events: Iterable[PreferenceChanged | ReceiverVerified | UncertainSettled]
) -> int:
    """Append the events to their conversations' log and return how many; telling one twice changes nothing.

    Raises:
        KafkaError: some event is not acknowledged; telling all again tells what is missing.
    """
    topic, count, left = kafka.name_of(CONVERSATION_EVENTS, settings), 0, iter(events)
    producer = kafka.producer(settings, linger_ms=5)
    try:
        await producer.start()
        while window := list(islice(left, WINDOW)):
            sent = [
                await producer.send(
                    topic, encode(event), conversation_key(event.phone_number_id, event.user).encode()
                )
                for event in window
            ]
            await asyncio.gather(*sent)
            count += len(window)
    finally:
        await producer.stop()
    return count
