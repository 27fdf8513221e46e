"""Random template definitions, messages that fit them, and messages with one thing wrong; for the router's check and the fake Meta's alike."""

import copy
import string
from collections.abc import Iterator
from typing import Any, NamedTuple

from hypothesis import strategies as st

Json = dict[str, Any]
MEDIA = ("IMAGE", "VIDEO", "DOCUMENT", "GIF")


class Definition(NamedTuple):
    """A template as Meta's management API gives it."""

    components: list[Json]
    parameter_format: str | None


class Wrong(NamedTuple):
    """A message with one thing wrong: what was done to it, and the component that a problem must name."""

    done: str
    component: str
    template: Json


words = st.text(string.ascii_lowercase, min_size=1, max_size=8)
texts = st.text(string.ascii_letters + "äöü🙂 0123456789", min_size=1, max_size=15).filter(
    lambda t: "     " not in t
)


def _any_case(word: str) -> st.SearchStrategy[str]:
    return st.sampled_from([word.lower(), word.upper(), word.title()])


def _text(names: list[str]) -> str:
    return "Hello " + " and ".join(f"{{{{{name}}}}}" for name in names)


@st.composite
def _names(draw: st.DrawFn, named: bool, most: int) -> list[str]:
    number = draw(st.integers(0, most))
    if not named:
        return [str(position) for position in range(1, number + 1)]
    return draw(st.lists(words, min_size=number, max_size=number, unique=True))


@st.composite
def _button(draw: st.DrawFn) -> Json:
    kinds = (
        "URL",
        "STATIC",
        "QUICK_REPLY",
        "COPY_CODE",
        "FLOW",
        "CATALOG",
        "MPM",
        "ORDER_DETAILS",
        "PHONE_NUMBER",
    )
    kind = draw(st.sampled_from(kinds))
    if kind in ("URL", "STATIC"):
        return {
            "type": "URL",
            "text": "Go",
            "url": "https://example.com/" + ("{{1}}" if kind == "URL" else ""),
        }
    return {"type": draw(_any_case(kind)), "text": "Press"}


@st.composite
def _card(draw: st.DrawFn, named: bool, header: str, buttons: list[Json]) -> Json:
    body = {"type": "body", "text": _text(draw(_names(named, 2)))}
    return {
        "components": [{"type": "header", "format": header}, body, {"type": "buttons", "buttons": buttons}]
    }


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """Any template that Meta would approve, as far as parameters go."""
    if draw(st.integers(0, 9)) == 0:
        bodies: list[Json] = [{"add_security_recommendation": True}, {"text": "*{{1}}* is your code."}]
        body = draw(st.sampled_from(bodies))
        url = "https://www.whatsapp.com/otp/code/?otp_type=COPY_CODE&code=otp{{1}}"
        button = draw(
            st.sampled_from([{"type": "OTP", "otp_type": "COPY_CODE"}, {"type": "URL", "url": url}])
        )
        return Definition([{"type": "BODY", **body}, {"type": "BUTTONS", "buttons": [button]}], None)
    named = draw(st.booleans())
    components: list[Json] = [{"type": draw(_any_case("body")), "text": _text(draw(_names(named, 4)))}]
    header = draw(st.sampled_from(["", "TEXT", "LOCATION", *MEDIA]))
    if header:
        text = {"text": _text(draw(_names(named, 1)))} if header == "TEXT" else {}
        components.append({"type": draw(_any_case("header")), "format": header, **text})
    if draw(st.booleans()):
        components.append({"type": "FOOTER", "text": "Bye"})
    if draw(st.booleans()):
        buttons = draw(st.lists(_button(), min_size=1, max_size=4))
        components.append({"type": "BUTTONS", "buttons": buttons})
    if draw(st.integers(0, 3)) == 0:
        offer = {"text": "Now", "has_expiration": draw(st.booleans())}
        components.append({"type": "LIMITED_TIME_OFFER", "limited_time_offer": offer})
    if draw(st.integers(0, 3)) == 0:
        buttons = draw(st.lists(_button(), max_size=2))
        format_ = draw(st.sampled_from(("IMAGE", "VIDEO")))
        cards = draw(st.lists(_card(named, format_, buttons), min_size=2, max_size=3))
        components.append({"type": "CAROUSEL", "cards": cards})
    return Definition(components, draw(st.sampled_from([None, "named" if named else "POSITIONAL"])))


@st.composite
def fitting(draw: st.DrawFn, definition: Definition) -> Json:
    """A template object that fits."""
    components = draw(_filled(definition.components, _is_named(definition)))
    order = draw(st.permutations(components))
    return {"name": "n", "language": {"code": "de"}, "components": list(order)}


def _is_named(definition: Definition) -> bool:
    if definition.parameter_format is not None:
        return definition.parameter_format.upper() == "NAMED"
    return any(not name.isdecimal() for name in _all_names(definition.components))


def _all_names(components: list[Json]) -> Iterator[str]:
    for component in components:
        yield from names_in(component.get("text", ""))
        for card in component.get("cards", []):
            yield from _all_names(card["components"])


def names_in(text: str) -> list[str]:
    return [piece.partition("}}")[0] for piece in text.split("{{")[1:]]


@st.composite
def _filled(draw: st.DrawFn, components: list[Json], named: bool) -> list[Json]:
    filled: list[Json] = []
    code = draw(texts)
    for component in components:
        kind = component["type"].lower()
        if kind == "body" and "add_security_recommendation" in component:
            filled.append({"type": "body", "parameters": [{"type": "text", "text": code}]})
        elif kind == "body" or component.get("format") == "TEXT":
            names = names_in(component["text"])
            parameters = [draw(_localizable(name, named, code)) for name in names]
            empty_too: bool = draw(st.booleans())
            if parameters or empty_too:
                filled.append({"type": draw(_any_case(kind)), "parameters": parameters})
        elif kind == "header":
            filled.append({"type": "header", "parameters": [draw(_header(component["format"]))]})
        elif kind == "buttons":
            for index, button in enumerate(component["buttons"]):
                filled += draw(_pressed(index, button, code))
        elif kind == "limited_time_offer" and component["limited_time_offer"]["has_expiration"]:
            offer = {
                "type": "limited_time_offer",
                "limited_time_offer": {"expiration_time_ms": 1_800_000_000_000},
            }
            filled.append({"type": kind, "parameters": [offer]})
        elif kind == "carousel":
            cards = [
                {"card_index": index, "components": draw(_filled(card["components"], named))}
                for index, card in enumerate(component["cards"])
            ]
            filled.append({"type": "CAROUSEL", "cards": draw(st.permutations(cards))})
    if any(_is_otp(button) for c in components for button in c.get("buttons", [])):
        for component in filled:
            component["parameters"] = [{"type": "text", "text": code}]
    return filled


def _is_otp(button: Json) -> bool:
    return bool(button["type"] == "OTP") or str(button.get("url", "")).startswith(
        "https://www.whatsapp.com/otp/"
    )


@st.composite
def _localizable(draw: st.DrawFn, name: str, named: bool, code: str) -> Json:
    money = {"fallback_value": "1 €", "code": "EUR", "amount_1000": 1000}
    parameter: Json = draw(
        st.sampled_from([
            {"type": "text", "text": code},
            {"type": "TEXT", "text": 4711},
            {"type": "currency", "currency": money},
            {"type": "date_time", "date_time": {"fallback_value": "today"}},
        ])
    )  # fmt: skip
    return {**parameter, "parameter_name": name} if named else dict(parameter)


@st.composite
def _header(draw: st.DrawFn, format_: str) -> Json:
    kind = format_.lower()
    if kind == "location":
        return {
            "type": kind,
            kind: {"latitude": 52.5, "longitude": "13.4", "name": "Here", "address": "There"},
        }
    return {
        "type": kind,
        kind: draw(st.sampled_from([{"id": "1"}, {"id": 1}, {"link": "https://example.com/a"}])),
    }


@st.composite
def _pressed(draw: st.DrawFn, index: int, button: Json, code: str) -> list[Json]:
    """The component of a button: none, where it needs none."""
    kind = button["type"].upper()
    component: Json = {
        "type": "button",
        "sub_type": draw(_any_case(kind)),
        "index": draw(st.sampled_from([index, str(index)])),
    }
    needed = True
    if kind == "OTP" or "{{" in button.get("url", ""):
        component |= {"sub_type": "url", "parameters": [{"type": "text", "text": code}]}
    elif kind == "QUICK_REPLY":
        component["parameters"], needed = [{"type": "payload", "payload": "p"}], False
    elif kind == "COPY_CODE":
        component["parameters"] = [{"type": "coupon_code", "coupon_code": "SAVE20"}]
    elif kind == "FLOW":
        component |= draw(
            st.sampled_from([{}, {"parameters": [{"type": "action", "action": {"flow_token": "t"}}]}])
        )
    elif kind == "CATALOG":
        component["parameters"], needed = [{"type": "action", "action": {}}], False
    elif kind in ("MPM", "ORDER_DETAILS"):
        component["parameters"] = [{"type": "action", "action": {"sections": [{"title": "t"}]}}]
    else:
        return []
    return [component] if needed or draw(st.booleans()) else []


def mutations(template: Json, named: bool) -> Iterator[Wrong]:
    """Every message with exactly one parameter dropped, added, renamed or retyped."""
    yield from _mutated(template, template["components"], named, "")


def _mutated(template: Json, components: list[Json], named: bool, where: str) -> Iterator[Wrong]:
    for component in components:
        kind = component["type"].lower()
        if kind == "carousel":
            for card in component["cards"]:
                yield from _mutated(template, card["components"], named, f"card {card['card_index']}, ")
            yield _with(template, component, "cards", component["cards"][:-1], "drop a card", "carousel")
            continue
        at = where + (f"button {component['index']}" if kind == "button" else kind)
        parameters = component.get("parameters", [])
        optional = str(component.get("sub_type")).lower() in ("quick_reply", "catalog", "flow")
        for index, parameter in enumerate(parameters):
            rest = parameters[:index] + parameters[index + 1 :]
            if not optional:
                yield _with(template, component, "parameters", rest, "drop", at)
            retyped = [*parameters[:index], {**parameter, "type": "sticker"}, *parameters[index + 1 :]]
            yield _with(template, component, "parameters", retyped, "retype", at)
            if named and kind in ("header", "body") and "parameter_name" in parameter:
                renamed = [
                    *parameters[:index],
                    {**parameter, "parameter_name": "NOBODY"},
                    *parameters[index + 1 :],
                ]
                yield _with(template, component, "parameters", renamed, "rename", at)
        if parameters:
            yield _with(template, component, "parameters", [*parameters, parameters[-1]], "add", at)


def _with(template: Json, component: Json, field: str, value: Any, done: str, at: str) -> Wrong:
    before = component.get(field)
    component[field] = value
    wrong = Wrong(done, at, copy.deepcopy(template))
    component[field] = before
    return wrong
