"""Do a message's buttons fit the template's? Pure.

Source: Meta, Cloud API, messages (button components); error codes 131008 (a button requires a parameter), 132018.
"""

from collections.abc import Callable, Mapping, Sequence

from services.router.template_sent import Component, Parameters, count, position, string, word
from shared.template_definition import OTP, Button

MAX_CODE = 15
"""Characters of a one-time password (Meta, authentication templates)."""


def check_buttons(
    buttons: Sequence[Button], body: Parameters, components: Sequence[Component], where: str, found: list[str]
) -> None:
    """Append the problems of the button components; `body` holds the body's parameters, for the code of a one-time password."""
    given: dict[int, Component] = {}
    for component in components:
        index = position(component.index)
        if index is not None and index >= len(buttons):
            found.append(f"{where}button {index}: the template has {count(len(buttons), 'button')}")
        elif index is not None:
            given[index] = component
    for index, button in enumerate(buttons):
        at = f"{where}button {index} ({button.type.lower()})"
        problem = _button_problem(button, body, given.get(index))
        if problem is not None:
            found.append(f"{at}: {problem}")


def _button_problem(button: Button, body: Parameters, given: Component | None) -> str | None:
    rule = _RULES.get("STATIC_URL" if button.type == "URL" and not button.variable else button.type)
    if rule is None:
        return None  # a type that is not known here, or of which nothing is asked
    sub_type, required, check = rule
    if given is None:
        return f"{required} missing" if required else None
    if word(given.sub_type) != sub_type:
        return f"`sub_type` must be {sub_type}" if sub_type else "takes no parameters"
    return check(given.parameters or [], body)


def _url(given: Parameters, _: Parameters) -> str | None:
    if len(given) != 1 or word(given[0].type) != "text":
        return "text parameter missing" if len(given) < 2 else f"1 parameter needed, {len(given)} given"
    return None


def _otp(given: Parameters, body: Parameters) -> str | None:
    problem = _url(given, body)
    if problem is None and len(string(given[0].text)) > MAX_CODE:
        return f"the code is longer than {MAX_CODE} characters"
    if problem is None and body and string(given[0].text) != string(body[0].text):
        return "the code is not the one of the body"
    return problem


def _static_url(given: Parameters, _: Parameters) -> str | None:
    return "takes no parameters" if given else None


def _quick_reply(given: Parameters, _: Parameters) -> str | None:
    """A quick reply may do without."""
    fits = not given or [word(parameter.type) for parameter in given] == ["payload"]
    return None if fits else "one parameter of type payload needed"


def _copy_code(given: Parameters, _: Parameters) -> str | None:
    fits = [word(parameter.type) for parameter in given] == ["coupon_code"]
    return None if fits else "coupon_code parameter missing"


def _action(given: Parameters, _: Parameters) -> str | None:
    """Optional with a catalog and a flow."""
    fits = not given or [word(parameter.type) for parameter in given] == ["action"]
    return None if fits else "one parameter of type action needed"


def _mpm(given: Parameters, body: Parameters) -> str | None:
    problem = _action(given, body) if given else "action parameter missing"
    action = given[0].action if problem is None else {}
    if problem is None and not (isinstance(action, dict) and action.get("sections")):
        return "action has no sections"
    return problem


def _order(given: Parameters, body: Parameters) -> str | None:
    return _action(given, body) if given else "action parameter missing"


_Rule = tuple[str, str, Callable[[Parameters, Parameters], str | None]]
_RULES: Mapping[str, _Rule] = {
    "URL": ("url", "text parameter", _url),
    "STATIC_URL": ("url", "", _static_url),
    OTP: ("url", "text parameter", _otp),
    "QUICK_REPLY": ("quick_reply", "", _quick_reply),
    "COPY_CODE": ("copy_code", "coupon_code parameter", _copy_code),
    "FLOW": ("flow", "component", _action),
    "CATALOG": ("catalog", "", _action),
    "MPM": ("mpm", "action parameter", _mpm),
    "ORDER_DETAILS": ("order_details", "action parameter", _order),
    "PHONE_NUMBER": ("", "", _static_url),
}
"""By type: the `sub_type` it is sent under, what is missing without its component ("" if nothing), and the check of its parameters."""
