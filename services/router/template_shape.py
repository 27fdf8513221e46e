"""Does a message fit its template? The template's shape and the message in, precise problems out, none if it fits. Pure.

Liberal where Meta is: components stand in any order, words in any case, types of components, headers and buttons that are not known here are let through, and
so is what is not known of the shape. Exact where Meta refuses: number, names, types and length of parameters, index and type of buttons, cards.
Source: Meta, Cloud API, messages (template object), error codes 132000, 132005, 132012, 132018, 131008; Meta, authentication, carousel, limited-time
offer, catalog, multi-product and flow templates.
"""

from collections.abc import Callable, Sequence

import msgspec

from services.router.template_buttons import MAX_CODE, check_buttons
from services.router.template_sent import (
    Card,
    Component,
    Parameter,
    Parameters,
    Template,
    count,
    decode_message,
    decode_template,
    is_time,
    position,
    word,
)
from services.router.template_texts import check_texts
from shared.template_definition import EXPIRING_OFFER, OTP, Shape

MAX_HEADER, MAX_BODY, MAX_BODY_ALONE = 60, 1024, 32_768
"""Characters of a text parameter; a body alone is one without any other component in the message."""
MAX_PROBLEMS = 10
"""More help nobody; the rest shows once these are mended."""
_MEDIA = {"IMAGE": ("image",), "VIDEO": ("video",), "DOCUMENT": ("document",), "GIF": ("gif", "video")}
_ONCE = frozenset({"header", "body", "carousel", "limited_time_offer"})


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
    alone = all(word(component.type) == "body" for component in components)
    found: list[str] = []
    _fit(shape, shape.named, components, "", MAX_BODY_ALONE if alone else MAX_BODY, found)
    return tuple(found[:MAX_PROBLEMS])


def _fit(
    shape: Shape, named: bool, components: Sequence[Component], where: str, longest: int, found: list[str]
) -> None:
    """Append the problems of a template's components, or of one card's; `where` is "" or names the card."""
    once: dict[str, Component] = {}
    buttons: list[Component] = []
    for component in components:
        kind = word(component.type)
        if kind == "button":
            buttons.append(component)
        elif not kind:
            found.append(f"{where}component: `type` missing")
        elif kind in once and kind in _ONCE:
            found.append(f"{where}{kind}: given more than once")
        else:
            once[kind] = component
    parameters = {kind: component.parameters or [] for kind, component in once.items()}
    _header(shape, named, parameters.get("header", []), f"{where}header", found)
    body = parameters.get("body", [])
    password = any(button.type == OTP for button in shape.buttons or [])
    check_texts(shape.body, named, body, f"{where}body", MAX_CODE if password else longest, found)
    if shape.buttons is not None:
        check_buttons(shape.buttons, body, buttons, where, found)
    _offer(shape, parameters.get("limited_time_offer", []), f"{where}limited_time_offer", found)
    if shape.cards is not None:
        carousel = once.get("carousel")
        _carousel(shape.cards, named, (carousel and carousel.cards) or [], found)


def _header(shape: Shape, named: bool, given: Parameters, where: str, found: list[str]) -> None:
    format_ = shape.header
    if format_ in ("", "TEXT"):
        check_texts(shape.header_variables, named, given, where, MAX_HEADER, found)
    elif format_ in _MEDIA or format_ == "LOCATION":
        if len(given) > 1:
            found.append(f"{where}: 1 parameter needed, {len(given)} given")
        elif not given or not _is_header(format_, given[0]):
            with_ = "latitude and longitude" if format_ == "LOCATION" else "id or link"
            found.append(f"{where}: {format_.lower()} needed, with {with_}")


def _is_header(format_: str, parameter: Parameter) -> bool:
    kind = word(parameter.type)
    if format_ == "LOCATION":
        place = parameter.location
        return kind == "location" and isinstance(place, dict) and {"latitude", "longitude"} <= place.keys()
    if kind not in _MEDIA[format_]:
        return False
    medium = getattr(parameter, kind)
    return isinstance(medium, dict) and bool(medium.get("id") or medium.get("link"))


def _offer(shape: Shape, given: Parameters, where: str, found: list[str]) -> None:
    if shape.offer == "" and given:
        found.append(f"{where}: the template has none")
    if shape.offer != EXPIRING_OFFER:
        return
    offer = given[0].limited_time_offer if len(given) == 1 else None
    expires = offer.get("expiration_time_ms") if isinstance(offer, dict) else None
    if word(given[0].type if given else None) != "limited_time_offer" or not is_time(expires):
        found.append(f"{where}: expiration_time_ms needed")


def _carousel(wanted: Sequence[Shape], named: bool, given: Sequence[Card], found: list[str]) -> None:
    # A product carousel is defined by two cards and sent with up to ten (Meta, product card carousel templates).
    products = bool(wanted) and wanted[0].header == "PRODUCT"
    if len(given) != len(wanted) and not (products and given):
        found.append(f"carousel: {count(len(wanted), 'card')} needed, {len(given)} given")
        return
    seen: set[int] = set()
    for card in given:
        index = position(card.card_index)
        if index is None or index in seen or index >= len(given):
            found.append("carousel: each card needs its own `card_index`, from 0")
            continue
        seen.add(index)
        shape = wanted[0] if products else wanted[index]
        _fit(shape, named, card.components or [], f"card {index}, ", MAX_BODY, found)
