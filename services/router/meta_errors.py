"""What Meta's error codes are called in public: `config/errors.yaml` in, reason and hint of a failed status out. Pure after `load`."""

from pathlib import Path
from typing import NamedTuple

from shared.error_table import ErrorTable, Verdict
from shared.refusals import Subject

UNKNOWN = "meta_error_unknown"
OPTED_OUT_CODE = 131050
"""The user stopped marketing messages of this business (Meta, Cloud API, error codes)."""


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
            OSError, ErrorTableError: the file can't be read or is not what the sender takes either.
        """
        rows = ErrorTable.load(folder / "errors.yaml").by_code
        return cls({code: _named(row.verdict(attempt=1)) for code, row in rows.items()})

    def named(self, code: int | None) -> Named:
        """The public name of a code; an unknown one is said to be unknown."""
        known = None if code is None else self._by_code.get(code)
        return known or Named(UNKNOWN, False, None)


def _named(verdict: Verdict) -> Named:
    return Named(
        verdict.reason,
        verdict.retryable,
        verdict.hint,
        defer_s=verdict.delay_s if verdict.action == "defer" else None,
        concerns=_SUBJECTS.get(verdict.scope) if verdict.holds else None,
        holds_s=verdict.delay_s if verdict.holds else None,
    )
