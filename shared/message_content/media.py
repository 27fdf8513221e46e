"""Media messages: image, video, audio, document, sticker, each by id or by link. Pure.

Sizes and formats show only in the file itself, which Meta looks at. Source: Meta, Cloud API, media messages.
"""

from typing import Annotated, Self

from pydantic import StringConstraints, model_validator

from shared.message_content.limits import MAX_CAPTION
from shared.message_content.parts import Id, Part, WebLink
from shared.message_content.problems import broken

Caption = Annotated[str, StringConstraints(max_length=MAX_CAPTION)]


class Media(Part):
    """A file: either uploaded before (`id`) or fetched by Meta (`link`)."""

    id: Id | None = None
    link: WebLink | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.id is None and self.link is None:
            raise broken("either `id` or `link` is required")
        if self.id is not None and self.link is not None:
            raise broken("either `id` or `link`, not both")
        return self


class Captioned(Media):
    """An image or a video."""

    caption: Caption | None = None


class Document(Captioned):
    """A file with a name."""

    filename: str | None = None


class _Uncaptioned(Media):
    @model_validator(mode="after")
    def _no_caption(self) -> Self:
        if (self.model_extra or {}).get("caption") is not None:
            raise broken("only images, videos and documents have one", "caption")
        return self


class Audio(_Uncaptioned):
    """A sound file, or (`voice`) a voice message."""

    voice: bool | None = None


class Sticker(_Uncaptioned):
    """A sticker."""
