"""What was counted of an account's month, for whoever asks: account and month in, sums of the rows in Redis out."""

from collections.abc import Iterable, Mapping
from typing import cast

from redis.asyncio import Redis

from services.billing.tally_rows import (
    SEPARATOR,
    Counts,
    DayLine,
    Row,
    days_key,
    decode_row,
    known_key,
    month_key,
)
from services.billing.tally_sums import Spend, SpendLine, Tally, TallyRow, Totals, spend_of, summed, tally_of

__all__ = [
    "Spend",
    "SpendLine",
    "Tally",
    "TallyRow",
    "Totals",
    "month_tally",
    "months_known",
    "spend_of_month",
]


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
    return tally_of(waba_id, month, await _rows(redis, month_key(namespace, generation, waba_id, month)))


async def spend_of_month(
    redis: Redis, namespace: str, waba_id: str, month: str, *, generation: int = 1
) -> Spend:
    """The spend of an account's month by day and hour; arguments as `month_tally`."""
    return spend_of(waba_id, month, await _rows(redis, days_key(namespace, generation, waba_id, month)))


async def totals_of_day(
    redis: Redis,
    namespace: str,
    waba_id: str,
    day: str,
    *,
    categories: Iterable[str],
    partitions: int,
    generation: int = 1,
) -> dict[str, Totals]:
    """The totals of a day (`YYYY-MM-DD`) in some categories, without reading its month; `partitions`: how many the ledger has."""
    lines = [
        DayLine(n, waba_id, day[:7], day, category) for category in categories for n in range(partitions)
    ]
    if not lines:
        return {}
    found = await redis.hmget(lines[0].hash_key(namespace, generation), [line.field for line in lines])
    counts: dict[str, list[Counts]] = {}
    for line, value in zip(lines, found, strict=True):
        if value is not None:
            counts.setdefault(line.category, []).append(decode_row(value).counts)
    return {category: summed(parts) for category, parts in counts.items()}


async def months_known(redis: Redis, namespace: str, *, generation: int = 1) -> dict[str, list[str]]:
    """The months of which something was counted, by account, both in order."""
    found = cast(set[bytes], await redis.smembers(known_key(namespace, generation)))
    months: dict[str, list[str]] = {}
    for waba_id, month in sorted(tuple(member.decode().split(SEPARATOR)) for member in found):
        months.setdefault(waba_id, []).append(month)
    return months


async def _rows(redis: Redis, key: str) -> list[tuple[str, Row]]:
    found = cast(Mapping[bytes, bytes], await redis.hgetall(key))
    return [(field.decode(), decode_row(value)) for field, value in found.items()]
