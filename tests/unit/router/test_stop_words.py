"""Which messages are a customer's word about marketing, and which only look like one."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.router.stop_words import MAX_CHARS, InvalidStopWords, StopWords, folded_word, spoken
from shared.events import MessageReceived
from tests.unit.router.world import CONFIG, words

FILE: dict[str, dict[str, list[str]]] = yaml.safe_load(Path(CONFIG / "stop_words.yaml").read_text("utf-8"))
EVERY = [(m, w) for by_meaning in FILE.values() for m, written in by_meaning.items() for w in written]


def message(type_: str, **body: Any) -> MessageReceived:
    return MessageReceived(
        event_id="w", at_ms=1, received_ms=1, phone_number_id="N1", user="4915110000010", wamid="w",
        type=type_, message=msgspec.Raw(msgspec.json.encode({"from": "1", "type": type_, **body})),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("STOP", "stop"),
        (" stop.\n", "stop"),
        ("„Stopp!“", "stop"),
        ("ＳＴＯＰ", "stop"),
        ("\u200estop\u200f", "stop"),
        ("stop  all", "stop"),
        ("Abmelden", "stop"),
        ("baja", "stop"),
        ("sair", "stop"),
        ("arret", "stop"),
        ("ARRÊT", "stop"),
        ("Arre\u0302t", "stop"),
        ("çık", "stop"),
        ("CIKIS", "stop"),
        ("стоп", "stop"),
        ("ايقاف", "stop"),
        ("إِيقَاف", "stop"),
        ("बंद करें", "stop"),
        ("हद करें", None),
        ("수신거부", "stop"),
        ("Start", "start"),
        ("s’abonner", "start"),
        ("please don't stop", None),
        ("stop it at 5", None),
        ("nonstop", None),
        ("cancel", None),
        ("...", None),
        ("", None),
        ("stop" * 100, None),
    ],
)
def test_a_text_means_what_it_says_as_a_whole(said: str, meaning: str | None) -> None:
    assert words().meaning(said, {}) == meaning


@pytest.mark.parametrize(("meaning", "written"), EVERY)
def test_every_word_of_the_file_is_understood_as_written_in_small_letters_and_with_a_full_stop(
    meaning: str, written: str
) -> None:
    for said in (written, written.lower(), f" {written}. "):
        assert words().meaning(said, {}) == meaning


def test_the_big_markets_languages_have_words_to_stop_and_to_come_back() -> None:
    assert len(FILE) >= 15
    assert {"en", "es", "pt", "hi", "id", "ar", "de", "fr", "it", "tr", "ru", "ur", "bn", "nl", "he"} <= set(
        FILE
    )
    assert all(by_meaning["stop"] and by_meaning["start"] for by_meaning in FILE.values())


@given(st.text(max_size=MAX_CHARS))
def test_folding_a_word_twice_is_folding_it_once(word: str) -> None:
    assert folded_word(folded_word(word)) == folded_word(word)


def test_an_account_adds_words_and_switches_words_off() -> None:
    own = {"Kein Interesse": "stop", "BAJA": "ignore", "Hola": "start"}
    found = [words().meaning(said, own) for said in ("kein interesse", "baja", "hola", "stop")]
    assert found == ["stop", None, "start", "stop"]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (message("text", text={"body": " Stop "}), "Stop"),
        (message("button", button={"payload": "x", "text": "STOP"}), "STOP"),
        (
            message(
                "interactive",
                interactive={"type": "button_reply", "button_reply": {"id": "1", "title": "Stop"}},
            ),
            "Stop",
        ),
        (
            message(
                "interactive", interactive={"type": "list_reply", "list_reply": {"id": "1", "title": "Stop"}}
            ),
            "",
        ),
        (message("interactive"), ""),
        (message("image", image={"caption": "Stop"}), ""),
        (message("reaction", reaction={"emoji": "Stop"}), ""),
        (message("text", text="Stop"), ""),
        (message("text", text={"body": 7}), ""),
        (message("text", text=None), ""),
    ],
)
def test_words_stand_in_texts_and_on_quick_reply_buttons_whatever_shape_comes(
    event: MessageReceived, said: str
) -> None:
    assert spoken(event) == said


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("en: {stop: [STOP], start: [stop]}", "means both"),
        ("en: {stop: ['...']}", "is no word"),
        ("en: {halt: [STOP]}", "halt"),
        ("en: [STOP]", "object"),
        ("en: {stop: [no]}", "str"),
        ("{", "stop_words.yaml"),
    ],
)
def test_a_file_of_words_that_makes_no_sense_is_refused_at_start(text: str, problem: str) -> None:
    with pytest.raises(InvalidStopWords, match=problem):
        StopWords.parse(text)
