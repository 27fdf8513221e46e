"""Measures the ledger's books on entries made straight into the topics: `python -m tests.bench.books --entries 1000000`.

Prints the seconds of each command of `wam`, its start included, and the greatest memory of its process.
"""

import argparse
import asyncio
import logging
import os
import shutil
import sys
import time

from deploy.local.paths import REPOSITORY
from deploy.local.stack import LocalStack
from services.billing.books.topic import TopicReader, delete_before
from services.billing.settings import TalliesSettings
from shared import kafka
from shared.stream.publisher import KafkaPublisher, Record
from shared.topics import BILLING_CHARGES, SEND_EVENTS
from tests.made_ledger import MadeLedger

PARTITIONS = 8
ENTRIES_PER_MESSAGE = 1.5
AT_ONCE = 5000
NAMES = "bench."
ARCHIVE = REPOSITORY / ".local" / "bench-books"

_MEASURED = (
    "import resource, sys\n"
    "from services.console.cli import main\n"
    "try:\n    main()\n"
    "finally:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"
)


async def main(entries: int) -> None:
    """Make a ledger, then run each command on it."""
    shutil.rmtree(ARCHIVE, ignore_errors=True)
    async with LocalStack(name="bench-books") as stack:
        settings = TalliesSettings(
            kafka_bootstrap=stack.endpoints.kafka_bootstrap,
            redis_url=stack.endpoints.redis_url,
            topic_prefix=NAMES,
            redis_namespace="bench",
            partitions=PARTITIONS,
            replication=1,
        )
        await kafka.create_topics(settings)
        began = time.monotonic()
        made = await make(settings, round(entries / ENTRIES_PER_MESSAGE))
        print(f"{made} entries made in {time.monotonic() - began:.0f} s", flush=True)
        await run(settings, "ledger", "verify")
        await run(settings, "ledger", "archive", "--before", "2026-11")
        await run(settings, "rebuild", "billing", "--write", "--generation", "1")
        async with TopicReader(settings, SEND_EVENTS) as events:
            await delete_before(settings, events.name, await events.ends())
        await run(settings, "ledger", "archive", "--before", "2026-11", "--truncate")
        await run(settings, "rebuild", "billing", "--check")
    size = sum(path.stat().st_size for path in ARCHIVE.rglob("*") if path.is_file())
    print(f"archive: {size // 1024} KiB")


async def make(settings: TalliesSettings, messages: int) -> int:
    """Publish the events and entries of so many messages; the count of entries."""
    publisher = KafkaPublisher(settings)
    await publisher.start()
    ledger, entries = MadeLedger(PARTITIONS, messages), 0
    waiting: list[Record] = []
    for records in ledger.records(range(messages), keep=False):
        waiting += records
        entries += sum(record.topic == BILLING_CHARGES.name for record in records)
        if len(waiting) >= AT_ONCE:
            await publisher.publish(waiting)
            waiting = []
    await publisher.publish(waiting)
    await publisher.stop()
    return entries


async def run(settings: TalliesSettings, *command: str) -> None:
    """One command of `wam` as a process of its own."""
    environment = os.environ | {
        "WA_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "WA_REDIS_URL": settings.redis_url,
        "WA_TOPIC_PREFIX": settings.topic_prefix,
        "WA_REDIS_NAMESPACE": settings.redis_namespace,
        "WA_LEDGER_ARCHIVE_DIR": str(ARCHIVE),
    }
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _MEASURED, *command),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    seconds = time.monotonic() - began
    memory = errors.decode().strip().rpartition("\n")[2]
    print(f"{seconds:7.1f} s  {memory:>5} MB  exit {process.returncode}  wam {' '.join(command)}", flush=True)
    for line in output.decode().splitlines()[-6:]:
        print(f"          {line}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells each retry on topics that are new
    asyncio.run(main(parser.parse_args().entries))
