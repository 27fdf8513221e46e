"""Whole histories under every regime: the router agrees with the naive model to the micro-unit. `make histories N=10000` plays many."""

import os
from typing import Any

from hypothesis import given, settings

from tests.unit.router.histories import Game, Setting, scripts, settings_of_two_accounts

HISTORIES = int(os.environ.get("HISTORIES", "250"))
Script = list[tuple[Any, ...]]


@settings(max_examples=HISTORIES, deadline=None)
@given(settings_of_two_accounts, scripts)
def test_every_answer_and_every_charge_is_the_models(setting: Setting, script: Script) -> None:
    game = Game(setting)
    for move in script:
        game.move(move)
    game.agree()
