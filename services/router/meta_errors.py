"""What Meta's error codes are called in public: `config/errors.yaml` in, reason and hint of a failed status out. Pure after `load`."""

from pathlib import Path
from typing import Literal, NamedTuple

import yaml

UNKNOWN = "meta_error_unknown"
OPTED_OUT_CODE = 131050
"""The user stopped marketing messages of this business (Meta, Cloud API, error codes)."""


Subject = Literal["account", "number"]
_SUBJECTS: dict[str, Subject] = {"waba": "account", "phone_number": "number"}


class Named(NamedTuple):
    """A code's public reason, whether the same request may pass later, and what to do.

    `defer_s`: after how many seconds it is to be decided anew, where that is what the table wants of the code.
    `concerns`: whose other messages the sender holds back for it, and for how long (`holds_s`; None: until something changes).
    """

    reason: str
    retryable: bool
    hint: str | None
    defer_s: float | None = None
    concerns: Subject | None = None
    holds_s: float | None = None


class MetaErrors:
    """The public names of Meta's codes. The sender reads the same file for what it does about them."""

    def __init__(self, by_code: dict[int, Named]) -> None:
        self._by_code = by_code

    @classmethod
    def load(cls, folder: Path) -> "MetaErrors":
        """Read `errors.yaml` of a configuration folder.

        Raises:
            OSError, yaml.YAMLError, KeyError, ValueError: the file can't be read or is not what the sender takes either.
        """
        by_code: dict[int, Named] = {}
        for row in yaml.safe_load((folder / "errors.yaml").read_text("utf-8"))["codes"]:
            first, _, last = str(row["code"]).partition("-")
            wait_s = row.get("delay_s") or row.get("backoff", {}).get("base_s")
            holds = row["action"] in ("park", "stop")
            named = Named(
                row["reason"],
                row["retry"] in ("yes", "delay"),
                row["hint"],
                defer_s=wait_s if row["action"] == "defer" else None,
                concerns=_SUBJECTS.get(row["scope"]) if holds else None,
                holds_s=wait_s if holds else None,
            )
            by_code.update(dict.fromkeys(range(int(first), int(last or first) + 1), named))
        return cls(by_code)

    def named(self, code: int | None) -> Named:
        """The public name of a code; an unknown one is said to be unknown."""
        return self._by_code.get(code or -1) or Named(UNKNOWN, False, None)
