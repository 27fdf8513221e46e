"""Does a message fit its template? The template's shape and the message in, precise problems out, none if it fits. Pure.

Only what depends on the template: whether the message is well formed in itself, `shared/message_content` has seen to before. Liberal where Meta is: components
stand in any order, words in any case, types of components, headers and buttons that are not known here are let through, and so is what is not known of the
shape. Exact where Meta refuses: number, names and types of parameters, type of buttons, number of cards.
Source: Meta, Cloud API, messages (template object), error codes 132000, 132005, 132012, 132018, 131008; Meta, authentication, carousel, limited-time
offer, catalog, multi-product and flow templates.
"""

from collections.abc import Callable, Sequence

import msgspec

from services.router.template_buttons import MAX_CODE, check_buttons
from services.router.template_sent import (
    Card,
    Component,
    Parameters,
    Template,
    count,
    decode_message,
    decode_template,
    position,
    word,
)
from services.router.template_texts import check_texts
from shared.template_definition import EXPIRING_OFFER, OTP, Shape

MAX_PROBLEMS = 10
"""More help nobody; the rest shows once these are mended."""
_HEADERS = {
    "IMAGE": ("image",),
    "VIDEO": ("video",),
    "DOCUMENT": ("document",),
    "GIF": ("gif", "video"),
    "LOCATION": ("location",),
}
"""What a header of a format takes, by the types of parameters."""


def message_problems(shape: Shape, message: bytes | msgspec.Raw) -> tuple[str, ...]:
    """The problems of a Cloud API message object of type template."""
    return _problems(shape, lambda: decode_message(message).template)


def template_problems(shape: Shape, template: bytes | msgspec.Raw) -> tuple[str, ...]:
    """The problems of a `template` object by itself."""
    return _problems(shape, lambda: decode_template(template))


def _problems(shape: Shape, decode: Callable[[], Template]) -> tuple[str, ...]:
    try:
        components = decode().components or []
    except msgspec.MsgspecError as error:
        return (f"template: {error}",)
    except RecursionError:
        return ("template: nested too deeply",)
    found: list[str] = []
    _fit(shape, shape.named, components, "", found)
    return tuple(found[:MAX_PROBLEMS])


def _fit(shape: Shape, named: bool, components: Sequence[Component], where: str, found: list[str]) -> None:
    """Append the problems of a template's components, or of one card's; `where` is "" or names the card."""
    buttons = [component for component in components if word(component.type) == "button"]
    once = {word(component.type): component for component in components}
    parameters = {kind: component.parameters or [] for kind, component in once.items()}
    _header(shape, named, parameters.get("header", []), f"{where}header", found)
    body = parameters.get("body", [])
    password = any(button.type == OTP for button in shape.buttons or [])
    check_texts(shape.body, named, body, f"{where}body", found, longest=MAX_CODE if password else None)
    if shape.buttons is not None:
        check_buttons(shape.buttons, body, buttons, where, found)
    _offer(shape, parameters.get("limited_time_offer", []), f"{where}limited_time_offer", found)
    if shape.cards is not None:
        carousel = once.get("carousel")
        _carousel(shape.cards, named, (carousel and carousel.cards) or [], found)


def _header(shape: Shape, named: bool, given: Parameters, where: str, found: list[str]) -> None:
    format_ = shape.header
    if format_ in ("", "TEXT"):
        check_texts(shape.header_variables, named, given, where, found)
    elif format_ in _HEADERS:
        if len(given) > 1:
            found.append(f"{where}: 1 parameter needed, {len(given)} given")
        elif not given or word(given[0].type) not in _HEADERS[format_]:
            found.append(f"{where}: {format_.lower()} needed")


def _offer(shape: Shape, given: Parameters, where: str, found: list[str]) -> None:
    if shape.offer == "" and given:
        found.append(f"{where}: the template has none")
    if shape.offer != EXPIRING_OFFER:
        return
    if [word(parameter.type) for parameter in given] != ["limited_time_offer"]:
        found.append(f"{where}: expiration_time_ms needed")


def _carousel(wanted: Sequence[Shape], named: bool, given: Sequence[Card], found: list[str]) -> None:
    # A product carousel is defined by two cards and sent with up to ten (Meta, product card carousel templates).
    products = bool(wanted) and wanted[0].header == "PRODUCT"
    if len(given) != len(wanted) and not (products and given):
        found.append(f"carousel: {count(len(wanted), 'card')} needed, {len(given)} given")
        return
    for card in given:
        index = position(card.card_index)
        if index is not None and index < len(given):  # anything else is no well-formed message
            shape = wanted[0] if products else wanted[index]
            _fit(shape, named, card.components or [], f"card {index}, ", found)
