"""Do the parameters of a text fit its variables? Pure.

Source: Meta, Cloud API, messages (parameter object); error codes 132000, 132005, 132012.
"""

from collections.abc import Sequence

from services.router.template_sent import Parameter, Parameters, count, string, word


def check_texts(
    wanted: Sequence[str],
    named: bool,
    given: Parameters,
    where: str,
    found: list[str],
    *,
    longest: int | None = None,
) -> None:
    """Append the problems of a text's parameters, given by position or by name; none is longer than `longest` characters, where this text has a limit of its own."""
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


def _text_problem(parameter: Parameter, longest: int | None) -> str | None:
    """What is wrong with a parameter that stands in a text (a currency or a point in time too), if anything."""
    if word(parameter.type) not in ("text", "currency", "date_time"):
        return "must be of type text, currency or date_time"
    if longest is not None and len(string(parameter.text)) > longest:
        return f"is longer than {longest} characters"
    return None
