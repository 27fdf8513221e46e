"""A send request as `wam send` makes it, and which of its events is the last one to wait for. Pure."""

from typing import Any, Literal

from shared.events import SendEvent

Step = Literal["decided", "accepted", "sent", "delivered", "read"]
STEPS: tuple[str, ...] = ("decided", "accepted", "sent", "delivered", "read", "played")


def text_message(to: str, text: str) -> dict[str, Any]:
    """A free-form message as the Cloud API has it."""
    return {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": text}}


def template_message(to: str, name: str, language: str, parameters: list[str]) -> dict[str, Any]:
    """A template message with its body parameters, as the Cloud API has it."""
    template: dict[str, Any] = {"name": name, "language": {"code": language}}
    if parameters:
        body = [{"type": "text", "text": parameter} for parameter in parameters]
        template["components"] = [{"type": "body", "parameters": body}]
    return {"messaging_product": "whatsapp", "to": to, "type": "template", "template": template}


def is_refused(event: SendEvent) -> bool:
    """Whether the message will certainly not go out."""
    if event.event == "decided" and event.decision is not None:
        return event.decision.final and event.decision.outcome != "allow"
    return event.event in ("failed", "cancelled")


def is_waiting(event: SendEvent) -> bool:
    """Whether the request waits for what passes with time; a later decision is final."""
    return event.event == "decided" and event.decision is not None and not event.decision.final


def is_wanted(event: SendEvent, *, cancels: bool) -> bool:
    """Whether a request has come to what it is for: a message that is not refused, or with `cancels` one taken back."""
    if not cancels:
        return not is_refused(event)
    if event.event == "cancelled":
        return True
    return event.decision is not None and event.decision.reason == "cancelled"


def is_last(event: SendEvent, until: Step) -> bool:
    """Whether nothing is to be waited for after this event: it refuses, or has come as far as `until`."""
    if is_refused(event):
        return True
    if event.event == "decided":
        return until == "decided" and event.decision is not None and event.decision.final
    return event.event in STEPS and STEPS.index(event.event) >= STEPS.index(until)
