"""A template to submit: YAML text in, the body of Meta's call out, or problems with their path and line. Pure.

Checks what Meta would refuse (or reject at the review) without a look at the content. What this does not know passes: Meta has more kinds of
components than are listed here. Source: Meta, Cloud API, message templates (components, limits, examples).
"""

import re
from collections.abc import Iterator
from typing import Any, TypeGuard

from services.console.document import InvalidDocument, Path, Problem, line_of, load, written

Fault = tuple[Path, str]
Json = dict[str, Any]

FIELDS = frozenset(
    {
        "name",
        "language",
        "category",
        "parameter_format",
        "components",
        "allow_category_change",
        "message_send_ttl_seconds",
    }
)
CATEGORIES = ("MARKETING", "UTILITY", "AUTHENTICATION")
TTL_S = {"AUTHENTICATION": (30, 900), "UTILITY": (30, 43_200), "MARKETING": (43_200, 2_592_000)}
"""How long Meta may try to deliver, least and most; -1 is 30 days, not for marketing."""
HEADER_FORMATS = ("TEXT", "IMAGE", "VIDEO", "GIF", "DOCUMENT", "LOCATION")
BUTTONS = 10
BUTTONS_OF = {"URL": 2, "PHONE_NUMBER": 1, "COPY_CODE": 1}
LONGEST_HEADER, LONGEST_BODY, LONGEST_FOOTER = 60, 1024, 60
LONGEST_LABEL, LONGEST_URL, LONGEST_PHONE, LONGEST_CODE = 25, 2000, 20, 15

_NAME = re.compile(r"[a-z0-9_]{1,512}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z]{2})?")
_VARIABLE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]*")


def parse(text: str) -> Json:
    """Read and check a template file; what it gives goes to Meta as it is, but for the upper case of Meta's words.

    Raises:
        InvalidDocument: with every problem found.
    """
    lines: dict[Path, int] = {}
    template = load(text, lines)
    if not isinstance(template, dict):
        raise InvalidDocument(
            (Problem(1, "", "a template is a mapping: name, language, category, components"),)
        )
    faults = list(_faults(template))
    if faults:
        raise InvalidDocument(
            tuple(sorted(Problem(line_of(path, lines), written(path), fault) for path, fault in faults))
        )
    return template | {"category": template["category"].upper()}


def _faults(template: Json) -> Iterator[Fault]:
    for field in template.keys() - FIELDS:
        yield (str(field),), f"unknown field; there are {', '.join(sorted(FIELDS))}"
    if not _matches(_NAME, template.get("name")):
        yield ("name",), "lower-case letters, digits and underscores, at most 512"
    if not _matches(_LANGUAGE, template.get("language")):
        yield ("language",), "a language like de or en_US"
    category = _upper(template.get("category"))
    if category not in CATEGORIES:
        yield ("category",), f"one of {', '.join(CATEGORIES)}"
    if not isinstance(template.get("allow_category_change", True), bool):
        yield ("allow_category_change",), "true or false"
    if "message_send_ttl_seconds" in template and category in TTL_S:
        yield from _ttl_faults(template["message_send_ttl_seconds"], category)
    form = _upper(template.get("parameter_format", "POSITIONAL"))
    if form not in ("NAMED", "POSITIONAL"):
        yield ("parameter_format",), "named or positional"
    components = template.get("components")
    if not _objects(components):
        yield ("components",), "a list of components, each with a type"
        return
    yield from _component_faults(components, category, named=form == "NAMED")


def _ttl_faults(ttl: Any, category: str) -> Iterator[Fault]:
    least, most = TTL_S[category]
    whole = isinstance(ttl, int) and not isinstance(ttl, bool)
    if not whole or not (least <= ttl <= most or (ttl == -1 and category != "MARKETING")):
        yield ("message_send_ttl_seconds",), f"{least} to {most} seconds for {category}"


def _component_faults(components: list[Json], category: str, *, named: bool) -> Iterator[Fault]:
    kinds = [_upper(component.get("type")) for component in components]
    if "BODY" not in kinds:
        yield ("components",), "a BODY is missing"
    for index, (kind, component) in enumerate(zip(kinds, components, strict=True)):
        path: Path = ("components", index)
        if not kind:
            yield path, "the type is missing"
        elif kind in kinds[:index]:
            yield path, f"a second {kind}"
        elif kind == "HEADER":
            yield from _header_faults(path, component, named)
        elif (
            kind == "BODY" and category != "AUTHENTICATION"
        ):  # Meta writes the text of one-time passwords itself
            yield from _text_faults(path, component, LONGEST_BODY)
            yield from _variable_faults(path, component, "body_text", named)
        elif kind == "FOOTER" and category != "AUTHENTICATION":
            yield from _text_faults(path, component, LONGEST_FOOTER)
            if _VARIABLE.search(str(component.get("text"))):
                yield (*path, "text"), "a footer has no variables"
        elif kind == "BUTTONS":
            yield from _buttons_faults(path, component.get("buttons"))


def _header_faults(path: Path, header: Json, named: bool) -> Iterator[Fault]:
    form = _upper(header.get("format"))
    if form not in HEADER_FORMATS:
        yield (*path, "format"), f"one of {', '.join(HEADER_FORMATS)}"
    elif form == "TEXT":
        yield from _text_faults(path, header, LONGEST_HEADER)
        if len(_VARIABLE.findall(str(header.get("text")))) > 1:
            yield (*path, "text"), "a header has at most one variable"
        yield from _variable_faults(path, header, "header_text", named)
    elif form != "LOCATION" and not _example(header, "header_handle"):
        yield (*path, "example"), "a sample is missing: header_handle, from Meta's Resumable Upload API"


def _text_faults(path: Path, component: Json, longest: int) -> Iterator[Fault]:
    text = component.get("text")
    if not isinstance(text, str) or not text.strip():
        yield (*path, "text"), "a text is missing"
    elif len(text) > longest:
        yield (*path, "text"), f"{len(text)} characters, at most {longest} are allowed"


def _variable_faults(path: Path, component: Json, example: str, named: bool) -> Iterator[Fault]:
    """Variables are numbered from 1 on, or named; each has an example."""
    names = list(dict.fromkeys(_VARIABLE.findall(str(component.get("text", "")))))
    if not names:
        return
    if named:
        if wrong := [name for name in names if not _PARAMETER.fullmatch(name)]:
            yield (*path, "text"), f"no name of a parameter: {{{{{wrong[0]}}}}}"
        given = _example(component, f"{example}_named_params")
        told = {item.get("param_name") for item in given if isinstance(item, dict) and item.get("example")}
        if missing := [name for name in names if name not in told]:
            yield (*path, "example"), f"no example for {{{{{missing[0]}}}}} in {example}_named_params"
        return
    if names != [str(number) for number in range(1, len(names) + 1)]:
        yield (
            (*path, "text"),
            "variables are {{1}}, {{2}} and so on, in this order; or set parameter_format: named",
        )
    values = _example(component, example)
    if example == "body_text":  # one list of values within the list
        values = values[0] if values and isinstance(values[0], list) else []
    if len(values) != len(names):
        yield (*path, "example"), f"{len(names)} examples are needed in {example}, there are {len(values)}"


def _buttons_faults(path: Path, buttons: Any) -> Iterator[Fault]:
    path = (*path, "buttons")
    if not _objects(buttons):
        yield path, "a list of buttons, each with a type"
        return
    kinds = [_upper(button.get("type")) for button in buttons]
    if len(buttons) > BUTTONS:
        yield path, f"{len(buttons)} buttons, at most {BUTTONS} are allowed"
    for kind, most in BUTTONS_OF.items():
        if kinds.count(kind) > most:
            yield path, f"{kinds.count(kind)} buttons of type {kind}, at most {most} allowed"
    runs = sum(
        kind == "QUICK_REPLY" and (index == 0 or kinds[index - 1] != "QUICK_REPLY")
        for index, kind in enumerate(kinds)
    )
    if runs > 1:
        yield path, "quick replies must stand together, not between other buttons"
    for index, (kind, button) in enumerate(zip(kinds, buttons, strict=True)):
        yield from _button_faults((*path, index), kind, button)


def _button_faults(path: Path, kind: str, button: Json) -> Iterator[Fault]:
    if kind in ("QUICK_REPLY", "URL", "PHONE_NUMBER"):
        yield from _text_faults(path, button, LONGEST_LABEL)
    if kind == "URL":
        yield from _url_faults(path, button)
    elif kind == "PHONE_NUMBER":
        phone = button.get("phone_number")
        if not isinstance(phone, str) or not 0 < len(phone) <= LONGEST_PHONE:
            yield (*path, "phone_number"), f"a number of at most {LONGEST_PHONE} characters, in quotes"
    elif kind == "COPY_CODE":
        code = button.get("example")
        code = code[0] if isinstance(code, list) and code else code
        if not isinstance(code, str) or not 0 < len(code) <= LONGEST_CODE:
            yield (*path, "example"), f"an example of the code, at most {LONGEST_CODE} characters, in quotes"
    elif not kind:
        yield path, "the type is missing"


def _url_faults(path: Path, button: Json) -> Iterator[Fault]:
    url = button.get("url")
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        yield (*path, "url"), "an address that begins with https:// is missing"
        return
    if len(url) > LONGEST_URL:
        yield (*path, "url"), f"{len(url)} characters, at most {LONGEST_URL} are allowed"
    variables = list(_VARIABLE.finditer(url))
    if len(variables) > 1 or (variables and variables[0].end() != len(url)):
        yield (*path, "url"), "one variable is allowed, at the end of the address"
    if variables and not button.get("example"):
        yield (*path, "example"), "an example of the whole address is missing"


def _example(component: Json, name: str) -> list[Any]:
    example = component.get("example")
    values = example.get(name) if isinstance(example, dict) else None
    return values if isinstance(values, list) else []


def _objects(value: Any) -> TypeGuard[list[Json]]:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _upper(value: Any) -> str:
    return value.upper() if isinstance(value, str) else ""


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
