"""What a user wants of marketing: a word in, the state that remembers the last one out, and what is told of it. Pure.

The log of the conversation is the truth: each word stands there as a record (a stop word of a message is appended to it as `PreferenceChanged`),
and one that is kept is appended again long before retention takes its record away. So a state folded from the log alone knows every preference.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from services.router.announce import user_ref
from services.router.meta_errors import OPTED_OUT_CODE
from services.router.state import RENEW_MS, Preference, State
from services.router.stop_words import StopWords, spoken
from shared.accounts import AccountFacts
from shared.events import MessageReceived, PreferenceChanged, UserPreference, encode
from shared.ids import conversation_key
from shared.stream.fold import Outgoing
from shared.times import rfc3339
from shared.topics import CONVERSATION_EVENTS, PREFERENCES

Heard = tuple[State, tuple[Outgoing, ...]]


def heard(state: State, word: Preference, facts: AccountFacts) -> Heard:
    """Take a word over and tell it, if it is the last one by its own time.

    Of two words of the same moment the opt-out counts, and of two that say the same the first: so the order they come in does not matter.
    """
    known = state.word
    if known is not None:
        if (word.at_ms, word.opted_out) == (known.at_ms, known.opted_out):
            if word.noted_ms <= known.noted_ms:
                return state, ()
            return _remembering(state, replace(known, noted_ms=word.noted_ms)), ()
        if word.at_ms < known.at_ms or (word.at_ms == known.at_ms and known.opted_out):
            return state, ()
    new = _remembering(state, word)
    return new, (_told(new, word, facts),)


def changed(state: State, event: PreferenceChanged, facts: AccountFacts) -> Heard:
    """A word that came as a record of its own: of Meta, of a list, of an operator, or one that is renewed."""
    return heard(state, _read(event), facts)


def said_in(state: State, event: MessageReceived, words: StopWords, facts: AccountFacts) -> Heard:
    """A customer's message whose whole text is a stop word, or a start word after an opt-out.

    Only for a message that comes live: in a replay its record in the log says what was made of it then, by the words of then.
    """
    said = spoken(event)
    if not said:
        return state, ()
    meaning = words.meaning(said, _own(event, facts))
    if meaning is None or (meaning == "start" and not state.opted_out):
        return state, ()
    word = Preference(
        opted_out=meaning == "stop",
        at_ms=event.at_ms,
        source="stop_word",
        evidence=said,
        reference=event.wamid,
        noted_ms=event.received_ms,
    )
    new, told = heard(state, word, facts)
    return new, (_appended(new, word, f"{event.wamid}:preference"), *told) if told else ()


def failed_for(
    state: State,
    code: int | None,
    at_ms: int,
    noted_ms: int,
    detail: str | None,
    reference: str,
    facts: AccountFacts,
) -> Heard:
    """A message failed: for a user who stopped marketing, that is Meta's own word about it (Meta, Cloud API, error 131050)."""
    if code != OPTED_OUT_CODE:
        return state, ()
    word = Preference(True, at_ms, "error_131050", detail, reference, noted_ms=noted_ms)
    return heard(state, word, facts)


def renewed(state: State, now_ms: int) -> Heard:
    """The kept word appended to the log again when its record there has grown old."""
    word = state.word
    if word is None or word.noted_ms + RENEW_MS > now_ms:
        return state, ()
    word = replace(word, noted_ms=now_ms)
    key = conversation_key(state.number, state.user)
    return _remembering(state, word), (_appended(state, word, f"{key}:preference:{word.at_ms}:{now_ms}"),)


def _own(event: MessageReceived, facts: AccountFacts) -> Mapping[str, str]:
    account = facts.account(facts.waba_of(event.phone_number_id) or event.waba_id)
    return {} if account is None else account.stop_words


def _remembering(state: State, word: Preference) -> State:
    return replace(state, opted_out=word.opted_out, preference_ms=word.at_ms, preference=word)


def _read(event: PreferenceChanged) -> Preference:
    return Preference(
        opted_out=event.opted_out,
        at_ms=event.at_ms,
        source=event.source,
        evidence=event.evidence,
        reference=event.reference,
        by=event.by,
        noted_ms=event.noted_ms or event.at_ms,
    )


def _appended(state: State, word: Preference, event_id: str) -> Outgoing:
    """The word as a record of the conversation's own log."""
    value = PreferenceChanged(
        event_id=event_id,
        at_ms=word.at_ms,
        phone_number_id=state.number,
        user=state.user,
        opted_out=word.opted_out,
        evidence=word.evidence,
        source=word.source,
        reference=word.reference,
        by=word.by,
        noted_ms=word.noted_ms,
    )
    key = conversation_key(state.number, state.user)
    return Outgoing(CONVERSATION_EVENTS, key, event_id, "PreferenceChanged", encode(value))


def _told(state: State, word: Preference, facts: AccountFacts) -> Outgoing:
    """The word for businesses and operators."""
    key = conversation_key(state.number, state.user)
    event_id = f"{key}:preference:{word.at_ms}:{'out' if word.opted_out else 'in'}"
    value = UserPreference(
        event_id=event_id,
        at=rfc3339(word.at_ms),
        waba_id=state.waba or facts.waba_of(state.number),
        phone_number_id=state.number,
        user=user_ref(state.user, state.bsuid),
        marketing="out" if word.opted_out else "in",
        source=word.source,
        evidence=word.evidence,
        reference=word.reference,
        by=word.by,
    )
    return Outgoing(PREFERENCES, key, event_id, "preference", encode(value))
