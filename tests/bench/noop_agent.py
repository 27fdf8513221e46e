"""The ceiling of the tallies: a Faust agent with the very same app that only acknowledges.

`python -m tests.bench.noop_agent` with the tallies' environment; another generation gives it a group of its own.
"""

import asyncio
import logging
from typing import cast

import faust
import uvloop

from services.billing.settings import TalliesSettings
from services.billing.tallies.changelog import create_changelog
from services.billing.tallies.faust_app import changelog_name, create_app
from shared import kafka
from shared.topics import BILLING_CHARGES


async def main() -> None:
    """Take and acknowledge entries until the process is stopped."""
    settings = TalliesSettings()
    source = kafka.name_of(BILLING_CHARGES, settings)
    partitions = await create_changelog(settings, source=source, changelog=changelog_name(settings))
    app, _ = create_app(settings, partitions)
    topic = app.topic(source, key_type=bytes, value_type=bytes, value_serializer="raw", internal=True)

    async def acknowledge(stream: faust.StreamT[bytes]) -> None:
        async for event in cast(faust.Stream[bytes], stream).noack().events():
            event.ack()

    app.agent(topic, name="noop", concurrency=1)(acknowledge)
    await app.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    uvloop.run(main())
