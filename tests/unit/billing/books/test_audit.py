"""The audit of one partition: what differs between the ledger and its events, told once each, with its cause."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from deploy.local.paths import REPOSITORY
from services.billing.books.audit import PartitionAudit, odd
from services.billing.books.findings import Finding, differences
from services.billing.books.messages import index_of, message_of
from services.billing.books.records import Once, Place, Read, read_record
from services.billing.ledger import LedgerFold, Remembered
from shared.accounts import AccountFacts
from shared.events import AccountChanged, LedgerEntry, SendEvent, decode_ledger_entry, encode
from shared.logs import hasher
from shared.pricing import PriceBook
from shared.stream.fold import Grants
from shared.stream.source import Source
from shared.times import parse_rfc3339
from tests.unit.billing.books.entries import entry
from tests.unit.billing.events import NOON, WABA, charge, event, pmp

BOOK = PriceBook.load(REPOSITORY / "config")
FOLD = LedgerFold(BOOK, hasher("k"))

DELIVERED = event("delivered", predicted=charge())
MARKETING = event("priced", seq=4, pricing=pmp("marketing"), after_s=60)
FREE = event("priced", seq=5, pricing=pmp("marketing", billable=False), after_s=120)
LIFE = [DELIVERED, MARKETING, FREE]


def facts(**fields: Any) -> AccountFacts:
    known = AccountFacts()
    if fields:
        at_ms = parse_rfc3339(NOON) + 86_400_000
        known.apply(
            AccountChanged(
                event_id="e",
                at_ms=at_ms,
                by="operator",
                subject="account",
                waba_id=WABA,
                id=WABA,
                fields=fields,
            ),
            1,
        )
    return known


def booked(events: Sequence[SendEvent]) -> list[list[LedgerEntry]]:
    """The entries of each event, as the ledger makes them."""
    state: Remembered | None = None
    entries = []
    for one in events:
        step = FOLD.fold(state, one, facts(), Grants())
        state = step.state
        entries.append([decode_ledger_entry(out.value) for out in step.out])
    return entries


def reads(offset: int, entries: Sequence[LedgerEntry | None]) -> list[Read]:
    """The entries of an event as they are read; None where one is missing."""
    made = []
    for nth, one in enumerate(entries):
        if one is None:
            continue
        record = read_record(Place(0, 10 * offset + nth), 0, f"0:{offset}:{nth}".encode(), encode(one))
        made.append(Read(record, "entry"))
    return made


def audited(
    events: Sequence[SendEvent],
    entries: Sequence[Sequence[LedgerEntry | None]],
    *,
    known: AccountFacts | None = None,
    book: PriceBook = BOOK,
    fold: LedgerFold = FOLD,
    kept_from: int = 0,
) -> list[Finding]:
    """Findings of a partition whose nth event has these entries; those before `kept_from` are gone."""
    audit = PartitionAudit(fold, known or facts(), book, kept_from)
    findings = []
    for offset, (one, its) in enumerate(zip(events, entries, strict=True)):
        if offset < kept_from:
            for read in reads(offset, its):
                findings += audit.earlier(read)
        else:
            findings += audit.event(Source(0, offset, 0), "N1:4915", encode(one), reads(offset, its)).findings
    return findings


def told(findings: Sequence[Finding]) -> list[tuple[str, str | None]]:
    return [(finding.kind, finding.event) for finding in findings]


def test_a_ledger_as_its_events_make_it_agrees() -> None:
    entries = booked(LIFE)
    assert [len(its) for its in entries] == [1, 2, 2]
    assert audited(LIFE, entries) == []


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_missing_entry_is_one_finding_whatever_follows(position: int) -> None:
    entries: list[list[LedgerEntry | None]] = [[*its] for its in booked(LIFE)]
    lost, entries[position][0] = entries[position][0], None
    assert lost is not None
    assert told(audited(LIFE, entries)) == [("missing", lost.event_id)]


def test_a_charge_that_is_missing_leaves_its_corrections_in_agreement() -> None:
    entries = booked(LIFE)
    entries[0] = []
    (finding,) = audited(LIFE, entries)
    assert (finding.kind, finding.message, finding.source) == ("missing", "wamid.1", "0:0:0")


def test_a_changed_entry_names_its_fields_and_place_once() -> None:
    entries = booked(LIFE)
    entries[0] = [replace(entries[0][0], amount_micros=1, tags={})]
    (finding,) = audited(LIFE, entries)
    assert (finding.kind, finding.fields, finding.place) == ("different", ("amount_micros", "tags"), "0:0")
    assert "the entry was changed" in finding.text


def test_an_entry_that_no_event_calls_for_is_unfounded_and_one_that_is_there_already_doubled() -> None:
    entries = booked(LIFE)
    stranger = entry(7, event_id="wamid.1:correction:9", wamid="wamid.1")
    assert told(audited(LIFE, [[*entries[0], stranger], *entries[1:]])) == [("unfounded", stranger.event_id)]
    assert told(audited(LIFE, [entries[0], entries[1], [*entries[2], entries[0][0]]])) == [
        ("doubled", "wamid.1:charge")
    ]
    accepted = event("accepted")
    assert told(audited([accepted], [entries[0]])) == [("unfounded", "wamid.1:charge")]


FOREIGN = event("priced", request_id=None, pricing=pmp("marketing"), after_s=4 * 3600)


def test_a_change_of_the_accounts_facts_is_told_as_the_cause_and_its_corrections_follow_what_is_booked() -> (
    None
):
    later = event("priced", seq=9, request_id=None, pricing=pmp("utility"), after_s=5 * 3600)
    unpriced = event("read", seq=8, request_id=None, after_s=5 * 3600)
    events = [FOREIGN, unpriced, later]
    (finding,) = audited(events, booked(events), known=facts(timezone="Asia/Tokyo", currency="USD"))
    assert (finding.kind, finding.fields) == ("different", ("day",))
    assert f"facts of account {WABA} changed since: currency, timezone" in finding.text


def test_a_card_that_was_changed_is_told_as_the_cause() -> None:
    entries = booked([FOREIGN])
    key = ("Germany", "marketing")
    card = BOOK.cards.by_id["usd_2026-10-01"]
    dearer = card.micros[key] + 1  # type: ignore[index]
    changed = replace(entries[0][0], amount_micros=dearer)
    (finding,) = audited([FOREIGN], [[changed]])
    assert "card usd_2026-10-01 now has" in finding.text


def test_another_key_of_the_pseudonyms_is_told_as_the_cause() -> None:
    (finding,) = audited([DELIVERED], booked([DELIVERED]), fold=LedgerFold(BOOK, hasher("another")))
    assert finding.fields == ("user_ref",)
    assert "WA_LOG_KEY" in finding.text


def test_a_correction_goes_on_from_a_charge_whose_event_is_gone() -> None:
    for gone in (1, 2):
        assert audited(LIFE, booked(LIFE), kept_from=gone) == []


def test_the_sequence_of_entries_is_checked_though_their_events_are_gone() -> None:
    charge_, (back, anew), _ = booked(LIFE)
    assert told(audited(LIFE[:2], [charge_, [anew]], kept_from=2)) == [("sequence", "wamid.1:correction:2")]
    assert told(audited(LIFE[:2], [charge_, charge_], kept_from=2)) == [("doubled", "wamid.1:charge")]
    assert audited(LIFE[:2], [charge_, [back, anew]], kept_from=2) == []
    nameless = replace(charge_[0], event_id="x")
    assert told(audited(LIFE[:1], [[nameless]], kept_from=1)) == [("sequence", "x")]


def test_a_message_that_began_before_the_events_that_are_kept_and_left_no_entry_is_not_judged() -> None:
    reused = charge(counted=False, unit="conversation", conversation_id="c1", type="reused", amount_micros=0)
    word = {"billable": True, "pricing_model": "CBP", "category": "marketing"}
    life = [event("delivered", predicted=reused), event("priced", seq=4, pricing=word, after_s=60)]
    assert booked(life) == [[], []]
    assert audited(life, [[], []], kept_from=1) == []


def test_entries_of_an_older_version_are_compared_by_the_fields_they_have() -> None:
    ((now,),) = booked([DELIVERED])
    older = replace(now, v=1, day="2026-11-21", predicted=None, country=None, conversations=0)
    assert differences(older, now) == ()
    assert differences(replace(older, market="India"), now) == ("market",)


def test_an_event_that_nobody_can_read_calls_for_no_entry() -> None:
    audit = PartitionAudit(FOLD, facts(), BOOK, 0)
    found = audit.event(Source(0, 0, 0), "k", b"{", reads(0, [entry(1)])).findings
    assert told(found) == [("unfounded", "wamid.1:charge")]


def test_records_that_are_no_entries_are_findings_but_for_plain_repetitions() -> None:
    once = Once()
    values = [(b"0:1:0", entry(1)), (b"0:1:0", entry(1)), (b"0:1:0", entry(2)), (b"0:0:0", entry(3))]
    records = [read_record(Place(0, n), 0, source, encode(one)) for n, (source, one) in enumerate(values)]
    records.append(read_record(Place(0, 9), 0, None, b"{"))
    found = [odd(Read(record, once.standing(record))) for record in records]
    assert [finding and finding.kind for finding in found] == [None, None, "doubled", "stray", "unreadable"]


def test_an_entry_tells_its_message_and_its_place_among_the_messages_entries() -> None:
    word = {"billable": True, "pricing_model": "CBP", "category": "marketing"}
    foreign = event("priced", request_id=None, pricing=word, conversation="c9")
    (one,) = booked([foreign])[0]
    assert message_of(one) == "conversation:c9" == FOLD.key("", foreign)
    assert message_of(entry(4)) == "wamid.4"
    assert [index_of(entry(1, event_id=id)) for id in ("a:charge", "a:correction:12", "a:other")] == [
        0,
        12,
        -1,
    ]


def test_while_all_events_are_kept_a_message_that_begins_with_its_price_is_judged() -> None:
    assert told(audited([MARKETING], [[]])) == [("missing", "wamid.1:charge")]
    assert audited([MARKETING], booked([MARKETING])) == []
