"""What `wam` says before it asks anybody."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.console.cli import app

TO = ("--to", "+4915112345678")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["send", *TO], "either --template or --text"),
        (["send", *TO, "--text", "hi", "--template", "promo/de"], "either --template or --text"),
        (["send", *TO, "--template", "promo"], "e.g. promo/de"),
        (["tally", "1", "2026-13"], "e.g. 2026-11"),
        (["tally", "1", "November"], "e.g. 2026-11"),
        (["pause", "category", "1"], "an account and a name"),
        (["pause", "number", "1", "2"], "one id"),
        (["uncertain", "settle", "r1", "--as", "perhaps"], "sent, not-sent or resend"),
        (["receivers", "verify", "--from", "1", "--to", "12"], "no phone number"),
        (["preferences", "show", "--from", "1", "--to", "12"], "no phone number"),
    ],
)
def test_wrong_words_end_with_exit_code_2_and_say_what_is_right(words: list[str], said: str) -> None:
    ended = CliRunner(env={**os.environ, "COLUMNS": "200"}).invoke(app, words)
    assert (ended.exit_code, said in ended.stderr) == (2, True), ended.stderr


@pytest.mark.parametrize("words", [["apply"], ["templates", "submit"]])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(words: list[str], tmp_path: Path) -> None:
    missing, binary = tmp_path / "none.yaml", tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    for file, why in ((missing, "No such file or directory"), (binary, "not UTF-8")):
        ended = CliRunner().invoke(app, [*words, str(file)])
        assert (ended.exit_code, "".join(ended.stderr.split("\n"))) == (2, f"{file}: {why}")


def test_a_configuration_that_is_not_there_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    file = tmp_path / "accounts.yaml"
    file.write_text("accounts: []")
    ended = CliRunner(env={"WA_CONFIG_DIR": str(tmp_path / "none")}).invoke(app, ["apply", str(file)])
    assert ended.exit_code == 2
    assert ended.stderr.startswith("the configuration (WA_CONFIG_DIR): ")
