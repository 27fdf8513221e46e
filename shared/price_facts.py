"""The account facts that decide prices: what Meta's account_update webhooks say in, values for `shared.accounts` out. Pure.

Source: Meta, webhooks, account_update; Meta, pricing, authentication-international rates and volume tiers.
"""

import re
from functools import lru_cache
from typing import Any

import msgspec

Tiers = dict[str, dict[str, int]]
"""Volume tiers: `tier_key` → tier as Meta writes it, "lower:upper" → when it was reached, epoch milliseconds."""

MONTHS_KEPT = 4
"""Of notices: a charge is corrected for up to 60 days (`services.billing.ledger`), so the older ones decide nothing."""

_COUNTRY = re.compile(r"[A-Z]{2}")
_MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")
_TIER = re.compile(r"([0-9]{1,15}):([0-9]{1,15}|MAX)")
_MILLISECONDS_FROM = 10**11
"""Meta writes seconds; as seconds this lies past the year 5000."""
_LATEST_MS = 10**14


class AuthInternational(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From when an account owes authentication-international rates, epoch milliseconds.

    `exceptions`: countries (ISO 3166, two letters) with a start of their own. A null start has not been set: nothing is owed yet.
    """

    start_ms: int | None = None
    exceptions: dict[str, int | None] = {}

    def owed(self, country: str | None, at_ms: int) -> bool:
        """Whether a delivery to that country at that time is on or after the start."""
        start_ms = self.start_ms if country is None else self.exceptions.get(country, self.start_ms)
        return start_ms is not None and at_ms >= start_ms


@lru_cache(maxsize=4096)
def tier_key(category: str, market: str, month: str) -> str:
    """What a tier is of: category, month (`YYYY-MM`) and market, as in `utility/2026-11/india`.

    Cards write "Rest of Central & Eastern Europe", notices "INDIA": only letters and digits count.
    """
    letters = "".join(c for c in market.casefold().replace("&", "and") if c.isalnum())
    return f"{category}/{month}/{letters}"


def tier_bounds(tier: str) -> tuple[int, int | None] | None:
    """The first and last message of a tier, both inclusive and counted from 1, None for no last one; None for what is no tier."""
    found = _TIER.fullmatch(tier)
    if found is None:
        return None
    return max(1, int(found[1])), None if found[2] == "MAX" else int(found[2])


def joined(known: Tiers, told: Tiers) -> Tiers:
    """Both in one, whatever came first: of one tier told twice the smaller time counts (Meta, pricing, webhooks about tiers).

    Commutative, associative, idempotent. Only the last MONTHS_KEPT months are kept.
    """
    both = {key: dict(reached) for key, reached in known.items()}
    for key, reached in told.items():
        mine = both.setdefault(key, {})
        for tier, at_ms in reached.items():
            mine[tier] = min(at_ms, mine.get(tier, at_ms))
    kept = frozenset(sorted({_month(key) for key in both})[-MONTHS_KEPT:])
    return {key: both[key] for key in sorted(both) if _month(key) in kept}


def tier_at(reached: dict[str, int], at_ms: int) -> str | None:
    """The tier in force: the one reached last, at `at_ms` or before (at once: the highest); None before the first."""
    last, last_ms = None, 0
    for tier, since_ms in reached.items():
        if since_ms > at_ms:
            continue
        if last is None or since_ms > last_ms or (since_ms == last_ms and _rank(tier) > _rank(last)):
            last, last_ms = tier, since_ms
    return last


def read(value: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """The fields of `shared.accounts.Account` that an account_update sets; none where it says nothing of prices.

    Types drift: numbers come as text, countries in small letters. What can't be read sets nothing. `at_ms` is the webhook's own time.
    """
    match value.get("event"):
        case "BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE":
            return _primary_location(value)
        case "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE":
            return _auth_international(value.get("auth_international_rate_eligibility"))
        case "VOLUME_BASED_PRICING_TIER_UPDATE":
            return _tier(value.get("volume_tier_info"), at_ms)
        case _:
            return {}


def _primary_location(value: dict[str, Any]) -> dict[str, Any]:
    if "country" not in value:
        return {}
    if value["country"] in (None, ""):
        return {"primary_location": None}
    country = _country(value["country"])
    return {} if country is None else {"primary_location": country}


def _auth_international(info: object) -> dict[str, Any]:
    if not isinstance(info, dict):
        return {}
    exceptions, listed = {}, info.get("exception_countries")
    for exception in listed if isinstance(listed, list) else ():
        if isinstance(exception, dict) and (country := _country(exception.get("country_code"))):
            exceptions[country] = _millis(exception.get("start_time"))
    start_ms = _millis(info.get("start_time"))
    if start_ms is None and not exceptions:
        return {}
    return {"auth_international": {"start_ms": start_ms, "exceptions": exceptions}}


def _tier(info: object, at_ms: int) -> dict[str, Any]:
    if not isinstance(info, dict):
        return {}
    category, region, month, tier = (
        str(info.get(name) or "").strip()
        for name in ("pricing_category", "region", "effective_month", "tier")
    )
    tier = tier.upper()
    if not category or not region or not _MONTH.fullmatch(month) or tier_bounds(tier) is None:
        return {}
    since_ms = _millis(info.get("tier_update_time"))
    key = tier_key(category.lower().replace("-", "_"), region, month)
    return {"tier_notices": {key: {tier: at_ms if since_ms is None else since_ms}}}


def _country(text: object) -> str | None:
    found = text.strip().upper() if isinstance(text, str) else ""
    return found if _COUNTRY.fullmatch(found) else None


def _millis(value: object) -> int | None:
    """Epoch milliseconds of Meta's time, number or text, seconds or milliseconds; None for none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(_LATEST_MS)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST_MS:
        return None
    return int(value if value >= _MILLISECONDS_FROM else value * 1000)


def _month(key: str) -> str:
    return key.split("/")[1] if key.count("/") == 2 else ""


def _rank(tier: str) -> tuple[int, str]:
    bounds = tier_bounds(tier)
    return (0 if bounds is None else bounds[0], tier)
