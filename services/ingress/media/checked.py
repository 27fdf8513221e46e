"""A file's bytes as they come in, the same out: counted, hashed, and stopped where they are too many or not what Meta announced."""

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator, Iterable

from services.ingress.media.failures import NotFetched

_HEX = re.compile(r"[0-9a-fA-F]{64}")


def digest_of(told: str | None) -> str | None:
    """A SHA-256 as hex, of hex or Base64 as Meta writes either (Meta, webhooks, media; Meta, Cloud API, media); None for what is neither."""
    if told is None:
        return None
    if _HEX.fullmatch(told):
        return told.lower()
    try:
        raw = base64.b64decode(told, altchars=b"-_" if re.search(r"[-_]", told) else None, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == 32 else None


class Checked:
    """Goes over the bytes once; `bytes` and `sha256` (hex) are whole after that.

    Raises NotFetched while going: `too_large` above `most` bytes, `checksum` at the end when any of the digests that Meta told is another one.
    """

    def __init__(self, pieces: AsyncIterator[bytes], most: int, told: Iterable[str | None]) -> None:
        self._pieces = pieces
        self._most = most
        self._told = {digest for text in told if (digest := digest_of(text)) is not None}
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Of the bytes so far."""
        return self._digest.hexdigest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            self.bytes += len(piece)
            if self.bytes > self._most:
                raise NotFetched("too_large", f"more than {self._most} bytes")
            self._digest.update(piece)
            yield piece
        if self._told - {self.sha256}:
            raise NotFetched("checksum", f"{self.bytes} bytes came with another SHA-256 than announced")
