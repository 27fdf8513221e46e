"""Whole histories under every regime: the router agrees with the naive model to the micro-unit. `make histories N=10000` plays many.

What agrees: every answer (outcome, reason, category, conversation, price, limits, and when), every step and every charge; after each move also who
holds a place in the messaging limit and in the free tiers, and what is spent of the budgets.
"""

import os
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shared.accounts import AccountFacts
from shared.events import AccountChanged
from shared.topics import SEND_EVENTS
from tests.histories.game import Game, places_of, tally
from tests.histories.generated import REGIMES, Setting, scripts, settings_of_two_accounts
from tests.unit.router.world import World

HISTORIES = int(os.environ.get("HISTORIES", "100"))
"""How many are played by each of the three tests that generate some."""
Script = list[tuple[Any, ...]]

histories = settings(
    max_examples=HISTORIES,
    deadline=None,
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@histories
@given(settings_of_two_accounts, scripts)
def test_every_answer_and_every_charge_is_the_models(setting: Setting, script: Script) -> None:
    game = Game(setting)
    for move in script:
        game.move(move)
    game.agree()


@histories
@given(settings_of_two_accounts, scripts, st.floats(0, 1))
def test_a_silent_replay_comes_to_the_same_whatever_is_known_by_then(
    setting: Setting, script: Script, part: float
) -> None:
    game = Game(setting)
    cut = int(len(script) * part)
    for move in script[:cut]:
        game.move(move)
    prefix = game.world.log.copy()
    states, timers, held, now = game.world.states.copy(), game.world.timers.copy(), game.places(), game.now
    again = World(game.world.fold, facts=game.world.facts)
    again.replay(prefix)
    assert places_of(again, now) == held
    for move in script[cut:]:
        game.move(move)
    for facts in (game.world.facts, _others(game.now)):
        again = World(game.world.fold, facts=facts)
        for record, silenced in zip(prefix, again.replay(prefix), strict=True):
            said = [out.value for out in record.out if out.topic is SEND_EVENTS]
            assert [out.value for out in silenced if out.topic is SEND_EVENTS] == said
            assert "SendMessage" not in [out.type for out in silenced]
        assert (again.states, again.timers) == (states, timers)


def _others(now: int) -> AccountFacts:
    """Account facts of which not one is what the decisions were made from."""
    facts = AccountFacts()
    for waba, number in (("W1", "N1"), ("W2", "N3")):
        fields = {"regime": "2026-10-01", "payment_method": "missing", "messaging_limit": 1, "currency": "EUR",
                  "portfolio_id": "P", "timezone": "Asia/Tokyo", "paused": True}  # fmt: skip
        facts.apply(
            AccountChanged(event_id="x", at_ms=now, waba_id=waba, subject="account", id=waba, fields=fields),
            77,
        )
        facts.apply(
            AccountChanged(event_id="x", at_ms=now, waba_id=waba, subject="number", id=number, fields={}), 78
        )
    return facts


@histories
@given(settings_of_two_accounts, scripts)
def test_the_same_log_has_four_tallies_one_for_each_regime(setting: Setting, script: Script) -> None:
    for regime in REGIMES:
        game = Game(replace(setting, pins=(regime, regime)))
        for move in script:
            game.move(move)
        game.agree()
        expected = [message.charge for message in game.naive.messages if message.charge is not None]
        assert tally(game.charged) == tally(expected)
