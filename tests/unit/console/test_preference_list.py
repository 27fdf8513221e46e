"""Which lines of a list become words of users, and what is said of the others."""

import pytest

from services.console.preference_list import NoSuchList, Rejected, read
from shared.events import PreferenceChanged

NOW = 1_793_620_800_000  # 2026-11-02T12:00Z
HEAD = "from,to,marketing,at,evidence\n"


def found(text: str, file: str = "list.csv") -> list[PreferenceChanged | Rejected]:
    return list(read(text.splitlines(keepends=True), file, "kim", NOW, lambda number: number == "10"))


def test_a_line_becomes_a_word_with_its_evidence_its_place_and_who_brought_it() -> None:
    (word,) = found(HEAD + '10,+49 151 12345678,out,2026-03-01T12:00:00+01:00,"letter, 3 March"\n')
    assert isinstance(word, PreferenceChanged)
    assert (word.phone_number_id, word.user, word.opted_out) == ("10", "4915112345678", True)
    assert word.at_ms == 1_772_362_800_000
    assert (word.source, word.evidence, word.reference, word.by) == (
        "import",
        "letter, 3 March",
        "list.csv:2",
        "kim",
    )
    assert word.noted_ms == NOW


def test_columns_may_stand_in_any_order_beside_others_and_a_date_is_meant_in_utc() -> None:
    (word,) = found("name,at,to,from,evidence,marketing\nAnna,2026-03-01,4915112345678,10,form 7,IN\n")
    assert isinstance(word, PreferenceChanged)
    assert (word.opted_out, word.at_ms) == (False, 1_772_323_200_000)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("11,4915112345678,out,2026-03-01,x", "from: no number of an account that is set up"),
        ("10,12,out,2026-03-01,x", "to: no phone number with its country code"),
        ("10,4915112345678,maybe,2026-03-01,x", "marketing: neither in nor out"),
        ("10,4915112345678,in,2026-03-01,", "evidence: an opt-in needs it"),
        ("10,4915112345678,out,yesterday,x", "at: no date or time; write 2026-03-01 or 2026-03-01T12:00:00+01:00"),
        ("10,4915112345678,out,2026-03-01T12:00:00,x", "at: a time needs its zone, e.g. +01:00 or Z"),
        ("10,4915112345678,out,2027-03-01,x", "at: lies in the future"),
        ("10,4915112345678,out,0001-01-01,x", "at: before there was WhatsApp"),
        ("10,4915112345678,out,0001-01-01T00:00:00+14:00,x", "at: before there was WhatsApp"),
        ("10,4915112345678,out,2026-03-01", "4 fields, but 5 columns"),
        ('10,4915112345678,out,2026-03-01,"a"b', "',' expected after '\"'"),
        ("10,4915112345678,out,2026-03-01," + "x" * 2001, "evidence: longer than 2000 characters"),
    ],
)  # fmt: skip
def test_a_bad_line_is_left_out_with_its_number_and_the_next_one_goes_on(line: str, problem: str) -> None:
    good = "10,4915112345678,out,2026-03-01,x\n"
    first, second, third = found(HEAD + good + line + "\n" + good)
    assert isinstance(first, PreferenceChanged)
    assert isinstance(second, Rejected)
    assert (second.line, second.problem) == (3, problem)
    assert isinstance(third, PreferenceChanged)


def test_the_same_line_has_the_same_id_in_whatever_file_it_stands() -> None:
    first, second = (found(HEAD + "10,4915112345678,out,2026-03-01,x\n", file)[0] for file in ("a", "b"))
    (other,) = found(HEAD + "10,4915112345678,out,2026-03-02,x\n")
    assert isinstance(first, PreferenceChanged)
    assert isinstance(second, PreferenceChanged)
    assert isinstance(other, PreferenceChanged)
    assert first.event_id == second.event_id != other.event_id


def test_empty_lines_and_an_empty_list_are_nothing() -> None:
    assert found(HEAD + "\n\n") == []


@pytest.mark.parametrize("text", ["", "from,to\n", "10,4915112345678,out,2026-03-01,x\n"])
def test_a_file_without_the_columns_is_no_list(text: str) -> None:
    with pytest.raises(NoSuchList, match="columns missing in line 1: "):
        found(text)


def test_the_first_moment_of_2009_is_taken_in_milliseconds() -> None:
    (word,) = found(HEAD + "10,4915112345678,out,2009-01-01,x\n")
    assert isinstance(word, PreferenceChanged)
    assert word.at_ms == 1_230_768_000_000
