"""What a ledger entry says of predicted against billed: summed over a message's entries, one prediction and what became of it."""

from collections import Counter

import pytest

from services.billing.ledger import LedgerFold, Remembered
from services.billing.reconciliation.words import word
from shared.accounts import AccountFacts
from shared.events import SendEvent, decode_ledger_entry
from shared.logs import hasher
from shared.stream.fold import Grants
from tests.unit.billing.events import charge, event, pmp
from tests.unit.billing.reconciliation.test_unheard import BOOK

FOLD = LedgerFold(BOOK, hasher("key"))


def sums(*events: SendEvent) -> tuple[dict[str, int], dict[str, int]]:
    """Predicted and billed by category, as the metrics count them."""
    predicted: Counter[str] = Counter()
    billed: Counter[str] = Counter()
    state: Remembered | None = None
    for one in events:
        step = FOLD.fold(state, one, AccountFacts(), Grants())
        state = step.state
        for out in step.out:
            said = word(decode_ledger_entry(out.value))
            for counts, share in zip((predicted, billed), said or (None, None), strict=True):
                if share is not None:
                    counts[share.category] += share.micros
    return dict(predicted), dict(billed)


def test_a_delivery_that_meta_prices_as_predicted_counts_the_same_on_both_sides() -> None:
    assert sums(event("delivered", predicted=charge(), pricing=pmp("utility"))) == (
        {"utility": 55_000},
        {"utility": 55_000},
    )


@pytest.mark.parametrize("later", [False, True])
def test_a_recategorised_message_counts_where_it_was_predicted_and_where_it_is_billed(later: bool) -> None:
    pricing = pmp("marketing")
    told = (
        [event("delivered", predicted=charge()), event("priced", pricing=pricing, seq=4, after_s=60)]
        if later
        else [event("delivered", predicted=charge(), pricing=pricing)]
    )
    predicted, billed = sums(*told)
    assert predicted == {"utility": 55_000}
    assert list(billed) == ["marketing"]
    assert billed["marketing"] > 55_000


def test_a_message_that_turned_out_free_is_billed_at_nothing() -> None:
    free = pmp("utility", billable=False)
    assert sums(event("delivered", predicted=charge(), pricing=free)) == ({"utility": 55_000}, {"utility": 0})


def test_a_prediction_alone_and_a_message_of_others_say_nothing() -> None:
    assert sums(event("delivered", predicted=charge())) == ({}, {})
    assert sums(event("priced", request_id=None, pricing=pmp("utility"))) == ({}, {})
