"""The raw log: messages in, send events out as the router publishes them, in time; then disturbed as at-least-once delivery does.

An event's place in the log is that of its own time; repetitions come later, byte for byte the same.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple
from zlib import crc32

import msgspec

from shared.events import (
    ChargePredicted,
    ConversationUse,
    Decision,
    Price,
    SendEvent,
    UserRef,
    VolumeTier,
    encode,
)
from shared.times import rfc3339
from tests.billing_month.truth import Charge, Message, Word


class Logged(NamedTuple):
    """One send event: the record's key, its id and type, its JSON."""

    key: str
    event_id: str
    event: str
    value: bytes


class Disorder(NamedTuple):
    """How often a published batch is published again at once, and an event much later."""

    again: float = 0.002
    """Per event: that the last ones of one partition come again, as after a kill between commit and publication."""
    late: float = 0.01
    batch: int = 60
    latest: int = 200_000
    """In events of the log."""


USUAL = Disorder()


def log(messages: Iterable[Message]) -> Iterator[Logged]:
    """All events of the messages by their time."""
    waiting: list[tuple[int, int, Logged]] = []
    nth = 0
    for message in messages:
        while waiting and waiting[0][0] < message.delivered_ms:
            yield heapq.heappop(waiting)[2]
        for at_ms, event in _life(message):
            nth += 1
            heapq.heappush(waiting, (at_ms, nth, event))
    while waiting:
        yield heapq.heappop(waiting)[2]


def disturbed(events: Iterable[Logged], seed: int, disorder: Disorder = USUAL) -> Iterator[Logged]:
    """The events with repetitions; of each event the first comes where it was."""
    random = Random(seed)
    recent: deque[Logged] = deque(maxlen=disorder.batch * 8)
    late: list[tuple[int, int, Logged]] = []
    for nth, event in enumerate(events):
        yield event
        recent.append(event)
        if random.random() < disorder.again:
            place = crc32(event.key.encode()) % 8
            yield from [one for one in recent if crc32(one.key.encode()) % 8 == place][-disorder.batch :]
        if random.random() < disorder.late:
            heapq.heappush(late, (nth + random.randrange(disorder.latest), nth, event))
        while late and late[0][0] <= nth:
            yield heapq.heappop(late)[2]
    while late:
        yield heapq.heappop(late)[2]


def _life(message: Message) -> Iterator[tuple[int, Logged]]:
    """The steps of one message as the router tells them; `seq` counts those that are left out, too."""
    at_ms, words = message.delivered_ms, message.words
    if message.request_id is None:
        for nth, word in enumerate(words):
            yield word.at_ms, _event(message, "priced", nth + 1 if nth else 0, word.at_ms, word, tags={})
        return
    if message.steps_told:
        yield at_ms - 3000, _event(message, "decided", 1, at_ms - 3000, None)
        yield at_ms - 2000, _event(message, "accepted", 2, at_ms - 2000, None)
        yield at_ms - 1000, _event(message, "sent", 3, at_ms - 1000, None)
    if not message.delivery_told:
        return
    with_it = words[0] if words and words[0].at_ms == at_ms else None
    yield at_ms, _event(message, "delivered", 4, at_ms, with_it, charge=message.predicted)
    steps: list[tuple[str, int, Word | None]]
    steps = [("priced", word.at_ms, word) for word in words if word is not with_it]
    if message.read_ms:
        said = [word for word in words if word.at_ms <= message.read_ms]
        steps.append(("read", message.read_ms, said[-1] if said else None))
    steps.sort(key=lambda step: step[1])
    tags = message.tags
    for seq, (name, step_ms, told) in enumerate(steps, 5):
        yield step_ms, _event(message, name, seq, step_ms, told, tags=tags)
        if name == "read":
            tags = {}  # the router remembers no more of a message that has ended


def _event(
    message: Message,
    name: str,
    seq: int,
    at_ms: int,
    word: Word | None,
    *,
    charge: Charge | None = None,
    tags: dict[str, str] | None = None,
) -> Logged:
    id = f"{message.wamid}:{name}"
    if name == "priced" and word is not None:
        id += f":{word.category}:{word.type}:{at_ms}"
    value = SendEvent(
        event_id=id,
        event=name,  # type: ignore[arg-type]
        seq=seq,
        at=rfc3339(at_ms),
        request_id=message.request_id,
        correlation_id=None,
        tags=message.tags if tags is None else tags,
        waba_id=message.account.waba_id,
        phone_number_id=message.number,
        user=UserRef(user_id=message.user),
        wamid=message.wamid if name != "decided" else None,
        decision=_decision(message) if name == "decided" else None,
        charge=None if charge is None else _predicted(message, charge),
        meta=_status(message, name, at_ms, word),
    )
    return Logged(f"{message.number}:{message.user}", id, name, encode(value))


def _decision(message: Message) -> Decision:
    """May it go out, and at which price."""
    charge = message.predicted
    return Decision(
        outcome="allow",
        final=True,
        reason="ok",
        category=message.category,  # type: ignore[arg-type]
        facts_version="1",
        conversation=ConversationUse(
            id=message.conversation_id,
            action="open" if charge is not None and charge.conversations else "reuse",
            category=message.category,  # type: ignore[arg-type]
        ),
        price=None
        if charge is None
        else Price(
            regime=charge.regime,
            rate_card=charge.card,
            market=charge.market,
            type=charge.type,
            amount_micros=charge.micros,
            currency="USD",
            rate_category=charge.column,
        ),
    )


def _predicted(message: Message, charge: Charge) -> ChargePredicted:
    tier = charge.tier
    return ChargePredicted(
        counted=bool(charge.units),
        unit=charge.unit,  # type: ignore[arg-type]
        conversation_id=message.conversation_id,
        category=message.category,  # type: ignore[arg-type]
        market=charge.market,
        regime=charge.regime,
        rate_card=charge.card,
        month=charge.month,
        type=charge.type,
        amount_micros=charge.micros,
        currency="USD",
        rate_category=charge.column if charge.type == "regular" else None,
        volume_tier=None if tier is None else VolumeTier(tier=tier[0], rates=tier[1]),
        day=charge.day,
        opened=bool(charge.conversations),
    )


def _status(message: Message, name: str, at_ms: int, word: Word | None) -> msgspec.Raw:
    """Meta's status object (Meta, webhooks, statuses)."""
    status: dict[str, object] = {
        "id": message.wamid,
        "status": "delivered" if name == "priced" else name,
        "timestamp": str(at_ms // 1000),
        "recipient_id": message.user,
    }
    if word is not None:
        pricing: dict[str, object] = {
            "pricing_model": word.model,
            "type": word.type,
            "category": word.category,
        }
        if word.explicit:
            pricing["billable"] = not word.free
        status["pricing"] = pricing
        if message.conversation_id is not None and word.model == "CBP":
            status["conversation"] = {
                "id": message.conversation_id,
                "origin": {"type": word.category},
            }
    return msgspec.Raw(msgspec.json.encode(status))
