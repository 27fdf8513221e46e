"""What operators pause holds until they resume it, whatever file is applied meanwhile."""

import pytest

from services.console.pausing import Pause, UnknownSubject, pause_event
from services.console.plan import difference
from shared.accounts import AccountFacts
from tests.unit.console.test_plan import NOW, applied, fold, plan, read

FILE = """
accounts:
  - id: "1"
    paused: false
    paused_categories: [utility]
    numbers: [{id: "10", paused: false}]
    templates: [{name: promo, language: de, category: marketing}]
"""


def paused(facts: AccountFacts, pause: Pause) -> AccountFacts:
    event = pause_event(pause, facts, NOW + 1)
    assert event is not None
    return fold(facts, (event,))


@pytest.mark.parametrize(
    ("pause", "key"),
    [
        (Pause("account", "1", reason="audit"), ("account", "1", "1")),
        (Pause("number", "10", reason="audit"), ("number", "1", "10")),
        (Pause("template", "promo/de", "1", reason="audit"), ("template", "1", "promo/de")),
    ],
)
def test_a_subject_is_paused_with_the_reason_and_resumed_without(
    pause: Pause, key: tuple[str, str, str]
) -> None:
    facts = paused(applied(FILE.replace("[utility]", "[]")), pause)
    known = facts.known()[key]  # type: ignore[index]
    assert (known.paused, known.pause_reason) == (True, "audit")
    assert pause_event(pause, facts, NOW + 2) is None, "it is so already"
    resumed = paused(facts, Pause(pause.kind, pause.id, pause.waba_id, paused=False))
    known = resumed.known()[key]  # type: ignore[index]
    assert (known.paused, known.pause_reason) == (False, None)


def test_categories_are_paused_beside_each_other_and_the_reason_stays_while_one_is() -> None:
    facts = paused(applied(FILE), Pause("category", "marketing", "1", reason="complaints"))
    account = facts.account("1")
    assert account is not None
    assert (account.paused_categories, account.pause_reason) == (["marketing", "utility"], "complaints")
    account = paused(facts, Pause("category", "utility", "1", paused=False)).account("1")
    assert account is not None
    assert (account.paused_categories, account.pause_reason) == (["marketing"], "complaints")
    account = paused(facts, Pause("category", "marketing", "1", paused=False)).account("1")
    assert account is not None
    assert (account.paused_categories, account.pause_reason) == ([], None)


def test_a_pause_is_the_last_writer_though_a_field_bears_a_later_time() -> None:
    event = pause_event(Pause("account", "1"), applied(FILE, now_ms=NOW + 500), NOW)
    assert event is not None
    assert (event.at_ms, event.by) == (NOW + 500, "operator")


@pytest.mark.parametrize(
    ("pause", "problem"),
    [
        (Pause("account", "9"), "no account 9"),
        (Pause("number", "99"), "no number 99"),
        (Pause("template", "promo/de"), "needs its account"),
        (Pause("template", "promo/en", "1"), "no template promo/en is known in account 1"),
        (Pause("category", "adverts", "1"), "no category adverts"),
        (Pause("category", "marketing", "9"), "no account 9"),
    ],
)
def test_what_nobody_set_up_is_not_paused(pause: Pause, problem: str) -> None:
    with pytest.raises(UnknownSubject, match=problem):
        pause_event(pause, applied(FILE), NOW)


def test_applying_a_file_lifts_no_pause_unless_forced() -> None:
    facts = paused(applied(FILE), Pause("account", "1"))
    facts = paused(facts, Pause("number", "10"))
    facts = paused(facts, Pause("category", "marketing", "1"))
    again = plan(FILE, facts, NOW + 2)
    assert again.events == ()
    assert [(kept.change.field, kept.by) for kept in again.kept] == [
        ("paused", "operator"),
        ("paused_categories", "operator"),
        ("paused", "operator"),
    ]
    forced = difference(read(FILE), facts, NOW + 3, force=True)
    account = fold(facts, forced.events).account("1")
    assert account is not None
    assert (account.paused, account.paused_categories) == (False, ["utility"])


def test_a_file_may_pause_what_was_not() -> None:
    text = FILE.replace("paused: false", "paused: true").replace("[utility]", "[marketing, utility]")
    account = applied(text, applied(FILE), NOW + 1).account("1")
    assert account is not None
    assert (account.paused, account.paused_categories) == (True, ["marketing", "utility"])
