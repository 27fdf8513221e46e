"""The ledger's fold: one entry per charge, differences only after that, nothing for what was seen."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.billing.ledger import CORRECTABLE_MS, FORGET, SETTLED_MS, LedgerFold, Remembered
from shared.accounts import AccountFacts
from shared.events import AccountChanged, LedgerEntry, SendEvent, VolumeTier, decode_ledger_entry, encode
from shared.logs import hasher
from shared.pricing import PriceBook
from shared.stream.fold import Grants, Rank, Recalled, Step
from shared.times import parse_rfc3339
from shared.topics import BILLING_CHARGES
from tests.unit.billing.events import GERMAN, NOON, NUMBER, WABA, charge, event, pmp

CONFIG = Path(__file__).parents[3] / "config"
BOOK = PriceBook.load(CONFIG)
FOLD = LedgerFold(BOOK, hasher("key"))


def facts(**account: Any) -> AccountFacts:
    known = AccountFacts()
    known.apply(
        AccountChanged(event_id="a", at_ms=1, waba_id=WABA, subject="account", id=WABA, fields=account), 1
    )
    return known


def fold(
    state: Remembered | None, *events: SendEvent, **account: Any
) -> tuple[Remembered | None, list[LedgerEntry]]:
    entries = []
    for one in events:
        step = FOLD.fold(state, one, facts(**account), Grants())
        state = step.state
        entries += [decode_ledger_entry(out.value) for out in step.out]
    return state, entries


def test_a_delivery_becomes_one_entry_that_names_nobody() -> None:
    step = FOLD.fold(None, event("delivered", predicted=charge()), facts(), Grants())
    (out,) = step.out
    entry = decode_ledger_entry(out.value)
    assert (out.topic, out.id, out.type, out.beside_source) == (
        BILLING_CHARGES,
        "wamid.1:charge",
        "charge",
        True,
    )
    assert out.key == f"{NUMBER}:{entry.user_ref}"
    assert entry.user_ref == hasher("key")(GERMAN)
    assert GERMAN.encode() not in out.value
    assert (entry.entry, entry.basis, entry.free, entry.counts) == ("charge", "predicted", False, 1)
    assert (entry.amount_micros, entry.currency, entry.month) == (55_000, "USD", "2026-11")
    assert (entry.waba_id, entry.request_id, entry.tags) == (WABA, "R1", {"cost_center": "logistics"})


@pytest.mark.parametrize("name", ["decided", "accepted", "sent", "failed", "held", "cancelled", "uncertain"])
def test_other_steps_of_a_message_cost_nothing_and_are_not_remembered(name: str) -> None:
    one = event(name, pricing=pmp("utility"))
    assert FOLD.key("N1:49", one) == ""
    assert FOLD.fold(None, one, facts(), Grants()) == Step(None)


def test_what_sent_says_of_the_price_is_no_charge() -> None:
    assert fold(None, event("priced", status="sent", pricing=pmp("utility"))) == (None, [])


def test_the_same_event_again_changes_nothing() -> None:
    delivered = event("delivered", predicted=charge(), pricing=pmp("utility"))
    state, _ = fold(None, delivered)
    step = FOLD.fold(state, delivered, facts(), Grants())
    assert step.state is state
    assert step == Step(state)


def test_metas_agreement_makes_the_entry_metas() -> None:
    _, (entry,) = fold(None, event("delivered", predicted=charge(), pricing=pmp("utility")))
    assert (entry.basis, entry.amount_micros) == ("meta", 55_000)
    assert entry.meta_pricing is not None
    assert msgspec.json.decode(entry.meta_pricing)["category"] == "utility"


def test_what_meta_does_not_bill_is_free() -> None:
    _, (entry,) = fold(None, event("delivered", predicted=charge(), pricing=pmp("utility", billable=False)))
    assert (entry.free, entry.type, entry.amount_micros, entry.counts) == (
        True,
        "free_customer_service",
        0,
        1,
    )


def test_another_category_of_metas_is_priced_by_the_same_card() -> None:
    _, (entry,) = fold(None, event("delivered", predicted=charge(), pricing=pmp("marketing")))
    rate = BOOK.cards.by_id["usd_2026-10-01"].micros["Germany", "marketing"]  # type: ignore[index]
    assert (entry.category, entry.amount_micros, entry.basis) == ("marketing", rate, "meta")


PASSWORD = charge(
    category="authentication",
    market="India",
    rate_category="authentication_international",
    amount_micros=30_400,
)


def test_a_password_to_another_country_stands_under_the_category_that_meta_bills() -> None:
    state, (entry,) = fold(None, event("delivered", predicted=PASSWORD))
    assert (entry.category, entry.amount_micros) == ("authentication_international", 30_400)
    _, (again,) = fold(state, event("priced", seq=4, pricing=pmp("authentication-international")))
    assert (again.counts, again.amount_micros) == (0, 0)


def test_where_meta_bills_a_password_as_domestic_the_charge_moves_to_that_line() -> None:
    state, _ = fold(None, event("delivered", predicted=PASSWORD))
    _, (back, anew) = fold(state, event("priced", seq=4, pricing=pmp("authentication")))
    assert (back.category, back.amount_micros) == ("authentication_international", -30_400)
    assert (anew.category, anew.amount_micros) == ("authentication", 1_400)


def test_an_entry_names_the_tier_of_its_charge_and_a_replay_of_the_ledger_keeps_it() -> None:
    tier = VolumeTier(tier="1001:5000", rates="t")
    delivered = event("delivered", predicted=charge(volume_tier=tier, amount_micros=50_000))
    step = FOLD.fold(None, delivered, facts(), Grants())
    assert decode_ledger_entry(step.out[0].value).volume_tier == tier
    recalled = Grants(recalled=Recalled(tuple(out.value for out in step.out)))
    assert FOLD.fold(None, delivered, facts(), recalled).state == step.state


def test_a_late_word_is_priced_in_the_tier_of_the_delivery_not_in_one_reached_since() -> None:
    reached = {"1:250000": 1, "250001:MAX": parse_rfc3339(NOON) + 3_600_000}
    delivered = event(
        "delivered", predicted=charge(category="marketing", market="Brazil", amount_micros=62_500)
    )
    late = event("priced", seq=4, after_s=7200, pricing=pmp("utility"))
    _, entries = fold(None, delivered, late, tier_notices={"utility/2026-11/brazil": reached})
    assert entries[-1].volume_tier == VolumeTier(tier="1:250000", rates="reported_usd_2026-10-01_first_tiers")


def test_a_correction_keeps_the_tags_that_events_of_an_ended_message_no_longer_have() -> None:
    late = msgspec.structs.replace(event("priced", seq=4, pricing=pmp("marketing")), tags={})
    _, entries = fold(None, event("delivered", predicted=charge()), late)
    assert [entry.tags for entry in entries] == [{"cost_center": "logistics"}] * 3


def test_what_turns_out_free_has_no_tier() -> None:
    tiered = charge(volume_tier=VolumeTier(tier="1001:5000", rates="t"))
    state, _ = fold(None, event("delivered", predicted=tiered))
    _, (_, anew) = fold(state, event("priced", seq=4, pricing=pmp("utility", billable=False)))
    assert (anew.free, anew.volume_tier) == (True, None)


def test_another_category_of_metas_is_priced_in_the_tier_the_account_has_there() -> None:
    notices = {"authentication/2026-11/germany": {"1001:5000": 0}}
    delivered = event("delivered", predicted=charge(), pricing=pmp("authentication"))
    _, (entry,) = fold(None, delivered, tier_notices=notices)
    assert (entry.category, entry.volume_tier) == (
        "authentication",
        VolumeTier(tier="1001:5000", rates=None),
    )


def test_a_later_price_that_agrees_confirms_the_charge_once_by_an_entry_of_nothing() -> None:
    state, _ = fold(
        None, event("delivered", predicted=charge(type="free_tier", amount_micros=0, category="service"))
    )
    agreed = pmp("service", billable=False, type="free_tier")
    state, (entry,) = fold(state, event("priced", seq=4, pricing=agreed))
    assert (entry.entry, entry.event_id, entry.basis) == ("correction", "wamid.1:correction:1", "meta")
    assert (entry.counts, entry.amount_micros, entry.conversations, entry.type) == (0, 0, 0, "free_tier")
    _, again = fold(state, event("read", seq=5, pricing=agreed, after_s=60))
    assert again == []


def test_a_prediction_that_comes_after_metas_word_and_agrees_is_told_by_an_entry_of_nothing() -> None:
    priced = event("priced", seq=4, pricing=pmp("utility"))
    state, (first,) = fold(None, priced)
    assert (first.predicted, first.basis) == (None, "meta")
    _, (entry,) = fold(state, event("delivered", predicted=charge()))
    assert (entry.counts, entry.amount_micros, entry.basis, entry.difference_micros) == (0, 0, "meta", 0)
    assert entry.predicted is not None
    assert entry.predicted.amount_micros == 55_000


def test_a_message_in_a_conversation_that_is_open_has_no_entry_to_confirm() -> None:
    reused = charge(unit="conversation", counted=False, type="reused", amount_micros=0, conversation_id="C1")
    state, entries = fold(None, event("delivered", predicted=reused))
    assert entries == []
    cbp = pmp("utility") | {"pricing_model": "CBP"}
    _, entries = fold(state, event("priced", seq=4, pricing=cbp, conversation="C1"))
    assert entries == []


def test_a_later_price_on_another_line_takes_back_and_books_anew() -> None:
    state, _ = fold(None, event("delivered", predicted=charge()))
    _, (back, anew) = fold(state, event("priced", seq=4, pricing=pmp("utility", billable=False), after_s=99))
    assert (back.event_id, anew.event_id) == ("wamid.1:correction:1", "wamid.1:correction:2")
    assert (back.amount_micros, back.counts, back.free) == (-55_000, -1, False)
    assert (anew.amount_micros, anew.counts, anew.free) == (0, 1, True)
    assert back.entry == anew.entry == "correction"


def test_a_correction_of_next_month_goes_to_the_month_of_the_delivery() -> None:
    state, _ = fold(None, event("delivered", predicted=charge()))
    _, entries = fold(state, event("priced", seq=4, pricing=pmp("marketing"), after_s=20 * 86_400))
    assert {entry.month for entry in entries} == {"2026-11"}


def test_a_price_that_comes_with_read_corrects_too() -> None:
    state, _ = fold(None, event("delivered", predicted=charge()))
    _, entries = fold(state, event("read", seq=4, pricing=pmp("marketing")))
    assert sum(entry.counts for entry in entries) == 0


def test_an_older_price_does_not_undo_a_newer_one() -> None:
    delivered = event("delivered", predicted=charge())
    state, _ = fold(None, delivered, event("priced", seq=5, pricing=pmp("marketing")))
    _, entries = fold(state, event("read", seq=4, pricing=pmp("utility")))
    assert entries == []


def test_a_reused_conversation_is_not_charged_again_though_meta_repeats_its_price() -> None:
    reused = charge(counted=False, unit="conversation", conversation_id="c1", type="reused", amount_micros=0)
    pricing = {"billable": True, "pricing_model": "CBP", "category": "marketing"}
    state, entries = fold(None, event("delivered", predicted=reused, pricing=pricing))
    assert entries == []
    assert state is not None


def test_an_uncounted_message_is_charged_when_meta_bills_each_message() -> None:
    reused = charge(counted=False, type="reused", amount_micros=0)
    state, before = fold(None, event("delivered", predicted=reused))
    _, after = fold(state, event("priced", seq=4, pricing=pmp("utility")))
    assert before == []
    assert [(entry.event_id, entry.counts, entry.amount_micros) for entry in after] == [
        ("wamid.1:charge", 1, 55_000)
    ]


def test_a_price_nobody_has_is_marked_and_not_free() -> None:
    _, (entry,) = fold(None, event("delivered", predicted=charge(), pricing=pmp("general_purpose_ai")))
    assert entry.category == "utility"
    unknown = charge(market="Nowhere", category="service", type="free_tier", amount_micros=0)
    _, (entry,) = fold(None, event("delivered", predicted=unknown, pricing=pmp("utility"), user="870123456"))
    assert (entry.type, entry.free, entry.amount_micros) == ("rate_unknown", False, 0)


def test_a_priced_message_that_is_not_ours_is_unattributed_in_the_accounts_own_month_and_currency() -> None:
    foreign = event("priced", request_id=None, pricing=pmp("marketing"), after_s=(10 * 24 + 11) * 3600 + 1800)
    known = facts(timezone="Asia/Kolkata", currency="USD")
    step = FOLD.fold(None, foreign, known, Grants())
    entry = decode_ledger_entry(step.out[0].value)
    assert (entry.entry, entry.event_id, entry.request_id) == ("unattributed", "wamid.1:charge", None)
    assert (entry.month, entry.market, entry.category) == ("2026-12", "Germany", "marketing")
    assert entry.amount_micros == BOOK.cards.by_id["usd_2026-10-01"].micros["Germany", "marketing"]  # type: ignore[index]


def test_messages_of_one_foreign_conversation_are_charged_once() -> None:
    pricing = {"billable": True, "pricing_model": "CBP", "category": "marketing"}
    first = event("priced", request_id=None, wamid="a", pricing=pricing, conversation="c1")
    second = event("priced", request_id=None, wamid="b", pricing=pricing, conversation="c1", after_s=60)
    assert FOLD.key("k", first) == FOLD.key("k", second) == "conversation:c1"
    _, entries = fold(None, first, second)
    assert [entry.event_id for entry in entries] == ["a:charge"]


def test_a_free_entry_point_keeps_the_messages_category() -> None:
    pricing = pmp("referral_conversion", billable=False, type="free_entry_point")
    _, (entry,) = fold(None, event("delivered", predicted=charge(), pricing=pricing))
    assert (entry.category, entry.type, entry.free) == ("utility", "free_entry_point", True)


def test_a_status_of_unknown_shape_leaves_the_prediction() -> None:
    one = event("delivered", predicted=charge(), pricing={"billable": "perhaps"})
    _, (entry,) = fold(None, one)
    assert (entry.basis, entry.amount_micros) == ("predicted", 55_000)


def test_a_message_is_forgotten_after_its_time() -> None:
    at = parse_rfc3339(NOON)
    step = FOLD.fold(None, event("delivered", predicted=charge()), facts(), Grants())
    assert step.ranks == (Rank(FORGET, "wamid.1", at + CORRECTABLE_MS),)
    step = FOLD.fold(step.state, event("priced", seq=4, pricing=pmp("utility")), facts(), Grants())
    assert step.ranks == (Rank(FORGET, "wamid.1", at + SETTLED_MS),)


def test_a_rebuild_takes_the_entries_from_the_ledger_whatever_the_account_says_now() -> None:
    foreign = event("priced", request_id=None, pricing=pmp("marketing"))
    first = FOLD.fold(None, foreign, facts(timezone="UTC"), Grants())
    recalled = Recalled(tuple(out.value for out in first.out))
    again = FOLD.fold(None, foreign, facts(timezone="UTC", regime="2025-07-01"), Grants(recalled=recalled))
    assert again.state == first.state


def test_a_rebuild_restores_corrections_and_their_number() -> None:
    events = [
        event("delivered", predicted=charge()),
        event("priced", seq=4, pricing=pmp("marketing")),
        event("priced", seq=5, pricing=pmp("marketing", billable=False)),
    ]
    live: Remembered | None = None
    rebuilt: Remembered | None = None
    for one in events:
        step = FOLD.fold(live, one, facts(), Grants())
        live = step.state
        silent = Recalled(tuple(out.value for out in step.out))
        rebuilt = FOLD.fold(rebuilt, one, facts(currency="INR"), Grants(recalled=silent)).state
    assert rebuilt == live


def test_the_state_survives_its_encoding_and_stays_small() -> None:
    state, _ = fold(None, event("delivered", predicted=charge(), pricing=pmp("utility")))
    assert state is not None
    assert FOLD.decode_state(FOLD.encode_state(state)) == state
    assert len(FOLD.encode_state(state)) < 240


def test_a_send_event_decodes_as_it_was_published() -> None:
    one = event("delivered", predicted=charge())
    assert FOLD.decode(encode(one)) == one
    assert FOLD.malformed("k", b"{", "broken") == ()


def test_an_entry_says_when_where_and_how_far_from_what_was_predicted() -> None:
    state, (booked,) = fold(None, event("delivered", predicted=charge(day="2026-11-20", opened=True)))
    assert (booked.delivered_at, booked.day, booked.country) == (NOON, "2026-11-20", "DE")
    assert (booked.counts, booked.conversations, booked.difference_micros) == (1, 1, 0)
    _, (back, anew) = fold(state, event("priced", seq=4, pricing=pmp("marketing"), after_s=90_000))
    assert (back.conversations, anew.conversations) == (-1, 1)
    assert (anew.delivered_at, anew.day) == (NOON, "2026-11-20")
    assert anew.at == "2026-11-21T13:00:00.000Z"
    assert anew.predicted is not None
    assert (anew.predicted.category, anew.predicted.amount_micros) == ("utility", 55_000)
    assert anew.difference_micros == anew.amount_micros - 55_000


def test_an_entry_of_the_version_before_dates_its_delivery_by_its_own_time() -> None:
    _, (booked,) = fold(None, event("delivered", predicted=charge()))
    old = msgspec.to_builtins(booked)
    for later in ("delivered_at", "day", "country", "conversations", "predicted", "difference_micros"):
        del old[later]
    read = decode_ledger_entry(msgspec.json.encode(old | {"meta_pricing": {"billable": True}, "v": 1}))
    assert (read.delivered_at, read.day, read.conversations) == (NOON, "2026-11-20", 0)
