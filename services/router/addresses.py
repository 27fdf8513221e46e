"""A conversation whose user is at home in another one: what arrives there is appended to the log again under the other's key, and nothing else happens. Pure.

The last word by Meta's time says where the user is at home (decision 14). Who gave up a number and is at home elsewhere comes home when they, or the number's next owner, write from it.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from services.router.names import passed_by, taken_from
from services.router.state import OPENS_NO_WINDOW, VERSION, Address, State
from shared.events import (
    ConversationEvent,
    ConversationMoved,
    MessageReceived,
    SendAccepted,
    SendFailed,
    SendRequested,
    SendUncertain,
    UserKnownAs,
    encode,
)
from shared.ids import conversation_key
from shared.phone import is_bsuid
from shared.stream.fold import Outgoing
from shared.topics import CONVERSATION_EVENTS

MAX_HOPS = 8
"""An event passed on so often goes in a circle, or comes from a state half lost: it stays where it is, and that is a home again."""

_BY_COMMAND = (SendAccepted, SendFailed, SendUncertain)
"""They name a command, and no user but the one Meta answers with."""

Arrived = tuple[State, tuple[Outgoing, ...]]

_object = msgspec.json.Decoder(dict[str, Any]).decode


def arrived(state: State, address: Address, event: ConversationEvent) -> Arrived:
    """What becomes of an address when an event arrives, and where the event goes. A state without an address is at home again, and takes the event itself."""
    if isinstance(event, UserKnownAs):
        return _told(state, address, event)
    if len(passed_by(event)) >= MAX_HOPS:
        return _home(state, address.at_ms), ()
    if isinstance(event, ConversationMoved):
        word = Address(state.user, event.at_ms, event.noted_ms)
        if (event.left or event.name == address.to) and address < word:
            return _home(state, event.at_ms), ()
    if isinstance(event, MessageReceived) and _anew(address, event):
        gone = taken_from(state, address.to, event.at_ms)
        if event.type not in OPENS_NO_WINDOW or event.renamed is None:
            return replace(_home(state, event.at_ms), former=address.to), (gone,)
        address = Address(event.renamed, event.at_ms, event.received_ms, left=True)
        return replace(state, address=address), (gone, passed_on(state.number, state.user, address.to, event))
    return state, (passed_on(state.number, state.user, address.to, event),)


def passed_on(number: str, user: str, to: str, event: Any) -> Outgoing:
    """The event once more, under the key of the user's home."""
    if isinstance(event, SendRequested):
        event = readdressed(event, to)
    elif not isinstance(event, _BY_COMMAND):
        event = replace(event, user=to)
    event = replace(event, via=(*event.via, user))
    key = conversation_key(number, to)
    return Outgoing(CONVERSATION_EVENTS, key, event.event_id, type(event).__name__, encode(event))


def readdressed(request: SendRequested, user: str) -> SendRequested:
    """The request to another name of its user, in the message too: `recipient` names a business-scoped id, `to` a number (Meta, Cloud API, messages)."""
    message = _object(request.message)
    if request.marks is None:
        message.pop("recipient", None)
        message.pop("to", None)
        message |= {"recipient": user} if is_bsuid(user) else {"to": f"+{user}"}
    return replace(request, user=user, message=msgspec.Raw(msgspec.json.encode(message)))


def _told(state: State, address: Address, event: UserKnownAs) -> Arrived:
    """The address once more, renewed; or another one, if that is the later word."""
    if event.known_as == address.to:
        if event.noted_ms <= address.noted_ms:
            return state, ()
        newer = replace(address, at_ms=max(address.at_ms, event.at_ms), noted_ms=event.noted_ms)
        return replace(state, address=newer), ()
    other = Address(event.known_as, event.at_ms, event.noted_ms, event.left)
    if event.known_as == state.user or other < address:
        return state, ()
    return replace(state, address=other), (taken_from(state, address.to, event.at_ms),)


def _anew(address: Address, event: MessageReceived) -> bool:
    """Whether the message comes from whoever has the name after it was given up. Of what Meta says itself only another change of the number does."""
    if not address.left or event.via or event.at_ms <= address.at_ms:
        return False
    if event.renamed is None or is_bsuid(event.renamed):
        return event.type not in OPENS_NO_WINDOW
    return event.renamed != address.to


def _home(state: State, at_ms: int) -> State:
    return State(VERSION, state.number, state.user, wake_ms=state.wake_ms, home_ms=at_ms)
