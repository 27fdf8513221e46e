"""The Faust app of the tallies, set up by the rules that its failures taught (docs/decisions): an app and its table out.

At least once, never exactly once: under kill -9 that lost entries without a word. No topic is declared by Faust, no web server is
started, the producer is idempotent, the table lives in memory and is read back from its changelog.
"""

from collections.abc import Mapping
from typing import Any, cast

import faust
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from yarl import URL

from services.billing.settings import TalliesSettings
from services.billing.tally_rows import name
from shared import kafka
from shared.topics import MAX_RECORD_BYTES

TABLE = "rows"
COMMIT_S = 1.0


class _Producer(driver.Producer):
    """Faust sets these two only for transactions."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's own goes on from wherever it stands when a partition has no commit yet, past events it has just thrown away."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Stand at what the group committed; at the beginning where that is nothing. What is committed, by partition."""
        found: Mapping[TP, int] = await self.call_thread(self._seek_source)
        return found

    async def _seek_source(self) -> Mapping[TP, int | None]:
        consumer = self._ensure_consumer()
        committed = {place: await consumer.committed(place) for place in consumer.assignment()}
        changelogs = self.app.tables.changelog_topics
        for place, offset in committed.items():
            if place.topic not in changelogs:
                consumer.seek(place, offset or 0)
        return committed


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Never commit what did not come: the ledger has no gaps, and Faust sees some where it has thrown events away."""


class _Transport(driver.Transport):
    Consumer = _Consumer
    Producer = _Producer


class Table(faust.Table[bytes, bytes]):
    """The table; Faust reads of its changelog only what comes after `read_to` (partition → offset), all of partitions that are not named."""

    read_to: Mapping[int, int] = {}

    def persisted_offset(self, tp: TP) -> int | None:
        """Asked by the recovery when a partition is assigned."""
        return self.read_to.get(tp.partition)


def app_id(settings: TalliesSettings) -> str:
    """The app's name: its consumer group, and the first part of its changelog's name."""
    return f"{settings.topic_prefix}billing.tallies.{name(settings.tallies_generation)}"


def changelog_name(settings: TalliesSettings) -> str:
    """What Faust calls the changelog of the table (faust 0.15.3, `Collection._changelog_topic_name`)."""
    return f"{app_id(settings)}-{TABLE}-changelog"


def create_app(settings: TalliesSettings, partitions: int) -> tuple[faust.App, Table]:
    """The app and its table; call it inside the running loop."""
    brokers = [URL(f"kafka://{server}") for server in settings.kafka_bootstrap.split(",")]
    group = app_id(settings)
    app = faust.App(
        group,
        broker=brokers,
        broker_credentials=_credentials(settings),
        processing_guarantee="at_least_once",
        store="memory://",
        Table=Table,
        autodiscover=False,
        web_enabled=False,
        web_host="127.0.0.1",
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=partitions,
        topic_replication_factor=settings.replication,
        table_standby_replicas=0,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 5,
        broker_commit_interval=COMMIT_S,
        consumer_auto_offset_reset="earliest",  # the ledger is kept for ever, and a row skips what it has taken
        consumer_group_instance_id=f"{group}-{settings.instance}",
        consumer_max_fetch_size=MAX_RECORD_BYTES + 1024,
        stream_wait_empty=False,  # what a revoked partition leaves undone is redone by its next owner
        producer_max_request_size=MAX_RECORD_BYTES,
        worker_redirect_stdouts=False,
    )
    for transport in ("transport", "producer_transport"):
        setattr(app, transport, _Transport(brokers, app))
    table = app.Table(TABLE, key_type=bytes, value_type=bytes, partitions=partitions)
    return app, cast(Table, table)


def _credentials(settings: TalliesSettings) -> SASLCredentials | SSLCredentials | None:
    context = kafka.connection(settings)["ssl_context"]
    if settings.kafka_security.startswith("SASL"):
        password = settings.kafka_password
        return SASLCredentials(
            username=settings.kafka_username,
            password=password.get_secret_value() if password else None,
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return SSLCredentials(context) if context is not None else None
