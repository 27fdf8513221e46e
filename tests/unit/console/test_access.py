"""Who may change accounts."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.console.access import Tokens, holder


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Bearer one", "ada"),
        ("bearer two", "bob"),
        ("Bearer  two ", "bob"),
        ("Bearer three", None),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic one", None),
        ("", None),
        ("Bearer öne\udcff", None),
    ],
)
def test_a_token_names_its_holder(header: str, name: str | None) -> None:
    assert holder(header, {"ada": "one", "bob": "two"}) == name


def test_personal_tokens_are_read_anew_at_each_use(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# who has which\nada one\nbob\n\n")
    tokens = Tokens(SecretStr("shared"), file)
    assert tokens.known() == {"admin": "shared", "ada": "one"}
    file.write_text("bob two\n")
    assert tokens.known() == {"admin": "shared", "bob": "two"}


def test_an_empty_token_is_none() -> None:
    assert Tokens(SecretStr(""), None).known() == {}
    assert Tokens(None, None).known() == {}
