"""The generated month: two reckonings of it agree, and what it promises to hold is there."""

from pathlib import Path

import pytest

from tests.billing_month import config
from tests.billing_month.generate import Month
from tests.billing_month.log import disturbed, log
from tests.billing_month.oracle import Oracle
from tests.billing_month.rules import Rules
from tests.billing_month.truth import Message

SIZE = 12_000


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    return Rules(config.write(tmp_path_factory.mktemp("month") / "config"))


def lines_of(messages: list[Message]) -> dict[tuple[object, ...], list[int]]:
    found: dict[tuple[object, ...], list[int]] = {}
    for message in messages:
        charge = message.billed
        if charge is None:
            continue
        line = (
            message.account.waba_id,
            charge.month,
            message.number,
            charge.unit,
            charge.column,
            charge.market,
            charge.type,
        )
        row = found.setdefault(line, [0, 0, 0, 0, 0])
        row[0 if charge.free else 1] += charge.units
        row[2 if charge.free else 3] += charge.conversations
        row[4] += charge.micros
    return {line: row for line, row in found.items() if any(row)}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_oracle_finds_in_the_raw_log_what_the_generator_meant(
    rules: Rules, tmp_path: Path, seed: int
) -> None:
    messages = list(Month(rules, SIZE, seed).messages())
    with (tmp_path / "log").open("wb") as file:
        for event in disturbed(log(messages), seed):
            file.write(event.value + b"\n")
    oracle = Oracle(tmp_path / "log", rules)
    assert {line: list(row) for line, row in oracle.totals("line").items()} == lines_of(messages)
