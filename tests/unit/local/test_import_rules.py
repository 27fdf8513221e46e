"""The import rules cover what they are meant to cover."""

import ast
import re
import tomllib
from pathlib import Path

from deploy.local.paths import REPOSITORY


def test_every_module_that_calls_itself_pure_is_held_to_it() -> None:
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    held = {
        name for contract in contracts if "Pure" in contract["name"] for name in contract["source_modules"]
    }
    assert says_pure() == held, "bring source_modules of the contract in pyproject.toml up to date"


def says_pure() -> set[str]:
    files = [path for top in ("services", "shared") for path in (REPOSITORY / top).rglob("*.py")]
    return {module_name(path) for path in files if re.search(r"\bPure\.", docstring(path))}


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
