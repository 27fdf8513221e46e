"""Do the parameters of a text fit its variables? Pure.

Source: Meta, Cloud API, messages (parameter object); error codes 132000, 132005, 132012, 132018.
"""

import re
from collections.abc import Sequence

from services.router.template_sent import Parameter, Parameters, count, string, word

_UNREADABLE = re.compile(r"[\n\r\t]| {5}")
"""Meta refuses these in a parameter: line breaks, tabs, more than four spaces in a row."""


def check_texts(
    wanted: Sequence[str], named: bool, given: Parameters, where: str, longest: int, found: list[str]
) -> None:
    """Append the problems of a text's parameters, given by position or by name; none is longer than `longest` characters."""
    if named and wanted:
        names = [parameter.parameter_name for parameter in given]
        if any(not isinstance(name, str) or not name for name in names):
            found.append(f"{where}: each parameter needs its parameter_name")
        known = [name for name in names if isinstance(name, str) and name]
        found += [f"{where}: parameter `{name}` missing" for name in wanted if name not in known]
        found += [f"{where}: parameter `{name[:64]}` unknown" for name in known if name not in wanted]
        found += [
            f"{where}: parameter `{name}` given more than once" for name in wanted if known.count(name) > 1
        ]
    elif len(given) != len(wanted):
        found.append(f"{where}: {count(len(wanted))} needed, {len(given)} given")
    for position, parameter in enumerate(given, 1):
        problem = _text_problem(parameter, longest)
        if problem is not None:
            name = parameter.parameter_name
            which = f"`{name[:64]}`" if named and isinstance(name, str) else str(position)
            found.append(f"{where}: parameter {which} {problem}")


def _text_problem(parameter: Parameter, longest: int) -> str | None:
    """What is wrong with a parameter that stands in a text (a currency or a point in time too), if anything."""
    kind = word(parameter.type)
    if kind in ("currency", "date_time"):
        value = getattr(parameter, kind)
        needed = {"fallback_value", "code", "amount_1000"} if kind == "currency" else {"fallback_value"}
        missing = needed - value.keys() if isinstance(value, dict) else needed
        return f"({kind}) lacks {', '.join(sorted(missing))}" if missing else None
    if kind != "text":
        return "must be of type text, currency or date_time"
    text = string(parameter.text)
    if not text:
        return "has no text"
    if len(text) > longest:
        return f"is longer than {longest} characters"
    return "has a line break, a tab or more than four spaces in a row" if _UNREADABLE.search(text) else None
