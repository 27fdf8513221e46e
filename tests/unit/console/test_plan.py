"""What applying a file changes, and that applying it again changes nothing."""

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from services.console import view
from services.console.document import AccountsDocument, parse
from services.console.plan import Applied, Plan, difference
from services.console.view import shown
from shared.accounts import AccountFacts
from shared.events import AccountChanged, AccountEvent, AccountWebhook, decode_account_event, encode

NOW = 1_764_000_000_000
FILE = """
accounts:
  - id: "1"
    payment_method: missing
    messaging_limit: 250
    numbers:
      - {id: "10", display_phone_number: "+1 555 010 0101", default: true}
      - {id: "11", token: own}
    templates:
      - {name: promo, language: de, category: marketing, status: PENDING}
"""


def read(text: str) -> AccountsDocument:
    return parse(text, lambda _: True, lambda _: True)


def fold(facts: AccountFacts, events: tuple[AccountEvent, ...]) -> AccountFacts:
    """Append the events as they would come back from the topic."""
    for event in events:
        facts.apply(decode_account_event(encode(event)), facts.revision + 1)
    return facts


def plan(text: str, facts: AccountFacts, now_ms: int = NOW, *, force: bool = False) -> Plan:
    return difference(read(text), facts, now_ms, force=force)


def applied(text: str, facts: AccountFacts | None = None, now_ms: int = NOW) -> AccountFacts:
    facts = facts or AccountFacts()
    return fold(facts, plan(text, facts, now_ms).events)


def template_status(status: str, at_ms: int) -> AccountWebhook:
    value = {"message_template_name": "promo", "message_template_language": "de", "event": status}
    return AccountWebhook(
        event_id=f"t:{at_ms}",
        at_ms=at_ms,
        waba_id="1",
        field="message_template_status_update",
        value=Raw(msgspec.json.encode(value)),
    )


def test_a_first_file_sets_up_every_subject_with_one_event_each() -> None:
    made = plan(FILE, AccountFacts())
    assert [(event.subject, event.id) for event in made.events] == [
        ("account", "1"),
        ("number", "10"),
        ("number", "11"),
        ("template", "promo/de"),
    ]
    assert {event.by for event in made.events} == {"operator"}
    assert {event.at_ms for event in made.events} == {NOW}
    facts = fold(AccountFacts(), made.events)
    number = facts.number("11")
    assert number is not None
    assert number.token == "own"
    assert facts.default_number() == "10"


def test_the_same_file_again_changes_nothing() -> None:
    again = plan(FILE, applied(FILE), NOW + 1)
    assert (again.changes, again.events, again.kept, again.conflicts) == ((), (), (), ())


def test_a_subject_without_facts_of_its_own_is_set_up_once() -> None:
    text = 'accounts: [{id: "1", numbers: [{id: "10"}]}]'
    assert [event.fields for event in plan(text, AccountFacts()).events] == [{}, {}]
    assert plan(text, applied(text)).events == ()


def test_only_the_field_that_differs_is_published() -> None:
    changed = plan(FILE.replace("missing", "valid"), applied(FILE), NOW + 1)
    assert [(c.field, c.before, c.after) for c in changed.changes] == [("payment_method", "missing", "valid")]
    assert [event.fields for event in changed.events] == [{"payment_method": "valid"}]


def test_the_same_plan_has_the_same_event_ids_and_another_revision_has_others() -> None:
    facts = applied(FILE)
    first, second = (plan(FILE.replace("missing", "valid"), facts, NOW + later) for later in (1, 2))
    assert first.events[0].event_id == second.events[0].event_id
    fold(facts, (template_status("APPROVED", NOW),))
    assert (
        plan(FILE.replace("missing", "valid"), facts, NOW + 3).events[0].event_id != first.events[0].event_id
    )


def test_what_meta_said_since_stays() -> None:
    facts = fold(applied(FILE), (template_status("APPROVED", NOW + 1),))
    again = plan(FILE, facts, NOW + 2)
    assert again.events == ()
    (kept,) = again.kept
    assert (kept.change.field, kept.change.before, kept.change.after, kept.by) == (
        "status",
        "APPROVED",
        "PENDING",
        "meta",
    )


def test_force_overrides_what_meta_said_even_when_metas_clock_is_ahead() -> None:
    facts = fold(applied(FILE), (template_status("APPROVED", NOW + 60_000),))
    forced = plan(FILE, facts, NOW + 2, force=True)
    assert [(event.fields, event.at_ms) for event in forced.events] == [({"status": "PENDING"}, NOW + 60_000)]
    template = fold(facts, forced.events).template("1", "promo", "de")
    assert template is not None
    assert template.status == "PENDING"


def test_a_payment_method_that_sending_found_failing_is_the_operators_to_set() -> None:
    text = FILE.replace("missing", "valid")
    found = AccountChanged(
        event_id="s",
        at_ms=NOW + 1,
        waba_id="1",
        subject="account",
        id="1",
        fields={"payment_method": "failing"},
        by="sender",
    )
    again = plan(text, fold(applied(text), (found,)), NOW + 2)
    assert [(c.field, c.before, c.after) for c in again.changes] == [("payment_method", "failing", "valid")]


def test_what_the_file_does_not_name_is_left_alone_and_counted() -> None:
    facts = applied(FILE)
    less = plan('accounts: [{id: "1"}]', facts)
    assert less.events == ()
    assert less.unmanaged == (("number", "1", "10"), ("number", "1", "11"), ("template", "1", "promo/de"))


def test_a_number_of_another_account_is_a_conflict_until_forced() -> None:
    facts = applied(FILE)
    moving = 'accounts: [{id: "2", numbers: [{id: "10", default: true, registered: true}]}]'
    refused = plan(moving, facts)
    assert refused.conflicts == ("number 10 belongs to account 1; --force moves it",)
    assert refused.events == ()
    fold(facts, plan(moving, facts, NOW + 1, force=True).events)
    assert facts.waba_of("10") == "2"
    assert facts.default_number() == "10"
    assert plan(moving, facts, NOW + 2).events == ()


def test_two_default_numbers_of_one_account_are_a_conflict_also_with_one_that_the_file_leaves_out() -> None:
    other = 'accounts: [{id: "1", numbers: [{id: "12", default: true}]}]'
    assert plan(other, applied(FILE)).conflicts == (
        "account 1 would have more than one default number: 10, 12",
    )
    handed_over = 'accounts: [{id: "1", numbers: [{id: "10", default: false}, {id: "12", default: true}]}]'
    assert applied(handed_over, applied(FILE)).default_number() == "12"


def test_two_accounts_may_each_have_a_default_number_and_the_default_account_decides() -> None:
    text = """
accounts:
  - {id: "1", numbers: [{id: "10", default: true}]}
  - {id: "2", default: true, numbers: [{id: "20", default: true}]}
"""
    assert applied(text).default_number() == "20"
    assert applied(text.replace("default: true, numbers", "numbers")).default_number() is None
    both = text.replace('{id: "1",', '{id: "1", default: true,')
    assert plan(both, AccountFacts()).conflicts == ("two default accounts: 1, 2",)


account = st.fixed_dictionaries(
    {},
    optional={
        "payment_method": st.sampled_from(["valid", "missing", "failing"]),
        "messaging_limit": st.integers(-1, 1000),
        "paused": st.booleans(),
    },
)
template = st.fixed_dictionaries(
    {"category": st.sampled_from(["marketing", "utility"])},
    optional={"status": st.sampled_from(["APPROVED", "PENDING"])},
)
step = st.tuples(
    st.one_of(
        st.tuples(account, template).map(
            lambda pair: {
                "accounts": [
                    {"id": "1", **pair[0], "templates": [{"name": "promo", "language": "de", **pair[1]}]}
                ]
            }
        ),
        st.sampled_from(["APPROVED", "REJECTED", "PAUSED"]),
    ),
    st.integers(-5, 5),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(step, max_size=8))
def test_after_any_history_a_file_that_was_applied_gives_an_empty_plan(
    history: list[tuple[dict[str, object] | str, int, bool]],
) -> None:
    facts = AccountFacts()
    for what, shift, force in history:
        now = NOW + shift
        if isinstance(what, str):
            fold(facts, (template_status(what, now),))
            continue
        document = AccountsDocument.model_validate(what)
        before = facts.known()
        made = difference(document, facts, now, force=force)
        fold(facts, made.events)
        after = difference(document, facts, now, force=force)
        assert after.events == ()
        assert not (force and after.kept)
        for kept in made.kept:
            assert getattr(before[kept.change.key], kept.change.field) == getattr(
                facts.known()[kept.change.key], kept.change.field
            )


DEFINED = FILE.replace("status: PENDING", 'status: PENDING, body: "Hello {{1}}"')


def test_a_templates_definition_is_applied_once_and_shown_in_words() -> None:
    made = plan(DEFINED, applied(FILE), NOW + 1)
    (change,) = made.changes
    assert (change.field, shown(change.before), shown(change.after)) == ("parameters", "—", "body 1")
    assert json.loads(json.dumps(view.applied(Applied(made, 0, 1), dry_run=True)))["changes"][0]["after"] == {
        "body": ["1"]
    }
    assert plan(DEFINED, applied(DEFINED), NOW + 1).events == ()


def test_a_definition_that_meta_has_told_since_stays() -> None:
    value = {
        "message_template_name": "promo",
        "message_template_language": "de",
        "message_template_element": "Hi",
    }
    edited = AccountWebhook(
        event_id="e",
        at_ms=NOW + 1,
        waba_id="1",
        field="message_template_components_update",
        value=Raw(msgspec.json.encode(value)),
    )
    again = plan(DEFINED, fold(applied(DEFINED), (edited,)), NOW + 2)
    assert again.events == ()
    assert [(kept.change.field, kept.by) for kept in again.kept] == [("parameters", "meta")]


PRICED = """
accounts:
  - id: "1"
    primary_location: DE
    auth_international: {start_at: 2026-03-01T00:00:00Z, exceptions: {IN: 2026-04-01T00:00:00Z}}
    volume_tiers: [{category: utility, market: India, month: "2026-11", tier: "1001:5000"}]
"""


def account_update(at_ms: int, **value: object) -> AccountWebhook:
    raw = Raw(msgspec.json.encode(value))
    return AccountWebhook(event_id=f"a:{at_ms}", at_ms=at_ms, waba_id="1", field="account_update", value=raw)


def test_facts_of_prices_applied_again_change_nothing() -> None:
    facts = applied(PRICED)
    again = plan(PRICED, facts)
    assert (again.changes, again.kept, again.events) == ((), (), ())


def test_a_location_that_meta_told_stays_and_its_tiers_leave_the_files_alone() -> None:
    info = {
        "pricing_category": "UTILITY",
        "region": "INDIA",
        "effective_month": "2026-11",
        "tier": "5001:MAX",
    }
    facts = fold(
        applied(PRICED),
        (
            account_update(NOW + 1, event="BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE", country="FR"),
            account_update(NOW + 2, event="VOLUME_BASED_PRICING_TIER_UPDATE", volume_tier_info=info),
        ),
    )
    again = plan(PRICED, facts, NOW + 3)
    assert [kept.change.field for kept in again.kept] == ["primary_location"]
    assert again.events == ()
    forced = fold(facts, plan(PRICED, facts, NOW + 3, force=True).events)
    account = forced.account("1")
    assert account is not None
    assert (account.primary_location, list(account.tier_notices)) == ("DE", ["utility/2026-11/india"])
