"""`wam media erase` on a directory."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.ingress.media.cli import app
from services.ingress.media.library import Library
from services.ingress.media.place import Place
from services.ingress.media.settings import MediaSettings
from services.ingress.media.store import Obstore
from shared.logs import hasher


async def _fill(settings: MediaSettings) -> None:
    store, hashed = Obstore(settings), hasher(settings.log_key.get_secret_value())
    await store.start()
    library = Library(store)
    for key, user in (("1", "4915112345678"), ("2", "4915112345678"), ("3", "4915112345679")):
        await library.note_owner(Place("106", key), [hashed(user)])
        await store.put(f"files/106/{key}", b"x")
        await store.put(f"about/106/{key}", b"{}")
    await store.stop()


def test_all_files_of_a_person_go_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WA_MEDIA_STORE", f"file://{tmp_path}")
    asyncio.run(_fill(MediaSettings()))
    answer = CliRunner().invoke(app, ["erase", "--of", "+49 151 12345678"])
    assert (answer.exit_code, answer.stdout) == (0, "2 files erased.\n")
    assert sorted(path.name for path in (tmp_path / "files/106").iterdir()) == ["3"]
    answer = CliRunner().invoke(app, ["erase", "--of", "+49 151 12345678", "--json"])
    assert '"files": 0' in answer.stdout


def test_nobody_is_erased_by_a_slip_of_the_pen() -> None:
    assert CliRunner().invoke(app, ["erase", "--of", "4711"]).exit_code == 2


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WA_MEDIA_STORE": "ftp://host"}, "media_store"),
        ({"WA_MEDIA_STORE": "s3://bucket", "WA_MEDIA_S3_ACCESS_KEY": "key"}, "go together"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=said):
        MediaSettings()


def test_secrets_of_the_store_may_stand_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("access", "secret"):
        (tmp_path / name).write_text(f"{name} key\n")
        monkeypatch.setenv(f"WA_MEDIA_S3_{name.upper()}_KEY_FILE", str(tmp_path / name))
    settings = MediaSettings()
    assert (settings.s3_access_key(), settings.s3_secret_key()) == ("access key", "secret key")
    assert "secret key" not in repr(settings)


def test_a_kinds_own_limit_counts_where_it_is_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WA_MEDIA_MAX_BYTES", "1000")
    monkeypatch.setenv("WA_MEDIA_MAX_BYTES_BY_KIND", '{"video": 10, "audio": 5000}')
    settings = MediaSettings()
    assert [settings.most_bytes(kind) for kind in ("video", "audio", "image", None)] == [10, 1000, 1000, 1000]
