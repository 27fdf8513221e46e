"""The Cloud API's errors: from a code to the answer's status and body, and to a webhook's `errors` item. Pure.

Source: Meta, Cloud API, error codes. HTTP statuses are those of the older table that still listed them.
"""

from dataclasses import dataclass
from typing import Any

_HREF = "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"

# code: (HTTP status, title)
_TABLE: dict[int, tuple[int, str]] = {
    0: (401, "AuthException"),
    1: (400, "API Unknown"),
    2: (503, "API Service"),
    3: (500, "API Method"),
    4: (400, "API Too Many Calls"),
    10: (403, "Permission Denied"),
    33: (400, "Parameter value is not valid"),
    100: (400, "Invalid parameter"),
    190: (401, "Access token has expired"),
    200: (403, "API Permission"),
    368: (403, "Temporarily blocked for policies violations"),
    80007: (400, "Rate limit issues"),
    80008: (400, "There have been too many calls to this WhatsApp Business account"),
    130403: (400, "The business has blocked the user"),
    130429: (400, "Rate limit hit"),
    130472: (400, "User's number is part of an experiment"),
    130497: (403, "Business account is restricted from messaging users in this country"),
    131000: (500, "Something went wrong"),
    131005: (403, "Access denied"),
    131008: (400, "Required parameter is missing"),
    131009: (400, "Parameter value is not valid"),
    131016: (500, "Service unavailable"),
    131021: (400, "Recipient cannot be sender"),
    131026: (400, "Message undeliverable"),
    131030: (400, "Recipient phone number not in allowed list"),
    131031: (403, "Account has been locked"),
    131037: (400, "Display name approval required"),
    131042: (400, "Business eligibility payment issue"),
    131045: (500, "Incorrect certificate"),
    131047: (400, "Re-engagement message"),
    131048: (400, "Spam rate limit hit"),
    131049: (400, "This message was not delivered to maintain healthy ecosystem engagement"),
    131050: (400, "User has stopped marketing messages"),
    131051: (400, "Unsupported message type"),
    131052: (400, "Media download error"),
    131053: (400, "Media upload error"),
    131056: (400, "(Business Account, Consumer Account) pair rate limit hit"),
    131057: (500, "Account in maintenance mode"),
    131062: (400, "Business-scoped user id recipient is not supported"),
    131063: (400, "Marketing messages are disabled on Cloud API"),
    131064: (400, "Account limited due to template misclassification"),
    132000: (400, "Template Param Count Mismatch"),
    132001: (404, "Template does not exist"),
    132005: (400, "Template Hydrated Text Too Long"),
    132007: (400, "Template Format Character Policy Violated"),
    132008: (400, "Template parameter value invalid"),
    132012: (400, "Template Parameter Format Mismatch"),
    132018: (400, "There's an issue with the parameters in your template"),
    132015: (400, "Template is Paused"),
    132016: (400, "Template is Disabled"),
    132068: (400, "Flow is blocked"),
    132069: (400, "Flow is throttled"),
    133000: (500, "Incomplete Deregistration"),
    133004: (503, "Server Temporarily Unavailable"),
    133006: (400, "Phone number re-verification needed"),
    133010: (400, "Phone number Not Registered"),
    133015: (400, "Please wait a few minutes before attempting to register this phone number"),
    133016: (400, "Account register deregister rate limit exceeded"),
    134100: (400, "Only marketing messages are supported"),
    134101: (400, "Template is still syncing"),
    134102: (500, "Template is unavailable for use"),
    135000: (400, "Generic user error"),
    136025: (400, "Verify code error"),
    137000: (400, "Identity key mismatch"),
}


@dataclass(frozen=True, slots=True)
class GraphError:
    """A refusal by the Graph API."""

    code: int
    details: str
    subcode: int | None = None
    status: int | None = None
    """HTTP status, when it is not the code's usual one."""

    @property
    def http_status(self) -> int:
        """The HTTP status of the answer; 400 for a code without an entry."""
        return self.status if self.status is not None else _TABLE.get(self.code, (400, ""))[0]

    @property
    def title(self) -> str:
        """Meta's short name of the error."""
        return _TABLE.get(self.code, (400, "Error"))[1]

    def body(self, trace_id: str) -> dict[str, Any]:
        """The answer's JSON."""
        error: dict[str, Any] = {
            "message": f"(#{self.code}) {self.title}",
            "type": "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": trace_id,
        }
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.code == 190:
            error["message"] = "Invalid OAuth access token - Cannot parse access token"
            del error["error_data"]
        return {"error": error}

    def item(self) -> dict[str, Any]:
        """One item of a webhook's `errors` list."""
        return {
            "code": self.code,
            "title": self.title,
            "message": self.title,
            "error_data": {"details": self.details or self.title},
            "href": _HREF,
        }
