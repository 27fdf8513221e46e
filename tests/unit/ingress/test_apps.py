"""Meta apps from settings, a file and a folder; what is wrong is named with its place and never with its secret."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.local.paths import REPOSITORY
from services.ingress.apps import App, Apps, AppsUnreadable, read_apps
from services.ingress.settings import IngressSettings
from shared.lifecycle import Service

ONE = {"app_secret": SecretStr("new"), "verify_token": SecretStr("token")}
FILE = """
apps:
  shop:
    secret: {file: shop/now}
    secret_previous: {env: SHOP_BEFORE}
    verify_token: {env: SHOP_TOKEN}
"""
ENVIRON = {"SHOP_BEFORE": "before\n", "SHOP_TOKEN": "shop token"}


def settings(**members: object) -> IngressSettings:
    return IngressSettings.model_validate(members)


def written(folder: Path, **files: str) -> Path:
    """A folder as Kubernetes mounts one: the files lie behind a link."""
    data = folder / "..2026_11_26"
    for name, text in files.items():
        path = data / name.replace("__", "/").replace("_", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (folder / path.relative_to(data).parts[0]).unlink(missing_ok=True)
        (folder / path.relative_to(data).parts[0]).symlink_to(data / path.relative_to(data).parts[0])
    return folder


def test_the_settings_name_the_app_of_the_path_without_a_name() -> None:
    given = settings(**ONE, app_secret_previous="old")
    assert read_apps(given) == {"default": App("default", (b"new", b"old"), b"token")}


def test_secrets_come_from_files_without_the_line_end(tmp_path: Path) -> None:
    for name in ("secret", "previous", "token"):
        (tmp_path / name).write_text(f"{name}\n")
    given = settings(
        app_secret_file=tmp_path / "secret",
        app_secret_previous_file=tmp_path / "previous",
        verify_token_file=tmp_path / "token",
    )
    assert read_apps(given)["default"] == App("default", (b"secret", b"previous"), b"token")


def test_a_file_names_apps_with_where_their_secrets_stand(tmp_path: Path) -> None:
    (tmp_path / "apps.yaml").write_text(FILE)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "now").write_text("now\n")
    apps = read_apps(settings(**ONE, apps_file=tmp_path / "apps.yaml"), ENVIRON)
    assert sorted(apps) == ["default", "shop"]
    assert apps["shop"] == App("shop", (b"now", b"before"), b"shop token")


def test_the_example_in_config_is_one(tmp_path: Path) -> None:
    example = tmp_path / "apps.yaml"
    example.write_text((REPOSITORY / "config" / "apps.example.yaml").read_text())
    (tmp_path / "shop").mkdir()
    for name in ("app-secret", "app-secret-previous", "verify-token"):
        (tmp_path / "shop" / name).write_text(name)
    environ = {"SUPPORT_APP_SECRET": "s", "SUPPORT_VERIFY_TOKEN": "t"}
    assert sorted(read_apps(settings(apps_file=example), environ)) == ["shop", "support"]


def test_a_folder_holds_a_folder_per_app(tmp_path: Path) -> None:
    written(
        tmp_path, shop__app_secret="s", shop__verify_token="t",
        bank__app_secret="b", bank__app_secret_previous="p", bank__verify_token="u",
    )  # fmt: skip
    assert read_apps(settings(apps_dir=tmp_path)) == {
        "bank": App("bank", (b"b", b"p"), b"u"),
        "shop": App("shop", (b"s",), b"t"),
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("apps: {shop: {secret: {env: HIDDEN}}}", "apps.shop.verify_token: Field required"),
        ("apps: {shop: {secret: {}, verify_token: {env: A}}}", "apps.shop.secret: Value error, name either"),
        ("apps: {shop: {secret: {env: GONE}, verify_token: {env: A}}}", "apps.shop.secret: the environment has no GONE"),
        ("apps: {shop: {secret: {file: gone}, verify_token: {env: A}}}", "apps.shop.secret: No such file"),
        ("apps: {shop: {secret: {env: EMPTY}, verify_token: {env: A}}}", "apps.shop.secret: is empty"),
        ("apps: {shop: {secret: hidden, verify_token: {env: A}}}", "apps.shop.secret: Input should be"),
        ("apps: {SHOP: {secret: {env: A}, verify_token: {env: A}}}", "apps.SHOP.[key]: String should match"),
        ("apps: {'a/b': {secret: {env: A}, verify_token: {env: A}}}", "String should match"),
        ("apps: {default: {secret: {env: A}, verify_token: {env: A}}}", "app default: named twice"),
        ("apps: [", "no YAML, line 1"),
        ("hidden", "Input should be"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "apps.yaml"
    path.write_text(text)
    with pytest.raises(AppsUnreadable) as raised:
        read_apps(settings(**ONE, apps_file=path), {"A": "a", "HIDDEN": "hidden", "EMPTY": " "})
    assert told in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_what_is_wrong_with_a_folder_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(AppsUnreadable, match="no app"):
        read_apps(settings(apps_dir=tmp_path))
    with pytest.raises(AppsUnreadable, match="gone: No such file"):
        read_apps(settings(apps_dir=tmp_path / "gone"))
    written(tmp_path, shop__app_secret="s")
    with pytest.raises(AppsUnreadable, match="shop/verify-token: No such file"):
        read_apps(settings(apps_dir=tmp_path))
    (tmp_path / "stray").write_text("?")
    written(tmp_path, shop__verify_token="t")
    with pytest.raises(AppsUnreadable, match="stray: no folder of an app"):
        read_apps(settings(apps_dir=tmp_path))


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    given = settings(app_secret_file=tmp_path / "empty", verify_token="token")
    with pytest.raises(AppsUnreadable, match="WA_APP_SECRET_FILE: is empty"):
        read_apps(given)


def test_secrets_do_not_show_in_a_listing_of_an_app() -> None:
    assert "hidden" not in repr(App("shop", (b"hidden",), b"hidden"))


async def test_a_rotated_secret_counts_without_a_restart_and_what_cannot_be_read_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path, shop__app_secret="old", shop__verify_token="t")
    apps = Apps(Service("ingress", given := settings(apps_dir=tmp_path)), lambda: read_apps(given))

    def secrets() -> Mapping[str, tuple[bytes, ...]]:
        return {
            path: app.secrets
            for path in ("/webhooks", "/webhooks/shop", "/webhooks/bank")
            if (app := apps.at(path))
        }

    await apps.reread()
    assert secrets() == {"/webhooks/shop": (b"old",)}
    written(tmp_path, shop__app_secret="new", shop__app_secret_previous="old")
    await apps.reread()
    assert secrets() == {"/webhooks/shop": (b"new", b"old")}
    written(tmp_path, shop__app_secret="")
    with caplog.at_level(logging.ERROR):
        await apps.reread()
    assert secrets() == {"/webhooks/shop": (b"new", b"old")}
    written(tmp_path, shop__app_secret="newer", bank__app_secret="b", bank__verify_token="t")
    await apps.reread()
    assert secrets() == {"/webhooks/shop": (b"newer", b"old"), "/webhooks/bank": (b"b",)}
