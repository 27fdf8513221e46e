"""Digests by which two ways to the same books are compared: SHA-256 over canonical, sorted rows. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from shared.events import LedgerEntry, encode
from shared.stream.source import Source


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class LedgerDigest:
    """The digest of the ledger by account and month. Add its entries in the order of partition and source: that is the order of the rows."""

    def __init__(self) -> None:
        self._months: dict[tuple[str, str], _Hash] = {}

    def add(self, source: Source, entry: LedgerEntry) -> None:
        """Take the next entry in, with the place of its event."""
        key = (entry.waba_id, entry.month)
        digest = self._months.get(key)
        if digest is None:
            digest = self._months[key] = hashlib.sha256()
        digest.update(b"%d:%d:%d %b\n" % (*source, encode(entry)))

    def months(self) -> dict[tuple[str, str], str]:
        """(account, month) → digest, sorted."""
        return {key: digest.hexdigest() for key, digest in sorted(self._months.items())}


def whole(parts: Mapping[tuple[str, str], str]) -> str:
    """One digest of several, by their names."""
    return of_rows(" ".join((*key, digest)).encode() for key, digest in parts.items())


def of_rows(rows: Iterable[bytes]) -> str:
    """The digest of rows in whatever order."""
    digest = hashlib.sha256()
    for row in sorted(rows):
        digest.update(row + b"\n")
    return digest.hexdigest()
