"""The form of a template message, whatever the template: what Meta objects to before it looks the template up. Pure.

Source: Meta, Cloud API, messages (template, component and parameter objects); error codes 131008, 131009, 132005, 132018.
"""

from collections.abc import Mapping
from typing import Any

from services.simulator.content import (
    Check,
    Faults,
    document,
    invalid,
    items,
    location,
    media,
    missing,
    text,
    within,
)
from services.simulator.errors import GraphError

_POSITIONS = tuple(str(number) for number in range(10))


def template(content: Any, where: str) -> Faults:
    """What is wrong with a template object by itself."""
    yield from text(content, "name", where, 512)
    yield from within(content, "language", where, _language)
    components = content.get("components")
    if components is None:
        return
    if not isinstance(components, list) or not all(isinstance(c, dict) for c in components):
        yield _not_objects(f"{where}['components']")
        return
    kinds = {str(component.get("type")).lower() for component in components}
    yield from _components(components, f"{where}['components']", 32_768 if kinds <= {"body"} else 1024)


def _not_objects(where: str) -> GraphError:
    return GraphError(100, f"Invalid parameter: {where} must be an array of objects.")


def _language(language: Any, where: str) -> Faults:
    yield from text(language, "code", where, 15)
    if len(str(language.get("code"))) == 1:
        yield invalid(f"{where}['code']", "is no language.")


def _components(components: list[dict[str, Any]], where: str, longest: int) -> Faults:
    given: list[tuple[str, str]] = []
    for place, component in enumerate(components):
        at = f"{where}[{place}]"
        yield from text(component, "type", at)
        kind = str(component.get("type")).lower()
        if kind == "button":
            index = component.get("index")
            if isinstance(index, bool) or str(index) not in _POSITIONS or isinstance(index, float):
                yield invalid(f"{at}['index']", "must be a number from 0 to 9.")
            yield from text(component, "sub_type", at)
            given.append((kind, str(index)))
        elif kind in ("header", "body", "carousel", "limited_time_offer"):
            given.append((kind, ""))
        if kind == "carousel":
            yield from items(component, "cards", at, 1, 10)
            yield from _cards(component.get("cards"), at)
        else:
            yield from _parameters(component, at, {"header": 60, "body": longest}.get(kind))
    if len(set(given)) < len(given):
        yield GraphError(132018, f"{where}: component given more than once")


def _cards(cards: Any, where: str) -> Faults:
    if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
        return
    numbers = {str(c.get("card_index")) for c in cards if not isinstance(c.get("card_index"), bool | float)}
    if numbers != {str(number) for number in range(len(cards))}:
        yield invalid(f"{where}['cards']", "must be numbered from 0 by card_index.")
    for place, card in enumerate(cards):
        components = card.get("components")
        if components is None:
            continue
        at = f"{where}['cards'][{place}]['components']"
        if not isinstance(components, list) or not all(isinstance(c, dict) for c in components):
            yield _not_objects(at)
        else:
            yield from _components(components, at, 1024)


def _parameters(component: dict[str, Any], where: str, longest: int | None) -> Faults:
    parameters = component.get("parameters")
    if parameters is None:
        return
    if not isinstance(parameters, list) or not all(isinstance(p, dict) for p in parameters):
        yield _not_objects(f"{where}['parameters']")
        return
    for place, parameter in enumerate(parameters):
        at = f"{where}['parameters'][{place}]"
        yield from text(parameter, "type", at)
        kind = str(parameter.get("type")).lower()
        if kind == "text":
            yield from _written(parameter, at, longest)
        elif kind in _OBJECTS:
            yield from within(parameter, kind, at, _OBJECTS[kind])
        elif kind in _CODES:
            yield from text(parameter, kind, at, _CODES[kind])


def _written(parameter: dict[str, Any], where: str, longest: int | None) -> Faults:
    value = parameter.get("text")
    yield from text(parameter, "parameter_name", where, needed=False)
    if parameter.get("parameter_name") == "":
        yield missing(f"{where}['parameter_name']")
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or value == "":
        yield missing(f"{where}['text']")
    elif longest is not None and len(value) > longest:
        yield GraphError(132005, f"{where}: text is longer than {longest} characters")
    elif "     " in value or not set(value).isdisjoint("\n\r\t"):
        yield GraphError(
            132018, "Param text cannot have new-line/tab characters or more than 4 consecutive spaces"
        )


def _with(*keys: str) -> Check:
    def check(value: Any, where: str) -> Faults:
        for key in keys:
            if key not in value:
                yield missing(f"{where}['{key}']")

    return check


def _expiry(offer: Any, where: str) -> Faults:
    until = offer.get("expiration_time_ms")
    digits = isinstance(until, str) and until.isascii() and until.isdecimal()
    if not digits and (not isinstance(until, int) or isinstance(until, bool) or until < 0):
        yield missing(f"{where}['expiration_time_ms']")


_CODES: Mapping[str, int] = {"payload": 256, "coupon_code": 15}
_OBJECTS: Mapping[str, Check] = {
    "currency": _with("fallback_value", "code", "amount_1000"),
    "date_time": _with("fallback_value"),
    "image": media,
    "video": media,
    "gif": media,
    "document": document,
    "location": location,
    "action": _with(),
    "limited_time_offer": _expiry,
}
