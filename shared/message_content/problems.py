"""What is wrong with a message's content: pydantic's errors in, problems in the platform's words out, each with the place in the JSON. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

Place = tuple[str | int, ...]
"""The way to a value: names of members and positions in lists."""

MAX_PROBLEMS = 20
"""More help nobody; the rest shows once these are mended."""
_RULE = "content_rule"
_KINDS: Mapping[str, str] = {
    "bool": "must be true or false",
    "dict": "must be an object",
    "float": "must be a number",
    "int": "must be a whole number",
    "list": "must be a list",
    "model": "must be an object",
    "string": "must be text",
}


class Problem(NamedTuple):
    """One rule that a message breaks."""

    path: str
    """The place in the message, such as `interactive.action.buttons[3]`; "" is the message itself."""
    rule: str
    """What must hold there."""
    limit: int | None = None
    """The number in the rule, where there is one."""

    def __str__(self) -> str:
        return f"{self.path}: {self.rule}" if self.path else self.rule

    def under(self, place: str) -> "Problem":
        """The same problem of a message that is itself the member `place` of something."""
        return self._replace(path=f"{place}.{self.path}" if self.path else place)


def broken(rule: str, *at: str | int, limit: int | None = None) -> PydanticCustomError:
    """The error of a model whose fields break a rule together; `at` is the way from the model to where it shows."""
    return PydanticCustomError(_RULE, "{rule}", {"rule": rule, "at": at, "limit": limit})


def problems_of(error: ValidationError, place: Place = ()) -> list[Problem]:
    """The first problems of a value that stands at `place` in the message. What was written is not repeated: it is somebody's data."""
    errors = error.errors(include_url=False, include_input=False)
    return [_problem(each, place) for each in errors[:MAX_PROBLEMS]]


def path_of(place: Place) -> str:
    """A place as problems show it. What stands in angle brackets is the tag of a union, no place."""
    parts = [part for part in place if not (isinstance(part, str) and part.startswith("<"))]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def _problem(error: ErrorDetails, above: Place) -> Problem:
    place, context = (*above, *error["loc"]), error.get("ctx", {})
    kind = error["type"]
    if kind == _RULE:
        return Problem(path_of((*place, *context["at"])), context["rule"], context["limit"])
    if kind == "missing":
        return Problem(path_of(place), "is required")
    if kind == "too_long":
        most: int = context["max_length"]
        return Problem(path_of((*place, most)), f"at most {_count(most, place)}", most)
    if kind == "too_short":
        least: int = context["min_length"]
        return Problem(path_of(place), f"at least {_count(least, place)}", least)
    if kind in ("less_than_equal", "greater_than_equal"):
        word, number = ("at most", context.get("le")) if "le" in context else ("at least", context.get("ge"))
        return Problem(path_of(place), f"{word} {number}", number)
    if kind == "string_too_long":
        longest: int = context["max_length"]
        return Problem(path_of(place), f"at most {longest} characters", longest)
    if kind == "string_too_short":
        return _too_short(place, context)
    if kind == "string_pattern_mismatch":
        return Problem(path_of(place), f"must be of the form {context['pattern'].strip('^$')}")
    if kind == "literal_error":
        return Problem(path_of(place), f"must be {context['expected']}")
    known = _KINDS.get(kind.removesuffix("_type"))
    return Problem(path_of(place), known or error["msg"].lower())


def _too_short(place: Place, context: Mapping[str, Any]) -> Problem:
    least: int = context["min_length"]
    return Problem(
        path_of(place), "must not be empty" if least == 1 else f"at least {least} characters", least
    )


def _count(number: int, place: Place) -> str:
    """`3 buttons`, by the name of the list, which is a plural."""
    noun = next((part for part in reversed(place) if isinstance(part, str)), "items")
    return f"{number} {noun.removesuffix('s') if number == 1 else noun}"
