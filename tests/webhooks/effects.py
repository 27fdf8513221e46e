"""What bodies come to: through ingress into the router's folds of conversations and accounts; the part of it that the order of arrival must not change."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.ingress.updates import Undecodable
from services.ingress.webhooks import updates
from services.router.account_changes import AccountsFold, Known
from shared.accounts import AccountFacts
from shared.events import AccountChanged, AccountWebhook, ReceivedMessage, decode_send_event
from shared.ids import conversation_key
from shared.stream.fold import Grants
from shared.topics import MESSAGES_RECEIVED, SEND_EVENTS, WEBHOOKS_PASSED
from tests.unit.router.make import NOW, accepted, request, world
from tests.webhooks.told import BSUIDS, DISPLAYED, NEW_BSUID, NUMBER, PHONES, SENT, WABA, Brings, Told

_STEPS = ("accepted", "sent", "delivered", "read", "played", "failed")
_received = msgspec.json.Decoder(ReceivedMessage).decode
_ENTRY = 12
_BSUIDS = {phone: {bsuid} for phone, bsuid in zip(PHONES, BSUIDS, strict=True)}
_BSUIDS[PHONES[0]].add(NEW_BSUID)
_NAMES = {phone: f"U{which}" for which, phone in enumerate(PHONES)}


@dataclass
class Effects:
    """Messages and webhooks by their event's id; by conversation its window, last word on marketing and what it remembers; by request how far it came; facts."""

    received: dict[str, dict[str, Any]] = field(default_factory=dict)
    passed: dict[str, Any] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    words: dict[str, tuple[bool, int]] = field(default_factory=dict)
    remembered: dict[str, frozenset[bytes]] = field(default_factory=dict)
    bsuids: dict[str, str | None] = field(default_factory=dict)
    furthest: dict[str, str] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    """By request, how often it was said to be delivered or to have failed."""
    facts: dict[Any, Any] = field(default_factory=dict)
    accounts: dict[str, Any] = field(default_factory=dict)
    parked: Counter[bytes] = field(default_factory=Counter)
    twice: list[str] = field(default_factory=list)
    """Events that were told more than once, which none may be."""


def effects_of(bodies: Iterable[bytes]) -> Effects:
    """Fold what ingress makes of the bodies, in their order, after some messages of ours went out."""
    found, known = Effects(), world()
    key = conversation_key(NUMBER, PHONES[0])
    for n in range(SENT):
        known.play(key, request(f"r{n}"), NOW)
        known.play(key, accepted(f"r{n}#1"), NOW)
    sent = len(known.out)
    fold, states, facts = AccountsFold(), dict[str, bytes](), AccountFacts()
    number = AccountChanged(
        event_id="n",
        at_ms=1,
        waba_id=WABA,
        subject="number",
        id=NUMBER,
        fields={"display_phone_number": DISPLAYED},
    )
    facts.apply(number, 1)  # fmt: skip
    passed = []
    first = fold.fold(None, number, None, Grants()).state
    if first is not None:
        states[WABA] = fold.encode_state(first)
    for body in bodies:
        for part in updates(body, NOW):
            if isinstance(part, Undecodable):
                found.parked[part.raw] += 1
            elif isinstance(part.event, AccountWebhook | AccountChanged):
                facts.apply(part.event, facts.revision + 1)
                before = states.get(part.key)
                step = fold.fold(
                    None if before is None else fold.decode_state(before), part.event, None, Grants()
                )
                passed += [out for out in step.out if out.topic is WEBHOOKS_PASSED]
                if step.state is not None:
                    states[part.key] = fold.encode_state(step.state)
            else:
                known.play(part.key, part.event, NOW)
    _tell(found, known.out[sent:] + passed)
    for name, value in known.states.items():
        state = known.fold.decode_state(value)
        found.windows[name], found.bsuids[name] = state.window_ms, state.bsuid
        found.remembered[name] = _marks(state.inbound)
        if state.word is not None:
            found.words[name] = (state.word.opted_out, state.word.at_ms)
    found.facts = {of: (value, dict(facts.settings_of(of))) for of, value in facts.known().items()}
    for waba, state_ in states.items():
        account: Known = fold.decode_state(state_)
        found.accounts[waba] = (account.subjects, _marks(account.passed))
    return found


def _tell(found: Effects, told: list[Any]) -> None:
    ids: Counter[str] = Counter()
    stages: dict[str, int] = {}
    for out in told:
        if out.topic in (MESSAGES_RECEIVED, WEBHOOKS_PASSED):
            ids[out.id] += 1
        if out.topic is MESSAGES_RECEIVED:
            message = _received(out.value)
            # The window as it was then: at least what the message itself opened, and that much only if it came in order.
            assert message.window_expires_at is None or message.window_expires_at >= message.sent_at
            found.received[out.id] = _without_company(out.value) | {"window_expires_at": None}
        elif out.topic is WEBHOOKS_PASSED:
            found.passed[out.id] = (out.key, _without_company(out.value))
        elif out.topic is SEND_EVENTS:
            event = decode_send_event(out.value)
            if event.request_id is not None and event.event in _STEPS:
                stages[event.request_id] = max(stages.get(event.request_id, 0), _STEPS.index(event.event))
                if event.event in ("delivered", "failed"):
                    of = (event.request_id, event.event)
                    found.counts[of] = found.counts.get(of, 0) + 1
    found.furthest = {request_id: _STEPS[stage] for request_id, stage in stages.items()}
    found.twice = [id_ for id_, times in ids.items() if times > 1]


def _without_company(value: bytes) -> dict[str, Any]:
    """The event without what may be known by then or not: the business-scoped id of a user who is known by number, and the user's name. Another's id or name stays."""
    event: dict[str, Any] = msgspec.json.decode(value)
    user = event["user"]
    if user is not None and user["bsuid"] in _BSUIDS.get(user["user_id"], ()):
        user["bsuid"] = None
    if user is not None and event.get("profile_name") == _NAMES.get(user["user_id"]):
        event["profile_name"] = None
    return event


def _marks(entries: bytes) -> frozenset[bytes]:
    return frozenset(entries[at : at + 8] for at in range(0, len(entries), _ENTRY))


def foretold(told: Iterable[Told], found: Effects) -> None:
    """Compare with what each update says it must bring."""
    brings = [one.brings for one in told]
    said = [one.said for one in brings if one.said is not None]
    assert len(found.received) == len(said)
    assert {f"{id_}:received" for id_ in said if id_} <= found.received.keys()
    assert len(found.passed) == sum(one.passed for one in brings)
    windows: dict[str, int] = {}
    words: dict[str, tuple[int, bool]] = {}
    facts: dict[str, tuple[int, Any]] = {}
    for one in brings:
        if one.window is not None:
            windows[one.window[0]] = max(windows.get(one.window[0], 0), one.window[1])
        if one.word is not None:
            key, at, stopped = one.word
            words[key] = max(words.get(key, (0, False)), (at, stopped))
        if one.fact is not None:
            name, at, value = one.fact
            facts[name] = max(facts.get(name, (0, None)), (at, value), key=lambda known: known[0])
    assert {key: ms for key, ms in found.windows.items() if ms} == windows
    assert found.words == {key: (stopped, at * 1000) for key, (at, stopped) in words.items()}
    assert found.furthest == _furthest(brings)
    for name, (_, value) in facts.items():
        assert _fact(found, name) == value, name


def _furthest(brings: Iterable[Brings]) -> dict[str, str]:
    furthest: dict[str, int] = {}
    for one in brings:
        if one.step is not None:
            request_id, step = one.step
            furthest[request_id] = max(furthest.get(request_id, 0), _STEPS.index(step))
    return {request_id: _STEPS[stage] for request_id, stage in furthest.items()}


def _fact(found: Effects, name: str) -> Any:
    waba, *template, fact = name.split(".")
    of = ("template", waba, f"{template[0]}/en_US") if template else ("account", waba, waba)
    return getattr(found.facts[of][0], fact)
