"""Volume tiers: the tables beside the cards, and what a price says of its tier."""

import shutil
from pathlib import Path

import pytest
import yaml

from shared.events import VolumeTier
from shared.pricing import Market, PriceBook, RateCard, RateCardError, RateCards, RateCategory

CONFIG = Path(__file__).parents[3] / "config"
INDIA = Market("India")
HEAD = "market,currency,category,from,to,rate\n"
GOOD = HEAD + "India,USD,utility,1,1000,0.0014\nIndia,USD,utility,1001,MAX,0.00125\n"


def cards(folder: Path, table: str, **changes: str) -> RateCards:
    """The shipped cards with this table beside the one of 2026-10-01."""
    shutil.copytree(CONFIG / "rates", folder, dirs_exist_ok=True)
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
    entry = {"id": "t", "file": "t.csv", "card": "usd_2026-10-01", "sureness": "published", "source": "s"}
    manifest["tier_tables"] = [entry | changes]
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    (folder / "t.csv").write_text(table)
    return RateCards.load(folder)


def card(folder: Path, table: str = GOOD, **changes: str) -> RateCard:
    return cards(folder, table, **changes).by_id["usd_2026-10-01"]


def test_a_tier_of_the_table_costs_its_rate_and_names_the_table(tmp_path: Path) -> None:
    found = card(tmp_path).rate(INDIA, "utility", "1001:MAX")
    assert found is not None
    assert (found.amount_micros, found.volume_tier) == (1250, VolumeTier(tier="1001:MAX", rates="t"))
    assert not found.illustrative


def test_without_a_tier_the_list_rate_counts(tmp_path: Path) -> None:
    found = card(tmp_path).rate(INDIA, "utility")
    assert found is not None
    assert (found.amount_micros, found.volume_tier) == (1400, None)


@pytest.mark.parametrize(("tier", "rates"), [("0:50", "usd_2026-10-01"), ("1:1000", "t"), ("0:1000", "t")])
def test_the_first_tier_is_the_list_itself(tmp_path: Path, tier: str, rates: str) -> None:
    found = card(tmp_path).rate(INDIA, "utility", tier)
    assert found is not None
    assert (found.amount_micros, found.volume_tier) == (1400, VolumeTier(tier=tier, rates=rates))


@pytest.mark.parametrize(
    ("category", "tier"), [("utility", "1001:5000"), ("utility", "odd"), ("authentication", "1001:MAX")]
)
def test_a_tier_that_no_table_prices_costs_the_list_rate_and_says_so(
    tmp_path: Path, category: RateCategory, tier: str
) -> None:
    found = card(tmp_path).rate(INDIA, category, tier)
    assert found is not None
    assert (found.amount_micros, found.volume_tier) == (1400, VolumeTier(tier=tier, rates=None))


def test_an_illustrative_table_makes_the_rate_illustrative_and_its_name_says_so(tmp_path: Path) -> None:
    made = card(tmp_path, id="illustrative_t", sureness="illustrative")
    tiered, listed = made.rate(INDIA, "utility", "1001:MAX"), made.rate(INDIA, "utility")
    assert tiered is not None
    assert listed is not None
    assert (tiered.illustrative, listed.illustrative) == (True, False)
    assert tiered.volume_tier is not None
    assert tiered.volume_tier.rates == "illustrative_t"


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("market,category,from,to,rate\n", "columns"),
        (HEAD + "India,USD,marketing,1,1000,0.0118\n", "tiered category"),
        (HEAD + "India,INR,utility,1,1000,0.0014\n", "USD"),
        (HEAD + "India,USD,utility,1,1000,n/a\n", "no rate"),
        (HEAD + "India,USD,utility,1,some,0.0014\n", "bounds"),
        (HEAD + "India,USD,utility,1,1000,0.0013\n", "list rate"),
        (HEAD + "India,USD,utility,2,1000,0.0014\n", "from 1 on"),
        (GOOD + "India,USD,utility,5000,MAX,0.001\n", "from 1 on"),
        (HEAD + "India,USD,utility,1,1000,0.0014\nIndia,USD,utility,1002,MAX,0.0010\n", "from 1 on"),
        (HEAD + "India,USD,utility,1,1000,0.0014\nIndia,USD,utility,1001,1000,0.0010\n", "from 1 on"),
        (
            HEAD + "India,USD,utility,1,1000,0.0014\nIndia,USD,utility,1001,MAX,0.0015\n",
            "no further one more",
        ),
        (HEAD + "Atlantis,USD,utility,1,1000,0.0014\n", "no such rate"),
        (HEAD + "Brazil,USD,authentication_international,1,1000,0.0014\n", "no such rate"),
        (HEAD + "India,USD,utility,1,1000,0.00000014\n", "millionth"),
    ],
)
def test_a_table_that_contradicts_itself_or_its_card_stops_the_start(
    tmp_path: Path, table: str, fault: str
) -> None:
    with pytest.raises(RateCardError, match=fault):
        card(tmp_path, table)


@pytest.mark.parametrize(
    "changes",
    [{"card": "nowhere"}, {"id": "usd_2026-10-01"}, {"sureness": "reported"}, {"sureness": "illustrative"}],
)
def test_a_table_belongs_to_a_card_and_its_id_says_how_sure_it_is(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    with pytest.raises(RateCardError):
        card(tmp_path, **changes)


def test_the_shipped_tables_hold_nothing_but_first_tiers_and_say_that_they_are_reported() -> None:
    for shipped in PriceBook.load(CONFIG).cards.by_id.values():
        if shipped.tiers is not None:
            assert shipped.tiers.sureness == "reported"
            assert shipped.tiers.id.startswith("reported")
            assert {first for _, _, (first, _) in shipped.tiers.micros} == {1}


def test_marketing_and_service_have_no_tiers_and_no_tier_counts_before_2025_07() -> None:
    for regime in PriceBook.load(CONFIG).regimes.in_order:
        tiered = {"utility", "authentication", "authentication_international"}
        assert set(regime.volume_tiers) == (tiered if regime.name >= "2025-07-01" else set())
