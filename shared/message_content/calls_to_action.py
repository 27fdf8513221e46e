"""Interactive messages that lead somewhere: a link, a flow, a location or an address asked for, a call. Pure.

Source: Meta, Cloud API, interactive CTA URL messages, flows, location request messages, address messages; Meta, Calling API.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import StringConstraints, model_validator

from shared.message_content.headers import Body, Footer, Framed, Header
from shared.message_content.limits import MAX_BUTTON_TITLE
from shared.message_content.parts import Part, WebLink, Written
from shared.message_content.problems import broken

Label = Annotated[str, StringConstraints(min_length=1, max_length=MAX_BUTTON_TITLE)]


class UrlParameters(Part):
    """A link's label and address."""

    display_text: Label
    url: WebLink


class UrlAction(Part):
    """A button that opens a link."""

    name: Literal["cta_url"]
    parameters: UrlParameters


class UrlMessage(Framed):
    """A text with a link as a button."""

    action: UrlAction


class FlowPayload(Part):
    """The screen a flow begins with."""

    screen: str | None = None
    data: dict[str, Any] | None = None


class FlowParameters(Part):
    """Which flow, and how it begins. Meta advises 30 characters for `flow_cta` and refuses no more."""

    flow_message_version: Written
    flow_id: Written | None = None
    flow_name: Written | None = None
    flow_cta: Written
    flow_token: str | None = None
    mode: str | None = None
    flow_action: str | None = None
    flow_action_payload: FlowPayload | None = None

    @model_validator(mode="after")
    def _one_flow(self) -> Self:
        if self.flow_id is None and self.flow_name is None:
            raise broken("either `flow_id` or `flow_name` is required")
        if self.flow_id is not None and self.flow_name is not None:
            raise broken("either `flow_id` or `flow_name`, not both")
        return self


class FlowAction(Part):
    """A button that opens a flow."""

    name: Literal["flow"]
    parameters: FlowParameters


class FlowMessage(Framed):
    """A text with a flow behind a button."""

    action: FlowAction


class LocationRequestAction(Part):
    """A button that sends one's location."""

    name: Literal["send_location"]


class LocationRequest(Framed):
    """A text that asks for a location."""

    action: LocationRequestAction


class AddressParameters(Part):
    """Of which country the address is; what is known of it already goes along."""

    country: Written


class AddressAction(Part):
    """A form for an address."""

    name: Literal["address_message"]
    parameters: AddressParameters


class AddressMessage(Framed):
    """A text that asks for an address."""

    action: AddressAction


class CallPermissionAction(Part):
    """A question with two answers."""

    name: Literal["call_permission_request"]


class CallPermissionRequest(Part):
    """Asks whether the business may call; the body may be left out."""

    type: Written
    header: Header | None = None
    body: Body | None = None
    footer: Footer | None = None
    action: CallPermissionAction


class VoiceCallParameters(Part):
    """The button's label."""

    display_text: Label | None = None


class VoiceCallAction(Part):
    """A button that calls the business."""

    name: Literal["voice_call"]
    parameters: VoiceCallParameters | None = None


class VoiceCall(Framed):
    """A text with a button that calls the business."""

    action: VoiceCallAction
