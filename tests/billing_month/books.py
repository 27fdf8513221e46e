"""What stands in the books after a run: the ledger topic and the tallies in, the same sums as the oracle's out, and one digest of everything."""

from collections.abc import AsyncIterator, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import duckdb
import msgspec
from aiokafka import TopicPartition
from redis.asyncio import Redis

from services.billing.free_tier import FreeTierOfMonth
from services.billing.tallies.answers import DaysAnswer, HoursAnswer, MonthAnswer
from services.billing.tally import Spend, Tally, Totals, month_tally, months_known, spend_of_month
from shared import kafka
from shared.settings import ServiceSettings
from shared.times import HOUR_MS, parse_rfc3339
from shared.topics import BILLING_CHARGES, Topic
from tests.billing_month.oracle import DIMENSIONS, SUMS, Row

Sums = dict[Row, Row]
Answer = TypeVar("Answer", MonthAnswer, DaysAnswer, HoursAnswer)

_ENTRIES = """
create table published as select * from read_json(?, format = 'newline_delimited', columns = {
  sha: 'VARCHAR', event_id: 'VARCHAR', waba_id: 'VARCHAR', "month": 'VARCHAR', phone_number_id: 'VARCHAR', unit: 'VARCHAR', category: 'VARCHAR', market: 'VARCHAR',
  type: 'VARCHAR', free: 'BOOLEAN', counts: 'INTEGER', conversations: 'INTEGER', amount_micros: 'BIGINT', country: 'VARCHAR', "day": 'VARCHAR', delivered_at: 'VARCHAR',
  tags: 'JSON', wamid: 'VARCHAR'})
"""
_BOOKED = """
create table booked as
select event_id, any_value(sha) as sha, any_value(struct_pack(waba_id, "month", phone_number_id, unit, category, market, type, free, counts, conversations, amount_micros,
  country, "day", delivered_at, tags := tags::varchar, wamid)) as entry
from published group by event_id
"""


class Ledger:
    """The entries of the ledger topic, each event id once, in a DuckDB.

    Attributes:
        published: records on the topic.
        entries: different event ids.
        contradicting: event ids of which records differ.
    """

    def __init__(self, lines: Path, database: Path | None = None) -> None:
        self._connection = duckdb.connect(str(database) if database else ":memory:")
        self._connection.execute(_ENTRIES, [str(lines)])
        self.published = self._number("select count(*) from published")
        self.contradicting = [
            row[0]
            for row in self._connection.execute(
                "select event_id from published group by event_id having count(distinct sha) > 1 order by 1"
            ).fetchall()
        ]
        self._connection.execute(_BOOKED)
        self.entries = self._number("select count(*) from booked")

    def totals(self, dimension: str) -> Sums:
        """As `Oracle.totals`."""
        columns = ", ".join(f'"{column}"' for column in DIMENSIONS[dimension])
        width = len(DIMENSIONS[dimension])
        rows = self._connection.execute(
            f"""select {columns}, {SUMS} from (
                  select entry.*, entry.counts as units, entry.amount_micros as micros, entry.tags as tag,
                         (epoch_ms(entry.delivered_at::timestamp) // 3600000)::bigint as hour
                  from booked
                ) group by {columns}"""
        ).fetchall()
        return {tuple(row[:width]): tuple(row[width:]) for row in rows if any(row[width:])}

    def messages(self) -> dict[str, Row]:
        """As `Oracle.messages`: the sums of the entries of each."""
        rows = self._connection.execute(
            """select entry.wamid, sum(entry.counts)::bigint as a, sum(entry.conversations)::bigint as b, sum(entry.amount_micros)::bigint as c
               from booked group by 1 having a <> 0 or b <> 0 or c <> 0"""
        ).fetchall()
        return {row[0]: tuple(row[1:]) for row in rows}

    def digest(self) -> str:
        """Of every entry, byte for byte, by event id."""
        total = sha256()
        found = self._connection.execute("select event_id, sha from booked order by event_id")
        while rows := found.fetchmany(50_000):
            for id, sha in rows:
                total.update(f"{id} {sha}\n".encode())
        return total.hexdigest()

    def _number(self, query: str) -> int:
        found = self._connection.execute(query).fetchone()
        return int(found[0]) if found else 0


async def save_ledger(settings: ServiceSettings, path: Path) -> Path:
    """Write the ledger topic, as it is now, as JSON lines with a hash of each record's bytes; the path."""
    with path.open("wb") as file:
        async for value in values(settings, BILLING_CHARGES):
            file.write(b'{"sha":"%s",%s\n' % (sha256(value).hexdigest().encode(), value[1:]))
    return path


async def values(settings: ServiceSettings, topic: Topic) -> AsyncIterator[bytes]:
    """The records of a topic up to its end as of now."""
    consumer = kafka.reader(settings)
    await consumer.start()
    try:
        places = [TopicPartition(kafka.name_of(topic, settings), n) for n in range(settings.partitions)]
        ends = await consumer.end_offsets(places)
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        left = {place for place in places if ends[place]}
        while left:
            for place, records in (await consumer.getmany(timeout_ms=500, max_records=10_000)).items():
                for record in records:
                    if record.offset < ends[place]:
                        yield record.value
                if records[-1].offset >= ends[place] - 1:
                    left.discard(place)
    finally:
        await consumer.stop()


async def tallies_in_redis(redis: Redis, settings: ServiceSettings) -> dict[str, Sums]:
    """The tallies by dimension, as `services.billing.tally` reads them."""
    sums: dict[str, Sums] = {"line": {}, "day": {}, "hour": {}}
    namespace = settings.redis_namespace
    for waba_id, months in (await months_known(redis, namespace)).items():
        for month in months:
            sums["line"] |= _lines(await month_tally(redis, namespace, waba_id, month))
            spend = await spend_of_month(redis, namespace, waba_id, month)
            sums["day"] |= _days(spend)
            sums["hour"] |= _hours(spend)
    return sums


async def tallies_over_http(url: str, months: Iterable[tuple[str, str]]) -> dict[str, Sums]:
    """The tallies of accounts and months by dimension, as the tallies' HTTP answers have them; `waiting` by account, month and query."""
    found: dict[str, Sums] = {"line": {}, "day": {}, "hour": {}, "free tier": {}, "waiting": {}}
    async with aiohttp.ClientSession() as http:

        async def asked(path: str, kind: type[Answer]) -> Answer:
            async with http.get(f"{url}/v1/tallies/{path}") as answer:
                answer.raise_for_status()
                told = msgspec.json.decode(await answer.read(), type=kind)
            found["waiting"][(path,)] = (told.as_of.waiting,)
            return told

        for waba_id, month in months:
            path = f"{waba_id}/{month}"
            of_month = await asked(path, MonthAnswer)
            found["line"] |= _lines(Tally(waba_id, month, of_month.rows, of_month.totals))
            found["free tier"] |= _free_tier(waba_id, month, of_month.free_tier)
            days = (await asked(f"{path}/days", DaysAnswer)).days
            hours = []
            for day in sorted({line.day for line in days}):
                hours += (await asked(f"{path}/hours?day={day}", HoursAnswer)).hours
            spend = Spend(waba_id, month, days, hours, [])
            found["day"] |= _days(spend)
            found["hour"] |= _hours(spend)
    return found


def digest_of(*parts: Any) -> str:
    """One hash of sums, lists and texts, whatever the order of their rows."""
    total = sha256()
    for part in parts:
        rows = sorted(map(repr, part.items())) if isinstance(part, dict) else [repr(part)]
        for row in rows:
            total.update(f"{row}\n".encode())
    return total.hexdigest()


def _free_tier(waba_id: str, month: str, told: FreeTierOfMonth | None) -> Sums:
    return {
        (waba_id, month, one.owner): (one.used, one.left) for one in (told.use if told else ()) if one.used
    }


def _lines(tally: Tally) -> Sums:
    return {
        (
            tally.waba_id,
            tally.month,
            row.phone_number_id,
            row.unit,
            row.category,
            row.market,
            row.type,
        ): _sums(row)
        for row in tally.rows
    }


def _days(spend: Spend) -> Sums:
    return {(spend.waba_id, spend.month, line.day, line.category): _sums(line) for line in spend.days}


def _hours(spend: Spend) -> Sums:
    found: Sums = {}
    for line in spend.hours:
        hour = parse_rfc3339(line.hour or "") // HOUR_MS
        found[spend.waba_id, spend.month, line.day, hour, line.category] = _sums(line)
    return found


def _sums(totals: Totals) -> Row:
    return (
        totals.free,
        totals.paid,
        totals.conversations_free,
        totals.conversations_paid,
        totals.micros.get("USD", 0),
    )
