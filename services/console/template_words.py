"""Words of a template's definition that look like misspelt ones of Meta's: components in, complaints out. Pure.

Meta owns the lists and extends them, so an unknown word is no error; but `BODDY` must not silently mean a template without a body.
Source: Meta, Business Management API, message templates; Meta, webhooks, message_template_components_update.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

COMPONENTS = ("HEADER", "BODY", "FOOTER", "BUTTONS", "CAROUSEL", "LIMITED_TIME_OFFER")
FORMATS = ("TEXT", "IMAGE", "VIDEO", "GIF", "DOCUMENT", "LOCATION", "PRODUCT")
BUTTONS = (
    *("CATALOG", "COPY_CODE", "EXTENSION", "FLOW", "MPM", "ORDER_DETAILS", "OTP", "PHONE_NUMBER", "POSTBACK"),
    *("QUICK_REPLY", "REMINDER", "SEND_LOCATION", "SPM", "URL", "VOICE_CALL"),
)


def misspelt(components: Iterable[Mapping[str, Any]], where: str = "") -> Iterator[str]:
    """One complaint for each such word; the definition has been read, so its form is right."""
    for index, component in enumerate(components):
        at = f"{where}component {index}"
        yield from _near(component.get("type"), COMPONENTS, f"{at}: unknown type")
        if "format" in component:
            yield from _near(component["format"], FORMATS, f"{at}: unknown format")
        for number, button in enumerate(component.get("buttons") or []):
            yield from _near(button.get("type"), BUTTONS, f"{where}button {number}: unknown type")
        for number, card in enumerate(component.get("cards") or []):
            yield from misspelt(card["components"], f"card {number}, ")


def _near(given: object, known: tuple[str, ...], complaint: str) -> Iterator[str]:
    word = str(given).upper()
    near = difflib.get_close_matches(word, known, 1, cutoff=0.75)
    if word not in known and near:
        yield f"{complaint}; did you mean {near[0]}?"
