"""The configuration folder on disk: read whole, changed whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.billing.rates.planning import Plan
from services.billing.rates.yaml_text import files_text, manifest_text, regimes_text
from shared.pricing import Manifest, PriceBook
from shared.pricing.manifest import MANIFEST

RATES = "rates"
REGIMES = "regimes.yaml"
KUSTOMIZATION = "kustomization.yaml"
"""Where it is there, the files of rates it lists go to the pods."""


class FolderConflict(Exception):
    """The folder is not what the plan was made for; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The price book, its manifest, and the texts of the YAML files they were read from, by path."""

    folder: Path
    book: PriceBook
    manifest: Manifest
    texts: dict[Path, str]

    @classmethod
    def load(cls, folder: Path) -> "Configuration":
        """Read and check a configuration folder.

        Raises:
            RegimesFileError, RateCardError, MarketMapError: a file is not what it must be.
            OSError: a file can't be read.
        """
        paths = (folder / RATES / MANIFEST, folder / REGIMES, folder / KUSTOMIZATION)
        texts = {path: path.read_text("utf-8") for path in paths if path.exists()}
        return cls(folder, PriceBook.load(folder), Manifest.load(folder / RATES), texts)


def replaced(path: Path, text: str) -> None:
    """Put a file in place whole: a reader sees the former text or the new one, whenever the machine dies."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            shutil.copymode(path if path.exists() else path.parent / MANIFEST, file.name)
            os.replace(file.name, path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise


def carry_out(
    plan: Plan, configuration: Configuration, put: Callable[[Path, str], None] = replaced
) -> tuple[Path, ...]:
    """Write what a plan says, and give the files written; all or nothing.

    What it makes of the folder is loaded as the services load it, from a copy, before anything is written. Cards go first and the regimes last: each
    state in between is one that services start with, so a machine that dies in between leaves the former prices in force, and the same import
    again completes it.

    Raises:
        FolderConflict: a file changed since the plan was made, or a card's file is there with other text.
        RegimesFileError, RateCardError, MarketMapError: the folder would not load.
        OSError: a file could not be written; what was written before it is taken back.
    """
    new = _new_files(plan, configuration)
    changed = _changed_texts(plan, configuration, [path.name for path in new])
    with tempfile.TemporaryDirectory() as copied:
        copy = Path(shutil.copytree(configuration.folder, Path(copied) / "config"))
        for path, text in (new | changed).items():
            (copy / path.relative_to(configuration.folder)).write_text(text, "utf-8")
        PriceBook.load(copy)
    for path, text in configuration.texts.items():
        if path.read_text("utf-8") != text:
            raise FolderConflict(f"{path} has changed meanwhile: import again")
    _write(new, changed, configuration, put)
    return (*new, *changed)


def _new_files(plan: Plan, configuration: Configuration) -> dict[Path, str]:
    folder = configuration.folder / RATES
    texts = {folder / card.entry.file: card.text for card in plan.cards}
    texts |= {folder / table.entry.file: table.text for table in plan.tables}
    for path, text in texts.items():
        if path.exists() and path.read_text("utf-8") != text:
            raise FolderConflict(f"{path} is there already and the manifest does not know it: move it away")
    return texts


def _changed_texts(plan: Plan, configuration: Configuration, new: list[str]) -> dict[Path, str]:
    """The YAML files that change, in the order in which they must be written."""
    folder, texts = configuration.folder, configuration.texts
    kustomization, manifest, regimes = folder / KUSTOMIZATION, folder / RATES / MANIFEST, folder / REGIMES
    wanted = {
        manifest: manifest_text(texts[manifest], plan),
        regimes: regimes_text(texts[regimes], plan.uses),
    }
    if kustomization in texts:
        wanted = {kustomization: files_text(texts[kustomization], new), **wanted}
    return {path: text for path, text in wanted.items() if text != texts[path]}


def _write(
    new: dict[Path, str],
    changed: dict[Path, str],
    configuration: Configuration,
    put: Callable[[Path, str], None],
) -> None:
    written: list[Path] = []
    try:
        for path, text in (new | changed).items():
            put(path, text)
            written.append(path)
    except OSError:
        for path in reversed(written):
            if path in changed:
                put(path, configuration.texts[path])
            else:
                path.unlink()
        raise
