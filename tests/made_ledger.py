"""A ledger of any size made without the processes: send events, and the entries that the ledger's own fold makes of them, as records to publish."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec.structs import replace

from deploy.local.paths import REPOSITORY
from services.billing.ledger import LedgerFold, Remembered
from shared.accounts import AccountFacts
from shared.events import LedgerEntry, SendEvent, decode_ledger_entry, encode
from shared.ids import conversation_key
from shared.logs import hasher
from shared.pricing import PriceBook
from shared.stream.fold import Grants
from shared.stream.publisher import Record, partition_of
from shared.stream.source import SOURCE_HEADER, source_header
from shared.times import DAY_MS, parse_rfc3339
from shared.topics import BILLING_CHARGES, SEND_EVENTS
from tests.unit.billing.events import NOON, charge, event, pmp

LOG_KEY = "change-me"
ACCOUNTS = 3
DAYS_BACK = 40
"""Messages are spread evenly over so many days up to 2026-11-20, in order: those of October come first."""

_NO_GRANTS = Grants()
_NOON_MS = parse_rfc3339(NOON)


class MadeLedger:
    """Makes messages by number; every third is corrected later, every seventh is free."""

    def __init__(self, partitions: int, count: int, config: Path = REPOSITORY / "config") -> None:
        self.entries: list[LedgerEntry] = []
        self._partitions = partitions
        self._count = count
        self._fold = LedgerFold(PriceBook.load(config), hasher(LOG_KEY))
        self._facts = AccountFacts()
        self._offsets = [0] * partitions

    def go_on_from(self, other: "MadeLedger") -> None:
        """Let the next send events follow those of another."""
        self._offsets = list(other._offsets)

    def records(self, numbers: Iterable[int], *, keep: bool = True) -> Iterator[list[Record]]:
        """The records of each message, its events and its entries; the entries are kept in `entries`, too, unless `keep` is false."""
        for number in numbers:
            made = []
            state: Remembered | None = None
            for one in self._events(number):
                user = one.user.user_id if one.user is not None else None
                key = conversation_key(one.phone_number_id or "", user or "").encode()
                n = partition_of(key, self._partitions)
                offset = self._offsets[n]
                self._offsets[n] += 1
                made.append(Record(SEND_EVENTS.name, n, key, encode(one), []))
                step = self._fold.fold(state, one, self._facts, _NO_GRANTS)
                state = step.state
                for nth, out in enumerate(step.out):
                    headers = [(SOURCE_HEADER, source_header(n, offset, nth))]
                    made.append(Record(BILLING_CHARGES.name, n, out.key.encode(), out.value, headers))
                    if keep:
                        self.entries.append(decode_ledger_entry(out.value))
            yield made

    def _events(self, number: int) -> list[SendEvent]:
        back_ms = DAYS_BACK * DAY_MS * (self._count - number) // self._count
        month = "2026-10" if _NOON_MS - back_ms < parse_rfc3339("2026-11-01T00:00:00Z") else "2026-11"
        free = number % 7 == 0
        predicted = charge(
            month=month,
            type="free_customer_service" if free else "regular",
            amount_micros=0 if free else 55_000,
        )
        common = {"wamid": f"wamid.{number}", "user": f"49151{number % 100_000:08d}"}
        after_s = -back_ms // 1000
        events = [event("delivered", predicted=predicted, after_s=after_s, **common)]  # type: ignore[arg-type]
        if number % 3 == 0:
            word = pmp("marketing" if number % 2 else "utility", billable=number % 4 != 0)
            events.append(event("priced", seq=4, pricing=word, after_s=after_s + 60, **common))  # type: ignore[arg-type]
        account = f"W{number % ACCOUNTS}"
        return [replace(one, waba_id=account) for one in events]
