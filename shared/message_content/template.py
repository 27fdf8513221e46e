"""Template messages, as far as their form goes; whether they fit the template's own definition is another question. Pure.

Source: Meta, Cloud API, messages (template object); Meta, carousel, limited-time offer, coupon code templates.
"""

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from shared.message_content import limits
from shared.message_content.interactive import require_numbers
from shared.message_content.parts import Part, Position, Written, by_type, word
from shared.message_content.problems import broken
from shared.message_content.template_parameters import Parameter, TextParameter

_ONCE = frozenset({"header", "body", "carousel", "limited_time_offer"})


class Component(Part):
    """A part of the template that is filled in."""

    type: Written
    parameters: Annotated[list[Parameter], Field(max_length=limits.MAX_PARAMETERS)] | None = None


class HeaderComponent(Component):
    """The header."""

    @model_validator(mode="after")
    def _short(self) -> Self:
        require_short(self, limits.MAX_HEADER_PARAMETER)
        return self


class ButtonComponent(Component):
    """A button, by its position in the template."""

    sub_type: Written
    index: Annotated[Position, Field(ge=0, le=limits.MAX_INDEX)]


class CardComponents(Part):
    """A card of a carousel."""

    card_index: Position
    components: "Annotated[list[AnyComponent], Field(max_length=limits.MAX_COMPONENTS)] | None" = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require_consistent(self.components or [], limits.MAX_BODY_PARAMETER)
        return self


class CarouselComponent(Part):
    """The carousel."""

    type: Written
    cards: Annotated[list[CardComponents], Field(min_length=1, max_length=limits.MAX_TEMPLATE_CARDS)]

    @model_validator(mode="after")
    def _numbered(self) -> Self:
        require_numbers([card.card_index for card in self.cards])
        return self


if TYPE_CHECKING:
    AnyComponent = Component
else:
    AnyComponent = by_type(
        {"header": HeaderComponent, "button": ButtonComponent, "carousel": CarouselComponent}, Component
    )


class Language(Part):
    """The template's language."""

    code: Annotated[str, StringConstraints(min_length=limits.MIN_LANGUAGE, max_length=limits.MAX_LANGUAGE)]


class Template(Part):
    """A template by name and language, and what fills it in."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_TEMPLATE_NAME)]
    language: Language
    components: Annotated[list[AnyComponent], Field(max_length=limits.MAX_COMPONENTS)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        components = self.components or []
        alone = all(word(component.type) == "body" for component in components)
        require_consistent(components, limits.MAX_BODY_ALONE if alone else limits.MAX_BODY_PARAMETER)
        return self


def require_consistent(components: list[Any], longest: int) -> None:
    """Each component once, each button once, no text in the body longer than `longest`."""
    seen: set[tuple[str, int]] = set()
    for place, component in enumerate(components):
        kind = word(component.type)
        which = (kind, component.index if kind == "button" else 0)
        if which in seen and (kind in _ONCE or kind == "button"):
            raise broken("given more than once", "components", place)
        seen.add(which)
        if kind == "body":
            require_short(component, longest, "components", place)


def require_short(component: Component, longest: int, *at: str | int) -> None:
    """No text parameter is longer than the place allows."""
    for place, parameter in enumerate(component.parameters or []):
        if isinstance(parameter, TextParameter) and len(parameter.text) > longest:
            raise broken(f"at most {longest} characters", *at, "parameters", place, "text", limit=longest)
