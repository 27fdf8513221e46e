"""The names of a conversation's user: what an event says of them, and what the conversations of the other names are told. Pure.

A user is known by a phone number, by business-scoped ids, by forms of the number that Meta rewrites, and by numbers of before. One of their conversations is the
user's home, the others are addresses to it (addresses.py; decision 14).
"""

from msgspec.structs import replace

from services.router.state import MAX_NAMES, RENEW_MS, Address, Name, State
from shared.events import (
    ConversationEvent,
    ConversationWebhook,
    Happened,
    MessageReceived,
    NameKept,
    NameTaken,
    SendAccepted,
    StatusReceived,
    UserKnownAs,
    encode,
)
from shared.ids import conversation_key
from shared.phone import canonical_user, is_bsuid
from shared.stream.fold import Outgoing
from shared.times import DAY_MS
from shared.topics import CONVERSATION_EVENTS

_WEBHOOKS = (MessageReceived, StatusReceived, ConversationWebhook)
_RENAMING = (MessageReceived, ConversationWebhook)

Learnt = tuple[State, tuple[Outgoing, ...]]


def speaks(state: State | None, event: ConversationEvent) -> bool:
    """Whether the event may say something of its user's names."""
    if type(event) is StatusReceived:
        return event.bsuid is not None or event.recipient is not None or event.via != ()
    if type(event) is MessageReceived:
        return event.bsuid is not None or event.renamed is not None or event.via != ()
    if type(event) is SendAccepted:
        return state is not None and (event.user != state.user or event.via != ())
    if type(event) is ConversationWebhook:
        return event.renamed is not None
    return passed_by(event) != ()


def leaving(state: State, event: ConversationEvent) -> Address | None:
    """Where the user of this conversation is at home from now on, if the event says that it is elsewhere: at the number behind the id, or under a new name.

    A word older than what is known of the user here says nothing any more: the last word by Meta's time counts.
    """
    to, left = _elsewhere(state.user, event)
    if to is None or to == state.user or outdated(state, event.at_ms, left=left):
        return None
    return Address(to, event.at_ms, noted_ms(event), left)


def outdated(state: State, at_ms: int, *, left: bool) -> bool:
    """Whether a word of `at_ms`, that the user is elsewhere, is older than what is known: they came here later, or (of a name that was given up) wrote later."""
    return 0 < state.home_ms >= at_ms or (left and at_ms < state.written_ms)


def learnt(state: State, event: ConversationEvent) -> Learnt:
    """The state that knows the names the event gives its user, each told to its own conversation once, and again when that has grown old."""
    noted, out = noted_ms(event), list[Outgoing]()
    via = passed_by(event)
    for passed in via:
        state = _passed_on_by(state, passed, noted)
    for user in _others(state.user, event):
        if user in via or user == state.user:
            continue
        known = next((name for name in state.names if name.user == user), None)
        if is_bsuid(user) and user != state.bsuid and event.at_ms >= _named_ms(state, state.bsuid):
            state = replace(state, bsuid=user)
        if known is not None and known.left:
            continue
        if known is None or known.noted_ms + RENEW_MS <= noted:
            name = Name(user, max(event.at_ms, 0 if known is None else known.at_ms), noted)
            state = named(state, name)
            out.append(told(state, name))
        elif known.at_ms + DAY_MS <= event.at_ms:
            state = named(state, replace(known, at_ms=event.at_ms))
    return state, tuple(out)


def _named_ms(state: State, user: str | None) -> int:
    """When the user was last said to bear the name, Meta's time; 0 if never."""
    return next((name.at_ms for name in state.names if name.user == user), 0)


def named(state: State, name: Name) -> State:
    """The state with this name as it is now; the one told longest ago gives way to one too many."""
    rest = sorted((known for known in state.names if known.user != name.user), key=_noted)
    return replace(state, names=(*rest[-(MAX_NAMES - 1) :], name))


def kept(state: State, event: NameKept) -> State:
    """The state that knows a name from its own record of it."""
    known = any(name.user == event.name and name.noted_ms >= event.noted_ms for name in state.names)
    if known or event.name == state.user:
        return state
    return named(state, Name(event.name, event.at_ms, event.noted_ms, event.left))


def taken(state: State, event: NameTaken) -> State:
    """The state without a name that is somebody else's now; not if it is this conversation that has taken it over meanwhile."""
    names = tuple(n for n in state.names if n.user != event.name or n.at_ms >= event.at_ms)
    return state if names == state.names else replace(state, names=names)


def renewed(state: State, now_ms: int) -> Learnt:
    """The names told again whose records have grown old."""
    out = list[Outgoing]()
    for name in state.names:
        if name.noted_ms + RENEW_MS <= now_ms:
            name = replace(name, noted_ms=now_ms)
            state = named(state, name)
            out += [told(state, name), _kept(state, name)]
    return state, tuple(out)


def told(state: State, name: Name) -> Outgoing:
    """To the conversation of another name: the user is at home here."""
    key = conversation_key(state.number, name.user)
    event = UserKnownAs(
        event_id=f"{key}:known_as:{state.user}:{name.noted_ms}",
        at_ms=name.at_ms,
        noted_ms=name.noted_ms,
        phone_number_id=state.number,
        user=name.user,
        known_as=state.user,
        left=name.left,
    )
    return Outgoing(CONVERSATION_EVENTS, key, event.event_id, "UserKnownAs", encode(event))


def _kept(state: State, name: Name) -> Outgoing:
    key = conversation_key(state.number, state.user)
    event = NameKept(
        event_id=f"{key}:kept:{name.user}:{name.noted_ms}",
        at_ms=name.at_ms,
        noted_ms=name.noted_ms,
        phone_number_id=state.number,
        user=state.user,
        name=name.user,
        left=name.left,
    )
    return Outgoing(CONVERSATION_EVENTS, key, event.event_id, "NameKept", encode(event))


def taken_from(state: State, home: str, at_ms: int) -> Outgoing:
    """To the home of before: the name of this conversation is not that user's any more."""
    key = conversation_key(state.number, home)
    event = NameTaken(
        event_id=f"{key}:taken:{state.user}:{at_ms}",
        at_ms=at_ms,
        phone_number_id=state.number,
        user=home,
        name=state.user,
    )
    return Outgoing(CONVERSATION_EVENTS, key, event.event_id, "NameTaken", encode(event))


def noted_ms(event: ConversationEvent) -> int:
    """When the event came to us."""
    return event.received_ms if isinstance(event, _WEBHOOKS) else event.at_ms


def passed_by(event: ConversationEvent) -> tuple[str, ...]:
    """The addresses that passed the event on."""
    return event.via if isinstance(event, Happened) else ()


def _elsewhere(user: str, event: ConversationEvent) -> tuple[str | None, bool]:
    """The name under which the user is at home instead of `user`, and whether they gave `user` up. The number is the home of who has both."""
    renamed = event.renamed if isinstance(event, _RENAMING) else None
    if renamed is not None and (is_bsuid(user) or not is_bsuid(renamed)):
        return renamed, not is_bsuid(user)
    if is_bsuid(user):
        return next((name for name in _others(user, event) if not is_bsuid(name)), None), False
    return None, False


def _others(user: str, event: ConversationEvent) -> list[str]:
    """The other names that the event gives its user."""
    if isinstance(event, StatusReceived):
        found: list[str | None] = [event.recipient, event.bsuid]
    elif isinstance(event, SendAccepted):
        found = [canonical_user(event.user)]
    elif isinstance(event, MessageReceived):
        found = [event.bsuid, event.renamed]
    elif isinstance(event, ConversationWebhook):
        found = [event.renamed]  # its `bsuid` may be another contact's
    else:
        found = []
    return [name for name in found if name is not None and name != user]


def _passed_on_by(state: State, user: str, noted: int) -> State:
    """The state that knows the address that passed an event on: if nobody here remembers it, it is renewed from now on as it is."""
    if user == state.user or any(name.user == user for name in state.names):
        return state
    if is_bsuid(user) and state.bsuid is None:
        state = replace(state, bsuid=user)
    return named(state, Name(user, 0, noted))


def _noted(name: Name) -> int:
    return name.noted_ms
