"""The router's fold: one conversation event in, the conversation's new state and everything that follows from the event out. Pure.

The reading path: `requests.py` (send requests, over `decide.py`), `lives.py` (outcomes and statuses, over `charges.py`), `uncertain.py` (what nobody knows), and here
what customers write, what they prefer, and time.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from services.router import addresses, announce, moving, names, passed, preferences
from services.router.brought import Brought
from services.router.concerns import Concerns
from services.router.heard import Heard
from services.router.lives import by_command, on_accepted, on_failed, on_status
from services.router.meta_errors import MetaErrors
from services.router.requests import on_cancel, on_due, on_request, released
from services.router.seen import has, noted
from services.router.state import (
    OPENS_NO_WINDOW,
    RENEW_MS,
    VERSION,
    WINDOW_MS,
    Address,
    State,
    decode_state,
    encode_state,
    forget_at,
    next_wake,
    tidied,
)
from services.router.stop_words import StopWords
from services.router.tariff import Tariff
from services.router.uncertain import Resending, moved, on_settled, on_uncertain, overdue
from shared.accounts import AccountFacts
from shared.events import (
    CancelRequested,
    ConversationEvent,
    ConversationMoved,
    ConversationWebhook,
    MessageReceived,
    NameKept,
    NameTaken,
    PreferenceChanged,
    ReceiverVerified,
    ReplyTo,
    RequestMalformed,
    SendAccepted,
    SendFailed,
    SendRequested,
    SendUncertain,
    StatusReceived,
    TimerFired,
    UncertainSettled,
    UserKnownAs,
    decode_conversation_event,
    encode,
)
from shared.ids import conversation_key, fingerprint
from shared.pricing import PriceBook
from shared.stream.fold import Claim, Grants, Outgoing, Owned, Rank, Release, Step
from shared.times import rfc3339
from shared.topics import CONVERSATION_EVENTS
from shared.uncertain import RESENT

WAKE = "wake"
"""The one timer of a conversation: its earliest deadline, or its housekeeping."""
_NOT_OF_A_CONVERSATION = (TimerFired, RequestMalformed, NameTaken)
_OUTCOMES = (SendAccepted, SendFailed, SendUncertain, UncertainSettled)
_TELLS_OF_A_COMMAND = (*_OUTCOMES, StatusReceived)

_Bring = Callable[[State, Any, AccountFacts, Grants], Brought]


class RouterFold:
    """Folds `conversation.events`; implements `shared.stream.fold.Fold`."""

    def __init__(
        self,
        book: PriceBook,
        errors: MetaErrors,
        words: StopWords,
        resending: Resending | None = None,
    ) -> None:
        self._tariff = Tariff(book)
        self._concerns = Concerns(errors)
        self._words = words
        self.resending = resending or Resending(RESENT, Heard())
        self.decode: Callable[[bytes], ConversationEvent] = decode_conversation_event
        self._brings = self._table()

    def key(self, record_key: str, event: ConversationEvent) -> str:
        """The conversation, by which the topic is keyed."""
        return event.key if type(event) is TimerFired else record_key

    def encode_state(self, state: State) -> bytes:
        """See `state.py`."""
        return encode_state(state)

    def decode_state(self, value: bytes) -> State:
        """See `state.py`."""
        return decode_state(value)

    def fold(
        self, state: State | None, event: ConversationEvent, facts: AccountFacts, grants: Grants
    ) -> Step[State]:
        """The step that one event makes of one conversation; of an address, that it passes the event on."""
        if state is None or state.address is None or type(event) is TimerFired:
            return self._at_home(state, event, facts, grants)
        found, out = addresses.arrived(state, state.address, event)
        if found.address is not None:
            if found is state:
                return Step(state, out)
            return _step(found, out, (), state.wake_ms, (), ())
        step = self._at_home(found, event, facts, grants)
        return replace(step, out=out + step.out) if step.complete else step

    def _at_home(
        self, state: State | None, event: ConversationEvent, facts: AccountFacts, grants: Grants
    ) -> Step[State]:
        """The event where the user is at home, and what it says of the user's names."""
        if state is not None and state.former and _of_before(state, event):
            return Step(state, (addresses.passed_on(state.number, state.user, state.former, event),))
        step = self._happened(state, event, facts, grants)
        if not step.complete or not names.speaks(step.state, event):
            return step
        known = step.state
        if known is None:
            return step
        going = names.leaving(known, event)
        wake_ms = state.wake_ms if state is not None else 0
        if going is not None:
            gone = moving.departed(known, going, facts, self._tariff)
            out, back = step.out + gone.out, step.releases + gone.releases
            return _step(gone.state, out, back, wake_ms, step.claims, moved(state, gone.state))
        new, out = names.learnt(known, event)
        if new is known:
            return step
        return _step(new, step.out + out, step.releases, wake_ms, step.claims, step.ranks)

    def _happened(
        self, state: State | None, event: ConversationEvent, facts: AccountFacts, grants: Grants
    ) -> Step[State]:
        bring = self._brings.get(type(event))
        if bring is None:
            return self._aside(state, event, facts, grants)
        known = state or _begun(event)
        if known is None:
            return Step(None)
        brought = bring(known, event, facts, grants)
        if not brought.complete:
            return Step(state, claims=brought.claims, complete=False)
        new, out, claims = brought.state, brought.out, brought.claims
        if new.deferred:
            new = released(new, event.at_ms)
        if new is known and not out:
            return Step(state, claims=claims)
        return _step(new, out, brought.releases, known.wake_ms, claims, moved(known, new))

    def malformed(self, record_key: str, value: bytes, reason: str) -> tuple[Outgoing, ...]:
        """The refusal of a send request that can't be folded; nothing for other records."""
        try:
            record = msgspec.json.decode(value, type=_Poisoned)
        except msgspec.MsgspecError:
            return ()
        if record.event != "SendRequested" or not record.request_id:
            return ()
        event_id = f"{record.request_id}!{fingerprint(value.hex()).hex()}:decided"
        at = rfc3339(record.at_ms)
        return (
            announce.malformed(
                record.request_id, event_id, at, reason, record_key, record.tags, record.correlation_id
            ),
        )

    def _table(self) -> dict[type, _Bring]:
        """What each event brings; by its type, for `isinstance` of a struct is slow wherever it says no (docs/decisions/0008)."""
        tariff, concerns = self._tariff, self._concerns
        return {
            StatusReceived: lambda state, event, facts, grants: on_status(
                state, event, facts, tariff, concerns, grants
            ),
            SendRequested: lambda state, event, facts, grants: on_request(
                state, event, facts, tariff, grants
            ),
            SendAccepted: lambda state, event, _facts, _grants: on_accepted(state, event),
            MessageReceived: self._written,
            CancelRequested: lambda state, event, facts, _: on_cancel(state, event, facts, tariff),
            ReceiverVerified: lambda state, event, _facts, _grants: Brought(_verified(state, event)),
            UncertainSettled: lambda state, event, facts, grants: on_settled(
                state, event, facts, tariff, grants
            ),
            PreferenceChanged: lambda state, event, facts, _: Brought(
                *preferences.changed(state, event, facts)
            ),
            SendFailed: lambda state, event, facts, grants: on_failed(state, event, facts, tariff, grants),
            SendUncertain: lambda state, event, _facts, _grants: on_uncertain(state, event),
            UserKnownAs: lambda state, event, facts, _: self._known_elsewhere(state, event, facts),
            ConversationMoved: lambda state, event, facts, grants: moving.merged(
                state, event, facts, tariff, grants
            ),
            NameKept: lambda state, event, _facts, _grants: Brought(names.kept(state, event)),
            NameTaken: lambda state, event, _facts, _grants: Brought(names.taken(state, event)),
            ConversationWebhook: lambda state, event, _facts, _grants: Brought(*_passed(state, event)),
        }

    def _known_elsewhere(self, state: State, event: UserKnownAs, facts: AccountFacts) -> Brought:
        """Another conversation says that the user is at home there: so this one is an address, unless what is known here is newer."""
        address = Address(event.known_as, event.at_ms, event.noted_ms, event.left)
        if event.known_as == state.user or names.outdated(state, event.at_ms, left=event.left):
            return Brought(state)
        return moving.departed(state, address, facts, self._tariff)

    def _written(self, state: State, event: MessageReceived, facts: AccountFacts, grants: Grants) -> Brought:
        state, out = _received(state, event)
        if out and grants.recalled is None:
            state, said = preferences.said_in(state, event, self._words, facts)
            out += said
        return Brought(state, out)

    def _aside(
        self, state: State | None, event: ConversationEvent, facts: AccountFacts, grants: Grants
    ) -> Step[State]:
        """What is in the log for another reason than a message: time, and what can't be read."""
        if isinstance(event, TimerFired):
            return self._woken(state, event, facts, grants)
        if isinstance(event, RequestMalformed):
            return Step(state, (_malformed(event),))
        raise TypeError(f"nobody says what {type(event).__name__} brings")

    def _woken(
        self, state: State | None, event: TimerFired, facts: AccountFacts, grants: Grants
    ) -> Step[State]:
        """Time has passed: look at messages of which nobody heard, decide deferred requests one by one, forget what is over."""
        if state is None or event.name != WAKE or event.due_ms != state.wake_ms:
            return Step(state)
        now_ms = max(event.at_ms, event.due_ms)
        looked, decided = overdue(state, now_ms, facts, self._tariff, self.resending, grants)
        if not looked.complete:
            return Step(state, claims=looked.claims, complete=False)
        new, out, releases, claims = looked.state, looked.out, looked.releases, looked.claims
        handled = None if decided else on_due(new, now_ms, facts, self._tariff, grants)
        if handled is not None:
            if not handled.complete:
                return Step(state, claims=handled.claims, complete=False)
            new, out, releases = handled.state, out + handled.out, releases + handled.releases
            claims = handled.claims
        new, again = preferences.renewed(tidied(released(new, now_ms), now_ms), now_ms)
        new, verified_again = _renewed(new, now_ms)
        out += again + verified_again
        if new.address is not None:
            return Step(None, out)  # nobody has renewed it
        kept = (
            new.verified or new.word is not None or new.deferred or any(life.until_ms for life in new.lives)
        )
        if not kept and forget_at(new) <= now_ms:
            return Step(None, out, claims=claims, releases=releases, ranks=moved(state, new))
        new, told_again = names.renewed(new, now_ms)
        out += told_again
        return _step(new, out, releases, 0, claims, moved(state, new))


class _Poisoned(msgspec.Struct):
    event: str = ""
    request_id: str = ""
    at_ms: int = 0
    correlation_id: str | None = None
    tags: dict[str, str] = {}


def _begun(event: ConversationEvent) -> State | None:
    """The conversation that begins with this event; None: it tells of a message that nobody remembers."""
    if isinstance(event, _OUTCOMES + _NOT_OF_A_CONVERSATION):
        return None
    return State(VERSION, event.phone_number_id, event.user)


def _step(
    state: State,
    out: tuple[Outgoing, ...],
    releases: tuple[Release, ...],
    wake_ms: int,
    claims: tuple[Claim | Owned, ...],
    ranks: tuple[Rank, ...],
) -> Step[State]:
    """The step to `state`, with its timer moved if it is not at `wake_ms` any more."""
    due = next_wake(state)
    timers: Mapping[str, int | None] = {}
    if due != wake_ms:
        timers = {WAKE: due or None}
    if due != state.wake_ms:
        state = replace(state, wake_ms=due)
    return Step(state, out, timers, claims, releases, ranks)


def _received(state: State, event: MessageReceived) -> tuple[State, tuple[Outgoing, ...]]:
    """A customer wrote: the window is open for 24 h from the message's own time, never shorter than it was."""
    mark = fingerprint(event.wamid)
    if has(state.inbound, mark):
        return state, ()
    if event.at_ms <= state.forgotten_ms:
        return state, (announce.perhaps_twice(state, event),)
    window_ms, clicked_ms = state.window_ms, state.clicked_ms
    if event.type not in OPENS_NO_WINDOW:
        window_ms = max(window_ms, event.at_ms + WINDOW_MS)
        if event.referral is not None:
            clicked_ms = max(clicked_ms, event.at_ms)
    new = replace(
        noted(state, mark, event.received_ms),
        waba=event.waba_id or state.waba,
        bsuid=state.bsuid or event.bsuid,
        window_ms=window_ms,
        clicked_ms=clicked_ms,
    )
    return new, (announce.received(new, event, _reply_to(state, event.reply_to), window_ms=window_ms),)


def _of_before(state: State, event: ConversationEvent) -> bool:
    """Whether it tells of a message that was sent when the user was at home elsewhere, and moved there with all that was known."""
    if not isinstance(event, _TELLS_OF_A_COMMAND) or event.via or event.command_id is None:
        return False
    return by_command(state, event.command_id) is None and all(
        stone.request != event.command_id.rpartition("#")[0] for stone in state.ended
    )


def _passed(state: State, event: ConversationWebhook) -> tuple[State, tuple[Outgoing, ...]]:
    """Meta told something that concerns no decision: the business hears of it, once."""
    mark = fingerprint(event.event_id)
    if has(state.inbound, mark):
        return state, ()
    new = replace(state, waba=event.waba_id or state.waba)
    return noted(new, mark, event.received_ms), (passed.of_conversation(event),)


def _verified(state: State, event: ReceiverVerified) -> State:
    if state.verified and event.at_ms <= state.verified_ms:
        return state
    return replace(state, verified=True, verified_ms=event.at_ms)


def _renewed(state: State, now_ms: int) -> tuple[State, tuple[Outgoing, ...]]:
    """That the receiver is verified, appended to the log again when its record there has grown old."""
    if not state.verified or state.verified_ms + RENEW_MS > now_ms:
        return state, ()
    key = conversation_key(state.number, state.user)
    id_ = f"{key}:verified:{now_ms}"
    event = ReceiverVerified(event_id=id_, at_ms=now_ms, phone_number_id=state.number, user=state.user)
    out = Outgoing(CONVERSATION_EVENTS, key, id_, "ReceiverVerified", encode(event))
    return replace(state, verified_ms=now_ms), (out,)


def _reply_to(state: State, wamid: str | None) -> ReplyTo | None:
    if wamid is None:
        return None
    for life in state.lives:
        if life.wamid == wamid:
            return ReplyTo(wamid=wamid, request_id=life.request_id, correlation_id=life.correlation)
    mark = fingerprint(wamid)
    for ended in state.ended:
        if ended.wamid == mark:
            return ReplyTo(wamid=wamid, request_id=ended.request or None, correlation_id=ended.correlation)
    return ReplyTo(wamid=wamid)


def _malformed(event: RequestMalformed) -> Outgoing:
    problems = "; ".join(event.problems)
    return announce.malformed(
        event.request_id,
        f"{event.event_id}:{fingerprint(problems).hex()}",
        rfc3339(event.at_ms),
        problems,
        event.request_id,
        event.tags,
        event.correlation_id,
        event.fields,
    )
