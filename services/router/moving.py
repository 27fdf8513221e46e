"""A conversation that becomes an address: its content goes to the user's home by events, and is merged there, exactly once. Pure.

Windows: the later one. Preference: the last word. Lives, answers, what was seen: all of both. The places that messages hold in limits are held by the same command ids
under the home's name from then on.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from services.router import names, preferences
from services.router.addresses import readdressed
from services.router.brought import Brought
from services.router.quotas import claim_id, held_places, releases, tier_place
from services.router.requests import turns
from services.router.seen import has, joined, noted
from services.router.state import (
    FAILED,
    MAX_ANSWERS,
    MAX_ENDED,
    VERSION,
    Address,
    Answer,
    Conversation,
    Deferred,
    Ended,
    Life,
    Name,
    State,
    decode_state,
    encode_state,
)
from services.router.tariff import Tariff
from shared.accounts import Account, AccountFacts
from shared.events import ConversationMoved, SendRequested, decode_send_event, encode
from shared.ids import command_id, conversation_key, fingerprint
from shared.stream.fold import Claim, Grants, Outgoing, Owned, Release
from shared.topics import CONVERSATION_EVENTS

PART_BYTES = 512 * 1024
"""A larger state goes in several events, each far below Kafka's largest record."""

_read_request = msgspec.json.Decoder(SendRequested).decode


def departed(state: State, address: Address, facts: AccountFacts, tariff: Tariff) -> Brought:
    """The state as an address, and its content on the way. An untouched conversation has none, and nobody need be told."""
    blank = State(VERSION, state.number, state.user)
    new = replace(blank, wake_ms=state.wake_ms, address=address)
    if state == blank:
        return Brought(new)
    key = conversation_key(state.number, address.to)
    out = list[Outgoing]()
    for nth, part in enumerate(_parts(state)):
        event = ConversationMoved(
            event_id=f"{key}:moved:{state.user}:{address.at_ms}:{address.noted_ms}:{nth}",
            at_ms=address.at_ms,
            noted_ms=address.noted_ms,
            phone_number_id=state.number,
            user=address.to,
            name=state.user,
            content=encode_state(part),
            left=address.left,
        )
        out.append(Outgoing(CONVERSATION_EVENTS, key, event.event_id, "ConversationMoved", encode(event)))
    back = [turn for waiting in state.deferred for turn in turns(state, waiting, facts, tariff)]
    return Brought(new, tuple(out), tuple(back))


def _parts(state: State) -> Iterator[State]:
    """The state in pieces of bounded size, each of which can be merged alone."""
    if len(encode_state(state)) <= PART_BYTES:
        yield state
        return
    yield replace(state, lives=(), answers=(), deferred=())
    blank = State(VERSION, state.number, state.user, state.waba)
    for field in ("lives", "answers", "deferred"):
        for chunk in _chunks(getattr(state, field)):
            yield replace(blank, **{field: chunk})


def _chunks(items: Sequence[Life | Answer | Deferred]) -> Iterator[tuple[Life | Answer | Deferred, ...]]:
    chunk, size = list[Life | Answer | Deferred](), 0
    for item in items:
        weight = len(msgspec.msgpack.encode(item))
        if chunk and size + weight > PART_BYTES:
            yield tuple(chunk)
            chunk, size = [], 0
        chunk.append(item)
        size += weight
    if chunk:
        yield tuple(chunk)


def merged(
    state: State, event: ConversationMoved, facts: AccountFacts, tariff: Tariff, grants: Grants
) -> Brought:
    """The conversation with another one's content in it; nothing if that came before."""
    mark = fingerprint(event.event_id)
    if has(state.inbound, mark):
        return Brought(state)
    content = decode_state(event.content)
    waba = state.waba or content.waba
    account = facts.account(waba)
    claims: tuple[Claim | Owned, ...] = ()
    back: tuple[Release, ...] = ()
    if account is not None:
        wanted, back = _places(content, state.user, account, waba, tariff, event.noted_ms)
        claims = grants.unanswered(*wanted)
    first = state.bsuid or content.bsuid
    new = replace(
        _united(state, content),
        waba=waba,
        bsuid=first,
        former="" if state.former == event.name else state.former,
        home_ms=max(state.home_ms, event.at_ms) if event.left else state.home_ms,
    )
    if content.verified and not state.verified:
        new = replace(new, verified=True, verified_ms=event.noted_ms)
    new = noted(new, mark, event.noted_ms)
    new, out = _known(new, content, event)
    if content.word is not None:
        new, said = preferences.heard(new, replace(content.word, noted_ms=event.noted_ms), facts)
        out += said
    return Brought(new, out, back, claims)


def _united(state: State, content: State) -> State:
    """All that two conversations of one user remember, but for names and words."""
    entries = [entry for entry in (state.entry, content.entry) if entry is not None]
    own = {life.command for life in state.lives}
    waiting = {deferred.id for deferred in state.deferred}
    return replace(
        state,
        window_ms=max(state.window_ms, content.window_ms),
        clicked_ms=max(state.clicked_ms, content.clicked_ms),
        entry=max(entries, key=lambda entry: entry.expires_ms, default=None),
        conversations=_conversations((*content.conversations, *state.conversations)),
        lives=tuple(
            sorted(
                (
                    *(_life(life, state.user) for life in content.lives if life.command not in own),
                    *state.lives,
                ),
                key=lambda life: life.decided_ms,
            )
        ),
        ended=_ended((*content.ended, *state.ended)),
        answers=_answers((*content.answers, *state.answers)),
        inbound=joined(state.inbound, content.inbound),
        forgotten_ms=max(state.forgotten_ms, content.forgotten_ms),
        deferred=(
            *state.deferred,
            *(
                replace(d, request=_to(d.request, state.user))
                for d in content.deferred
                if d.id not in waiting
            ),
        ),
    )


def _conversations(both: Sequence[Conversation]) -> tuple[Conversation, ...]:
    """Of each category the two latest, as everywhere."""
    found = list({conversation.id: conversation for conversation in both}.values())
    kept = list[Conversation]()
    for category in dict.fromkeys(conversation.category for conversation in found):
        mine = sorted((c for c in found if c.category == category), key=lambda c: c.opened_ms)
        kept += mine[-2:]
    return tuple(kept)


def _life(life: Life, user: str) -> Life:
    return replace(life, request=_to(life.request, user)) if life.request else life


def _to(request: bytes, user: str) -> bytes:
    return encode(readdressed(_read_request(request), user))


def _ended(both: Sequence[Ended]) -> tuple[Ended, ...]:
    found = {(stone.wamid, stone.request): stone for stone in both}
    return tuple(sorted(found.values(), key=lambda stone: stone.at_ms)[-MAX_ENDED:])


def _answers(both: Sequence[Answer]) -> tuple[Answer, ...]:
    """Each request's answers, the earlier one first; where both have answered it, the one that refused it as the other's says nothing."""
    found = dict[tuple[bytes, bytes], Answer]()
    for answer in sorted(both, key=lambda answer: answer.at_ms):
        known = found.get((answer.request, answer.digest))
        if known is None or known.reason == "idempotency_conflict":
            found[answer.request, answer.digest] = answer
    return tuple(sorted(found.values(), key=lambda answer: answer.at_ms)[-MAX_ANSWERS:])


def _known(state: State, content: State, event: ConversationMoved) -> names.Learnt:
    """The state that knows the name the content was known by, and the names it had; those are told where the user is at home now."""
    mine, out = {name.user for name in state.names}, list[Outgoing]()
    state = names.named(state, Name(event.name, event.at_ms, event.noted_ms, event.left))
    for known in content.names:
        if known.user in (state.user, event.name) or known.user in mine:
            continue
        name = replace(known, at_ms=max(known.at_ms, event.at_ms), noted_ms=event.noted_ms)
        state = names.named(state, name)
        out.append(names.told(state, name))
    return state, tuple(out)


def _places(
    content: State, user: str, account: Account, waba: str, tariff: Tariff, now_ms: int
) -> tuple[list[Claim], tuple[Release, ...]]:
    """The places that the content's messages hold: to be held under the home's name, whether there is room or not, and given back under the old one."""
    home = replace(content, user=user)
    wanted, back = list[Claim](), list[Release]()
    for life in content.lives:
        wanted += held_places(home, life, account, waba, tariff)
        back += releases(content, life, account, waba, tariff)
    for command, regime_name, at_ms in _counted(content):
        regime = tariff.named(regime_name)
        place = tier_place(home, command, account, waba, regime, at_ms)
        wanted.append(place)
        back.append(Release(place.scope, claim_id(content, command, "tier"), content.user))
    return [claim for claim in wanted if claim.expires_ms > now_ms], tuple(back)


def _counted(content: State) -> Iterator[tuple[str, str, int]]:
    """The messages that took a place in the messaging limit and have arrived since: (command, regime, when). Their answers are kept in full as long as the place is."""
    gone = {stone.request for stone in content.ended if stone.stage < FAILED}
    gone |= {life.request_id for life in content.lives if life.stage < FAILED and not life.tier_claim}
    for answer in content.answers:
        if answer.outcome == "allow" and answer.decided is not None:
            event = decode_send_event(answer.decided)
            decision, id_ = event.decision, event.request_id
            if decision is None or decision.tier is None or decision.price is None or id_ not in gone:
                continue
            yield command_id(id_ or "", answer.attempt), decision.price.regime, answer.at_ms
