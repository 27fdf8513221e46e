"""The state of one conversation: what must be remembered between its events, and its compact encoding. Pure.

All times are epoch milliseconds. The state depends on the events and on what was decided, never on the account facts of the
moment: a silent replay with other facts gives the same bytes. Encoded as MessagePack arrays: a later version appends fields
with defaults, so each version reads the one before, and the one before ignores what it does not know.
"""

from typing import Literal

import msgspec

from shared.events import Category, PreferenceSource
from shared.times import DAY_MS, HOUR_MS
from shared.topics import KEEP_MS

VERSION = 1
WINDOW_MS = DAY_MS
"""The customer service window, from the user's message (Meta, customer service windows)."""
CONVERSATION_MS = DAY_MS
"""A conversation, from the delivery that opens it (Meta, conversation-based pricing)."""
OPENS_NO_WINDOW = frozenset({"system", "history", "edit", "revoke", "unreact"})
"""What the user did not write to the business now (Meta, webhooks: system messages, coexistence history), or only took back or changed."""
REMEMBER_MS = 8 * DAY_MS
"""Duplicates come for up to 7 days (Meta, webhooks: retries); one day more for our own delays."""
FULL_ANSWER_MS = DAY_MS
"""How long a repeated request is answered byte for byte; later with outcome and reason only."""
UNDELIVERED_MS = 31 * DAY_MS
"""Meta tries to deliver a message for 30 days by default (Meta, Cloud API, time to live)."""
RENEW_MS = 2 * KEEP_MS // 5
"""A kept preference, and that a receiver is verified, is written to the log again when its record is 14 days old: three weeks before retention deletes that one."""
ADDRESS_MS = 2 * RENEW_MS
"""An address that is not renewed for so long is forgotten: its last record is still in the log then, so a rebuilt state knows no other."""
SHARED_MS = DAY_MS
"""A message not delivered for so long no longer lends its pending conversation to new messages."""

MAX_LIVES = 500
MAX_ENDED = 2000
MAX_ANSWERS = 1000
MAX_FULL_ANSWERS = 64
MAX_INBOUND = 20_000
MAX_DEFERRED = 100
MAX_NAMES = 8
"""Bounds of one conversation's state, far above what a person reads; beyond them the oldest entry gives way. What is remembered of it then: decision 14."""

COMMANDED, ACCEPTED, SENT, DELIVERED, READ, PLAYED, FAILED = range(7)
"""Stages of a message's life, in order; FAILED is final unless DELIVERED was seen."""


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of the state."""


class Conversation(Part, frozen=True, array_like=True, gc=False):
    """An opened conversation [opened_ms, expires_ms). `meta` once its id is Meta's own; `pending` is its name before, by which it has its place in the free tier."""

    id: str
    category: str
    opened_ms: int
    expires_ms: int
    meta: bool = False
    pending: str = ""


class Life(Part, frozen=True, array_like=True, gc=False):
    """A message that was commanded and is not finished.

    `at_ms` is the time of its last step; `conversation` is the pending one that its delivery opens if none is open then; `regime`, `card`, `market`, `currency` are the quote's. `until_ms`: without a
    word from Meta by then its outcome is unknown (0: no such deadline). `guessed`: it counts as failed only because nobody heard of it. `budget_micros` is what it holds in the account's budgets.
    `mark`: it is a read mark, which has no price, no conversation and no life after Meta's answer.
    Until Meta has answered, `request` is the `SendRequested` as JSON, and `valid_ms` until when it may be sent; one that would wait until `waits_ms`, were it refused for now, is kept until then or its
    delivery. `cause`: why nobody knows whether it went out. `held_as`: the attempt under whose name it holds its places, where a request was sent twice. `deferrals`: how many of the attempts before it
    Meta refused for now. `taken_back`: the business wants it back, or another attempt went out after all: it is not sent again. `sent_is_all`: Meta says no more of it than `sent`.
    """

    command: str
    stage: int
    seq: int
    decided_ms: int
    at_ms: int
    until_ms: int
    category: Category
    conversation: str
    regime: str
    card: str
    market: str
    currency: str
    in_window: bool
    free_claim: bool
    tier_claim: bool
    answers_click: bool
    audio: bool
    correlation: str | None
    tags: dict[str, str]
    wamid: str | None = None
    meta_conversation: str | None = None
    meta_expires_ms: int = 0
    pricing: str | None = None
    uncertain: bool = False
    guessed: bool = False
    budget_micros: int = 0
    request: bytes = b""
    valid_ms: int = 0
    cause: str = ""
    held_as: str = ""
    taken_back: bool = False
    mark: bool = False
    sent_is_all: bool = False
    waits_ms: int = 0
    deferrals: int = 0

    @property
    def request_id(self) -> str:
        """The request behind the command."""
        return self.command.rpartition("#")[0]

    @property
    def attempt(self) -> int:
        """Which attempt to send the request it is, from 1."""
        return int(self.command.rpartition("#")[2])

    @property
    def chances(self) -> int:
        """How many of the attempts so far may have gone out, this one among them."""
        return self.attempt - self.deferrals

    @property
    def holder(self) -> str:
        """The name its places are held by."""
        return self.held_as or self.command

    @property
    def in_flight(self) -> bool:
        """Whether it may still be delivered."""
        return self.stage < DELIVERED and not self.mark


class Ended(Part, frozen=True, array_like=True, gc=False):
    """The tombstone of a finished message: enough to know its late statuses and the replies to it."""

    wamid: bytes
    stage: int
    at_ms: int
    seq: int
    request: str
    correlation: str | None
    pricing: str | None = None


class Answer(Part, frozen=True, array_like=True, gc=False):
    """What a request was answered; `decided` is the event's bytes for a day, then None. `attempt`: which one the answer is about."""

    request: bytes
    digest: bytes
    at_ms: int
    outcome: Literal["allow", "reject", "defer"]
    reason: str
    category: Category | None
    decided: bytes | None
    attempt: int = 1


class Deferred(Part, frozen=True, array_like=True, gc=False):
    """A request that waits: for its time `due_ms`, or (0) for another request, `after`. `request` is the `SendRequested` as JSON.

    `reason` is why it waits, `told_ms` until when it was told to (0: until nobody knows when); it is looked at earlier, for reasons may pass early.
    `attempt`: which attempt to send it comes next; those before were refused for now by Meta.
    """

    due_ms: int
    request: bytes
    id: str
    seq: int
    after: str | None = None
    reason: str = "ok"
    told_ms: int = 0
    attempt: int = 1


class Preference(Part, frozen=True, array_like=True, gc=False):
    """The user's last word on marketing messages, said at `at_ms`, with the evidence (as in `PreferenceChanged`).

    `noted_ms`: when the latest record of it was written to the log.
    """

    opted_out: bool
    at_ms: int
    source: PreferenceSource
    evidence: str | None = None
    reference: str | None = None
    by: str | None = None
    noted_ms: int = 0


class Name(Part, frozen=True, array_like=True, gc=False):
    """Another name of the conversation's user, whose own conversation is an address to this one.

    As of `at_ms` (Meta's time; 0: nobody knows since when); `noted_ms`: when it was told there last. `left` as in `UserKnownAs`.
    """

    user: str
    at_ms: int
    noted_ms: int
    left: bool = False


class Address(Part, frozen=True, array_like=True, gc=False):
    """Where the user of this conversation is at home, as of `at_ms` (Meta's time). `noted_ms`: when the latest record of it was written to the log; `left` as in `UserKnownAs`."""

    to: str
    at_ms: int
    noted_ms: int
    left: bool = False

    def __lt__(self, other: "Address") -> bool:
        """Whether the other is the later word; of the same moment any one, but everywhere the same."""
        return (self.at_ms, self.to) < (other.at_ms, other.to)


class State(Part, frozen=True, array_like=True, gc=False):
    """All of one conversation; or, with an `address`, nothing but where it has moved.

    `clicked_ms`: when the user came by an ad or page button that no delivery has answered (0: never). `opted_out` and `preference_ms` repeat what
    `preference` says, for a router of the version before. `verified_ms`: when the latest record that the receiver is verified was written to the log.
    `inbound`: what was seen (seen.py), and `forgotten_ms` until when (by our clock) some of it had to give way before its time.
    `home_ms`: since when (Meta's time) it is known that the user is at home here, where that was in doubt; `former`: where the user was at home before that.
    """

    v: int
    number: str
    user: str
    waba: str = ""
    bsuid: str | None = None
    window_ms: int = 0
    clicked_ms: int = 0
    entry: Conversation | None = None
    conversations: tuple[Conversation, ...] = ()
    lives: tuple[Life, ...] = ()
    ended: tuple[Ended, ...] = ()
    answers: tuple[Answer, ...] = ()
    inbound: bytes = b""
    deferred: tuple[Deferred, ...] = ()
    verified: bool = False
    opted_out: bool = False
    preference_ms: int = 0
    wake_ms: int = 0
    preference: Preference | None = None
    verified_ms: int = 0
    forgotten_ms: int = 0
    names: tuple[Name, ...] = ()
    home_ms: int = 0
    former: str = ""
    address: Address | None = None

    @property
    def written_ms(self) -> int:
        """When the user wrote last; before everything if never, or too long ago to matter."""
        return self.window_ms - WINDOW_MS

    @property
    def word(self) -> Preference | None:
        """The user's last word on marketing; of a state from before the evidence was kept, what it knows (it came from Meta)."""
        if self.preference is None and self.preference_ms:
            return Preference(self.opted_out, self.preference_ms, "meta", noted_ms=self.preference_ms)
        return self.preference


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(State)


def encode_state(state: State) -> bytes:
    """The state as MessagePack; equal states give equal bytes."""
    return _encoder.encode(state)


def decode_state(value: bytes) -> State:
    """Read what `encode_state` wrote, this version's or the one's before; raises msgspec.DecodeError."""
    return _decoder.decode(value)


def next_wake(state: State) -> int:
    """When the conversation must be looked at next without an event: a deadline, else housekeeping on the full hour; 0 for never."""
    if state.address is not None:
        return state.address.noted_ms + ADDRESS_MS
    tidy = _tidy_at(state)
    wake = (tidy // HOUR_MS + 1) * HOUR_MS if tidy else 0
    for life in state.lives:
        if life.until_ms and (not wake or life.until_ms < wake):
            wake = life.until_ms
        if life.request and life.stage >= ACCEPTED:
            slim = (life.waits_ms // HOUR_MS + 1) * HOUR_MS
            wake = min(wake, slim) if wake else slim
    for deferred in state.deferred:
        if deferred.due_ms and (not wake or deferred.due_ms < wake):
            wake = deferred.due_ms
    word = state.word
    if word is not None:
        renew = word.noted_ms + RENEW_MS
        wake = min(wake, renew) if wake else renew
    if state.verified:
        renew = state.verified_ms + RENEW_MS
        wake = min(wake, renew) if wake else renew
    for name in state.names:
        renew = name.noted_ms + RENEW_MS
        wake = min(wake, renew) if wake else renew
    return wake


def _tidy_at(state: State) -> int:
    """When full answers shrink, or else when everything is over; 0 while something must be kept, for ever or until a deferral is decided."""
    for answer in state.answers:
        if answer.decided is not None:
            return answer.at_ms + FULL_ANSWER_MS
    return 0 if state.verified or state.word is not None or state.deferred else forget_at(state)


def forget_at(state: State) -> int:
    """When nothing of the state matters any more."""
    until = state.window_ms
    if state.clicked_ms:
        until = max(until, state.clicked_ms + WINDOW_MS)
    if state.entry is not None:
        until = max(until, state.entry.expires_ms)
    for conversation in state.conversations:
        until = max(until, conversation.expires_ms)
    for life in state.lives:
        until = max(until, _kept_until(life))
    if state.answers:
        until = max(until, state.answers[-1].at_ms + REMEMBER_MS)
    if state.ended:
        until = max(until, state.ended[-1].at_ms + REMEMBER_MS)
    if state.inbound:
        until = max(until, int.from_bytes(state.inbound[-4:], "big") * 1000 + REMEMBER_MS)
    return until


def _slimmed(life: Life, now_ms: int) -> Life:
    """The life without the request of a message that Meta has, once there is no time left to send it anew."""
    if life.request and life.stage >= ACCEPTED and life.waits_ms <= now_ms:
        return msgspec.structs.replace(life, request=b"")
    return life


def _kept_until(life: Life) -> int:
    return life.at_ms + (UNDELIVERED_MS if life.in_flight else REMEMBER_MS)


def tidied(state: State, now_ms: int) -> State:
    """The state without what is over: old duplicates, finished lives, requests that are not sent anew, full answers older than a day."""
    answers = tuple(
        msgspec.structs.replace(answer, decided=None)
        if answer.decided is not None and answer.at_ms + FULL_ANSWER_MS <= now_ms
        else answer
        for answer in state.answers
        if (answer.outcome == "defer" and state.deferred) or answer.at_ms + REMEMBER_MS > now_ms
    )
    return msgspec.structs.replace(
        state,
        answers=answers,
        lives=tuple(_slimmed(life, now_ms) for life in state.lives if _kept_until(life) > now_ms),
        ended=tuple(ended for ended in state.ended if ended.at_ms + REMEMBER_MS > now_ms),
    )
