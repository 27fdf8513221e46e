"""The market of a user, by calling code, prefix and date."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from shared.pricing import MarketMap

MAP = MarketMap.load(Path(__file__).parents[3] / "config" / "rates" / "market_map.csv")
OLD, AUTUMN_2025, SUMMER_2026, NOW = date(2024, 1, 1), date(2025, 10, 1), date(2026, 7, 1), date(2026, 11, 1)


@pytest.mark.parametrize(
    ("user", "market"),
    [
        ("4915112345678", "Germany"),
        ("16505551234", "North America"),
        ("14165551234", "North America"),
        ("17872345678", "Rest of Latin America"),
        ("19392345678", "Rest of Latin America"),
        ("18092345678", "Rest of Latin America"),
        ("16582345678", "Rest of Latin America"),
        ("12423591234", "Other"),
        ("79161234567", "Russia"),
        ("77011234567", "Kazakhstan"),
        ("76011234567", "Kazakhstan"),
        ("5355123456", "Other"),
        ("9609123456", "Other"),
    ],
)
def test_a_number_belongs_to_the_market_of_its_calling_code_and_prefix(user: str, market: str) -> None:
    assert MAP.market_of(user, NOW) == market


@pytest.mark.parametrize(
    ("user", "market"),
    [
        ("US.13491208655302741918", "North America"),
        ("PR.1", "Rest of Latin America"),
        ("KZ.1", "Kazakhstan"),
        ("DE.ENT.77", "Germany"),
        ("CU.1", "Other"),
        ("XX.1", None),
    ],
)
def test_a_business_scoped_id_belongs_to_the_market_of_its_country(user: str, market: str | None) -> None:
    assert MAP.market_of(user, NOW) == market


@pytest.mark.parametrize(
    "user", ["870773111632", "88216212345", "883510000001", "80012345678", "999123456", "", "hello"]
)
def test_a_code_that_belongs_to_no_country_has_no_market(user: str) -> None:
    assert MAP.market_of(user, NOW) is None


@pytest.mark.parametrize(
    ("user", "markets"),
    [
        ("263712345678", ["Other", "Rest of Africa", "Rest of Africa", "Rest of Africa"]),
        ("85261234567", ["Rest of Asia Pacific", "Rest of Asia Pacific", "Hong Kong", "Hong Kong"]),
        ("77011234567", ["Other", "Other", "Other", "Kazakhstan"]),
        ("212612345678", ["Rest of Africa", "Rest of Africa", "Rest of Africa", "Morocco"]),
    ],
)
def test_countries_move_between_markets_on_a_day(user: str, markets: list[str]) -> None:
    assert [MAP.market_of(user, day) for day in (OLD, AUTUMN_2025, SUMMER_2026, NOW)] == markets


def test_the_move_happens_on_the_day_itself() -> None:
    assert MAP.market_of("77011234567", date(2026, 9, 30)) == "Other"
    assert MAP.market_of("77011234567", date(2026, 10, 1)) == "Kazakhstan"


@pytest.mark.parametrize(
    ("market", "user", "since"),
    [
        ("Hong Kong", "85261234567", date(2026, 7, 1)),
        ("Hungary", "36201234567", date(2026, 7, 1)),
        ("Poland", "48512345678", date(2026, 7, 1)),
        ("Qatar", "97433123456", date(2026, 7, 1)),
        ("Romania", "40712034567", date(2026, 7, 1)),
        ("Singapore", "6581234567", date(2026, 7, 1)),
        ("Bangladesh", "8801812345678", date(2026, 10, 1)),
        ("Iraq", "9647912345678", date(2026, 10, 1)),
        ("Kazakhstan", "77710009998", date(2026, 10, 1)),
        ("Kuwait", "96550012345", date(2026, 10, 1)),
        ("Morocco", "212650123456", date(2026, 10, 1)),
        ("Nepal", "9779841234567", date(2026, 10, 1)),
        ("Oman", "96892123456", date(2026, 10, 1)),
        ("Sri Lanka", "94712345678", date(2026, 10, 1)),
        ("Ukraine", "380501234567", date(2026, 10, 1)),
    ],
)
def test_a_country_becomes_a_market_of_its_own_on_the_day_its_card_begins(
    market: str, user: str, since: date
) -> None:
    assert MAP.market_of(user, since) == market
    assert MAP.market_of(user, since - timedelta(days=1)) != market
