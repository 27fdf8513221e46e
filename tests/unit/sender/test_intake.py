"""Intake: each command id is taken in once."""

import pytest

from services.sender.entry import (
    claimed,
    command_of,
    decode_entry,
    encode_entry,
    queued,
    tombstone,
    unclaimed,
)
from services.sender.intake import Intake
from shared.accounts import AccountFacts
from shared.events import encode
from shared.stream.fold import Grants, Rank, Recalled
from tests.unit.sender.fakes import NOW_MS, command

FACTS = AccountFacts()


def test_a_new_command_is_journalled_and_takes_its_places() -> None:
    one = command("r1", category="authentication")
    step = Intake().fold(None, one, FACTS, Grants())
    assert step.state == queued(one)
    assert set(step.ranks) == {
        Rank("queue:1001:0", f"{one.user}|r1#1", NOW_MS),
        Rank("queues", "1001:0", NOW_MS),
        Rank("unsent:authentication", "r1#1", NOW_MS),
        Rank("expiry", "r1#1", one.valid_until_ms),
    }
    assert step.out == ()


def test_a_repetition_changes_nothing_whatever_became_of_the_first() -> None:
    one = command("r1")
    for state in (queued(one), claimed(queued(one), 3, NOW_MS), tombstone(queued(one))):
        step = Intake().fold(state, one, FACTS, Grants())
        assert step.state is state
        assert step.ranks == ()


def test_a_command_from_before_the_journal_was_lost_is_uncertain_and_in_no_queue() -> None:
    one = command("r1")
    step = Intake().fold(None, one, FACTS, Grants({}, Recalled(())))
    assert step.state is not None
    assert (step.state.status, step.state.command) == ("uncertain", None)
    assert {rank.set for rank in step.ranks} == {"unreported", "expiry"}


def test_the_key_is_the_command_and_the_record_its_encoding() -> None:
    one = command("r1")
    intake = Intake()
    assert intake.decode(encode(one)) == one
    assert intake.key("1001", one) == "r1#1"


def test_an_entry_survives_its_encoding_and_gives_its_command_back() -> None:
    one = command("r1")
    entry = decode_entry(encode_entry(queued(one)))
    assert entry == queued(one)
    assert command_of(entry) == one
    held = claimed(entry, 7, NOW_MS)
    assert decode_entry(encode_entry(held)) == held
    with pytest.raises(ValueError, match="claimed"):
        command_of(held)


def test_only_a_call_that_was_made_counts_as_a_try() -> None:
    entry = claimed(queued(command("r1")), 7, NOW_MS)
    assert unclaimed(entry, command("r1"), called=True).attempts == 1
    assert unclaimed(entry, command("r1"), called=False) == queued(command("r1"))


def test_a_tombstone_is_small() -> None:
    assert len(encode_entry(tombstone(queued(command("r1"))))) < 80
