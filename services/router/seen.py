"""What was seen before, in few bytes: 8-byte hashes with their time, in one value of 12 bytes an entry. Pure.

Every webhook that tells something once, and what had to give way elsewhere in the state: messages that arrived, requests that were answered (decision 14).
"""

from msgspec.structs import replace

from services.router.state import MAX_INBOUND, REMEMBER_MS, State
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


def noted(state: State, new: bytes, now_ms: int) -> State:
    """The state that has seen one more thing, and knows until when it had to forget some before their time."""
    entries = add(state.inbound, new, now_ms)
    if len(entries) < MAX_INBOUND * _ENTRY:
        return replace(state, inbound=entries)
    before = pruned(state.inbound, now_ms)
    if len(before) == len(entries):
        seen_ms = int.from_bytes(before[_HASH:_ENTRY], "big") * 1000 + 999
        state = replace(state, forgotten_ms=max(state.forgotten_ms, seen_ms))
    return replace(state, inbound=entries)


def joined(mine: bytes, others: bytes) -> bytes:
    """The entries of two values, the latest of them in order of time."""
    if not mine or not others:
        return mine or others
    both = mine + others
    found = {both[i : i + _HASH]: both[i + _HASH : i + _ENTRY] for i in range(0, len(both), _ENTRY)}
    rows = sorted((at, mark) for mark, at in found.items())
    return b"".join(mark + at for at, mark in rows[-MAX_INBOUND:])


def pruned(entries: bytes, now_ms: int) -> bytes:
    """The entries younger than 8 days."""
    oldest = ((now_ms - REMEMBER_MS) // 1000).to_bytes(4, "big")
    start = 0
    while start < len(entries) and entries[start + _HASH : start + _ENTRY] < oldest:
        start += _ENTRY
    return entries[start:]
