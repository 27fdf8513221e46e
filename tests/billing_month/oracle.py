"""The oracle: the raw log as JSON lines in, what must stand in the books out, by plain SQL in DuckDB.

It knows nothing of the ledger's fold: of each message it takes the first prediction and, by (seq, at), Meta's latest word on a delivery, and prices that word.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import duckdb

from tests.billing_month.rules import Rules
from tests.billing_month.world import ACCOUNTS, COUNTRIES, MONTH, YEAR, digits_before

Row = tuple[object, ...]

_LOG = """
create table events as
select seq, epoch_ms("at"::timestamp) as at_ms, event, request_id, waba_id, phone_number_id, "user".user_id as user, wamid, charge, tags::varchar as tags,
       case when meta.status not in ('sent', 'failed', 'deleted', 'warning') then meta.pricing end as word, meta.conversation.id as meta_conversation
from read_json(?, format = 'newline_delimited', maximum_object_size = 1048576, columns = {
  seq: 'INTEGER', "at": 'VARCHAR', event: 'VARCHAR', request_id: 'VARCHAR', waba_id: 'VARCHAR', phone_number_id: 'VARCHAR', wamid: 'VARCHAR',
  "user": 'STRUCT(user_id VARCHAR)', tags: 'JSON',
  charge: 'STRUCT(counted BOOLEAN, unit VARCHAR, category VARCHAR, market VARCHAR, regime VARCHAR, rate_card VARCHAR, "month" VARCHAR, "day" VARCHAR, "type" VARCHAR,
                  amount_micros BIGINT, rate_category VARCHAR, opened BOOLEAN)',
  meta: 'STRUCT(status VARCHAR, pricing STRUCT(billable BOOLEAN, pricing_model VARCHAR, "type" VARCHAR, category VARCHAR), conversation STRUCT(id VARCHAR))'
})
where event in ('delivered', 'read', 'played', 'priced')
"""

_BOOKED = """
create table booked as
with told as (
  select *, case when request_id is null and word.pricing_model = 'CBP' then meta_conversation else wamid end as message from events
), first_seen as (
  select message, arg_min(struct_pack(at_ms, request_id, waba_id, phone_number_id, "user", wamid, tags), at_ms) as one
  from told where charge is not null or word is not null group by message
), predictions as (
  select message, any_value(charge) as charge from told where charge is not null group by message
), words as (
  select message, word from told where word is not null
  qualify row_number() over (partition by message order by seq desc, at_ms desc) = 1
), delivered as (
  select message, one.*, charge, word, lower(replace(word.category, '-', '_')) as said,
         case when word.billable is not null then not word.billable else word.type <> 'regular' end as said_free,
         strftime(timezone(zone, to_timestamp(one.at_ms / 1000.0)), '%Y-%m-%d') as local_day,
         pin, zone
  from first_seen left join predictions using (message) left join words using (message) join accounts on accounts.waba_id = one.waba_id
), ruled as (
  select delivered.*, coalesce(charge.day, local_day) as "day",
         coalesce(charge.regime, rules.regime) as regime, coalesce(charge.unit, rules.unit) as unit, coalesce(charge.rate_card, rules.card) as card,
         coalesce(columns_of.card_column, case when charge is not null then coalesce(charge.rate_category, charge.category) else delivered.said end) as card_column,
         countries.country, coalesce(charge.market, markets.market) as market
  from delivered
  join rules on rules.pin = delivered.pin and rules.day = delivered.local_day
  left join columns_of on columns_of.said = delivered.said
  join countries on starts_with("user", countries.digits)
  join markets on markets.country = countries.country and markets.card = rules.card
), priced as (
  select ruled.*,
         word is null or (charge is not null and not charge.counted and word.pricing_model = 'CBP')
           or (charge is not null and not said_free and charge.type = 'regular' and ruled.card_column = coalesce(charge.rate_category, charge.category)) as as_predicted,
         coalesce(tiers.micros, rates.micros) as rate
  from ruled
  left join rates on rates.card = ruled.card and rates.market = ruled.market and rates.card_column = ruled.card_column
  left join lateral (
    select tier from reached
    where reached.waba_id = ruled.waba_id and reached.market = ruled.market and reached.card_column = replace(ruled.card_column, '_international', '')
      and reached.month = left(ruled.day, 7) and reached.since_ms <= ruled.at_ms and ruled.card_column in (select tiered.card_column from tiered where tiered.regime = ruled.regime)
    order by since_ms desc limit 1
  ) in_force on true
  left join tiers on tiers.card = ruled.card and tiers.market = ruled.market and tiers.card_column = ruled.card_column and tiers.tier = in_force.tier
)
select message, wamid, request_id, waba_id, phone_number_id, at_ms, tags, unit, country, market, "day", left("day", 7) as month,
       case when as_predicted then coalesce(charge.rate_category, charge.category) else card_column end as category,
       case when as_predicted then charge.type when said_free then word.type when rate is null then 'rate_unknown' else 'regular' end as type,
       case when as_predicted then charge.counted::int else 1 end as units,
       case when charge is null then (unit = 'conversation')::int else charge.opened::int end as conversations,
       case when as_predicted then charge.amount_micros when said_free then 0 else coalesce(rate, 0) end as micros
from priced
"""

_COLUMNS_OF = {
    "marketing": "marketing",
    "marketing_lite": "marketing",
    "utility": "utility",
    "authentication": "authentication",
    "authentication_international": "authentication_international",
    "service": "service",
}

DIMENSIONS = {
    "account": ("waba_id", "month", "unit"),
    "line": ("waba_id", "month", "phone_number_id", "unit", "category", "market", "type"),
    "country": ("waba_id", "month", "country", "category"),
    "day": ("waba_id", "month", "day", "category"),
    "hour": ("waba_id", "month", "day", "hour", "category"),
    "tag": ("waba_id", "month", "tag"),
}
"""Each way of adding up; beside these columns stand units and conversations, free and paid, and millionths."""

SUMS = """
coalesce(sum(units) filter (free), 0)::bigint, coalesce(sum(units) filter (not free), 0)::bigint,
coalesce(sum(conversations) filter (free), 0)::bigint, coalesce(sum(conversations) filter (not free), 0)::bigint, coalesce(sum(micros), 0)::bigint
"""


class Oracle:
    """A DuckDB with the table `booked`: a row for each message (or conversation of others) and what it costs.

    Args:
        log: the raw log, a send event as JSON on each line, as often and in what order ever.
        rules: of the month.
        database: a file, for more than memory holds.
    """

    def __init__(self, log: Path, rules: Rules, database: Path | None = None) -> None:
        self.connection = duckdb.connect(str(database) if database else ":memory:")
        self.connection.execute("set timezone = 'UTC'")
        self._facts(rules)
        self.connection.execute(_LOG, [str(log)])
        self.connection.execute(_BOOKED)

    def totals(self, dimension: str) -> dict[Row, Row]:
        """Units free and paid, conversations free and paid, and millionths, by the columns of a dimension; rows of nothing are left out."""
        columns = ", ".join(f'"{column}"' for column in DIMENSIONS[dimension])
        width = len(DIMENSIONS[dimension])
        rows = self.connection.execute(
            f"""select {columns}, {SUMS} from (
                  select *, type not in ('regular', 'rate_unknown') as free, (at_ms // 3600000)::bigint as hour, tags as tag from booked
                ) group by {columns}"""
        ).fetchall()
        return {tuple(row[:width]): tuple(row[width:]) for row in rows if any(row[width:])}

    def free_tier(self) -> dict[Row, Row]:
        """Free service units used and left, by account, month and owner, where the month's first regime has a free tier."""
        rows = self.connection.execute(
            """select waba_id, month, case scope when 'waba' then waba_id else phone_number_id end as owner, sum(units)::bigint as used, any_value(size) as size
               from booked join accounts using (waba_id) join free_tiers using (pin, month)
               where category = 'service' and type not in ('regular', 'rate_unknown', 'free_entry_point')
               group by all having used > 0"""
        ).fetchall()
        return {tuple(row[:3]): (row[3], max(0, row[4] - row[3])) for row in rows}

    def messages(self) -> dict[str, Row]:
        """Units, conversations and millionths of each message (by the wamid that names it) of which something is booked."""
        rows = self.connection.execute(
            "select wamid, units, conversations, micros from booked where units <> 0 or conversations <> 0 or micros <> 0"
        ).fetchall()
        return {row[0]: tuple(row[1:]) for row in rows}

    def _facts(self, rules: Rules) -> None:
        days = [f"{YEAR}-{MONTH - 1:02}-{day}" for day in (30, 31)]
        days += [f"{YEAR}-{MONTH:02}-{day:02}" for day in range(1, 31)]
        days += [f"{YEAR}-{MONTH + 1:02}-{day:02}" for day in (1, 2)]
        in_force = [
            (pin, day, *rules.in_force(pin, date.fromisoformat(day)))
            for pin in sorted({account.pin for account in ACCOUNTS})
            for day in days
        ]
        self._table(
            "accounts(waba_id varchar, zone varchar, pin varchar)",
            [(a.waba_id, a.zone, a.pin) for a in ACCOUNTS],
        )
        self._table("columns_of(said varchar, card_column varchar)", list(_COLUMNS_OF.items()))
        self._table(
            "rules(pin varchar, day varchar, regime varchar, unit varchar, card varchar)",
            [(pin, day, regime.name, regime.unit, card.id) for pin, day, regime, card in in_force],
        )
        self._table(
            "tiered(regime varchar, card_column varchar)",
            sorted({(regime.name, column) for _, _, regime, _ in in_force for column in regime.tiered}),
        )
        self._table(
            "free_tiers(pin varchar, month varchar, scope varchar, size bigint)",
            [
                (pin, month, regime.free_scope, regime.free_units)
                for pin in sorted({account.pin for account in ACCOUNTS})
                for month in sorted({day[:7] for day in days})
                for regime, _ in (rules.in_force(pin, date.fromisoformat(f"{month}-01")),)
                if regime.free_scope is not None
            ],
        )
        self._table(
            "rates(card varchar, market varchar, card_column varchar, micros bigint)",
            [
                (card.id, *place, micros)
                for card in rules.cards.values()
                for place, micros in card.micros.items()
            ],
        )
        self._table(
            "tiers(card varchar, market varchar, card_column varchar, tier varchar, micros bigint)",
            [
                (card.id, *place, micros)
                for card in rules.cards.values()
                for place, (micros, _) in card.tiers.items()
            ],
        )
        self._table(
            "reached(waba_id varchar, card_column varchar, market varchar, month varchar, tier varchar, since_ms bigint)",
            [
                (account.waba_id, column, market, f"{YEAR}-{MONTH:02}", tier, since)
                for account in ACCOUNTS
                for column, market, tiers in account.tiers
                for tier, since in tiers
            ],
        )
        self._table("countries(country varchar, digits varchar)", [(c, digits_before(c)) for c in COUNTRIES])
        self._table(
            "markets(country varchar, card varchar, market varchar)",
            [(c, card, rules.market(digits_before(c), card)) for c in COUNTRIES for card in rules.cards],
        )

    def _table(self, shape: str, rows: Sequence[Iterable[object]]) -> None:
        name, columns = shape.split("(")[0], shape.count(",") + 1
        self.connection.execute(f"create table {shape}")
        marks = ", ".join("?" * columns)
        self.connection.executemany(f"insert into {name} values ({marks})", [list(row) for row in rows])
