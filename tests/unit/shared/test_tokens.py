"""Access tokens and app secrets by reference."""

import os
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr, ValidationError

from shared.settings import GraphSettings
from shared.tokens import Credentials, Tokens


def token(tokens: Tokens, reference: str) -> str | None:
    """What a call would bear."""
    found = tokens.get(reference)
    return None if found is None else found.headers["Authorization"].removeprefix("Bearer ")


def test_the_default_comes_from_the_environment_unless_a_file_says_otherwise(tmp_path: Path) -> None:
    tokens = Tokens(SecretStr("from-env"), tmp_path)
    assert token(tokens, "default") == "from-env"
    (tmp_path / "default").write_text("from-file\n")
    assert token(tokens, "default") == "from-file"


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    tokens = Tokens(None, tmp_path)
    assert token(tokens, "shop") is None
    (tmp_path / "shop").write_text("one")
    assert token(tokens, "shop") == "one"
    (tmp_path / "shop").write_text("two")
    os.utime(tmp_path / "shop", ns=(1, 1))
    assert token(tokens, "shop") == "two"


def test_a_file_replaced_by_one_as_old_and_as_long_is_read_anew(tmp_path: Path) -> None:
    tokens = Tokens(None, tmp_path)
    for text in ("one", "two"):
        new = tmp_path / ".new"
        new.write_text(text)
        os.utime(new, ns=(1, 1))
        new.replace(tmp_path / "shop")
        assert token(tokens, "shop") == text


def test_secrets_are_followed_through_the_links_of_a_mount(tmp_path: Path) -> None:
    """Kubernetes: shop -> ..data/shop, ..data -> ..2026_1, and the middle link is what is replaced."""
    tokens = Tokens(None, tmp_path)
    (tmp_path / "shop").symlink_to(Path("..data") / "shop")
    for version in ("..2026_1", "..2026_2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "shop").write_text(version)
        os.utime(tmp_path / version / "shop", ns=(1, 1))
        (tmp_path / "..data_tmp").symlink_to(version)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        assert token(tokens, "shop") == version


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_an_empty_file_is_no_token(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shop").write_bytes(content)
    assert Tokens(None, tmp_path).get("shop") is None


MALFORMED = (
    "EAAone\nEAAtwo",
    "EAAone\r\nEAAtwo\n",
    "EAA\0one",
    "EAA\tone",
    "EAA\x1bone",
    "EAA\x7fone",
    "EAA\x85one",
    "EAA\u2028one",
    "\ufeffEAAone",
)


@pytest.mark.parametrize("content", [*(text.encode() for text in MALFORMED), b"EAA\xffone"])
def test_a_file_that_holds_no_single_line_is_no_token_and_is_told_of_once_without_what_it_holds(
    tmp_path: Path, content: bytes
) -> None:
    tokens = Tokens(None, tmp_path)
    (tmp_path / "shop").write_bytes(content)
    with structlog.testing.capture_logs() as logged:
        assert [tokens.get("shop") for _ in range(3)] == [None] * 3
    assert [(line["event"], line["log_level"], line["reference"], line["secret"]) for line in logged] == [
        ("secret_malformed", "error", "shop", "access token")
    ]
    assert "EAA" not in repr(logged)
    (tmp_path / "shop").write_text("EAAthree\n")
    assert token(tokens, "shop") == "EAAthree"


def test_a_malformed_file_called_default_leaves_the_token_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "default").write_text("one\ntwo")
    assert token(Tokens(SecretStr("from-env"), tmp_path), "default") == "from-env"


def test_a_malformed_app_secret_is_none(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("one\ntwo")
    tokens = Tokens(SecretStr("t"), None, SecretStr("env"), tmp_path)
    (tmp_path / "default").write_text("three\nfour")
    with structlog.testing.capture_logs() as logged:
        assert tokens.get("default") == Credentials(SecretStr("t"), SecretStr("env"))
    assert [(line["event"], line["reference"], line["secret"]) for line in logged] == [
        ("secret_malformed", "default", "app secret")
    ]


@pytest.mark.parametrize("name", ["access_token", "app_secret"])
@pytest.mark.parametrize("text", [*MALFORMED[:6], "EAA\udcffone"])
def test_a_malformed_secret_of_the_environment_is_an_error_of_the_settings_that_does_not_show_it(
    name: str, text: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        GraphSettings.model_validate({name: text})
    assert name in str(raised.value)
    assert "one line" in str(raised.value)
    assert "EAA" not in str(raised.value)


def test_secrets_of_the_environment_lose_the_space_around_them_and_are_none_when_empty() -> None:
    settings = GraphSettings.model_validate({"access_token": "EAAone\n", "app_secret": " "})
    assert settings.access_token == SecretStr("EAAone")
    assert settings.app_secret is None


@pytest.mark.parametrize("reference", ["../secret", "a/b", "/etc/hostname", ".hidden", "..", ""])
def test_a_reference_never_leaves_the_folder(tmp_path: Path, reference: str) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / ".hidden").write_text("x")
    assert Tokens(None, folder).get(reference) is None


def test_the_proof_is_the_token_signed_with_the_app_s_secret() -> None:
    """The value is of `printf a-token | openssl dgst -sha256 -hmac a-secret`."""
    assert Credentials(SecretStr("a-token")).query == {}
    assert Credentials(SecretStr("a-token"), SecretStr("a-secret")).query == {
        "appsecret_proof": "e065b57a8dc761d4c268bdfc913d7b1aa37f5dc73f90896d4c8a11c2c4b35ec8"
    }


def test_an_app_s_secret_is_found_by_the_token_s_reference_or_is_the_default_one(tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    (tmp_path / "secrets").mkdir()
    for reference in ("shop", "other"):
        (tmp_path / "tokens" / reference).write_text("t")
    tokens = Tokens(SecretStr("t"), tmp_path / "tokens", SecretStr("env"), tmp_path / "secrets")

    def secret(reference: str) -> str:
        found = tokens.get(reference)
        assert found is not None
        assert found.app_secret is not None
        return found.app_secret.get_secret_value()

    assert [secret(reference) for reference in ("default", "shop", "other")] == ["env"] * 3
    (tmp_path / "secrets" / "shop").write_text("of-the-shop")
    assert [secret(reference) for reference in ("default", "shop", "other")] == ["env", "of-the-shop", "env"]
    (tmp_path / "secrets" / "default").write_text("file")
    assert [secret(reference) for reference in ("default", "shop", "other")] == [
        "file",
        "of-the-shop",
        "file",
    ]


def test_credentials_never_show_what_they_hold() -> None:
    held = Credentials(SecretStr("a-token"), SecretStr("a-secret"))
    for text in (repr(held), str(held), f"{held}", repr((held, [held]))):
        assert "a-token" not in text
        assert "a-secret" not in text


def test_credentials_differ_as_soon_as_one_secret_does() -> None:
    old = Credentials(SecretStr("t"), SecretStr("s"))
    assert old == Credentials(SecretStr("t"), SecretStr("s"))
    assert old != Credentials(SecretStr("u"), SecretStr("s"))
    assert old != Credentials(SecretStr("t"), SecretStr("r"))
