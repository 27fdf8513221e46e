"""The shell of a reconciliation: reads ledger, analytics and send events, lets them be compared, writes the report."""

import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from services.billing.reconciliation import analytics, free_tier, invoice, report
from services.billing.reconciliation.analytics import Answers, MetaCounts, UnreadableAnalytics
from services.billing.reconciliation.at_meta import AnalyticsAtMeta
from services.billing.reconciliation.books import Entries
from services.billing.reconciliation.cells import Unheard, window
from services.billing.reconciliation.differences import Reconciled
from services.billing.reconciliation.files import write
from services.billing.reconciliation.invoice import Compared, Line
from services.billing.reconciliation.messages import Messages
from services.billing.reconciliation.month import missing_units, reconcile
from services.billing.reconciliation.report import Names, Report
from services.billing.reconciliation.unheard import Unheards
from shared.account_tokens import credentials_of
from shared.accounts import Account, AccountFacts
from shared.events import SendEvent
from shared.pricing import PriceBook, Unit, month_start
from shared.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be reconciled, and where to.

    Attributes:
        accounts: ids, all of them known.
        month: `YYYY-MM`.
        answers: saved analytics; None asks Meta, unless `ask_meta` is false: then the month is compared without them.
        invoice: None: there is none.
        tag: which of the requests' tags names a cost centre.
    """

    accounts: tuple[str, ...]
    month: str
    answers: Answers | None
    invoice: tuple[Line, ...] | None
    folder: Path
    tag: str
    ask_meta: bool = True

    @property
    def days(self) -> tuple[date, date]:
        """The month with the day before and the day after: near midnight Meta may count there."""
        first, last = map(date.fromisoformat, window(self.month))
        return first - timedelta(days=1), last + timedelta(days=1)

    @property
    def months(self) -> frozenset[str]:
        """The months of these days."""
        return frozenset(f"{day:%Y-%m}" for day in self.days) | {self.month}


class Reconciling:
    """Whoever reconciles: with the accounts' facts and the price book, from a ledger, Meta and the send events."""

    def __init__(
        self,
        facts: AccountFacts,
        book: PriceBook,
        ledger: Entries,
        send_events: Callable[[], AsyncIterator[SendEvent]],
        meta: AnalyticsAtMeta,
        tokens: Tokens,
    ) -> None:
        self._facts = facts
        self._book = book
        self._ledger = ledger
        self._send_events = send_events
        self._meta = meta
        self._tokens = tokens

    async def run(self, asked: Asked, now: datetime) -> Report:
        """Reconcile and write the files.

        Raises:
            GraphFailure, NoToken: Meta could not be asked.
            UnreadableAnalytics: what it answered can't be read.
            NotWhole: the ledger is not whole, or can't be read.
            OSError: the folder can't be written.
        """
        with tempfile.TemporaryDirectory(prefix="wam-reconcile-") as scratch:
            messages = Messages(Path(scratch) / "messages.sqlite", asked.tag)
            try:
                await self._read(messages, asked)
                answers = await self._answers(messages, asked)
                counts = None if answers is None else analytics.counted(answers, self._facts)
                unheard = []
                if counts and missing_units(messages.billed(), counts.cells, asked.month):
                    unheard = await self._unheard(asked)
                cells = counts.cells if counts else None
                found = reconcile(messages, cells, unheard, self._facts, asked.month)
                names = self._names(asked.accounts)
                made = self._report(asked, messages, found, counts, names, now)
                write(asked.folder, made, found, messages, names, answers)
            finally:
                messages.close()
        return made

    async def _read(self, messages: Messages, asked: Asked) -> None:
        first, last = (day.isoformat() for day in asked.days)
        async for entry in self._ledger.entries():
            if first <= entry.day <= last:
                messages.add(entry)
        messages.seal()

    async def _answers(self, messages: Messages, asked: Asked) -> Answers | None:
        if asked.answers is not None:
            if missing := [waba_id for waba_id in asked.accounts if waba_id not in asked.answers]:
                raise UnreadableAnalytics(f"no analytics of account {', '.join(missing)}")
            return {waba_id: asked.answers[waba_id] for waba_id in asked.accounts}
        if not asked.ask_meta:
            return None
        answers = {}
        charged = messages.units()
        for waba_id in asked.accounts:
            account = self._facts.account(waba_id) or Account()
            start = month_start(asked.month, account.timezone)
            regime = self._book.regimes.regime_at(account.regime, start, account.timezone)
            units: set[Unit] = {regime.unit}
            units |= charged.get(waba_id, set())
            credentials = credentials_of(self._facts, waba_id, self._tokens)[1]
            answers[waba_id] = await self._meta.of_account(
                waba_id, sorted(units), asked.days, account.timezone, credentials
            )
        return answers

    async def _unheard(self, asked: Asked) -> list[Unheard]:
        first, last = asked.days
        waiting = Unheards(self._book, self._facts, (first.isoformat(), last.isoformat()))
        async for event in self._send_events():
            if event.waba_id in asked.accounts:
                waiting.add(event)
        return waiting.left()

    def _report(
        self,
        asked: Asked,
        messages: Messages,
        found: Reconciled,
        counts: MetaCounts | None,
        names: Names,
        now: datetime,
    ) -> Report:
        days = window(asked.month)
        notes = [*report.notes_of(messages.unsure(days), names), *(counts.notes if counts else ())]
        others = [waba_id for waba_id in asked.answers or () if waba_id not in asked.accounts]
        if others:
            notes.append(
                f"The analytics given are also of accounts that were not asked for: {', '.join(others)}."
            )
        compared: list[Compared] | None = None
        taxes: dict[str, int] = {}
        if asked.invoice is not None:
            owners = self._owners()
            lines = [line for line in asked.invoice if owners.get(line.account, "") in ("", *asked.accounts)]
            if left_out := len(asked.invoice) - len(lines):
                notes.append(f"{left_out} lines of the invoice are of accounts that were not asked for.")
            only = asked.accounts[0] if len(asked.accounts) == 1 else None
            compared, taxes = invoice.compare(lines, messages.on_markets(days), found.meta, owners, only)
        return report.build(
            found,
            names=names,
            made_at=now,
            tag=asked.tag,
            tags=messages.by_tag(days),
            free_tier=free_tier.used(
                asked.accounts, self._facts, self._book.regimes, names, messages.free_tier(days), asked.month
            ),
            invoice=compared,
            taxes=taxes,
            notes=[*notes, *([report.TOLERANCE] if counts else [])],
        )

    def _owners(self) -> dict[str, str]:
        """What an invoice may call an account → its id."""
        accounts = {waba_id: self._facts.account(waba_id) for waba_id in self._facts.accounts()}
        by_name = {account.name: waba_id for waba_id, account in accounts.items() if account and account.name}
        return by_name | {waba_id: waba_id for waba_id in accounts}

    def _names(self, accounts: Sequence[str]) -> Names:
        return Names(
            {waba_id: account.name for waba_id in accounts if (account := self._facts.account(waba_id))},
            {
                id_: number.display_phone_number
                for subject, _, id_ in self._facts.known()
                if subject == "number" and (number := self._facts.number(id_)) is not None
            },
        )
