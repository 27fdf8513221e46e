"""What a user told an operator about marketing in, the record that says so out. Pure."""

import hashlib
from typing import Literal

from shared.events import PreferenceChanged


def operator_word(
    sender: str, user: str, marketing: Literal["in", "out"], evidence: str, by: str, now_ms: int
) -> PreferenceChanged:
    """The word of a canonical user to a phone_number_id, as of now (epoch ms); told twice in the same millisecond it is the same record."""
    identity = f"{sender}:{user}:{marketing}:{now_ms}:{by}:{evidence}"
    return PreferenceChanged(
        event_id=f"operator:{hashlib.sha256(identity.encode()).hexdigest()[:32]}",
        at_ms=now_ms,
        phone_number_id=sender,
        user=user,
        opted_out=marketing == "out",
        evidence=evidence,
        source="operator",
        by=by,
        noted_ms=now_ms,
    )
