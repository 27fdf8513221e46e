"""The ceiling of the router: aiokafka alone. Poll, produce one record for each record, commit; nothing else.

`python -m tests.bench.raw_loop IN OUT GROUP` with `WA_KAFKA_BOOTSTRAP`; runs until it is stopped.
"""

import asyncio
import os
import sys

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from shared.kafka import BATCH_BYTES


async def main(source: str, target: str, group: str) -> None:
    """Copy records."""
    servers = os.environ["WA_KAFKA_BOOTSTRAP"]
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
    )
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await producer.start()
    await consumer.start()
    while True:
        polled = await consumer.getmany(timeout_ms=200, max_records=1000)
        sent = [
            await producer.send(target, record.value, key=record.key)
            for records in polled.values()
            for record in records
        ]
        await asyncio.gather(*sent)
        if polled:
            await consumer.commit()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3]))
