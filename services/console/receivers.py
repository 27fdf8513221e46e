"""Adapter for `wam receivers verify`: tells that a receiver proved the number theirs by a one-time password."""

from shared import kafka
from shared.events import ReceiverVerified, encode
from shared.ids import conversation_key
from shared.settings import ServiceSettings
from shared.topics import CONVERSATION_EVENTS


async def publish_verified(settings: ServiceSettings, phone_number_id: str, user: str, at_ms: int) -> None:
    """Publish it; telling it twice changes nothing.

    Args:
        settings: of this deployment.
        phone_number_id: the business's number that may write to the receiver in the free tier.
        user: canonical, as `shared.phone.canonical_user` gives it.
        at_ms: when, epoch milliseconds.

    Raises:
        KafkaError: it is not acknowledged.
    """
    key = conversation_key(phone_number_id, user)
    event = ReceiverVerified(
        event_id=f"{key}:verified", at_ms=at_ms, phone_number_id=phone_number_id, user=user
    )
    producer = kafka.producer(settings)
    try:
        await producer.start()
        topic = kafka.name_of(CONVERSATION_EVENTS, settings)
        await producer.send_and_wait(topic, encode(event), key.encode())
    finally:
        await producer.stop()
