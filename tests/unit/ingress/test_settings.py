"""What ingress must be given before it takes webhooks."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from services.ingress.settings import IngressSettings


def test_webhooks_are_not_taken_without_an_app() -> None:
    with pytest.raises(ValidationError, match="WA_APP_SECRET"):
        IngressSettings(verify_token=SecretStr("token"))
    with pytest.raises(ValidationError, match="WA_VERIFY_TOKEN"):
        IngressSettings(app_secret=SecretStr("secret"))


@pytest.mark.parametrize("where", [{"apps_file": Path("apps.yaml")}, {"apps_dir": Path("apps")}])
def test_apps_in_a_file_or_a_folder_are_enough(where: dict[str, Path]) -> None:
    assert IngressSettings.model_validate(where).app_secret is None


def test_secrets_do_not_show_in_a_listing_of_the_settings() -> None:
    settings = IngressSettings(app_secret=SecretStr("hidden-one"), verify_token=SecretStr("hidden-two"))
    assert "hidden" not in repr(settings)
