"""Locations. Pure. Source: Meta, Cloud API, location messages."""

import math
from typing import Annotated

from pydantic import BeforeValidator

from shared.message_content.limits import MAX_LATITUDE, MAX_LONGITUDE
from shared.message_content.parts import Part
from shared.message_content.problems import broken


def _within(most: int) -> BeforeValidator:
    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise broken("must be a number")
        try:
            degrees = float(value)
        except (ValueError, OverflowError):
            raise broken("must be a number") from None
        if not math.isfinite(degrees) or abs(degrees) > most:
            raise broken(f"between -{most} and {most}", limit=most)
        return value

    return BeforeValidator(check)


class Location(Part):
    """A place; coordinates in degrees, as numbers or in digits, for Meta's own examples have both."""

    latitude: Annotated[float | str, _within(MAX_LATITUDE)]
    longitude: Annotated[float | str, _within(MAX_LONGITUDE)]
    name: str | None = None
    address: str | None = None
