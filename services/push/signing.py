"""How a webhook proves where it comes from: secrets and a body in, headers out. Pure.

Sources: Standard Webhooks, specification (symmetric signatures); Meta, webhooks, getting started (X-Hub-Signature-256).
"""

import base64
import binascii
import hmac
from collections.abc import Iterable
from urllib.parse import quote

PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64
"""Bytes of a secret (Standard Webhooks, signature scheme)."""


class BadSecret(ValueError):
    """The secret can't be used; the text does not show it."""


def key_of(secret: str) -> bytes:
    """The key that a `whsec_…` secret holds.

    Raises:
        BadSecret: no such prefix, no base64, or not of 24 to 64 bytes.
    """
    if not secret.startswith(PREFIX):
        raise BadSecret(f"does not begin with {PREFIX}")
    text = secret.removeprefix(PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise BadSecret(f"is not base64 after {PREFIX}") from None
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise BadSecret(f"holds {len(key)} bytes, not {_SHORTEST} to {_LONGEST}")
    return key


def webhook_id(event_id: str) -> str:
    """An event's id as a header may hold it: percent-encoded where needed, and without a full stop, which delimits what is signed."""
    return quote(event_id, safe=":#/+=@|,").replace(".", "%2E")


def standard_headers(keys: Iterable[bytes], id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks; one signature per key."""
    signed = b"%s.%d.%s" % (id.encode(), timestamp_s, body)
    signatures = (
        "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode("ascii") for key in keys
    )
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signatures),
    }


def meta_headers(key: bytes, id: str, body: bytes) -> dict[str, str]:
    """Meta's signature by the endpoint's app secret; our id goes along, for who wants it."""
    return {
        "webhook-id": id,
        "X-Hub-Signature-256": "sha256=" + hmac.digest(key, body, "sha256").hex(),
    }
