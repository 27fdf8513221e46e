"""The messaging limit is the portfolio's: what was told last of any of its accounts holds for all of them."""

from typing import Any

import pytest

from shared.accounts import AccountFacts
from shared.events import AccountChanged


def facts(*told: tuple[str, int, dict[str, Any]]) -> AccountFacts:
    known = AccountFacts()
    for revision, (waba, at_ms, fields) in enumerate(told, start=1):
        event = AccountChanged(
            event_id=f"e{revision}", at_ms=at_ms, waba_id=waba, subject="account", id=waba, fields=fields
        )
        known.apply(event, revision)
    return known


def test_accounts_of_one_portfolio_share_the_limit_told_last_whichever_it_was_told_of() -> None:
    known = facts(
        ("W1", 1, {"portfolio_id": "P1", "messaging_limit": 250}),
        ("W2", 2, {"portfolio_id": "P1", "messaging_limit": 1000}),
        ("W3", 3, {"portfolio_id": "P2", "messaging_limit": 10}),
    )
    assert [known.messaging_limit(waba) for waba in ("W1", "W2", "W3")] == [1000, 1000, 10]


def test_an_older_word_that_comes_late_changes_nothing() -> None:
    known = facts(
        ("W1", 5, {"portfolio_id": "P1", "messaging_limit": 2000}),
        ("W2", 2, {"portfolio_id": "P1", "messaging_limit": 250}),
    )
    assert [known.messaging_limit(waba) for waba in ("W1", "W2")] == [2000, 2000]


def test_an_account_that_moves_takes_its_word_along_and_leaves_the_others_theirs() -> None:
    known = facts(
        ("W1", 1, {"portfolio_id": "P1", "messaging_limit": 250}),
        ("W2", 2, {"portfolio_id": "P1", "messaging_limit": 1000}),
        ("W3", 3, {"portfolio_id": "P2"}),
        ("W2", 4, {"portfolio_id": "P2"}),
    )
    assert [known.messaging_limit(waba) for waba in ("W1", "W2", "W3")] == [250, 1000, 1000]


def test_accounts_without_a_portfolio_have_limits_of_their_own() -> None:
    known = facts(("W1", 1, {"messaging_limit": 1000}), ("W2", 2, {"name": "other"}))
    assert [known.messaging_limit(waba) for waba in ("W1", "W2")] == [1000, 250]
    with pytest.raises(KeyError):
        known.messaging_limit("W9")
