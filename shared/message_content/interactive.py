"""Interactive messages, by their kind. Pure. Source: Meta, Cloud API, interactive messages."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from shared.message_content.calls_to_action import (
    AddressMessage,
    CallPermissionRequest,
    FlowMessage,
    LocationRequest,
    UrlAction,
    UrlMessage,
    VoiceCall,
)
from shared.message_content.choices import Buttons, ListMessage
from shared.message_content.commerce import (
    CatalogMessage,
    OrderDetails,
    OrderStatus,
    ProductAction,
    ProductList,
    ProductMessage,
)
from shared.message_content.headers import Body, Header
from shared.message_content.limits import MAX_CARDS, MIN_CARDS
from shared.message_content.parts import Part, Position, Written, by_type
from shared.message_content.problems import broken


class Card(Part):
    """A card of which nobody here knows the type."""

    card_index: Position
    type: str | None = None
    header: Header | None = None


class UrlCard(Card):
    """A card with a link."""

    action: UrlAction


class ProductCard(Card):
    """A card with a product."""

    action: ProductAction


if TYPE_CHECKING:
    AnyCard = Card
else:
    AnyCard = by_type({"cta_url": UrlCard, "product": ProductCard}, Card)


class CarouselAction(Part):
    """The cards, numbered from 0."""

    cards: Annotated[list[AnyCard], Field(min_length=MIN_CARDS, max_length=MAX_CARDS)]

    @model_validator(mode="after")
    def _numbered(self) -> Self:
        require_numbers([card.card_index for card in self.cards])
        return self


class Carousel(Part):
    """Cards side by side, of media or of products."""

    type: Written
    body: Body
    action: CarouselAction


KINDS: Mapping[str, type[Part]] = {
    "button": Buttons,
    "list": ListMessage,
    "cta_url": UrlMessage,
    "flow": FlowMessage,
    "location_request_message": LocationRequest,
    "address_message": AddressMessage,
    "order_details": OrderDetails,
    "order_status": OrderStatus,
    "product": ProductMessage,
    "product_list": ProductList,
    "catalog_message": CatalogMessage,
    "carousel": Carousel,
    "call_permission_request": CallPermissionRequest,
    "voice_call": VoiceCall,
}
"""By `interactive.type`; another one is carried through."""

if TYPE_CHECKING:
    Interactive = Part
else:
    Interactive = by_type(KINDS)


def require_numbers(indices: list[int]) -> None:
    """Each card has its own number, from 0 on."""
    for place, index in enumerate(indices):
        if not 0 <= index < len(indices) or index in indices[:place]:
            raise broken("each card needs its own number, from 0", "cards", place, "card_index")
