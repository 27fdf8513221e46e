"""A receiver who proved the number theirs by a one-time password: the event that tells the router. Pure."""

from shared.events import ReceiverVerified
from shared.ids import conversation_key


def verified(phone_number_id: str, user: str, at_ms: int) -> ReceiverVerified:
    """The event; telling it twice changes nothing.

    Args:
        phone_number_id: the business's number that may write to the receiver in the free tier.
        user: canonical, as `shared.phone.canonical_user` gives it.
        at_ms: when, epoch milliseconds.
    """
    key = conversation_key(phone_number_id, user)
    return ReceiverVerified(
        event_id=f"{key}:verified", at_ms=at_ms, phone_number_id=phone_number_id, user=user
    )
