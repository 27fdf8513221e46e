"""Adapter to the books: the ledger's entries of some months, archive first, and the send events that Kafka still has."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec

from services.billing.books.archive import Archive
from services.billing.books.reading import Ledger
from services.billing.books.refusal import Refusal
from services.billing.books.topic import TopicReader
from shared.events import LedgerEntry, SendEvent, decode_send_event
from shared.settings import ServiceSettings
from shared.topics import SEND_EVENTS


class Entries(Protocol):
    """Whoever has the ledger."""

    def entries(self) -> AsyncIterator[LedgerEntry]:
        """Every entry once, those of a message in order."""
        ...


class NotWhole(Refusal):
    """The ledger is not whole, or a record of it or of the send events can't be read; the text says where."""


class LedgerMonths:
    """The ledger of some months and accounts.

    Args:
        archive: the folder of archived months; None where nothing is archived.
        months: `YYYY-MM`.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        archive: Path | None,
        months: frozenset[str],
        accounts: frozenset[str],
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._months = months
        self._accounts = accounts

    async def entries(self) -> AsyncIterator[LedgerEntry]:
        """Every entry once, to the ledger's end as of the start. Raises NotWhole, KafkaError."""
        archive = None if self._archive is None else Archive(self._archive)
        async with Ledger(self._settings, archive) as ledger:
            for partition in ledger.partitions:
                async for batch in ledger.records(partition):
                    for record, standing in batch:
                        if standing == "repetition":
                            continue
                        if standing != "entry" or record.entry is None:
                            raise NotWhole(
                                f"the ledger at {record.place}: {standing}; see `wam ledger verify`"
                            )
                        entry = record.entry
                        if entry.month in self._months and entry.waba_id in self._accounts:
                            yield entry
            for gap in ledger.gaps:
                raise NotWhole(
                    f"the ledger lacks {gap.partition}:{gap.first} to {gap.end - 1}: "
                    "is WA_LEDGER_ARCHIVE_DIR the folder of its archive?"
                )


async def send_events(settings: ServiceSettings) -> AsyncIterator[SendEvent]:
    """Every send event that Kafka still has (35 days), to the end as of the start; one published twice comes twice. Raises NotWhole, KafkaError."""
    async with TopicReader(settings, SEND_EVENTS) as topic:
        begins, ends = await topic.begins(), await topic.ends()
        for partition in topic.partitions:
            async for batch in topic.records(partition, begins[partition], ends[partition]):
                for record in batch:
                    try:
                        yield decode_send_event(record.value)
                    except msgspec.MsgspecError as error:
                        where = f"{record.topic}:{record.partition}:{record.offset}"
                        raise NotWhole(f"{where} is no send event: {error}") from error
