"""What Meta told that no service acts upon, or not alone, in; the event that passes it on to the business out. Pure."""

from services.router.announce import user_ref
from shared.events import AccountWebhook, ConversationWebhook, PassedWebhook, encode
from shared.ids import conversation_key
from shared.stream.fold import Outgoing
from shared.times import rfc3339
from shared.topics import WEBHOOKS_PASSED


def of_conversation(event: ConversationWebhook) -> Outgoing:
    """Of a conversation, or (without a user) of a number or page; keyed by it, or by the account."""
    key = conversation_key(event.phone_number_id, event.user) if event.user else event.waba_id
    value = PassedWebhook(
        event_id=f"{event.event_id}:passed",
        at=rfc3339(event.at_ms),
        received_at=rfc3339(event.received_ms),
        channel=event.channel,
        field=event.field,
        list=event.list,
        waba_id=event.waba_id or None,
        phone_number_id=event.phone_number_id,
        user=user_ref(event.user, event.bsuid) if event.user else None,
        value=event.item,
    )
    return Outgoing(WEBHOOKS_PASSED, key or event.phone_number_id, value.event_id, "passed", encode(value))


def of_account(event: AccountWebhook) -> Outgoing:
    """Of an account, keyed by it."""
    value = PassedWebhook(
        event_id=f"{event.event_id}:passed",
        at=rfc3339(event.at_ms),
        received_at=rfc3339(event.received_ms or event.at_ms),
        channel="whatsapp",
        field=event.field,
        list=None,
        waba_id=event.waba_id,
        phone_number_id=None,
        user=None,
        value=event.value,
    )
    return Outgoing(WEBHOOKS_PASSED, event.waba_id, value.event_id, "passed", encode(value))
