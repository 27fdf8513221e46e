"""Secrets from the environment or from files."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from services.ingress.settings import IngressSettings


def test_secrets_come_from_values() -> None:
    settings = IngressSettings(
        app_secret=SecretStr("new"), app_secret_previous=SecretStr("old"), verify_token=SecretStr("token")
    )
    assert (settings.app_secrets(), settings.handshake_token()) == ((b"new", b"old"), b"token")


def test_secrets_come_from_files_without_the_line_end(tmp_path: Path) -> None:
    for name in ("secret", "previous", "token"):
        (tmp_path / name).write_text(f"{name}\n")
    settings = IngressSettings(
        app_secret_file=tmp_path / "secret",
        app_secret_previous_file=tmp_path / "previous",
        verify_token_file=tmp_path / "token",
    )
    assert (settings.app_secrets(), settings.handshake_token()) == ((b"secret", b"previous"), b"token")


def test_webhooks_are_not_taken_without_a_secret() -> None:
    with pytest.raises(ValidationError, match="WA_APP_SECRET"):
        IngressSettings(verify_token=SecretStr("token"))
    with pytest.raises(ValidationError, match="WA_VERIFY_TOKEN"):
        IngressSettings(app_secret=SecretStr("secret"))


def test_an_empty_secret_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    settings = IngressSettings(app_secret_file=tmp_path / "empty", verify_token=SecretStr("token"))
    with pytest.raises(ValueError, match="empty"):
        settings.app_secrets()


def test_secrets_do_not_show_in_a_listing_of_the_settings() -> None:
    settings = IngressSettings(app_secret=SecretStr("hidden-one"), verify_token=SecretStr("hidden-two"))
    assert "hidden" not in repr(settings)
