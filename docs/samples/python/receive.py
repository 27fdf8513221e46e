"""Prints what customers write and what becomes of requests, each event once, until it is stopped.

Events come at least once. Each names its origin in the header `wa-source`, `partition:offset:index`, and those of one origin come in order:
the greatest pair (offset, index) that was handled tells a repetition. It is kept in one transaction with the work itself, so that
neither a crash nor a rebalance loses or doubles anything.
"""

import json
import os
import signal
import sqlite3
import sys
from typing import Any, cast

from confluent_kafka import Consumer, KafkaException, Message

BOOTSTRAP = os.environ.get("WA_KAFKA_BOOTSTRAP", "127.0.0.1:9092")
PREFIX = os.environ.get("WA_TOPIC_PREFIX", "wa.")
GROUP = os.environ.get("GROUP", "sample-python")
DATABASE = os.environ.get("DATABASE", "receive.db")

TABLE = """
CREATE TABLE IF NOT EXISTS progress (
  topic TEXT, partition INTEGER, source INTEGER, at INTEGER, nth INTEGER, PRIMARY KEY (topic, partition, source))"""
ADVANCE = """
INSERT INTO progress VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET at = excluded.at, nth = excluded.nth WHERE (excluded.at, excluded.nth) > (at, nth)"""


def handle(topic: str, event: dict[str, Any], database: sqlite3.Connection) -> str:
    """Here goes your work: what it writes to the database is kept or lost together with the progress."""
    if topic.endswith("messages.received.v1"):
        message = event["message"]  # Meta's own object, as it came
        words = [event["event_id"], message["type"], message.get("text", {}).get("body", "")]
    else:
        decision, error = event["decision"] or {}, event["error"] or {}
        words = [event["request_id"], event["event"], decision.get("reason"), error.get("fix")]
    return " ".join(str(word) for word in words if word)


def is_new(record: Message, database: sqlite3.Connection) -> bool:
    """Notes the progress; False for what was handled before."""
    source = cast(bytes, dict(record.headers() or [])["wa-source"])
    place = (record.topic(), record.partition(), *map(int, source.split(b":")))
    return database.execute(ADVANCE, place).rowcount == 1


def main() -> None:
    """Reads in batches: work and progress in one transaction, then the commit to Kafka."""
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stopping.append(number))
    database = sqlite3.connect(DATABASE)
    database.execute(TABLE)
    consumer = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": GROUP,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([PREFIX + "messages.received.v1", PREFIX + "send.events.v1"])
    try:
        while not stopping:
            records = consumer.consume(500, timeout=0.5)
            lines = []
            with database:
                for record in records:
                    if record.error():
                        raise KafkaException(record.error())
                    if is_new(record, database):
                        event = json.loads(record.value() or b"")
                        lines.append(handle(str(record.topic()), event, database))
            for line in lines:
                print(line, flush=True)
            if records:
                consumer.commit(asynchronous=False)
    except KafkaException as error:
        sys.exit(f"{error}; start me again, I go on where I was")
    finally:
        consumer.close()  # leaves the group at once, so that another may take over


if __name__ == "__main__":
    main()
