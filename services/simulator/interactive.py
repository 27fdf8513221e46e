"""Interactive messages: what Meta objects to in each kind, fault by fault. Pure.

Source: Meta, Cloud API, interactive messages; Meta, payments API; Meta, Calling API; error codes 131008, 131009.
"""

from collections.abc import Callable, Mapping
from typing import Any

from services.simulator.content import (
    Check,
    Faults,
    document,
    invalid,
    items,
    link,
    media,
    missing,
    number_or_text,
    text,
    within,
)


def interactive(content: Any, where: str) -> Faults:
    """What is wrong with an interactive message; of a kind that is not known here only its name is asked."""
    yield from text(content, "type", where)
    kind = content.get("type")
    if not isinstance(kind, str) or kind.lower() not in _KINDS:
        return
    kind = kind.lower()
    body = {"list": 4096}.get(kind, 1024)
    yield from within(content, "body", where, _text_of(body), needed=kind not in _BODILESS)
    yield from within(content, "footer", where, _text_of(60), needed=False)
    if kind in ("list", "product_list"):
        yield from within(content, "header", where, _text_header, needed=kind == "product_list")
    elif kind not in _HEADERLESS:
        yield from within(content, "header", where, _header, needed=False)
    yield from within(content, "action", where, _KINDS[kind])


_BODILESS = ("product", "call_permission_request")
_HEADERLESS = ("product", "carousel")


def _text_of(most: int) -> Check:
    def check(part: Any, where: str) -> Faults:
        return text(part, "text", where, most)

    return check


def _text_header(header: Any, where: str) -> Faults:
    if header.get("type") != "text":
        yield invalid(f"{where}['type']", "must be text.")
    yield from text(header, "text", where, 60)


def _header(header: Any, where: str) -> Faults:
    yield from text(header, "type", where)
    kind = str(header.get("type")).lower()
    if kind == "text":
        yield from text(header, "text", where, 60)
    elif kind in ("image", "video", "document"):
        yield from within(header, kind, where, document if kind == "document" else media)


# --- the actions


def _buttons(action: Any, where: str) -> Faults:
    yield from items(action, "buttons", where, 1, 3)
    replies = []
    for place, button in enumerate(_objects(action.get("buttons"))):
        yield from text(button, "type", f"{where}['buttons'][{place}]")
        yield from within(button, "reply", f"{where}['buttons'][{place}]", _reply)
        replies.append(button["reply"] if isinstance(button.get("reply"), dict) else {})
    for name in ("id", "title"):
        given = [reply.get(name, place) for place, reply in enumerate(replies)]
        yield from _distinct(given, f"{where}['buttons']", name)


def _reply(reply: Any, where: str) -> Faults:
    yield from text(reply, "id", where, 256)
    yield from text(reply, "title", where, 20)


def _list(action: Any, where: str) -> Faults:
    yield from text(action, "button", where, 20)
    yield from items(action, "sections", where, 1, 10)
    sections = _objects(action.get("sections"))
    rows = []
    for place, section in enumerate(sections):
        at = f"{where}['sections'][{place}]"
        yield from text(section, "title", at, 24, needed=len(sections) > 1)
        yield from items(section, "rows", at, 1, 10)
        for row in _objects(section.get("rows")):
            yield from text(row, "id", f"{at}['rows']", 200)
            yield from text(row, "title", f"{at}['rows']", 24)
            yield from text(row, "description", f"{at}['rows']", 72, needed=False)
            rows.append(row.get("id"))
    if len(rows) > 10:
        yield invalid(f"{where}['sections']", "must hold at most 10 rows in all.")
    yield from _distinct(rows, f"{where}['sections']")


def _url(action: Any, where: str) -> Faults:
    yield from _named("cta_url", action, where)
    yield from within(action, "parameters", where, _url_parameters)


def _url_parameters(parameters: Any, where: str) -> Faults:
    yield from text(parameters, "display_text", where, 20)
    yield from link(parameters, "url", where)


def _flow(action: Any, where: str) -> Faults:
    yield from _named("flow", action, where)
    yield from within(action, "parameters", where, _flow_parameters)


def _flow_parameters(parameters: Any, where: str) -> Faults:
    yield from text(parameters, "flow_message_version", where)
    yield from text(parameters, "flow_cta", where)
    given = [key for key in ("flow_id", "flow_name") if parameters.get(key) is not None]
    if not given:
        yield missing(f"{where}['flow_id']")
    elif len(given) > 1:
        yield invalid(where, "must have either flow_id or flow_name.")
    for key in given:
        yield from text(parameters, key, where)
    for key in ("flow_token", "mode", "flow_action"):
        yield from text(parameters, key, where, needed=False)
    yield from within(parameters, "flow_action_payload", where, _screen, needed=False)


def _screen(payload: Any, where: str) -> Faults:
    yield from text(payload, "screen", where, needed=False)
    yield from within(payload, "data", where, _anything, needed=False)


def _anything(_: Any, __: str) -> Faults:
    yield from ()


def _address(action: Any, where: str) -> Faults:
    yield from _named("address_message", action, where)
    yield from within(action, "parameters", where, lambda part, at: text(part, "country", at))


def _order_details(action: Any, where: str) -> Faults:
    yield from _named("review_and_pay", action, where)
    yield from within(action, "parameters", where, _order_parameters)


def _order_parameters(parameters: Any, where: str) -> Faults:
    yield from _order_status_parameters(parameters, where)
    for key in ("type", "currency"):
        yield from text(parameters, key, where)
    yield from within(parameters, "total_amount", where, _amount)


def _amount(amount: Any, where: str) -> Faults:
    for key in ("value", "offset"):
        if amount.get(key) is None:
            yield missing(f"{where}['{key}']")
        elif not isinstance(amount[key], int) or isinstance(amount[key], bool):
            yield invalid(f"{where}['{key}']", "must be an integer.")


def _order_status(action: Any, where: str) -> Faults:
    yield from _named("review_order", action, where)
    yield from within(action, "parameters", where, _order_status_parameters)


def _order_status_parameters(parameters: Any, where: str) -> Faults:
    yield from text(parameters, "reference_id", where, 35)
    yield from within(parameters, "order", where, lambda part, at: text(part, "status", at))


def _product(action: Any, where: str) -> Faults:
    for key in ("catalog_id", "product_retailer_id"):
        yield from number_or_text(action, key, where)


def _product_list(action: Any, where: str) -> Faults:
    yield from number_or_text(action, "catalog_id", where)
    yield from items(action, "sections", where, 1, 10)
    sections, count = _objects(action.get("sections")), 0
    for place, section in enumerate(sections):
        at = f"{where}['sections'][{place}]"
        yield from text(section, "title", at, 24, needed=len(sections) > 1)
        yield from items(section, "product_items", at, 1, 30)
        for product in _objects(section.get("product_items")):
            yield from number_or_text(product, "product_retailer_id", at)
            count += 1
    if count > 30:
        yield invalid(f"{where}['sections']", "must hold at most 30 products in all.")


def _carousel(action: Any, where: str) -> Faults:
    yield from items(action, "cards", where, 2, 10)
    cards = _objects(action.get("cards"))
    numbers = {str(card.get("card_index")) for card in cards if not isinstance(card.get("card_index"), bool)}
    if numbers != {str(number) for number in range(len(cards))}:
        yield invalid(f"{where}['cards']", "must be numbered from 0 by card_index.")
    for place, card in enumerate(cards):
        at = f"{where}['cards'][{place}]"
        yield from text(card, "type", at, needed=False)
        yield from within(card, "header", at, _header, needed=False)
        check = {"cta_url": _url, "product": _product}.get(str(card.get("type")).lower())
        if check is not None:
            yield from within(card, "action", at, check)


def _voice_call(action: Any, where: str) -> Faults:
    yield from _named("voice_call", action, where)
    yield from within(action, "parameters", where, _label, needed=False)


def _label(parameters: Any, where: str) -> Faults:
    if parameters.get("display_text") is not None:
        yield from text(parameters, "display_text", where, 20)


def _only_named(name: str) -> Check:
    def check(action: Any, where: str) -> Faults:
        return _named(name, action, where)

    return check


def _named(name: str, action: Any, where: str) -> Faults:
    yield from text(action, "name", where)
    if action.get("name") not in (None, "", name):
        yield invalid(f"{where}['name']", f"must be {name}.")


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _distinct(values: list[Any], where: str, name: str = "id") -> Faults:
    written = [str(value) for value in values]
    if len(set(written)) < len(written):
        yield invalid(where, f"must have unique {name}s.")


_KINDS: Mapping[str, Callable[[Any, str], Faults]] = {
    "button": _buttons,
    "list": _list,
    "cta_url": _url,
    "flow": _flow,
    "location_request_message": _only_named("send_location"),
    "address_message": _address,
    "order_details": _order_details,
    "order_status": _order_status,
    "product": _product,
    "product_list": _product_list,
    "catalog_message": _only_named("catalog_message"),
    "carousel": _carousel,
    "call_permission_request": _only_named("call_permission_request"),
    "voice_call": _voice_call,
}
