"""Events and an endpoint's keys in, the webhook as it goes over the wire out. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from services.push import bodies, meta_format
from services.push.endpoints import Endpoint
from services.push.kinds import Event
from services.push.meta_format import DisplayNumber
from services.push.signing import meta_headers, standard_headers, webhook_id


class Webhook(NamedTuple):
    """One POST; the headers are those of its signature."""

    body: bytes
    headers: dict[str, str]


def sealed(
    endpoint: Endpoint,
    keys: Sequence[bytes],
    events: Sequence[Event],
    timestamp_s: int,
    display_number: DisplayNumber,
) -> Webhook:
    """The webhook that tells these events, signed at `timestamp_s` (epoch seconds).

    Raises:
        ValueError, MsgspecError: an event has no form of Meta's.
    """
    if endpoint.format == "meta":
        (event,) = events
        body = meta_format.body(event, display_number)
        return Webhook(body, meta_headers(keys[0], webhook_id(event.id), body))
    body = bodies.body(events, batched=endpoint.batch > 1)
    return Webhook(body, standard_headers(keys, webhook_id(bodies.id_of(events)), timestamp_s, body))
