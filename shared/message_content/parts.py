"""What the models of all types are made of: a part that keeps what it does not know, and the forms of ids, links and coordinates. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, Union
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    GetJsonSchemaHandler,
    StringConstraints,
    Tag,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from shared.message_content.problems import broken


class Part(BaseModel):
    """A part of a message. Members that nobody here knows are kept: Meta adds some with every version."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")


class Other(Part):
    """A part of a type that nobody here knows: nothing is asked of it but the type's name."""

    type: Annotated[str, StringConstraints(min_length=1)]


def word(value: object) -> str:
    """One of Meta's words, in lower case; "" for what is none."""
    return value.lower() if isinstance(value, str) else ""


def by_type(kinds: Mapping[str, type[Part]], otherwise: type[Part] = Other) -> Any:
    """The union of the models of `kinds`, chosen by the word in the member `type`; any other word means `otherwise`."""
    tags = {kind: f"<{kind}>" for kind in kinds}

    def kind_of(value: object) -> str:
        return tags.get(word(value.get("type")), "<>") if isinstance(value, dict) else "<>"

    tagged = [Annotated[model, Tag(tags[kind])] for kind, model in kinds.items()]
    return Annotated[
        Union[(*tagged, Annotated[otherwise, Tag("<>")])], Discriminator(kind_of), _InWords(tuple(kinds))
    ]


class _InWords:
    """The JSON Schema of such a union: what is asked depends on the word, and of an unknown one only what is asked of all."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._kinds = kinds

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        *models, otherwise = handler(schema)["oneOf"]
        chosen = [
            {
                "if": {"properties": {"type": {"enum": [kind, kind.upper()]}}, "required": ["type"]},
                "then": model,
            }
            for kind, model in zip(self._kinds, models, strict=True)
        ]
        return {"allOf": [otherwise, *chosen]}


def written(value: object) -> object:
    """A number as text: Meta takes either for an id or a parameter."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _web_link(link: str) -> str:
    try:
        parts = urlsplit(link)
    except ValueError:
        raise broken("must be an http or https URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise broken("must be an http or https URL")
    return link


def _position(value: object) -> object:
    """A position in digits as a number."""
    return int(value) if isinstance(value, str) and len(value) == 1 and value in "0123456789" else value


Written = Annotated[str, StringConstraints(min_length=1)]
"""Text that is not empty."""
Id = Annotated[Written, BeforeValidator(written, json_schema_input_type=Written | int)]
"""An id that Meta gave."""
WebLink = Annotated[str, AfterValidator(_web_link)]
"""An address from which Meta fetches a file, or that a button opens."""
Position = Annotated[int, BeforeValidator(_position, json_schema_input_type=int | str)]
"""A position from 0, as a number or in digits."""
