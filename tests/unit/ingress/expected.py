"""How a fixture writes down what a webhook holds: one plain object per update."""

from typing import Any

import msgspec

from services.ingress.updates import Part, Undecodable


def described(part: Part) -> dict[str, Any]:
    """Kind, topic, key and event; or where and why an update can't be read."""
    if isinstance(part, Undecodable):
        return {"undecodable": part.place, "reason": part.reason}
    return {
        "kind": part.kind,
        "topic": part.topic.name,
        "key": part.key,
        "event": msgspec.json.decode(msgspec.json.encode(part.event)),
    }
