"""What was seen before, in few bytes: 8-byte hashes with their time, in one value of 12 bytes an entry. Pure."""

from services.router.state import MAX_INBOUND, REMEMBER_MS
from shared.ids import FINGERPRINT_BYTES as _HASH

_ENTRY = _HASH + 4


def has(entries: bytes, wanted: bytes) -> bool:
    """Whether an entry of this hash is there."""
    at = entries.find(wanted)
    while at >= 0:
        if at % _ENTRY == 0:
            return True
        at = entries.find(wanted, at + 1)
    return False


def add(entries: bytes, new: bytes, now_ms: int) -> bytes:
    """The entries with one more; those past their 8 days go, and the oldest when there are too many."""
    return (pruned(entries, now_ms) + new + (now_ms // 1000).to_bytes(4, "big"))[-MAX_INBOUND * _ENTRY :]


def pruned(entries: bytes, now_ms: int) -> bytes:
    """The entries younger than 8 days."""
    oldest = ((now_ms - REMEMBER_MS) // 1000).to_bytes(4, "big")
    start = 0
    while start < len(entries) and entries[start + _HASH : start + _ENTRY] < oldest:
        start += _ENTRY
    return entries[start:]
