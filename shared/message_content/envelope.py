"""What stands around the content: recipient, reply, options; and the read mark, which has no content. Pure.

Source: Meta, Cloud API, messages; Meta, Marketing Messages API; Meta, typing indicators.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import StringConstraints, model_validator

from shared.message_content.parts import Part, Written
from shared.message_content.problems import broken
from shared.message_content.text import Wamid


class Context(Part):
    """The message that is answered."""

    message_id: Wamid


class _Addressed(Part):
    """What goes to somebody: `to` (a number, or a group's id) or `recipient` (a business-scoped user id)."""

    messaging_product: Literal["whatsapp"]
    to: Written | None = None
    recipient: Written | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_ours(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("biz_opaque_callback_data") is not None:
            raise broken(
                "is set here; label the request by `correlation_id` or `tags`", "biz_opaque_callback_data"
            )
        return value

    @model_validator(mode="after")
    def _has_recipient(self) -> Self:
        if self.to is None and self.recipient is None:
            raise broken("either `to` or `recipient` is required")
        return self


class Envelope(_Addressed):
    """A message without its content."""

    recipient_type: Written = "individual"
    type: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}$")] = "text"
    context: Context | None = None
    recipient_identity_key_hash: Written | None = None
    message_activity_sharing: bool | None = None
    product_policy: Written | None = None

    @model_validator(mode="after")
    def _marketing(self) -> Self:
        if self.product_policy is not None and self.type != "template":
            raise broken("only of templates", "product_policy")
        return self


class TypingIndicator(Part):
    """Shows that the business writes, until it does or for 25 seconds."""

    type: Written


class ReadMark(_Addressed):
    """Marks a user's message as read, and all before it; `to` or `recipient` is who wrote it, and does not go to Meta."""

    status: Literal["read"]
    message_id: Wamid
    typing_indicator: TypingIndicator | None = None
