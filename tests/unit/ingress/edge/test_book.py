"""What is known of a request, from its events in whatever order and number they come."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingress.edge import book
from services.ingress.edge.book import Known, Standing, Step
from shared.events import (
    ConversationUse,
    Decision,
    FieldProblem,
    Price,
    SendError,
    SendEvent,
    Tier,
    UserRef,
    VolumeTier,
)
from shared.ids import conflict_event_id

AT = "2026-12-01T09:00:00.000Z"
DIGEST = "ab" * 32
OTHER = "cd" * 32
WAMID = "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjA2RTU3RkE4QjQ1QzQ3RDlBAA=="
ALLOW = Decision(
    outcome="allow",
    final=True,
    reason="ok",
    category="utility",
    facts_version="17",
    window_expires_at=AT,
    conversation=ConversationUse(id="106:49:4711#1", action="open", category="utility"),
    price=Price(
        regime="2026-10-01",
        rate_card="usd_2026-10-01",
        market="Germany",
        type="regular",
        amount_micros=55_000,
        currency="USD",
        rate_category="utility",
        volume_tier=VolumeTier(tier="0:100", rates=None),
    ),
    tier=Tier(limit=1000, used=1, left=999),
    free_left=12,
)


def decision(outcome: str, reason: str) -> Decision:
    return msgspec.structs.replace(ALLOW, outcome=outcome, reason=reason, final=outcome != "defer")


def event(
    step: Step, seq: int = 1, *, request: str = "r1", id: str | None = None, **more: object
) -> SendEvent:
    after = {"decided": "#1:decided", "accepted": "#1:accepted"}.get(step)
    row = {
        "event_id": id or (f"{request}{after}" if after else f"{WAMID}:{step}"),
        "event": step,
        "seq": seq,
        "at": AT,
        "request_id": request,
        "correlation_id": None,
        "tags": {},
        "waba_id": "55",
        "phone_number_id": "106",
        "user": UserRef(user_id="4915112345678"),
        "wamid": None if step == "decided" else WAMID,
        **more,
    }
    return SendEvent(**row)  # type: ignore[arg-type]


def row_of(*events: SendEvent, taken: str | None = DIGEST) -> bytes:
    parts = [told[1] for told in map(book.told, events) if told is not None]
    if taken is not None:
        parts.insert(0, book.entry_of(book.Taken(book.short(taken), "106", "4915112345678", 1)))
    return b"".join(parts)


def known(*events: SendEvent, digest: str = DIGEST, taken: str | None = DIGEST) -> Known:
    return book.known("r1", row_of(*events, taken=taken), digest)


WHOLE = [
    event("decided", decision=ALLOW),
    event("accepted", 2),
    event("sent", 3),
    event("delivered", 4),
    event("read", 5),
]


PUT_OFF = event(
    "decided",
    3,
    decision=decision("defer", "refused_for_now"),
    error=SendError(origin="meta", reason="marketing_capped", code=131049, retryable=True, retry_at=AT),
    id="r1#1:deferred:3",
)
"""Meta took the message and held it back: it is decided anew later."""


def test_who_asks_for_a_request_that_meta_refused_for_now_is_told_why_and_until_when() -> None:
    found = known(*WHOLE[:2], PUT_OFF)
    assert found.error is not None
    assert (found.error.reason, found.error.retry_at, found.wamid) == ("marketing_capped", AT, "")


def test_an_earlier_round_that_is_told_again_is_not_the_latest_word() -> None:
    second = (event("decided", 4, decision=ALLOW, id="r1#2:decided"), event("accepted", 5, wamid="wamid.2"))
    found = known(*WHOLE[:2], PUT_OFF, *second)
    assert (found.standing, found.wamid) == ("accepted", "wamid.2")
    again = known(*second, PUT_OFF)  # the row had lost it meanwhile
    assert (again.standing, again.wamid) == ("accepted", "wamid.2")


def test_a_decision_comes_back_as_it_was_told() -> None:
    assert known(WHOLE[0]).decision == ALLOW


def test_a_row_of_a_message_that_was_read_is_small() -> None:
    assert len(row_of(*WHOLE)) < 500


@pytest.mark.parametrize(
    ("events", "standing"),
    [
        ([], "pending"),
        (WHOLE[:1], "pending"),
        (WHOLE[:2], "accepted"),
        (WHOLE, "accepted"),
        ([event("decided", decision=decision("reject", "window_closed"))], "refused"),
        ([event("decided", decision=decision("defer", "ok"))], "deferred"),
        ([WHOLE[0], event("failed", 2)], "failed"),
        ([*WHOLE[:2], event("failed", 3)], "accepted"),
        ([WHOLE[0], event("cancelled", 2)], "cancelled"),
        ([WHOLE[0], event("uncertain", 2)], "uncertain"),
        ([WHOLE[0], event("uncertain", 2), event("delivered", 3)], "accepted"),
        ([event("decided", decision=decision("defer", "ok"), id="r1#1:deferred:1"), event("decided", 2, decision=ALLOW)], "pending"),
        ([*WHOLE[:2], PUT_OFF], "deferred"),
        ([WHOLE[0], event("uncertain", 2), event("accepted", 2), PUT_OFF], "deferred"),
        ([*WHOLE[:2], PUT_OFF, event("decided", 4, decision=ALLOW, id="r1#2:decided")], "pending"),
        ([*WHOLE[:2], PUT_OFF, event("decided", 4, decision=decision("reject", "cancelled"), id="r1#2:decided")], "refused"),
    ],
)  # fmt: skip
def test_a_request_stands_where_its_last_word_says(events: list[SendEvent], standing: Standing) -> None:
    assert known(*events).standing == standing


def test_nothing_is_known_of_an_empty_row() -> None:
    assert book.known("r1", b"") == book.NOTHING


def test_the_id_of_the_message_is_that_of_the_attempt_that_went_out() -> None:
    assert known(*WHOLE).wamid == WAMID


def test_a_conflict_is_told_to_whom_it_happened_and_to_nobody_else() -> None:
    refused = event(
        "decided", decision=decision("reject", "idempotency_conflict"), id=conflict_event_id("r1", OTHER)
    )
    row = row_of(*WHOLE, refused)
    assert (book.known("r1", row, DIGEST).conflict, book.known("r1", row, DIGEST).standing) == (
        False,
        "accepted",
    )
    assert book.known("r1", row, OTHER).conflict


def test_another_ones_conflict_is_no_answer() -> None:
    refused = event(
        "decided", decision=decision("reject", "idempotency_conflict"), id=conflict_event_id("r1", OTHER)
    )
    assert not known(refused).answered
    assert known(refused, digest=OTHER).answered


def test_a_misshapen_record_of_the_same_id_does_not_hide_the_request() -> None:
    malformed = event("decided", decision=decision("reject", "malformed"), id="r1:malformed:ab")
    assert known(malformed, taken=None).standing == "refused"
    assert known(WHOLE[0], malformed).standing == "pending"


def test_who_is_known_by_the_business_scoped_id_alone_is_told_so() -> None:
    row = book.entry_of(book.Taken(b"12345678", "106", "US.13491208655302741918", 1))
    found = book.known("r1", row)
    assert found.user_ref == UserRef(user_id=None, bsuid="US.13491208655302741918")


def test_who_only_asks_for_the_news_has_not_taken_the_request() -> None:
    row = book.entry_of(book.Taken(b"", "106", "4915112345678", 1))
    assert (book.taken_by(row), book.known("r1", row).standing) == (None, "unknown")


def test_a_dry_run_has_a_name_of_its_own() -> None:
    told = book.told(event("decided", decision=ALLOW, id="r1?#1:decided"))
    assert told is not None
    assert told[0] == "r1?"
    assert book.known(told[0], told[1]).standing == "allowed"


def test_a_shortened_repetition_does_not_take_the_place_of_the_first_answer() -> None:
    short = event(
        "decided",
        decision=Decision(outcome="allow", final=True, reason="ok", category=None, facts_version=""),
    )
    assert known(WHOLE[0], short).decision == ALLOW


def test_an_error_comes_back_without_its_fields_which_its_message_names() -> None:
    fields = [FieldProblem(path="message.text.body", expected="a text")] * 30
    error = SendError(origin="policy", reason="malformed", message="message.text.body: a text", fields=fields)
    told = known(event("decided", decision=decision("reject", "malformed"), error=error))
    assert told.error == SendError(origin="policy", reason="malformed", message="message.text.body: a text")


def test_what_meta_says_at_length_is_cut() -> None:
    error = SendError(origin="meta", reason="other", message="x" * 5000, fix="y" * 5000)
    assert len(row_of(event("failed", 2, error=error))) < 800


@given(st.binary(max_size=200))
def test_a_row_that_ends_in_the_middle_gives_what_is_whole(cut: bytes) -> None:
    row = row_of(*WHOLE)
    for end in (len(row) - 1, len(row) - 30, 60):
        assert len(book.entries(row[:end])) < len(book.entries(row))


@given(st.integers(0, 2**32))
def test_repetitions_change_nothing(seed: int) -> None:
    chance = random.Random(seed)
    repeated = list(WHOLE)
    for _ in range(5):
        again = chance.choice(WHOLE)
        repeated.insert(chance.randrange(repeated.index(again) + 1, len(repeated) + 1), again)
    assert known(*repeated) == known(*WHOLE)
