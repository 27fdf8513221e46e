"""Reads the secrets that endpoints refer to: from the environment, or from files, anew when these change."""

import os
from collections.abc import Mapping
from pathlib import Path

from services.push.endpoints import Endpoint, SecretRef
from services.push.signing import BadSecret, key_of


class SecretMissing(Exception):
    """A secret can't be read or used; the text says which and why, and shows nothing of it."""


class Secrets:
    """The keys of endpoints. A file that was replaced is another (inode, time), as Kubernetes mounts secrets; one stat at each use tells."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._read: dict[Path, tuple[tuple[int, ...], str]] = {}

    def keys(self, endpoint: Endpoint) -> list[bytes]:
        """What signs the endpoint's webhooks: the secrets' keys, or (meta) the app secret's own bytes.

        Raises:
            SecretMissing: one of them can't be read, or is no secret of its format.
        """
        found = []
        for ref in endpoint.secrets:
            text = self.text(ref)
            try:
                found.append(text.encode() if endpoint.format == "meta" else key_of(text))
            except BadSecret as error:
                raise SecretMissing(f"{endpoint.name}: the secret of {ref} {error}") from None
        return found

    def text(self, ref: SecretRef) -> str:
        """The secret itself, stripped.

        Raises:
            SecretMissing: it is not there, or empty.
        """
        try:
            text = self._of_file(ref.file) if ref.file is not None else self._environ.get(ref.env or "", "")
        except (OSError, UnicodeDecodeError) as error:
            raise SecretMissing(f"{ref}: {type(error).__name__}") from None
        if not text.strip():
            raise SecretMissing(f"{ref} is not set" if ref.env is not None else f"{ref} is empty")
        return text.strip()

    def _of_file(self, path: Path) -> str:
        found = path.stat()
        state = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._read.get(path)
        if known is None or known[0] != state:
            known = self._read[path] = (state, path.read_text("utf-8"))
        return known[1]
