"""Registering a number with the Cloud API: what a call changes, and what Meta objects to. Pure.

Source: Meta, Cloud API, phone numbers (request_code, verify_code, register); error codes 133006, 136025.
"""

from typing import Any

from services.simulator.accounts import Number
from services.simulator.errors import GraphError

CODE = "123456"
"""The one-time code of every fake number."""


def request_code(number: Number, body: dict[str, Any]) -> GraphError | None:
    """Let Meta send the number a code."""
    if body.get("code_method") not in ("SMS", "VOICE") or not body.get("language"):
        return GraphError(100, "code_method must be SMS or VOICE, and language is required.")
    number.code_requested = True
    return None


def verify_code(number: Number, body: dict[str, Any]) -> GraphError | None:
    """Prove by the code that the number is ours."""
    if not number.code_requested or body.get("code") != CODE:
        return GraphError(136025, "The code is wrong, or none was requested.")
    number.code_verified = True
    return None


def register(number: Number, body: dict[str, Any]) -> GraphError | None:
    """Let the number send and receive over the Cloud API."""
    pin = body.get("pin")
    if body.get("messaging_product") != "whatsapp" or not (
        isinstance(pin, str) and len(pin) == 6 and pin.isdecimal()
    ):
        return GraphError(100, "messaging_product must be whatsapp, and pin six digits.")
    if not number.code_verified:
        return GraphError(133006, "The phone number needs to be verified before it is registered.")
    number.registered = True
    return None


CALLS = {"request_code": request_code, "verify_code": verify_code, "register": register}
