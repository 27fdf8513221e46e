"""The parameters of template messages, by their kind. Pure.

Source: Meta, Cloud API, messages (parameter object); error codes 131008, 132018.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from shared.message_content import limits
from shared.message_content.location import Location
from shared.message_content.media import Document, Media
from shared.message_content.parts import Part, Written, by_type, written
from shared.message_content.problems import broken

_UNREADABLE = re.compile(r"[\n\r\t]| {5}")


def _readable(text: str) -> str:
    if _UNREADABLE.search(text):
        raise broken("without line breaks, tabs or more than four spaces in a row")
    return text


def _time(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() and value.isascii() else value


class TextParameter(Part):
    """Text, or a number."""

    type: Written
    text: Annotated[
        Written,
        BeforeValidator(written, json_schema_input_type=Written | float),
        AfterValidator(_readable),
    ]
    parameter_name: Written | None = None


class Currency(Part):
    """An amount of money; `amount_1000` is a thousand times of it."""

    fallback_value: Any
    code: Any
    amount_1000: Any


class CurrencyParameter(Part):
    """Money."""

    type: Written
    currency: Currency


class DateTime(Part):
    """A point in time, as text."""

    fallback_value: Any


class DateTimeParameter(Part):
    """A point in time."""

    type: Written
    date_time: DateTime


class ImageParameter(Part):
    """A picture."""

    type: Written
    image: Media


class VideoParameter(Part):
    """A film."""

    type: Written
    video: Media


class GifParameter(Part):
    """A film without sound that repeats."""

    type: Written
    gif: Media


class DocumentParameter(Part):
    """A file."""

    type: Written
    document: Document


class LocationParameter(Part):
    """A place."""

    type: Written
    location: Location


class PayloadParameter(Part):
    """What a quick reply sends back."""

    type: Written
    payload: Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_PAYLOAD)]


class CouponParameter(Part):
    """A code to copy."""

    type: Written
    coupon_code: Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_COUPON)]


class ActionParameter(Part):
    """What a flow, catalog, product or order button does; its form depends on the button."""

    type: Written
    action: dict[str, Any]


class Offer(Part):
    """Until when an offer lasts, epoch milliseconds."""

    expiration_time_ms: Annotated[int, BeforeValidator(_time, json_schema_input_type=int | str), Field(ge=0)]


class OfferParameter(Part):
    """A limited-time offer."""

    type: Written
    limited_time_offer: Offer


if TYPE_CHECKING:
    Parameter = Part
else:
    Parameter = by_type(
        {
            "text": TextParameter,
            "currency": CurrencyParameter,
            "date_time": DateTimeParameter,
            "image": ImageParameter,
            "video": VideoParameter,
            "gif": GifParameter,
            "document": DocumentParameter,
            "location": LocationParameter,
            "payload": PayloadParameter,
            "coupon_code": CouponParameter,
            "action": ActionParameter,
            "limited_time_offer": OfferParameter,
        }
    )
