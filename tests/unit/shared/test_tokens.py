"""Access tokens by reference."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.tokens import Tokens


def test_the_default_comes_from_the_environment_unless_a_file_says_otherwise(tmp_path: Path) -> None:
    tokens = Tokens(SecretStr("from-env"), tmp_path)
    assert tokens.get("default") == "from-env"
    (tmp_path / "default").write_text("from-file\n")
    assert tokens.get("default") == "from-file"


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    tokens = Tokens(None, tmp_path)
    assert tokens.get("shop") is None
    (tmp_path / "shop").write_text("one")
    assert tokens.get("shop") == "one"
    (tmp_path / "shop").write_text("two")
    os.utime(tmp_path / "shop", ns=(1, 1))
    assert tokens.get("shop") == "two"


@pytest.mark.parametrize("reference", ["../secret", "a/b", "/etc/hostname", ".hidden", "..", ""])
def test_a_reference_never_leaves_the_folder(tmp_path: Path, reference: str) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / ".hidden").write_text("x")
    assert Tokens(None, folder).get(reference) is None
