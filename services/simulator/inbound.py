"""What a fake user does, writes, calls, prefers: from the control API's body to the items of a webhook. Pure.

Source: Meta, webhooks: messages (contacts and message objects), calls, user_preferences.
"""

from datetime import datetime
from typing import Any, Literal

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


class UserCall(BaseModel):
    """Body of `POST /sim/users/{wa_id}/calls`."""

    model_config = ConfigDict(extra="forbid")

    to: str
    """The phone number id called."""
    id: str | None = Field(None, max_length=128)

    def item(self, call_id: str, wa_id: str, display: str, at: int) -> dict[str, Any]:
        """The `calls` item of a call that begins to ring; `display` is the number called, in digits."""
        return {
            "id": call_id,
            "from": wa_id,
            "to": display,
            "event": "connect",
            "timestamp": str(at),
            "direction": "USER_INITIATED",
            "session": {"sdp_type": "offer", "sdp": "v=0"},
        }


class UserPreference(BaseModel):
    """Body of `POST /sim/users/{wa_id}/preferences`."""

    model_config = ConfigDict(extra="forbid")

    to: str
    """The phone number id whose marketing messages are meant."""
    marketing: Literal["stop", "resume"]

    def item(self, wa_id: str, at: int) -> dict[str, Any]:
        """The `user_preferences` item."""
        return {
            "wa_id": wa_id,
            "detail": f"User requested to {self.marketing} marketing messages",
            "category": "marketing_messages",
            "value": self.marketing,
            "timestamp": at,
        }
