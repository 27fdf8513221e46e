"""Asks for one template message and tells what becomes of it.

    python send.py +4915112345678 4711-shipped order_update/de

Exit code 0: it goes out, or went out before. 1: it was refused, or failed; the last line says why. 2: not known yet. Then run it again
with the same request id: within 8 days the middleware sends it once and answers it again.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

BOOTSTRAP = os.environ.get("WA_KAFKA_BOOTSTRAP", "127.0.0.1:9092")
PREFIX = os.environ.get("WA_TOPIC_PREFIX", "wa.")
WAIT_S = float(os.environ.get("WAIT_S", "30"))


def main(to: str, request_id: str, template: str) -> int:
    """Publishes the request and follows it; the exit code."""
    name, language = template.split("/")
    request = {
        "request_id": request_id,
        # Any message object of Meta's Cloud API. Without `from` it leaves from the account's default number.
        "message": {
            "messaging_product": "whatsapp",
            "to": to,
            "type": "template",
            "template": {"name": name, "language": {"code": language}},
        },
    }
    reader = reader_at_the_end(PREFIX + "send.events.v1")  # before the request: no answer can be missed
    try:
        # Any key and partitioner will do; the recipient as key keeps the requests to one person in order.
        publish(PREFIX + "send.requests.v1", to, json.dumps(request))
        return follow(reader, request_id)
    except KafkaException as error:
        print(f"{request_id} not known yet, repeat it: {error}", file=sys.stderr)
        return 2
    finally:
        reader.close()


def reader_at_the_end(topic: str) -> Consumer:
    """Gives a reader of what comes from now on. It joins no group: every copy of this program reads all answers."""
    reader = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "send", "enable.auto.commit": False})
    numbers = reader.list_topics(topic, timeout=10).topics[topic].partitions
    places = [TopicPartition(topic, number) for number in numbers]
    ends = [reader.get_watermark_offsets(place, timeout=10)[1] for place in places]
    reader.assign([TopicPartition(p.topic, p.partition, end) for p, end in zip(places, ends, strict=True)])
    return reader


def publish(topic: str, key: str, value: str) -> None:
    """Returns when Kafka has the record for good. A real program keeps one producer for its whole life."""
    failures: list[KafkaError] = []

    def reported(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer({"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True})
    producer.produce(topic, key=key, value=value, on_delivery=reported)
    producer.flush()
    if failures:
        raise KafkaException(failures[0])


def follow(reader: Consumer, request_id: str) -> int:
    """Prints the events of the request until its outcome is known; the exit code."""
    known = 2
    for event in events_of(reader, request_id):
        decision, error = event["decision"] or {}, event["error"] or {}
        words = [
            request_id,
            event["event"],
            decision.get("outcome"),
            decision.get("reason") or error.get("reason"),
        ]
        words += [error.get("message"), error.get("fix"), event["wamid"]]
        print(*filter(None, words), flush=True)
        if event["event"] in ("failed", "cancelled") or decision.get("outcome") == "reject":
            return 1
        if event["event"] in ("accepted", "sent", "delivered", "read"):
            return 0
        if decision.get("outcome") == "allow":
            known = 0  # a request that is repeated is told its decision again, and nothing more
    return known


def events_of(reader: Consumer, request_id: str) -> Iterator[dict[str, Any]]:
    """The events of one request, as they come, for at most `WAIT_S` seconds."""
    until = time.monotonic() + WAIT_S
    while (left := until - time.monotonic()) > 0:
        record = reader.poll(left)
        if record is None:
            continue
        if record.error():
            raise KafkaException(record.error())
        event: dict[str, Any] = json.loads(record.value() or b"")
        if event["request_id"] == request_id:
            yield event


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
