"""What a customer's message says about marketing: the whole text is a word of `config/stop_words.yaml`, or it says nothing. Pure.

Compared without case, accents, spaces and punctuation around it, never as a part of a longer text: who writes "please don't stop" has not opted out.
"""

import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import msgspec
import yaml

from shared.events import MessageReceived

Meaning = Literal["stop", "start"]

MAX_CHARS = 64
"""No word is longer; a longer text is not looked at."""
SPOKEN = frozenset({"text", "button", "interactive"})
"""The types of message that can hold a word: what was typed, and the texts of quick-reply buttons (Meta, webhooks, messages)."""
_ACCENTS = frozenset({*range(10, 36), *range(200, 241)})
"""Unicode's combining classes of Hebrew points, Arabic harakat and the accents of Latin, Greek and Cyrillic; the vowels of other scripts stay."""
_AROUND = "".join(chr(c) for c in range(128) if unicodedata.category(chr(c))[0] in "PZC")
"""What may surround a word: ASCII's punctuation, spaces and control characters."""
_UNDECOMPOSED = str.maketrans({"\u0131": "i", "ł": "l", "đ": "d", "ø": "o", "\u0640": ""})
"""Letters that people leave the stroke or the dot off, though Unicode calls them letters of their own; the tatweel only stretches a word."""


class InvalidStopWords(ValueError):
    """The file is not what it must be; the text says where."""


class _Text(msgspec.Struct):
    body: str = ""


class _Button(msgspec.Struct):
    text: str = ""


class _ButtonReply(msgspec.Struct):
    title: str = ""


class _Interactive(msgspec.Struct):
    button_reply: _ButtonReply | None = None


class _Message(msgspec.Struct):
    """The three places where a word can stand."""

    text: _Text | None = None
    button: _Button | None = None
    interactive: _Interactive | None = None


_decode = msgspec.json.Decoder(_Message).decode


class StopWords:
    """The words of all languages, each with its meaning."""

    def __init__(self, meanings: Mapping[str, Meaning]) -> None:
        self._meanings = meanings

    @classmethod
    def parse(cls, text: str) -> "StopWords":
        """Read the YAML text of `stop_words.yaml`: language → `stop` and `start` → words.

        Raises:
            InvalidStopWords: no such mapping, a word that is empty or too long, or one that means both.
        """
        try:
            languages = msgspec.convert(yaml.safe_load(text), dict[str, dict[Meaning, list[str]]])
        except (yaml.YAMLError, msgspec.ValidationError) as error:
            raise InvalidStopWords(f"stop_words.yaml: {error}") from error
        meanings: dict[str, Meaning] = {}
        for language, by_meaning in languages.items():
            for meaning, words in by_meaning.items():
                for word in words:
                    folded = folded_word(word)
                    if not folded or len(word) > MAX_CHARS:
                        raise InvalidStopWords(f"stop_words.yaml: {language}: {word!r} is no word")
                    if meanings.setdefault(folded, meaning) != meaning:
                        raise InvalidStopWords(f"stop_words.yaml: {language}: {word!r} means both")
        return cls(meanings)

    def meaning(self, said: str, own: Mapping[str, str]) -> Meaning | None:
        """What a text says as a whole; `own` are the account's words (word → `stop`, `start`, or `ignore` to switch one off)."""
        if len(said) > MAX_CHARS:
            return None
        folded = folded_word(said)
        if not folded:
            return None
        for word, meaning in own.items():
            if _folded_own(word) == folded:
                return meaning if meaning in ("stop", "start") else None  # type: ignore[return-value]
        return self._meanings.get(folded)


def spoken(event: MessageReceived) -> str:
    """What a customer typed or pressed; empty where a message has no such text. About 1 µs, less for other types."""
    if event.type not in SPOKEN:
        return ""
    try:
        message: Any = _decode(event.message)
    except msgspec.MsgspecError:
        return ""
    if message.text is not None:
        said = message.text.body
    elif message.button is not None:
        said = message.button.text
    elif message.interactive is not None and message.interactive.button_reply is not None:
        said = message.interactive.button_reply.title
    else:
        return ""
    return said.strip() if len(said) <= 4 * MAX_CHARS else ""


def folded_word(word: str) -> str:
    """A word without what people write differently: case, accents, width, invisible marks, spaces and punctuation around it."""
    if word.isascii():
        return " ".join(word.lower().split()).strip(_AROUND)
    marks = unicodedata.normalize("NFKD", word)
    kept = "".join(
        c for c in marks if unicodedata.combining(c) not in _ACCENTS and unicodedata.category(c) != "Cf"
    )
    words = " ".join(kept.casefold().translate(_UNDECOMPOSED).split())
    start, end = 0, len(words)
    while start < end and _surrounds(words[start]):
        start += 1
    while end > start and _surrounds(words[end - 1]):
        end -= 1
    return words[start:end]


_folded_own = lru_cache(maxsize=4096)(folded_word)


def _surrounds(character: str) -> bool:
    return unicodedata.category(character)[0] in "PZC"
