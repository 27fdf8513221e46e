"""What an import would write, and what it asks and tells before."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from services.billing.rates.difference import Change, difference
from services.billing.rates.folder import Configuration, carry_out
from services.billing.rates.planning import Plan, Use
from services.billing.rates.survey import Gap, gaps, survey
from services.billing.rates.versions import card_id, editions, next_edition
from shared.accounts import Account
from shared.pricing import Market, RateCategory
from tests.unit.billing.rates.configs import HEAD, SHIPPED, folder, planned, said, shipped

CARD = shipped("usd_2026-10-01")
INDIA, GERMANY = Market("India"), Market("Germany")


def having(old: str, new: str, text: str = CARD) -> str:
    assert old in text
    return text.replace(old, new, 1)


def without(*markets: str, text: str = CARD) -> str:
    rows = text.splitlines(keepends=True)
    return "".join(row for row in rows if row.split(",")[0] not in markets)


def imported(into: Path, text: str, day: str = "2027-01-01") -> Configuration:
    configuration = Configuration.load(into)
    carry_out(planned(text, configuration, day), configuration)
    return Configuration.load(into)


def test_a_new_card_is_named_by_currency_and_first_day_and_goes_to_the_regime_of_that_day() -> None:
    made = planned(CARD)
    (new,) = made.cards
    assert (new.entry.id, new.entry.file) == ("usd_2027-01-01", "rates_usd_2027-01-01.csv")
    assert made.uses == [Use("2026-10-01", "usd_2027-01-01")]
    assert (new.before and new.before.id, made.of("error", "question")) == ("usd_2026-10-01", [])
    assert new.text == CARD


def test_a_card_per_conversation_has_another_id_and_regime() -> None:
    text = "Cost per conversation\n" + shipped("usd_cbp_2024-11-01")
    made = planned(text, day="2025-04-01", today=date(2025, 3, 1))
    assert [new.entry.id for new in made.cards] == ["usd_cbp_2025-04-01"]
    assert made.uses == [Use("2024-11-01", "usd_cbp_2025-04-01")]


@pytest.mark.parametrize(
    ("text", "day", "error"),
    [
        ("Cost per conversation\n" + CARD, "2027-01-01", "the USD card is per conversation, but the regime 2026-10-01"),
        (CARD, "2020-01-01", "no regime is as old as 2020-01-01"),
        (CARD, "", "no one first day of the USD card in notes or names: give --effective-from"),
        (HEAD + "India,USD,n/a,n/a,0,n/a,0\n", "2027-01-01", "the USD card has no rate at all"),
    ],
)  # fmt: skip
def test_a_card_that_belongs_nowhere_is_an_error(text: str, day: str, error: str) -> None:
    made = planned(text, day=day)
    assert (made.empty, len(made.of("error"))) == (True, 1)
    assert error in made.of("error")[0].text


def test_the_card_that_is_there_is_nothing_to_do_in_whatever_form_it_comes() -> None:
    made = planned(CARD.replace(",", ";").encode("utf-16"), day="2026-10-01")
    assert (made.empty, made.unchanged, made.findings) == (True, ["usd_2026-10-01"], [])


def test_another_card_of_the_same_day_is_a_second_edition_in_place_of_the_first(tmp_path: Path) -> None:
    text = having("India,USD,0.0118", "India,USD,0.0119")
    there = imported(folder(tmp_path), text, "2026-10-01")
    assert there.book.regimes.by_pin["2026-10-01"].rate_cards == ("usd_2026-10-01.2",)
    old, new = (there.book.cards.by_id[id] for id in ("usd_2026-10-01", "usd_2026-10-01.2"))
    assert (old.micros[INDIA, "marketing"], new.micros[INDIA, "marketing"]) == (11_800, 11_900)
    third = planned(having("India,USD,0.0118", "India,USD,0.0120"), there, "2026-10-01")
    assert third.uses == [Use("2026-10-01", "usd_2026-10-01.3", ("usd_2026-10-01.2",))]


def test_a_later_card_is_compared_with_the_edition_in_use(tmp_path: Path) -> None:
    there = imported(folder(tmp_path), having("India,USD,0.0118", "India,USD,0.0119"), "2026-10-01")
    (new,) = planned(CARD, there).cards
    assert new.before is not None
    assert new.before.id == "usd_2026-10-01.2"


def test_going_back_to_a_former_edition_is_asked_about_and_is_an_edition_of_its_own(tmp_path: Path) -> None:
    there = imported(folder(tmp_path), having("India,USD,0.0118", "India,USD,0.0119"), "2026-10-01")
    made = planned(CARD, there, "2026-10-01")
    assert [new.entry.id for new in made.cards] == ["usd_2026-10-01.3"]
    assert (
        "question these are the rates of usd_2026-10-01, which usd_2026-10-01.2 replaced: back to them?"
        in said(made)
    )


def test_metas_own_card_takes_the_place_of_an_illustrative_one_that_stays_in_the_manifest(
    tmp_path: Path,
) -> None:
    there = imported(folder(tmp_path), shipped("usd_2026-07-01"), "2025-07-01")
    cards = there.book.regimes.by_pin["2025-07-01"].rate_cards
    assert cards == ("usd_2025-07-01", "inr_2025-10-01", "usd_2026-07-01")
    assert "illustrative_usd_2025-07-01" in there.book.cards.by_id


def test_each_currency_of_a_file_becomes_a_card_unless_one_is_asked_for() -> None:
    euro = CARD.replace(",USD,", ",EUR,").removeprefix(HEAD)
    made = planned(CARD + euro)
    assert [new.entry.id for new in made.cards] == ["eur_2027-01-01", "usd_2027-01-01"]
    one = planned(CARD + euro, only="EUR")
    assert [new.entry.id for new in one.cards] == ["eur_2027-01-01"]
    assert "remark what is in USD is left out" in said(one)


def test_every_market_of_the_map_that_a_card_lacks_is_named() -> None:
    made = planned(without("India", "Kuwait"))
    assert "question no row for India, Kuwait: what is sent there will be refused" in said(made)


def test_a_row_for_a_market_that_the_map_does_not_have_on_that_day_is_told() -> None:
    july = shipped("usd_2026-07-01") + "Kuwait,USD,0.05,0.01,0.01,n/a,n/a\n"
    found = [line for line in said(planned(july, day="2026-07-01")) if "Kuwait" in line]
    assert len(found) == 1
    assert found[0].endswith(
        "Kuwait is no market of the map on 2026-07-01: nobody will be charged by this row"
    )


@pytest.mark.parametrize(
    ("rate", "asked"), [("0.0354", False), ("0.0355", True), ("0.0040", False), ("0.0039", True)]
)
def test_a_rate_that_changes_by_more_than_a_factor_of_three_is_asked_about(rate: str, asked: bool) -> None:
    made = planned(having("India,USD,0.0118", f"India,USD,{rate}"))
    questions = [str(question) for question in made.of("question")]
    assert bool(questions) == asked
    if asked:
        assert questions == [
            f"row 12, column C (Marketing): India marketing goes from 0.0118 to {rate}, by more than a factor of 3"
        ]


def test_a_rate_that_is_gone_is_asked_about_and_never_read_as_zero() -> None:
    for nothing in ("n/a", "0.0000", ""):
        made = planned(having("India,USD,0.0118", f"India,USD,{nothing}"))
        assert (INDIA, "marketing") not in made.cards[0].card.micros
        questions = " ".join(said(made))
        assert (
            "no marketing rate for India: the regime 2026-10-01 charges it, so it will be refused"
            in questions
        )
        assert "India has no marketing rate any more; usd_2026-10-01 has one" in questions


def test_where_service_is_free_a_card_needs_no_rate_for_it() -> None:
    assert planned(shipped("usd_2026-07-01"), day="2026-04-01", today=date(2026, 3, 1)).of("question") == []


@pytest.mark.parametrize(
    ("day", "today", "warning"),
    [
        ("2027-01-02", date(2026, 9, 15), "2027-01-02 is none of Meta's days of change"),
        ("2027-01-01", date(2027, 1, 1), "in force since 2027-01-01: what was charged before"),
    ],
)
def test_an_odd_or_past_first_day_is_told(day: str, today: date, warning: str) -> None:
    (found,) = planned(CARD, day=day, today=today).of("warning")[:1]
    assert found.text.startswith(warning)


def test_a_new_card_without_tiers_says_whose_tiers_end_with_it() -> None:
    assert (
        "warning usd_2027-01-01 has no volume tiers until some are imported: "
        "reported_usd_2026-10-01_first_tiers is the former card's"
    ) in said(planned(CARD))


TIERS = "Market,Currency,Category,From,To,Rate\nIndia,USD,Utility,1,1000,0.0014\nIndia,USD,Utility,1001,MAX,0.0012\n"


def test_tiers_of_meta_take_the_place_of_reported_ones_which_stay_in_the_manifest(tmp_path: Path) -> None:
    there = imported(folder(tmp_path), TIERS, "2026-10-01")
    tiers = there.book.cards.by_id["usd_2026-10-01"].tiers
    assert tiers is not None
    assert (tiers.id, tiers.sureness) == ("usd_2026-10-01_tiers", "published")
    assert tiers.micros[INDIA, "utility", (1001, None)] == 1200
    reported = next(table for table in there.manifest.tier_tables if table.sureness == "reported")
    assert reported.replaced_by == "usd_2026-10-01_tiers"
    assert planned(TIERS, there, "2026-10-01").unchanged == ["usd_2026-10-01_tiers"]
    other = planned(TIERS.replace("0.0012", "0.0011"), there, "2026-10-01")
    assert [(table.entry.id, table.replaces) for table in other.tables] == [
        ("usd_2026-10-01_tiers.2", "usd_2026-10-01_tiers")
    ]


def test_a_card_and_its_tiers_come_in_one_file(tmp_path: Path) -> None:
    there = imported(folder(tmp_path), CARD + "\n" + TIERS)
    tiers = there.book.cards.by_id["usd_2027-01-01"].tiers
    assert tiers is not None
    assert len(tiers.micros) == 2


@pytest.mark.parametrize(
    ("tiers", "day", "error"),
    [
        (TIERS, "2027-01-01", "no card of Meta's in USD from 2027-01-01 for the tiers"),
        (TIERS, "", "no one first day of the tiers in USD: give --effective-from"),
        (TIERS, "2025-07-01", "no card of Meta's in USD from 2025-07-01 for the tiers"),
        (TIERS.replace("0.0014", "0.0013"), "2026-10-01", "row 2, column F (Rate): the first tier costs the list rate"),
        (TIERS.replace("1001", "1002"), "2026-10-01", "row 3, column F (Rate): tiers must follow one another"),
        (TIERS.replace("Utility", "Marketing"), "2026-10-01", "marketing has no volume tiers"),
        (TIERS.replace("0.0012", "n/a"), "2026-10-01", "a tier without a rate: 'n/a'"),
    ],
)  # fmt: skip
def test_tiers_that_contradict_their_card_are_an_error(tiers: str, day: str, error: str) -> None:
    made = planned(tiers, day=day)
    assert made.tables == []
    assert error in " ".join(map(str, made.of("error")))


def test_an_id_is_never_given_twice() -> None:
    first = card_id("USD", "message", date(2026, 10, 1))
    ids = [first, "usd_2026-10-01.10", "usd_2026-10-01.2", "usd_cbp_2026-10-01", "usd_2026-10-01_tiers"]
    assert editions(first, ids) == ("usd_2026-10-01", "usd_2026-10-01.2", "usd_2026-10-01.10")
    assert next_edition(first, ids) == "usd_2026-10-01.11"
    assert next_edition("eur_2026-10-01", ids) == "eur_2026-10-01"


def test_a_difference_names_rates_and_markets_that_come_and_go() -> None:
    market: RateCategory = "marketing"
    old = {(INDIA, market): 1000, (GERMANY, market): 3000}
    new = {(INDIA, market): 1125, (Market("Oman"), market): 5}
    found = difference(old, new)
    assert found.changes == (
        Change(GERMANY, market, 3000, None),
        Change(INDIA, market, 1000, 1125),
        Change(Market("Oman"), market, None, 5),
    )
    assert [str(change.percent) for change in found.changes] == ["None", "12.5", "None"]
    assert (found.new_markets, found.vanished_markets) == ((Market("Oman"),), (GERMANY,))


# --- what the whole configuration lacks


def test_days_of_a_regime_without_a_card_are_named_per_currency() -> None:
    assert list(gaps(SHIPPED.book, ["USD"])) == []
    assert list(gaps(SHIPPED.book, ["INR"])) == [
        Gap("2023-06-01", "INR", date(2023, 6, 1), date(2024, 11, 1)),
        Gap("2024-11-01", "INR", date(2024, 11, 1), date(2025, 7, 1)),
        Gap("2025-07-01", "INR", date(2025, 7, 1), date(2025, 10, 1)),
        Gap("2026-10-01", "INR", date(2026, 10, 1), None),
    ]


def test_an_account_whose_currency_has_no_card_is_an_error_now_or_from_a_regime_to_come_on() -> None:
    accounts = {
        "1": Account(currency="USD"),
        "2": Account(currency="INR"),
        "3": Account(currency="EUR", regime="guide"),
        "4": Account(regime="nonsense"),
    }
    found = survey(SHIPPED.book, SHIPPED.manifest, accounts, datetime(2026, 9, 15, tzinfo=UTC))
    errors = [finding.text for finding in found if finding.gravity == "error"]
    assert [error.partition(" on ")[0] for error in errors] == [
        "account 2: no INR card in the regime 2026-10-01",
        "account 3: no EUR card in the regime 2023-06-01",
        "account 4: no pricing regime 'nonsense'",
    ]


def test_what_no_regime_uses_and_what_a_card_lacks_is_told(tmp_path: Path) -> None:
    there = imported(folder(tmp_path), without("India"), "2026-10-01")
    found = [str(finding) for finding in survey(there.book, there.manifest, {}, datetime.now(UTC))]
    assert "card usd_2026-10-01.2: no row for India" in found
    assert "card usd_2026-10-01: no regime uses it (any more)" in found


def test_nothing_is_planned_beside_an_error() -> None:
    made: Plan = planned(having("India,USD,0.0118", "India,USD,0.01x"))
    assert (made.empty, [str(error) for error in made.of("error")]) == (
        True,
        ["row 12, column C (Marketing): '0.01x' is no amount"],
    )
