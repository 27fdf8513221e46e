"""The pricing regimes: dated rules in, those of an account at an instant out. Pure after `load`."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from shared.pricing.days import local_day, local_month
from shared.pricing.terms import RateCategory, Unit

CALENDAR = "calendar"
"""The pin of an account that follows the dates."""


class UnknownRegimeError(ValueError):
    """A pin that names no regime."""


class RegimesFileError(ValueError):
    """The regimes file is not what it must be; the text says where."""


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """Answered within `answer_within_h` hours, everything is free for `lasts_h` hours (Meta, pricing)."""

    answer_within_h: int
    lasts_h: int


@dataclass(frozen=True, slots=True)
class FreeTier:
    """Free service units (of the regime's unit) a month, per WABA or per business phone number."""

    scope: Literal["waba", "number"]
    units_per_month: int


@dataclass(frozen=True, slots=True)
class Regime:
    """The rules of one period of Meta's pricing; see `config/regimes.yaml` for each field."""

    name: str
    starts_on: date
    unit: Unit
    service: Literal["charged", "free_tier", "free"]
    utility_in_window_free: bool
    entry_point: EntryPoint
    free_tier: FreeTier | None
    messaging_limit_scope: Literal["number", "portfolio"]
    rate_cards: tuple[str, ...]
    volume_tiers: tuple[RateCategory, ...]


@dataclass(frozen=True, slots=True)
class _File:
    __pydantic_config__ = ConfigDict(extra="forbid")
    aliases: dict[str, str]
    regimes: tuple[Regime, ...]


@dataclass(frozen=True, slots=True)
class Regimes:
    """All regimes, earliest first, and the other names that a pin may use for them."""

    in_order: tuple[Regime, ...]
    by_pin: dict[str, Regime]

    @classmethod
    def load(cls, path: Path) -> "Regimes":
        """Read and check the regimes file.

        Raises:
            RegimesFileError: unknown or missing fields, names or dates twice, an alias of nothing, a free
                tier that the rules do not use, or one they use and lack.
            OSError: the file can't be read.
        """
        try:
            file = TypeAdapter(_File).validate_python(yaml.safe_load(path.read_text("utf-8")))
        except (ValidationError, yaml.YAMLError) as error:
            raise RegimesFileError(f"{path}: {error}") from error
        in_order = tuple(sorted(file.regimes, key=lambda regime: regime.starts_on))
        names = {regime.name: regime for regime in in_order}
        if (
            not in_order
            or len(names) != len(in_order)
            or len({r.starts_on for r in in_order}) != len(in_order)
        ):
            raise RegimesFileError(f"{path}: regimes must exist, each with its own name and first day")
        for regime in in_order:
            if regime.name != regime.starts_on.isoformat():
                raise RegimesFileError(f"{path}: regime {regime.name} must be named by its first day")
            if (regime.service == "free_tier") != (regime.free_tier is not None):
                raise RegimesFileError(f"{path}: regime {regime.name}: service and free_tier disagree")
        for alias, name in file.aliases.items():
            if name not in names or alias in names or alias == CALENDAR:
                raise RegimesFileError(f"{path}: alias {alias} of {name}")
        return cls(in_order, names | {alias: names[name] for alias, name in file.aliases.items()})

    def is_pin(self, pin: str | None) -> bool:
        """Whether `regime_at` takes this pin: check it where an account is set up."""
        return pin is None or pin == CALENDAR or pin in self.by_pin

    def regime_at(self, pin: str | None, at: datetime, timezone: str) -> Regime:
        """Return the regime of an account at an aware instant.

        A pin names a regime by its first day or an alias ("guide"). None and "calendar" follow the dates: a
        regime begins at 00:00 of its first day in the WABA's own time zone (Meta, pricing). Before the first
        regime the first one holds.

        Raises:
            UnknownRegimeError: the pin names nothing.
            ValueError, KeyError: as `local_day`.
        """
        if pin is not None and pin != CALENDAR:
            try:
                return self.by_pin[pin]
            except KeyError:
                raise UnknownRegimeError(f"no pricing regime {pin!r}") from None
        return self.on(local_day(at, timezone)) or self.in_order[0]

    def on(self, day: date) -> Regime | None:
        """Return the regime of the calendar on a day; None before the first one."""
        return next((regime for regime in reversed(self.in_order) if regime.starts_on <= day), None)


def free_tier_scope(
    regime: Regime, waba_id: str, phone_number_id: str, at: datetime, timezone: str
) -> tuple[str, int] | None:
    """Return what the free tier is counted over in this month, and its size; None where the regime has none.

    The key, e.g. `free:W1:2026-11`, names the WABA or the number and the month in the WABA's time zone, so
    that a new month begins a new count (Meta, pricing: reset at 00:00 of the WABA's time zone, nothing rolls
    over).
    """
    if regime.free_tier is None:
        return None
    owner = waba_id if regime.free_tier.scope == "waba" else phone_number_id
    return f"free:{owner}:{local_month(at, timezone)}", regime.free_tier.units_per_month
