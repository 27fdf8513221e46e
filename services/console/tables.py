"""What the CLI prints: facts, plans, tallies, topics and events in, rich tables and texts out. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from services.console.catalogue import Found
from services.console.growth import Growth
from services.console.open_messages import OpenMessage
from services.console.plan import FieldChange, Plan
from services.console.steps import is_refused
from services.console.tally import COUNTED, DayLine, Tally, by_day, counted, money
from services.console.view import budgets, growth_of, limit, restrictions, shown
from shared.accounts import Account, AccountFacts, FactKey, Number, Template
from shared.events import Price, SendEvent, UserPreference
from shared.times import DAY_MS, rfc3339


def plan_table(plan: Plan) -> Table:
    """Each field that changes, and each that stays as Meta said."""
    table = _table("Account", "Subject", "Field", "Before", "After", *(["Kept"] if plan.kept else []))
    for change in plan.changes:
        table.add_row(*_change(change), cell(change.after, "green"))
    for kept in plan.kept:
        why = Text(f"set by {kept.by}; --force overrides", "yellow")
        table.add_row(*_change(kept.change), cell(kept.change.after, "dim"), why)
    return table


def _change(change: FieldChange) -> tuple[Text, ...]:
    return plain(change.key[1]), _subject(change.key), plain(change.field), cell(change.before)


def accounts_tables(facts: AccountFacts) -> Iterable[Table]:
    """One table per account, of the account, its numbers and templates."""
    known = sorted(facts.known().items())
    for waba_id in sorted({key[1] for key, _ in known}):
        table = _table("Subject", "Status", "What is known", title=f"Account {waba_id}")
        for key, value in known:
            if key[1] == waba_id and not (key[0] == "number" and facts.waba_of(key[2]) != waba_id):
                table.add_row(_subject(key), plain(value.status), plain(_summary(value)))
        yield table
        if facts.account(waba_id) is not None:
            yield from _growth_table(growth_of(waba_id, facts))


def _growth_table(growth: Growth) -> Iterable[Table]:
    if growth.next_limit is None:
        return
    table = _table("Growth", f"From {limit(growth.limit)} to {limit(growth.next_limit)} new users a day")
    for step in growth.steps:
        table.add_row(Text(*_MARKS[step.done]), plain(step.text))
    yield table


_MARKS = {True: ("done", "green"), False: ("to do", "yellow"), None: ("not known here", "dim")}


def preference_table(word: UserPreference) -> Table:
    """A user's last word on marketing, with its evidence."""
    table = _table("Marketing", "Since", "Source", "Evidence", "Reference", "By")
    tone = "green" if word.marketing == "in" else "red"
    rest = (word.at, word.source, word.evidence or "—", word.reference or "—", word.by or "—")
    table.add_row(Text(word.marketing, tone), *map(plain, rest))
    return table


def open_table(found: Iterable[OpenMessage]) -> Table:
    """Messages of which nobody knows whether they went out."""
    table = _table("Request", "Attempt", "Number", "User", "Category", "Since", "Cause", "Next", right=(1,))
    for message in found:
        then = "sent once more if statuses of later messages come" if message.next == "resend" else "given up"
        table.add_row(
            *map(plain, (message.request_id, str(message.attempt), message.phone_number_id, message.user)),
            *map(plain, (message.category, message.since, message.cause, f"{message.next_at}: {then}")),
        )
    return table


def templates_table(waba_id: str, nodes: Iterable[Mapping[str, Any]]) -> Table:
    """The templates of an account as Meta gives them."""
    heads = ("Template", "Status", "Category", "Quality", "Id", "Rejected for")
    table = _table(*heads, title=f"Account {waba_id}")
    for node in nodes:
        score = node.get("quality_score")
        table.add_row(
            plain(f"{node.get('name')}/{node.get('language')}"),
            *(plain(str(node.get(field, "—"))) for field in ("status", "category")),
            plain(str(score.get("score", "—")) if isinstance(score, dict) else "—"),
            plain(str(node.get("id", "—"))),
            plain("" if node.get("rejected_reason") in (None, "NONE") else str(node["rejected_reason"])),
        )
    return table


def tally_table(tally: Tally) -> Table:
    """A month's tally by category."""
    table = _table("Category", *COUNTED, title=f"{tally.waba_id}, {tally.month}", right=(1, 2, 3, 4, 5))
    for category, totals in sorted(tally.totals.items()):
        table.add_row(*map(plain, (category, *counted(totals))))
    return table


def tally_rows_table(tally: Tally) -> Table:
    """A month's tally by number, unit, category, market and price type."""
    table = _table("Number", "Unit", "Category", "Market", "Type", *COUNTED, right=(5, 6, 7, 8, 9))
    for row in tally.rows:
        texts = (row.phone_number_id, row.unit, row.category, row.market, row.type)
        table.add_row(*map(plain, (*texts, *counted(row))))
    return table


def tally_days_table(lines: Iterable[DayLine]) -> Table:
    """A month's tally by day, over all categories."""
    table = _table("Day", *COUNTED, right=(1, 2, 3, 4, 5))
    for day, totals in by_day(lines).items():
        table.add_row(*map(plain, (day, *counted(totals))))
    return table


def topics_table(topics: Iterable[Found]) -> Table:
    """The catalogue and what of it exists."""
    table = _table("Topic", "Partitions", "Replicas", "Kept", right=(1, 2))
    for found in topics:
        days = "for ever" if found.topic.retention_ms < 0 else f"{found.topic.retention_ms // DAY_MS} days"
        if found.topic.compacted:
            days = "latest of each key"
        if found.partitions is None:
            table.add_row(plain(found.name), Text("missing", "red"), "", days)
        else:
            table.add_row(plain(found.name), str(found.partitions), str(found.replicas), days)
    return table


def event_line(event: SendEvent) -> Text:
    """One step in the life of a request, on one line."""
    style = (
        "red"
        if is_refused(event)
        else "yellow"
        if event.event in ("held", "uncertain", "resent")
        else "green"
    )
    line = Text.assemble((f"{event.at}  ", "dim"), (f"{event.event:<10}", style))
    for part in _details(event):
        line.append(f" {_printable(part)}")
    return line


def _details(event: SendEvent) -> Iterable[str]:
    if decision := event.decision:
        yield f"{decision.outcome} reason={decision.reason}"
        if decision.category:
            yield f"category={decision.category}"
        if decision.conversation and decision.conversation.action != "none":
            yield f"conversation={decision.conversation.action}"
        if decision.price:
            yield f"price={money(decision.price.amount_micros, decision.price.currency)} ({_basis(decision.price)})"
        if decision.not_before_at:
            yield f"not_before_at={decision.not_before_at}"
    if event.wamid:
        yield f"wamid={event.wamid}"
    if event.charge:
        yield f"charge={money(event.charge.amount_micros, event.charge.currency)} ({event.charge.type})"
    if error := event.error:
        if event.decision is None:
            yield f"{error.origin}: {error.reason}" + (f" ({error.code})" if error.code else "")
        if error.message:
            yield f"({error.message})"
        if error.fix:
            yield f"→ {error.fix}"


def plain(value: str) -> Text:
    """Text as it is: neither markup nor control characters of foreign origin reach the terminal."""
    return Text(_printable(value))


def cell(value: object, style: str = "") -> Text:
    """A fact's value."""
    return Text(_printable(shown(value)), style)


def _printable(value: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in value)


def _subject(key: FactKey) -> Text:
    return Text.assemble((f"{key[0]} ", "dim"), _printable(key[2]))


def _basis(price: Price) -> str:
    parts = [price.type, price.market, price.rate_card]
    if price.rate_category == "authentication_international":
        parts.append(price.rate_category)
    if price.volume_tier is not None:
        parts.append(f"tier {price.volume_tier.tier}")
        parts.append(price.volume_tier.rates or "its rate is unknown: list rate")
    return ", ".join(parts)


def _summary(value: Account | Number | Template) -> str:
    match value:
        case Account():
            parts = [
                value.name,
                f"payment {value.payment_method}",
                f"regime {value.regime}",
                f"{value.currency}, {value.timezone}",
                f"located in {value.primary_location}" if value.primary_location else "",
                f"{limit(value.messaging_limit)} new users/day",
                restrictions(value.restrictions) if value.restrictions else "",
                f"review {value.review}" if value.review else "",
                f"alert {value.alert}" if value.alert else "",
                f"budgets {budgets(value.budgets, value.currency)}" if value.budgets else "",
                f"{value.marketing_reserve_percent} % of the limit kept from marketing"
                if value.marketing_reserve_percent
                else "",
                "marketing by the Marketing Messages API" if value.marketing_messages_api else "",
                "no marketing on /messages" if value.marketing_on_cloud_api_disabled else "",
                f"paused: {', '.join(value.paused_categories)}" if value.paused_categories else "",
            ]
        case Number():
            parts = [
                value.display_phone_number,
                "default" if value.default else "",
                "" if value.registered else "not registered",
                f"quality {value.quality}",
                f"name {value.verified_name or '—'} ({value.name_status})",
                f"{value.throughput} messages/s",
                f"token {value.token}",
                value.security_event or "",
            ]
        case Template():
            parts = [
                value.category,
                f"quality {value.quality}",
                f"{value.next_category} from {rfc3339(value.next_category_ms)}"
                if value.next_category_ms
                else "",
                f"until {rfc3339(value.paused_until_ms)}" if value.paused_until_ms else "",
                value.rejection_reason or "",
                value.recommendation or "",
            ]
    held = value.paused or (isinstance(value, Account) and value.paused_categories)
    why = f"({value.pause_reason})" if held and value.pause_reason else ""
    return " · ".join(part for part in (*parts, "paused" if value.paused else "", why) if part)


def _table(*heads: str, title: str | None = None, right: tuple[int, ...] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column, head in enumerate(heads):
        table.add_column(head, justify="right" if column in right else "left", overflow="fold")
    return table
