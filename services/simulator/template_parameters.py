"""Whether a message's parameters fit its template, by the definition it was submitted with: the first fault, in Meta's words. Pure.

What is wrong in itself, `template_form.py` has found before.
Source: Meta, Cloud API, messages, and error codes 100, 131008, 132000, 132005, 132012, 132018.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from services.simulator.errors import GraphError

Json = dict[str, Any]
Faults = Iterator[GraphError]
_MEDIA = {"image", "video", "document", "gif"}
_OTP = "https://www.whatsapp.com/otp/code/"


def parameter_fault(definition: list[Json], parameter_format: str | None, sent: Any) -> GraphError | None:
    """What Meta objects to in the `components` of a message.

    Args:
        definition: the template's components as they were submitted.
        parameter_format: NAMED, POSITIONAL, or None where it was not given.
        sent: the message's `template.components`, well formed.
    """
    names = [name for text in _texts(definition) for name in _variables(text)]
    named = (
        parameter_format.upper() == "NAMED"
        if parameter_format
        else any(not name.isdecimal() for name in names)
    )
    return next(_faults(definition, sent or [], named), None)


def definition_fault(definition: list[Json]) -> str | None:
    """What makes a definition unusable, if anything: the set-up of a template is checked by it."""
    for component in definition:
        kind = component.get("type")
        if not isinstance(kind, str) or not kind:
            return "each component needs a type"
        is_text = kind.upper() == "HEADER" and str(component.get("format")).upper() == "TEXT"
        if is_text and not isinstance(component.get("text"), str):
            return "a text header needs a text"
        if kind.upper() == "HEADER" and not isinstance(component.get("format"), str):
            return "a header needs a format"
        if not isinstance(component.get("text", ""), str):
            return "text must be text"
        buttons, cards = component.get("buttons", []), component.get("cards", [])
        if not _all_objects(buttons) or not all(isinstance(b.get("type"), str) for b in buttons):
            return "each button needs a type"
        if any(b["type"].upper() == "URL" and not isinstance(b.get("url"), str) for b in buttons):
            return "a URL button needs a url"
        if not _all_objects(cards) or not all(_all_objects(c.get("components")) for c in cards):
            return "each card needs components"
        for card in cards:
            fault = definition_fault(card["components"])
            if fault is not None:
                return fault
    return None


def _all_objects(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def _faults(definition: list[Json], sent: list[Json], named: bool) -> Faults:
    defined = {str(component["type"]).upper(): component for component in definition}
    buttons = defined.get("BUTTONS", {}).get("buttons") or []
    password = any(_is_otp(button) for button in buttons)

    def given(kind: str) -> list[Json]:
        return [component for component in sent if component["type"].lower() == kind]

    def parameters(kind: str) -> list[Json]:
        return [parameter for component in given(kind) for parameter in component.get("parameters") or []]

    header = defined.get("HEADER", {"format": "TEXT", "text": ""})
    format_ = str(header["format"]).lower()
    if format_ == "text":
        yield from _text_faults("header", header["text"], parameters("header"), named)
    else:
        yield from _header_faults(format_, parameters("header"))
    body = defined.get("BODY", {}).get("text", "{{1}}" if password else "")
    yield from _text_faults("body", body, parameters("body"), named, 15 if password else None)
    yield from _button_faults(buttons, given("button"), parameters("body"))
    offer = defined.get("LIMITED_TIME_OFFER")
    yield from _offer_faults(offer, parameters("limited_time_offer"))
    cards = defined.get("CAROUSEL", {}).get("cards") or []
    yield from _card_faults(cards, [card for c in given("carousel") for card in c.get("cards") or []], named)


# --- texts


def _texts(definition: list[Json]) -> Iterator[str]:
    for component in definition:
        if str(component["type"]).upper() in ("HEADER", "BODY"):
            yield str(component.get("text", ""))
        for card in component.get("cards") or []:
            yield from _texts(card["components"])


def _variables(text: str) -> list[str]:
    found: list[str] = []
    for piece in text.split("{{")[1:]:
        name, closed, _ = piece.partition("}}")
        if closed and name.strip() not in found:
            found.append(name.strip())
    return found


def _text_faults(where: str, text: str, given: list[Json], named: bool, longest: int | None = None) -> Faults:
    wanted = _variables(text)
    if len(given) != len(wanted):
        yield GraphError(
            132000,
            f"{where}: number of localizable_params ({len(given)}) does not match "
            f"the expected number of params ({len(wanted)})",
        )
    if named and sorted(str(parameter.get("parameter_name")) for parameter in given) != sorted(wanted):
        yield GraphError(132012, f"{where}: Parameter name is missing or does not match the template")
    for parameter in given:
        yield from _localizable_faults(where, parameter, longest)


def _localizable_faults(where: str, parameter: Json, longest: int | None) -> Faults:
    kind = str(parameter.get("type")).lower()
    if kind not in ("text", "currency", "date_time"):
        yield GraphError(132012, f"{where}: Format mismatch, expected TEXT, received {kind.upper()}")
    elif longest is not None and len(str(parameter.get("text"))) > longest:
        yield GraphError(132005, f"{where}: text is longer than {longest} characters")


# --- headers that are no text


def _header_faults(format_: str, given: list[Json]) -> Faults:
    if format_ not in _MEDIA | {"location"}:
        return
    received = [str(parameter.get("type")).lower() for parameter in given]
    fits = received == [format_] or (format_ == "gif" and received == ["video"])
    if not fits:
        got = received[0].upper() if received else "UNKNOWN"
        yield GraphError(132012, f"header: Format mismatch, expected {format_.upper()}, received {got}")


# --- buttons


def _is_otp(button: Json) -> bool:
    return str(button["type"]).upper() == "OTP" or str(button.get("url", "")).startswith(_OTP)


def _button_faults(buttons: list[Json], given: list[Json], body: list[Json]) -> Faults:
    places = [int(component["index"]) for component in given]
    if any(place >= len(buttons) for place in places):
        yield GraphError(132018, "buttons: no such button in the template")
        return
    for index, button in enumerate(buttons):
        filling = given[places.index(index)] if index in places else None
        yield from _one_button(f"buttons: Button at index {index}", button, filling, body)


def _one_button(where: str, button: Json, component: Json | None, body: list[Json]) -> Faults:
    kind = str(button["type"]).upper()
    if _is_otp(button):
        kind = "OTP"
    takes = {"OTP": "url", "PHONE_NUMBER": "", **{k: k.lower() for k in (*_CHECKS, "URL", "QUICK_REPLY")}}
    if kind not in takes:
        return
    filled = kind in ("OTP", "COPY_CODE", "MPM", "ORDER_DETAILS") or (kind == "URL" and "{{" in button["url"])
    if component is None:
        if filled or kind == "FLOW":
            yield GraphError(131008, f"{where} of type {kind.title()} requires a parameter")
        return
    if str(component.get("sub_type")).lower() != takes[kind]:
        yield GraphError(
            100,
            f"{where} is of type {kind.title()}"
            + ("" if takes[kind] else " and does not support parameters"),
        )
        return
    parameters = component.get("parameters") or []
    if filled and not parameters:
        yield GraphError(131008, f"{where} of type {kind.title()} requires a parameter")
    elif parameters and (len(parameters) > 1 or (kind == "URL" and not filled)):
        yield GraphError(132000, f"{where}: too many parameters")
    elif parameters:
        if kind == "OTP":
            yield from _otp(where, parameters[0], body)
        elif kind == "URL":
            yield from _of_type("text", where, parameters[0])
        elif kind == "QUICK_REPLY":
            yield from _of_type("payload", where, parameters[0])
        else:
            yield from _CHECKS[kind](where, parameters[0])


def _of_type(kind: str, where: str, parameter: Json) -> Faults:
    if parameter["type"].lower() != kind:
        yield GraphError(132012, f"{where}: Format mismatch, expected {kind.upper()}")


def _otp(where: str, parameter: Json, body: list[Json]) -> Faults:
    yield from _of_type("text", where, parameter)
    code = str(parameter.get("text"))
    if len(code) > 15:
        yield GraphError(132005, f"{where}: the code is longer than 15 characters")
    if body and str(body[0].get("text")) != code:
        yield GraphError(132018, f"{where}: the code differs from the one in the body")


def _products(where: str, parameter: Json) -> Faults:
    yield from _of_type("action", where, parameter)
    if not (parameter.get("action") or {}).get("sections"):
        yield GraphError(131008, f"{where}: action needs sections")


_action = partial(_of_type, "action")
_CHECKS: dict[str, Callable[[str, Json], Faults]] = {
    "COPY_CODE": partial(_of_type, "coupon_code"),
    "FLOW": _action,
    "CATALOG": _action,
    "ORDER_DETAILS": _action,
    "MPM": _products,
}


# --- offers and carousels


def _offer_faults(offer: Json | None, given: list[Json]) -> Faults:
    if offer is None:
        if given:
            yield GraphError(132018, "limited_time_offer: the template has none")
        return
    if not (offer.get("limited_time_offer") or {}).get("has_expiration"):
        return
    if [parameter["type"].lower() for parameter in given] != ["limited_time_offer"]:
        yield GraphError(131008, "limited_time_offer: expiration_time_ms is required")


def _card_faults(cards: list[Json], given: list[Json], named: bool) -> Faults:
    def of_products(card: Json) -> bool:
        return any(str(c.get("format")).upper() == "PRODUCT" for c in card["components"])

    products = bool(cards) and of_products(cards[0])
    if products and given:
        cards = [cards[0]] * len(given)
    if len(cards) != len(given):
        yield GraphError(132018, f"carousel: {len(cards)} cards expected, {len(given)} received")
        return
    ordered = {int(card["card_index"]): card for card in given}
    for index, defined in enumerate(cards):
        components = ordered[index].get("components") or []
        for fault in _faults(defined["components"], components, named):
            yield GraphError(fault.code, f"card {index}: {fault.details}")
