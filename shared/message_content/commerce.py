"""Interactive messages of shops: products, catalogs, orders. Pure.

Source: Meta, Cloud API, single- and multi-product messages, catalog messages; Meta, payments API, order details, order status.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from shared.message_content import limits
from shared.message_content.choices import SectionTitle, TextOnly, require_titles
from shared.message_content.headers import Body, Footer, Framed
from shared.message_content.parts import Id, Part, Written
from shared.message_content.problems import broken


class ProductAction(Part):
    """A product of a catalog."""

    catalog_id: Id
    product_retailer_id: Id


class ProductMessage(Part):
    """One product; the text may be left out."""

    type: Written
    body: Body | None = None
    footer: Footer | None = None
    action: ProductAction


class ProductItem(Part):
    """A product by the shop's own id."""

    product_retailer_id: Id


class ProductSection(Part):
    """Products under a title."""

    title: SectionTitle | None = None
    product_items: Annotated[list[ProductItem], Field(min_length=1, max_length=limits.MAX_PRODUCTS)]


class ProductListAction(Part):
    """Products of a catalog, in sections."""

    catalog_id: Id
    sections: Annotated[list[ProductSection], Field(min_length=1, max_length=limits.MAX_SECTIONS)]

    @model_validator(mode="after")
    def _products_in_all(self) -> Self:
        most, count = limits.MAX_PRODUCTS, 0
        for place, section in enumerate(self.sections):
            count += len(section.product_items)
            if count > most:
                beyond = len(section.product_items) - (count - most)
                at = ("sections", place, "product_items", beyond)
                raise broken(f"at most {most} products in all sections", *at, limit=most)
        require_titles([section.title for section in self.sections])
        return self


class ProductList(Part):
    """Several products, under a header of text."""

    type: Written
    header: TextOnly
    body: Body
    footer: Footer | None = None
    action: ProductListAction


class CatalogAction(Part):
    """A button that opens the catalog."""

    name: Literal["catalog_message"]


class CatalogMessage(Framed):
    """A text with the catalog behind a button."""

    action: CatalogAction


class Amount(Part):
    """Money: `value` in the smallest part that `offset` makes of a unit."""

    value: int
    offset: int


Reference = Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_REFERENCE)]
"""The shop's own id of an order."""


class Order(Part):
    """What is ordered; its form depends on the country's way of payment."""

    status: Written


class OrderDetailsParameters(Part):
    """What is to be paid."""

    reference_id: Reference
    type: Written
    currency: Written
    total_amount: Amount
    order: Order


class OrderDetailsAction(Part):
    """A button to look at the order and pay."""

    name: Literal["review_and_pay"]
    parameters: OrderDetailsParameters


class OrderDetails(Framed):
    """A text with an order to pay."""

    action: OrderDetailsAction


class OrderStatusParameters(Part):
    """How an order fares."""

    reference_id: Reference
    order: Order


class OrderStatusAction(Part):
    """A button to look at the order."""

    name: Literal["review_order"]
    parameters: OrderStatusParameters


class OrderStatus(Framed):
    """A text that tells how an order fares."""

    action: OrderStatusAction
