"""The commands of the books: what they refuse before they ask anybody."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.billing.books.cli import ledger, rebuild
from shared.terminal import REFUSED, UNAVAILABLE, USAGE

NOWHERE = {"WA_KAFKA_BOOTSTRAP": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["archive"], "WA_LEDGER_ARCHIVE_DIR"),
        (["archive", "--to", "x", "--before", "2026-13"], "is no month"),
        (["archive", "--to", "x", "--before", "2999-01"], "is not over yet"),
        (["archive", "--to", "x", "--format", "xlsx"], "parquet or csv"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(ledger, arguments)
    assert result.exit_code == USAGE
    assert said in result.output


def test_a_generation_is_named_for_writing_only() -> None:
    result = CliRunner().invoke(rebuild, ["billing", "--generation", "2"])
    assert (result.exit_code, "only with --write" in result.output) == (USAGE, True)


def test_a_damaged_archive_and_a_kafka_that_does_not_answer_are_told_by_their_exit_codes(
    tmp_path: Path,
) -> None:
    answer = CliRunner(env=NOWHERE).invoke(ledger, ["verify", "--archive", str(tmp_path)])
    assert (answer.exit_code, "Kafka does not answer" in answer.output) == (UNAVAILABLE, True)
    (tmp_path / "segment-000001").mkdir()
    damaged = CliRunner(env=NOWHERE).invoke(ledger, ["verify", "--archive", str(tmp_path)])
    assert (damaged.exit_code, "manifest.json" in damaged.output) == (REFUSED, True)
