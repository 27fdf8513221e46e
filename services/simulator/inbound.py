"""A fake user's message: from the control API's body to the items of a `messages` webhook. Pure.

Source: Meta, webhooks, messages: contacts and message objects.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

_AD = {
    "source_url": "https://fb.me/simulated",
    "source_id": "120210000000000001",
    "source_type": "ad",
    "headline": "Chat with us",
    "body": "Simulated ad",
    "media_type": "image",
    "image_url": "https://fb.me/simulated.jpg",
    "ctwa_clid": "simulated-click",
}


class UserMessage(BaseModel):
    """Body of `POST /sim/users/{wa_id}/messages`; the object named as `type` comes along under that name."""

    model_config = ConfigDict(extra="allow")

    to: str
    """The phone number id written to."""
    type: str = "text"
    text: str | dict[str, Any] | None = None
    id: str | None = Field(None, max_length=128)
    sent_at: float | None = None
    """Epoch seconds or RFC 3339; now if left out."""
    referral: dict[str, Any] | None = None
    """`"ad"` or an object: the user came by a click on an ad."""
    context: dict[str, Any] | None = None
    name: str = "Simulated User"
    bsuid: str | None = None
    hide_phone: bool = False
    """Leave `from` and `wa_id` out, as for a user who hides the number (needs `bsuid`)."""

    @field_validator("sent_at", mode="before")
    @classmethod
    def _epoch(cls, value: object) -> object:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            if at.tzinfo is None:
                raise ValueError("a time needs an offset")
            return at.timestamp()
        return value

    @field_validator("referral", mode="before")
    @classmethod
    def _ad(cls, value: object) -> object:
        return dict(_AD) if value == "ad" else value

    def item(self, wamid: str, wa_id: str, sent_at: int) -> dict[str, Any]:
        """The `messages` item."""
        item: dict[str, Any] = {"id": wamid, "timestamp": str(sent_at), "type": self.type}
        if not self.hide_phone:
            item = {"from": wa_id, **item}
        if self.bsuid is not None:
            item["from_user_id"] = self.bsuid
        if self.context is not None:
            item["context"] = self.context
        if self.referral is not None:
            item["referral"] = self.referral
        if self.type == "text":
            item["text"] = self.text if isinstance(self.text, dict) else {"body": self.text or "Hello"}
        return item | (self.model_extra or {})

    def contact(self, wa_id: str) -> dict[str, Any] | None:
        """The `contacts` item; a system message has none."""
        if self.type == "system":
            return None
        contact: dict[str, Any] = {"profile": {"name": self.name}}
        if not self.hide_phone:
            contact["wa_id"] = wa_id
        if self.bsuid is not None:
            contact["user_id"] = self.bsuid
        return contact
