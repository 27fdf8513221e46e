"""`wam rates` on a configuration folder: all or nothing, comments kept, a broken file changes nothing."""

import hashlib
import json
import os
from contextlib import suppress
from difflib import ndiff
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.billing.rates.cli import app
from services.billing.rates.folder import Configuration, FolderConflict, carry_out, replaced
from services.billing.rates.yaml_text import files_text, manifest_text, regimes_text
from shared.pricing import PriceBook, RateCardError
from tests.unit.billing.rates.configs import CONFIG, FIXTURES, SHIPPED, folder, planned, shipped
from tests.unit.billing.rates.test_reading import EXPECTED

pytestmark = pytest.mark.slow

CARD = shipped("usd_2026-10-01")


def wam(config: Path, *words: str | Path) -> Result:
    environment = {**os.environ, "WA_CONFIG_DIR": str(config), "COLUMNS": "200"}
    return CliRunner(env=environment).invoke(app, [str(word) for word in words])


def snapshot(config: Path) -> dict[str, bytes]:
    return {str(path.relative_to(config)): path.read_bytes() for path in config.rglob("*") if path.is_file()}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return folder(tmp_path)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "downloaded.csv"
    path.write_text(
        "Cost per message in USD effective January 1 2027\n"
        + CARD.replace("India,USD,0.0118", "India,USD,0.0130")
    )
    return path


def test_an_import_shows_what_changes_and_writes_card_manifest_and_regime(config: Path, card: Path) -> None:
    ended = wam(config, "import", card, "--yes", "--by", "anna")
    assert ended.exit_code == 0, ended.output
    assert "India" in ended.output
    assert "+10.2" in ended.output
    book = PriceBook.load(config)
    assert book.cards.by_id["usd_2027-01-01"].micros["India", "marketing"] == 13_000  # type: ignore[index]
    assert book.regimes.by_pin["2026-10-01"].rate_cards == ("usd_2026-10-01", "usd_2027-01-01")
    assert "      - rates/rates_usd_2027-01-01.csv\n" in (config / "kustomization.yaml").read_text()
    listed = json.loads(wam(config, "list", "--json").output)
    (entry,) = [entry for entry in listed if entry["id"] == "usd_2027-01-01"]
    assert entry["imported"]["sha256"] == hashlib.sha256(card.read_bytes()).hexdigest()
    assert (entry["imported"]["file"], entry["imported"]["by"]) == ("downloaded.csv", "anna")


def test_an_import_keeps_every_line_and_comment_of_the_yaml_files(config: Path, card: Path) -> None:
    before = snapshot(config)
    wam(config, "import", card, "--yes")
    for name, lost in (("rates/manifest.yaml", 0), ("kustomization.yaml", 0), ("regimes.yaml", 1)):
        old, new = before[name].decode().splitlines(), (config / name).read_text().splitlines()
        gone = [line for line in ndiff(old, new) if line.startswith("- ")]
        assert len(gone) == lost, gone


def test_the_yaml_files_pass_unchanged_through_an_import_of_nothing() -> None:
    made = planned(CARD, day="2026-10-01")
    assert made.empty
    for path, text in SHIPPED.texts.items():
        if path.name == "regimes.yaml":
            assert regimes_text(text, []) == text
        else:
            assert (
                files_text(text, []) if path.name == "kustomization.yaml" else manifest_text(text, made)
            ) == text


def test_importing_the_same_again_is_nothing_to_do(config: Path, card: Path) -> None:
    wam(config, "import", card, "--yes")
    before = snapshot(config)
    ended = wam(config, "import", card, "--yes")
    assert (ended.exit_code, snapshot(config)) == (0, before)
    assert "usd_2027-01-01 is there already, with the same rates.\nNothing to do." in ended.output


def test_a_dry_run_writes_nothing(config: Path, card: Path) -> None:
    before = snapshot(config)
    ended = wam(config, "import", card, "--dry-run")
    assert (ended.exit_code, snapshot(config)) == (0, before)
    assert "The regime 2026-10-01 will use usd_2027-01-01." in ended.output


def test_where_nobody_can_be_asked_nothing_is_written(config: Path, card: Path) -> None:
    before = snapshot(config)
    ended = wam(config, "import", card)
    assert (ended.exit_code, snapshot(config)) == (1, before)
    assert "give --yes" in ended.output


BROKEN = [
    name
    for name, says in EXPECTED.items()
    if "unreadable" in says or any(s.startswith("error") for s in says.get("says", []))
]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_says_where_and_changes_nothing_on_disk(name: str, config: Path) -> None:
    before = snapshot(config)
    ended = wam(config, "import", FIXTURES / name, "--yes", "--effective-from", "2027-01-01")
    assert (ended.exit_code, snapshot(config)) == (1, before)
    for words in EXPECTED[name].get("says", [EXPECTED[name].get("unreadable")]):
        if not words.startswith(("remark", "warning")):
            assert words.removeprefix("error ") in ended.stderr


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - set(BROKEN)))
def test_every_file_that_can_be_read_becomes_cards_that_the_services_load(name: str, config: Path) -> None:
    per = "2024-11-01" if name == "per_conversation.csv" else "2027-01-01"
    ended = wam(
        config,
        "import",
        FIXTURES / name,
        "--yes",
        *([] if name == "two_tables.csv" else ["--effective-from", per]),
    )
    assert ended.exit_code == 0, ended.output
    assert snapshot(config) != snapshot(CONFIG)
    PriceBook.load(config)


def test_a_file_that_is_not_there_is_named(config: Path) -> None:
    ended = wam(config, "import", config / "none.csv")
    assert (ended.exit_code, ended.stderr.strip()) == (2, f"{config / 'none.csv'}: No such file or directory")


def test_a_configuration_that_does_not_load_is_told(tmp_path: Path) -> None:
    ended = wam(tmp_path / "none", "list")
    assert ended.exit_code == 2
    assert ended.stderr.startswith("the configuration (WA_CONFIG_DIR): ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("import", "x.csv", "--effective-from", "10/1/2026"), "does not match the format"),
        (("import", "x.csv", "--currency", "XYZ"), "none of the manifest's currencies"),
        (("import", "x.csv", "--unit", "word"), "word"),
        (("show", "usd_2099"), "no card usd_2099"),
        (("diff", "usd_2026-07-01", "inr_2025-10-01"), "differ in currency"),
    ],
)
def test_wrong_words_are_refused(config: Path, words: tuple[str, ...], said: str) -> None:
    ended = wam(config, *words)
    assert ended.exit_code in (1, 2)
    assert said in ended.stderr


def test_cards_are_shown_and_compared(config: Path) -> None:
    assert "usd_2026-10-01" in wam(config, "list").output
    shown = json.loads(wam(config, "show", "usd_2026-10-01", "--json").output)
    assert shown["rates_micros"]["India"]["authentication_international"] == 30_400
    assert "0.0304" in wam(config, "show", "usd_2026-10-01").output
    compared = json.loads(wam(config, "diff", "usd_2026-07-01", "usd_2026-10-01", "--json").output)
    assert "Morocco" in compared["new_markets"]
    assert "new market" in wam(config, "diff", "usd_2026-07-01", "usd_2026-10-01").output
    assert "The same rates." in wam(config, "diff", "usd_2026-07-01", "usd_2026-07-01").output


def test_a_check_without_accounts_warns_of_gaps_and_ends_well(config: Path) -> None:
    ended = wam(config, "check", "--no-accounts")
    assert ended.exit_code == 0
    assert "regime 2026-10-01: no INR card from 2026-10-01 on" in ended.output
    found = json.loads(wam(config, "check", "--no-accounts", "--json").output)
    assert {finding["gravity"] for finding in found} == {"warning"}


# --- all or nothing


def test_a_folder_that_changed_since_the_plan_is_not_written_to(config: Path) -> None:
    configuration = Configuration.load(config)
    made = planned(CARD, configuration)
    with (config / "regimes.yaml").open("a") as file:
        file.write("# somebody else was here\n")
    before = snapshot(config)
    with pytest.raises(FolderConflict, match="changed meanwhile"):
        carry_out(made, configuration)
    assert snapshot(config) == before


def test_a_file_that_the_manifest_does_not_know_is_not_overwritten(config: Path) -> None:
    (config / "rates" / "rates_usd_2027-01-01.csv").write_text("my notes")
    before = snapshot(config)
    configuration = Configuration.load(config)
    with pytest.raises(FolderConflict, match="move it away"):
        carry_out(planned(CARD, configuration), configuration)
    assert snapshot(config) == before


def test_what_would_not_load_is_not_written(config: Path) -> None:
    configuration = Configuration.load(config)
    made = planned(CARD, configuration)
    made.uses[:] = [*made.uses, *[use.__class__("2024-11-01", use.card) for use in made.uses]]
    before = snapshot(config)
    with pytest.raises(RateCardError, match="charges by conversation"):
        carry_out(made, configuration)
    assert snapshot(config) == before


class Dead(BaseException):
    """The process ends here, as by `kill -9`."""


class Disk:
    """Writes `good` files, then fails with `fault`; what is written afterwards goes through again."""

    def __init__(self, good: int, fault: BaseException) -> None:
        self._good, self._fault = good, fault

    def put(self, path: Path, text: str) -> None:
        self._good -= 1
        if self._good == -1:
            raise self._fault
        replaced(path, text)


@pytest.mark.parametrize("good", [0, 1, 2, 3])
def test_where_a_file_can_not_be_written_those_before_it_are_taken_back(config: Path, good: int) -> None:
    configuration, before = Configuration.load(config), snapshot(config)
    full = OSError("No space left on device")
    with pytest.raises(OSError, match="No space"):
        carry_out(planned(CARD, configuration), configuration, Disk(good, full).put)
    assert snapshot(config) == before


@pytest.mark.parametrize("day", ["2027-01-01", "2026-10-01"])
@pytest.mark.parametrize("good", [0, 1, 2, 3])
def test_who_dies_while_importing_leaves_prices_as_they_were_and_the_next_import_completes_it(
    config: Path, good: int, day: str
) -> None:
    card = CARD.replace("India,USD,0.0118", "India,USD,0.0130")
    configuration = Configuration.load(config)
    with suppress(Dead):
        carry_out(planned(card, configuration, day), configuration, Disk(good, Dead()).put)
    left = PriceBook.load(config)
    if good < 1 + len(configuration.texts):  # the card's file, then each YAML file, the regimes last
        assert left.regimes == configuration.book.regimes
    again = Configuration.load(config)
    carry_out(planned(card, again, day), again)
    done = PriceBook.load(config)
    (id,) = done.regimes.by_pin["2026-10-01"].rate_cards[-1:]
    assert (id, done.cards.by_id[id].micros["India", "marketing"]) == (  # type: ignore[index]
        "usd_2027-01-01" if day == "2027-01-01" else "usd_2026-10-01.2",
        13_000,
    )
    assert Configuration.load(config).manifest.cards[-1].id == id
