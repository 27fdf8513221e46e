"""What interactive messages of all kinds have in common: header, body, footer. Pure. Source: Meta, Cloud API, interactive messages."""

from typing import TYPE_CHECKING, Annotated

from pydantic import StringConstraints

from shared.message_content.limits import MAX_FOOTER, MAX_HEADER_TEXT, MAX_INTERACTIVE_BODY
from shared.message_content.media import Document, Media
from shared.message_content.parts import Part, Written, by_type


class TextHeader(Part):
    """A line above the body."""

    type: Written
    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_HEADER_TEXT)]


class ImageHeader(Part):
    """A picture above the body."""

    type: Written
    image: Media


class VideoHeader(Part):
    """A film above the body."""

    type: Written
    video: Media


class DocumentHeader(Part):
    """A file above the body."""

    type: Written
    document: Document


if TYPE_CHECKING:
    Header = Part
else:
    Header = by_type(
        {"text": TextHeader, "image": ImageHeader, "video": VideoHeader, "document": DocumentHeader}
    )


class Body(Part):
    """The text of the message."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_INTERACTIVE_BODY)]


class Footer(Part):
    """A line below the body."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_FOOTER)]


class Framed(Part):
    """An interactive message whose body is required."""

    type: Written
    header: Header | None = None
    body: Body
    footer: Footer | None = None
