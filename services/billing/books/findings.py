"""What a verification of the ledger can find, and why an entry may differ from what its event calls for now. Pure."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from services.billing.books.records import Place
from shared.accounts import AccountFacts
from shared.events import LedgerEntry
from shared.pricing import Market, PriceBook, rate_category
from shared.stream.source import Source
from shared.times import parse_rfc3339, rfc3339

Kind = Literal[
    "missing",
    "unfounded",
    "doubled",
    "different",
    "sequence",
    "stray",
    "unreadable",
    "gap",
    "chain",
    "file",
]
KINDS: dict[Kind, str] = {
    "missing": "an event calls for an entry that the ledger does not have",
    "unfounded": "an entry that no event calls for",
    "doubled": "an entry that is there already, under the same id or of the same event, with another content or place",
    "different": "an entry is not what its event calls for",
    "sequence": "a correction without the entry before it",
    "stray": "an entry of an event that was done long before those around it",
    "unreadable": "a record that is no entry, or does not say what it came of",
    "gap": "records that neither the archive nor the topic has",
    "chain": "the archive's manifests do not follow one another",
    "file": "an archived file is missing, changed, unknown, or does not hold what its manifest says",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong.

    Attributes:
        message: the wamid.
        event: the id of the entry, or of the event that calls for one.
        place: `partition:offset` in the ledger, with the archived file where it was read there.
        source: `partition:offset:index` of the send event.
        fields: those that differ.
    """

    kind: Kind
    text: str
    message: str | None = None
    event: str | None = None
    place: str | None = None
    source: str | None = None
    fields: tuple[str, ...] = ()


def of_entry(
    kind: Kind,
    text: str,
    entry: LedgerEntry | None,
    place: Place | None,
    source: Source | str | None,
    fields: Sequence[str] = (),
) -> Finding:
    """A finding about an entry, with all that leads to it."""
    if isinstance(source, Source):
        source = f"{source.partition}:{source.offset}:{source.nth}"
    return Finding(
        kind=kind,
        text=text,
        message=entry.wamid if entry is not None else None,
        event=entry.event_id if entry is not None else None,
        place=str(place) if place is not None else None,
        source=source,
        fields=tuple(fields),
    )


_NAMES = tuple(field.name for field in msgspec.structs.fields(LedgerEntry))
_SINCE_VERSION_2 = frozenset(
    {"delivered_at", "day", "country", "conversations", "predicted", "difference_micros", "meta_pricing"}
)


def differences(actual: LedgerEntry, expected: LedgerEntry) -> tuple[str, ...]:
    """The fields in which they differ; those that the version of `actual` did not have are left out."""
    ignored = {"v"} | (_SINCE_VERSION_2 if actual.v < 2 else set())
    return tuple(
        name
        for name in _NAMES
        if name not in ignored and _plain(getattr(actual, name)) != _plain(getattr(expected, name))
    )


def _plain(value: object) -> object:
    return bytes(value) if isinstance(value, msgspec.Raw) else value


def cause(
    actual: LedgerEntry, expected: LedgerEntry, fields: Sequence[str], facts: AccountFacts, book: PriceBook
) -> str:
    """Why they may differ: another key of the pseudonyms, facts that changed since, cards or regimes that did, or the ledger itself."""
    if "user_ref" in fields:
        return "WA_LOG_KEY is not the one that the ledger was written with"
    reasons = [*_facts_since(actual, facts), *_cards_since(actual, expected, fields, book)]
    if not reasons:
        return "neither facts nor cards have changed as far as is known: the entry was changed, or another version wrote it"
    return "; ".join(reasons)


def _facts_since(actual: LedgerEntry, facts: AccountFacts) -> list[str]:
    written_ms = parse_rfc3339(actual.at)
    settings = facts.settings_of(("account", actual.waba_id, actual.waba_id))
    since = {name: setting.at_ms for name, setting in settings.items() if setting.at_ms > written_ms}
    if not since:
        return []
    return [
        f"facts of account {actual.waba_id} changed since: {', '.join(sorted(since))}, last at {rfc3339(max(since.values()))}"
    ]


def _cards_since(
    actual: LedgerEntry, expected: LedgerEntry, fields: Sequence[str], book: PriceBook
) -> list[str]:
    reasons = [
        f"the configuration now says {name} {getattr(expected, name)} instead of {getattr(actual, name)}"
        for name in ("regime", "rate_card")
        if name in fields
    ]
    if reasons or "amount_micros" not in fields or actual.category != expected.category:
        return reasons
    card, column = book.cards.by_id.get(actual.rate_card), rate_category(actual.category)
    if card is None:
        return [f"card {actual.rate_card} is not in the configuration any more"]
    rate = card.micros.get((Market(actual.market), column)) if column is not None else None
    if (
        rate is not None
        and rate not in (0, abs(actual.amount_micros))
        and rate == abs(expected.amount_micros)
    ):
        return [
            f"card {card.id} now has {rate} millionths for {actual.market}, {actual.category}, or the entry was changed"
        ]
    return []
