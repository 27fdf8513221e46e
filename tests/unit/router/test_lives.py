"""The life of a message, step by step."""

from types import SimpleNamespace

import pytest

from services.router.concerns import Concerns
from shared.events import (
    ConversationEvent,
    MetaConversation,
    MetaPricing,
    SendFailed,
    SendUncertain,
    TimerFired,
    decode_account_event,
)
from shared.stream.fold import Grants
from shared.stream.folding import Folding, Item
from shared.topics import ACCOUNT_EVENTS
from tests.unit.router.make import (
    HOUR,
    KEY,
    NOW,
    accepted,
    events,
    fact,
    received,
    request,
    state,
    status,
    steps,
    world,
)
from tests.unit.router.world import World, errors

REGULAR = MetaPricing(billable=True, type="regular", category="marketing")


def sent(**account: object) -> World:
    made = world(**account)
    made.play(KEY, request(), NOW)
    return made


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        (["sent", "delivered", "read"], ["accepted", "sent", "delivered", "read"]),
        (["read", "delivered", "sent"], ["accepted", "delivered", "read"]),
        (["delivered", "sent", "delivered", "read", "read"], ["accepted", "delivered", "read"]),
        (["sent", "failed", "delivered"], ["accepted", "sent", "failed"]),
        (["delivered", "failed", "read"], ["accepted", "delivered", "read"]),
        (["failed", "failed"], ["accepted", "failed"]),
        (["deleted", "warning"], []),
    ],
)
def test_each_step_is_told_once_and_in_order(heard: list[str], told: list[str]) -> None:
    made = sent()
    out = [step for name in heard for step in steps(made.play(KEY, status(name), NOW + 1000))]
    assert out == told


def test_the_steps_of_a_request_are_numbered_from_its_decision() -> None:
    made = sent()
    for name in ("sent", "delivered", "read"):
        made.play(KEY, status(name), NOW + 1000)
    assert [event.seq for event in made.send_events()] == [1, 2, 3, 4, 5]


def test_a_status_before_the_sends_own_answer_implies_that_meta_took_it() -> None:
    made = sent()
    assert steps(made.play(KEY, status("sent"), NOW)) == ["accepted", "sent"]
    assert steps(made.play(KEY, accepted(), NOW)) == []


def test_a_delivery_is_charged_once_with_the_quote_of_the_decision() -> None:
    made = sent()
    for name in ("delivered", "read", "delivered"):
        made.play(KEY, status(name), NOW + 1000)
    (charge,) = [e.charge for e in made.send_events() if e.charge is not None]
    assert (charge.counted, charge.unit, charge.type, charge.month) == (
        True,
        "conversation",
        "regular",
        "2026-11",
    )
    decided = made.send_events()[0].decision
    assert decided is not None
    assert decided.price is not None
    assert charge.amount_micros == decided.price.amount_micros > 0


def test_a_price_that_comes_with_a_later_status_is_told_once_more() -> None:
    made = sent()
    assert steps(made.play(KEY, status("delivered"), NOW)) == ["accepted", "delivered"]
    assert steps(made.play(KEY, status("read", pricing=REGULAR), NOW)) == ["priced", "read"]
    assert steps(made.play(KEY, status("read", pricing=REGULAR), NOW)) == []


@pytest.mark.parametrize("heard", ["read", "played"])
def test_the_price_of_an_older_status_that_comes_twice_is_no_correction(heard: str) -> None:
    made = sent()
    utility = MetaPricing(billable=True, type="regular", category="utility")
    made.play(KEY, status("delivered", pricing=REGULAR), NOW)
    assert "priced" in steps(made.play(KEY, status(heard, at=NOW + 5000, pricing=utility), NOW))
    assert steps(made.play(KEY, status("delivered", pricing=REGULAR), NOW)) == []


def test_a_priced_delivery_of_a_message_that_is_not_ours_belongs_to_no_request() -> None:
    made = world()
    stranger = status("delivered", None, wamid="wamid.other", pricing=REGULAR)
    (event,) = events(made.play(KEY, stranger, NOW))
    assert (event.event, event.request_id, event.wamid) == ("priced", None, "wamid.other")
    assert steps(made.play(KEY, stranger, NOW)) == []
    assert steps(made.play(KEY, status("sent", None, wamid="wamid.third"), NOW)) == []


@pytest.mark.parametrize(("stage", "told"), [("read", []), ("played", []), ("delivered", ["priced"])])
def test_a_message_of_ours_that_is_read_after_it_was_forgotten_is_not_charged_again(
    stage: str, told: list[str]
) -> None:
    made = sent()
    made.play(KEY, status("delivered", pricing=REGULAR), NOW)
    made.fire(NOW + 9 * 24 * HOUR)
    late = NOW + 20 * 24 * HOUR
    assert steps(made.play(KEY, status(stage, at=late, pricing=REGULAR), late)) == told


def test_a_failure_names_metas_reason_and_gives_the_places_back() -> None:
    made = sent()
    assert made.claims.members("tier:W1") != set()
    failed = events(made.play(KEY, status("failed", error_code=131026, error_text="Undeliverable"), NOW))[-1]
    assert failed.error is not None
    assert (failed.error.origin, failed.error.code) == ("meta", 131026)
    assert failed.error.reason != "meta_error_unknown"
    assert made.claims.members("tier:W1") == set()


@pytest.mark.parametrize(
    ("code", "subject", "id_"),
    [(131048, "number", "N1"), (368, "account", "W1"), (131026, None, None)],
)
def test_a_failure_that_is_not_about_the_message_alone_is_told_of_number_or_account(
    code: int, subject: str | None, id_: str | None
) -> None:
    made = sent()
    out = made.play(KEY, status("failed", error_code=code, at=NOW), NOW)
    facts = [decode_account_event(o.value) for o in out if o.topic is ACCOUNT_EVENTS]
    assert [(f.subject, f.id, f.by) for f in facts] == ([] if subject is None else [(subject, id_, "meta")])
    assert all(f.fields == {"refused": {"code": code, "at_ms": NOW}} for f in facts)
    made.know(*facts)  # it is one that facts can have


@pytest.mark.parametrize(
    ("known", "after_ms", "code", "again"),
    [
        (131048, 0, 131048, 0),
        (131048, 10_000, 131048, 1),
        (131057, 1000, 131048, 1),
        (131048, 4 * HOUR - 60_000, 131057, 0),
        (131048, 4 * HOUR - 59_999, 131057, 1),
        (131037, 10_000, 131045, 1),
    ],
)
def test_of_a_number_s_troubles_the_one_that_lasts_is_told_and_again_when_it_shows_again(
    known: int, after_ms: int, code: int, again: int
) -> None:
    made = sent()
    made.know(fact("number", "N1", refused={"code": known, "at_ms": NOW - after_ms}))
    out = made.play(KEY, status("failed", error_code=code, at=NOW), NOW)
    assert len([o for o in out if o.topic is ACCOUNT_EVENTS]) == again


def test_of_a_backlog_of_failures_each_step_is_told_once_though_nothing_is_read_back() -> None:
    concerns, known = Concerns(errors()), world().facts
    facts = [
        decode_account_event(out.value)
        for nth in range(1000)
        for out in concerns.told(status("failed", error_code=131048, at=NOW + 100 * nth), known)
    ]
    assert [fact.fields["refused"]["at_ms"] for fact in facts] == [NOW + 10_000 * nth for nth in range(10)]


def test_an_older_trouble_that_lasts_longer_is_not_told_for_ever() -> None:
    concerns, made = Concerns(errors()), world()
    made.know(fact("account", "W1", refused={"code": 368, "at_ms": NOW}))
    older = [status("failed", error_code=131064, at=NOW - 50_000 + nth) for nth in range(100)]
    assert not [out for one in older for out in concerns.told(one, made.facts)]


def test_a_payment_that_fails_after_the_message_was_taken_is_known_as_one_that_failed_at_once() -> None:
    made = sent()
    out = made.play(KEY, status("failed", error_code=131042, at=NOW), NOW)
    (payment,) = [decode_account_event(o.value) for o in out if o.topic is ACCOUNT_EVENTS]
    assert payment.fields == {"payment_method": "failing", "payment_failing_until_ms": NOW + HOUR}
    made.know(payment)
    decision = events(made.play(KEY, request("r2", at=NOW + 1), NOW + 1))[0].decision
    assert decision is not None
    assert decision.reason == "payment_method_missing"


def test_metas_word_that_the_user_stopped_marketing_is_kept() -> None:
    made = sent()
    made.play(KEY, status("failed", error_code=131050), NOW)
    decision = events(made.play(KEY, request("r2", at=NOW + 1), NOW + 1))[0].decision
    assert decision is not None
    assert decision.reason == "opted_out"


def test_a_certain_failure_ends_the_life_and_a_later_one_opens_the_conversation() -> None:
    made = sent()
    refused = SendFailed(
        event_id="f", at_ms=NOW, command_id="r1#1", origin="meta", reason="x", retryable=False
    )
    assert steps(made.play(KEY, refused, NOW)) == ["failed"]
    assert steps(made.play(KEY, refused, NOW)) == []
    decision = events(made.play(KEY, request("r2", at=NOW + 1), NOW + 1))[0].decision
    assert decision is not None
    assert decision.conversation is not None
    assert decision.conversation.action == "open"


def test_a_command_of_which_nothing_is_heard_is_given_up_a_quarter_after_it_is_void() -> None:
    made = sent()
    made.fire(NOW + 4 * HOUR + 15 * 60_000)
    assert [event.event for event in made.send_events()] == ["decided", "failed"]


def test_an_uncertain_report_after_the_outcome_is_ignored() -> None:
    made = sent()
    made.play(KEY, accepted(), NOW)
    assert made.play(KEY, SendUncertain(event_id="u", at_ms=NOW, command_id="r1#1", cause="x"), NOW) == ()


def test_metas_own_conversation_and_expiry_win() -> None:
    made = sent()
    told = MetaConversation("meta-1", "marketing", NOW + 5 * HOUR)
    made.play(KEY, status("sent", conversation=told), NOW)
    made.play(KEY, status("delivered", conversation=MetaConversation("meta-1")), NOW)
    for at, action in ((NOW + 4 * HOUR, "reuse"), (NOW + 6 * HOUR, "open")):
        decision = events(made.play(KEY, request(f"r{at}", at=at, dry_run=True), at))[0].decision
        assert decision is not None
        assert decision.conversation is not None
        assert decision.conversation.action == action
        assert (decision.conversation.id == "meta-1") == (action == "reuse")


def test_where_messages_are_charged_metas_conversation_of_a_message_ends_none_of_ours() -> None:
    made = sent(regime="2025-07-01")
    told = MetaConversation("meta-1", "marketing", NOW + 5 * HOUR)
    made.play(KEY, status("sent", conversation=told), NOW)
    made.play(KEY, status("delivered"), NOW)
    decision = events(made.play(KEY, request("r2", at=NOW + 6 * HOUR, dry_run=True), NOW + 6 * HOUR))[
        0
    ].decision
    assert decision is not None
    assert decision.conversation is not None
    assert (decision.conversation.action, decision.conversation.id) == ("reuse", "r1#1")


def test_the_end_of_metas_conversation_is_learnt_even_after_its_message_was_read() -> None:
    made = sent()
    made.play(KEY, status("read", conversation=MetaConversation("meta-1")), NOW)
    made.play(KEY, status("sent", conversation=MetaConversation("meta-1", "marketing", NOW + 5 * HOUR)), NOW)
    decision = events(made.play(KEY, request("r2", at=NOW + 6 * HOUR, dry_run=True), NOW + 6 * HOUR))[
        0
    ].decision
    assert decision is not None
    assert decision.conversation is not None
    assert decision.conversation.action == "open"


def test_a_free_form_delivered_when_the_conversation_it_was_to_share_is_over_takes_a_free_place_of_its_own() -> (
    None
):
    made = world()
    for at in (NOW, NOW + 24 * HOUR - 1):
        made.play(KEY, received(f"wamid.{at}", at=at), at)
    for id_ in ("r1", "r2"):
        made.play(KEY, request(id_, None, at=NOW + 1), NOW + 1)
        made.play(KEY, accepted(f"{id_}#1", NOW + 1), NOW + 1)
    made.play(KEY, status("delivered", "r1#1", NOW + 2), NOW + 2)
    made.play(KEY, status("delivered", "r2#1", NOW + 25 * HOUR), NOW + 25 * HOUR)
    assert [e.charge.counted for e in made.send_events() if e.charge is not None] == [True, True]
    assert len(made.claims.members("free:W1:2026-11")) == 2


def test_a_silent_replay_of_a_delivery_without_a_rate_comes_to_the_same_under_other_rules() -> None:
    made = world()
    made.play(KEY, request(), NOW)
    made.know(fact("account", "W1", currency="EUR"))
    made.play(KEY, status("delivered", conversation=MetaConversation("meta-1")), NOW + 1000)
    assert [event.charge for event in made.send_events()] == [None, None, None]
    again = world(regime="2026-10-01")
    again.replay(made.log)
    assert again.states == made.states


def test_a_reply_is_traced_to_the_request_it_answers_even_after_it_was_read() -> None:
    made = world()
    made.play(KEY, request(correlation_id="order-1"), NOW)
    made.play(KEY, status("read"), NOW)
    (out,) = made.play(KEY, received(reply_to="wamid.r1#1"), NOW)
    assert b'"reply_to":{"wamid":"wamid.r1#1","request_id":"r1","correlation_id":"order-1"}' in out.value


def test_a_free_form_that_reuses_after_all_gives_its_free_place_back() -> None:
    made = world()
    made.play(KEY, received(), NOW)
    made.play(KEY, request("text", None), NOW)
    assert len(made.claims.members("free:W1:2026-11")) == 1
    made.play(KEY, request("order", "order_update"), NOW)
    made.play(KEY, status("delivered", "order#1", at=NOW + 1000), NOW)
    made.play(KEY, status("delivered", "text#1", at=NOW + 2000), NOW)
    assert made.claims.members("free:W1:2026-11") == set()
    charges = [(e.charge.counted, e.charge.type) for e in made.send_events() if e.charge is not None]
    assert charges == [(True, "regular"), (False, "reused")]


def test_a_message_given_up_and_delivered_in_one_batch_keeps_a_free_place() -> None:
    made = world()
    made.play(KEY, received(), NOW)
    made.play(KEY, request(template=None), NOW)
    due = made.timers[KEY]
    batch = Folding(made.fold, made.facts, {KEY: state(made)})
    fired = TimerFired(event_id="t", at_ms=due, key=KEY, name="wake", due_ms=due)
    records: list[ConversationEvent] = [fired, status("delivered", at=due)]
    batch.feed(Item(SimpleNamespace(offset=n), KEY, event, Grants()) for n, event in enumerate(records))
    while batch.wanted:
        batch.answer({claim.id: made.claims.ask(claim, due) for claim in batch.wanted})
    for release in batch.releases:  # the processor gives back once the batch is committed
        made.claims.release(release, due)
    assert [event.charge.type for event in events(batch.out[1][1].out) if event.charge] == ["free_tier"]
    assert len(made.claims.members("free:W1:2026-11")) == 1


def test_everything_is_forgotten_when_nothing_is_left() -> None:
    made = sent()
    made.play(KEY, received(), NOW)
    made.play(KEY, status("read"), NOW)
    assert state(made) is not None
    made.fire(NOW + 9 * 24 * HOUR)
    assert state(made) is None
    assert made.timers == {}
