"""The month tally of an account: rows in Redis in, counts and money by number, category, market and type out.

One hash per account and month; each field is a row of one partition of the ledger, written whole, so a query sums over partitions.
"""

from collections.abc import Iterable
from typing import NamedTuple, cast

import msgspec
from redis.asyncio import Redis

from shared.stream.source import Source

SEPARATOR = "|"


class Line(NamedTuple):
    """What one row of the tallies counts, within one partition of the ledger."""

    partition: int
    waba_id: str
    month: str
    phone_number_id: str
    category: str
    market: str
    type: str

    @property
    def field(self) -> str:
        """The row's field in its account's and month's hash."""
        return SEPARATOR.join(
            (str(self.partition), self.phone_number_id, self.category, self.market, self.type)
        )


class Row(msgspec.Struct, frozen=True):
    """One row: `source` is that of the last ledger entry in it; money is in millionths by currency."""

    source: Source
    free: int = 0
    paid: int = 0
    micros: dict[str, int] = {}


class TallyRow(msgspec.Struct, frozen=True):
    """Counts and money of one number, category, market and type in a month."""

    phone_number_id: str
    category: str
    market: str
    type: str
    free: int
    paid: int
    micros: dict[str, int]


class Totals(msgspec.Struct, frozen=True):
    """Counts and money of one category in a month."""

    free: int
    paid: int
    micros: dict[str, int]


class Tally(msgspec.Struct, frozen=True):
    """An account's month."""

    waba_id: str
    month: str
    rows: list[TallyRow]
    totals: dict[str, Totals]


encode_row = msgspec.json.Encoder().encode
decode_row = msgspec.json.Decoder(Row).decode


def hash_key(namespace: str, generation: int, waba_id: str, month: str) -> str:
    """`{namespace}:tallies:{generation}:{waba_id}:{month}`."""
    return f"{namespace}:tallies:{generation}:{waba_id}:{month}"


async def month_tally(
    redis: Redis, namespace: str, waba_id: str, month: str, *, generation: int = 1
) -> Tally:
    """The tally of an account in a month (`YYYY-MM`, in the account's time zone); empty where nothing was charged.

    Args:
        redis: of this deployment, without decoding of answers.
        namespace: `WA_REDIS_NAMESPACE`.
        waba_id: the account.
        month: as the ledger's entries name it.
        generation: `WA_TALLIES_GENERATION`.
    """
    found = cast(dict[bytes, bytes], await redis.hgetall(hash_key(namespace, generation, waba_id, month)))
    return summed(waba_id, month, ((field.decode(), decode_row(value)) for field, value in found.items()))


def summed(waba_id: str, month: str, fields: Iterable[tuple[str, Row]]) -> Tally:
    """Sum rows (field, row) over partitions; rows whose corrections left nothing are dropped. Pure."""
    rows: dict[tuple[str, ...], list[Row]] = {}
    for field, row in fields:
        _, *line = field.split(SEPARATOR)
        rows.setdefault(tuple(line), []).append(row)
    tallied = []
    for (number, category, market, type_), parts in sorted(rows.items()):
        free, paid, micros = _sum(parts)
        if free or paid or micros:
            tallied.append(TallyRow(number, category, market, type_, free, paid, micros))
    totals = {
        category: Totals(*_sum(row for row in tallied if row.category == category))
        for category in sorted({row.category for row in tallied})
    }
    return Tally(waba_id, month, tallied, totals)


def _sum(rows: Iterable[Row | TallyRow]) -> tuple[int, int, dict[str, int]]:
    free = paid = 0
    micros: dict[str, int] = {}
    for row in rows:
        free += row.free
        paid += row.paid
        for currency, amount in row.micros.items():
            micros[currency] = micros.get(currency, 0) + amount
    return free, paid, {currency: amount for currency, amount in sorted(micros.items()) if amount}
