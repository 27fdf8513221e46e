"""Interactive messages that offer a choice: reply buttons and lists. Pure.

Source: Meta, Cloud API, interactive reply buttons messages, interactive list messages.
"""

from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from shared.message_content import limits
from shared.message_content.headers import Footer, Framed, TextHeader
from shared.message_content.parts import Part, Written
from shared.message_content.problems import broken


class Reply(Part):
    """What a button sends back, and what it says."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_BUTTON_ID)]
    title: Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_BUTTON_TITLE)]


class Button(Part):
    """A reply button."""

    type: Written
    reply: Reply


class ButtonAction(Part):
    """Up to three buttons, told apart by their ids and their titles."""

    buttons: Annotated[list[Button], Field(min_length=1, max_length=limits.MAX_BUTTONS)]

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        seen: set[tuple[str, str]] = set()
        for place, button in enumerate(self.buttons):
            for name, value in (("id", button.reply.id), ("title", button.reply.title)):
                if (name, value) in seen:
                    raise broken(
                        "must be another than those of the buttons before", "buttons", place, "reply", name
                    )
                seen.add((name, value))
        return self


class Buttons(Framed):
    """A text with reply buttons."""

    action: ButtonAction


class Row(Part):
    """One thing to choose."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_ROW_ID)]
    title: Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_ROW_TITLE)]
    description: Annotated[str, StringConstraints(max_length=limits.MAX_ROW_DESCRIPTION)] | None = None


SectionTitle = Annotated[str, StringConstraints(max_length=limits.MAX_SECTION_TITLE)]


class Section(Part):
    """Rows under a title."""

    title: SectionTitle | None = None
    rows: Annotated[list[Row], Field(min_length=1, max_length=limits.MAX_ROWS)]


class ListAction(Part):
    """The list behind a button."""

    button: Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_BUTTON_TITLE)]
    sections: Annotated[list[Section], Field(min_length=1, max_length=limits.MAX_SECTIONS)]

    @model_validator(mode="after")
    def _rows_in_all(self) -> Self:
        most, seen, count = limits.MAX_ROWS, set[str](), 0
        for place, section in enumerate(self.sections):
            for row_place, row in enumerate(section.rows):
                at = ("sections", place, "rows", row_place)
                count += 1
                if count > most:
                    raise broken(f"at most {most} rows in all sections", *at, limit=most)
                if row.id in seen:
                    raise broken("must be another than those of the rows before", *at, "id")
                seen.add(row.id)
        require_titles([section.title for section in self.sections])
        return self


class TextOnly(TextHeader):
    """The header of a message that takes no media there."""

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("type") != "text":
            raise broken("must be text", "type")
        return value


class ListBody(Part):
    """The text of a list."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_LIST_BODY)]


class ListMessage(Part):
    """A text with a list to choose from."""

    type: Written
    header: TextOnly | None = None
    body: ListBody
    footer: Footer | None = None
    action: ListAction


def require_titles(titles: list[str | None]) -> None:
    """Sections need titles as soon as there are several."""
    if len(titles) > 1:
        for place, title in enumerate(titles):
            if not title:
                raise broken("is required where there are several sections", "sections", place, "title")
