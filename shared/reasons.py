"""The closed set of decision reasons, in order of precedence: what each means and what the business can do. Pure.

The one home of these texts: the metrics' labels, the `fix` of a refused request and docs/reasons.md come from here.
When several reasons apply to a request, the first one in this order is given.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Reason(NamedTuple):
    """One reason: what it says about the request, what the business can do about it, and until when a request that may wait waits for it to pass."""

    meaning: str
    fix: str
    passes: str = ""
    """Empty: never by itself, the request is refused at once."""


REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        "ok": Reason("The message may go out.", "Nothing to do."),
        "malformed": Reason(
            "The request is not what the contract asks for.",
            "Correct the fields that the error names and send it under a new `request_id`.",
        ),
        "request_expired": Reason(
            "The request's own `expires_at` had passed before it could be sent.",
            "Send it anew if it still matters, with a later `expires_at`.",
        ),
        "idempotency_conflict": Reason(
            "The `request_id` was used within the last 8 days for a request of another content or to another receiver.",
            "Use a new `request_id` for a new message; repeat an old one byte for byte.",
        ),
        "account_restricted": Reason(
            "Meta restricts the account, or it is disabled or deleted. Answers may still be allowed when only"
            " business-initiated messages are restricted.",
            "See the account's restrictions in WhatsApp Manager (Account quality) and ask Meta for a review.",
            "until the restriction's end as Meta told it, or the account is free again",
        ),
        "number_not_registered": Reason(
            "The sending number is unknown here or not registered with the Cloud API.",
            "Add the number to the accounts file, run `wam apply`, and register it: `wam numbers register`.",
        ),
        "number_restricted": Reason(
            "Meta flags, restricts or disconnects the sending number.",
            "Send from another number; wait until the number's quality has recovered.",
            "until Meta lifts it",
        ),
        "paused_by_operator": Reason(
            "An operator has paused sending for the account, the number, the template or the category.",
            "Ask the operator; send it again once sending has been resumed.",
            "until the operator resumes sending",
        ),
        "recipient_invalid": Reason(
            "The recipient is neither a phone number that its country's plan knows nor an id of a user.",
            "Correct `to`: international form with the country code.",
        ),
        "predecessor_failed": Reason(
            "The request it was to follow (`after_request_id`) was refused, cancelled, failed, or is not known for this receiver.",
            "Send it anew without `after_request_id`, or with `after_failed: send` where it is to go out in any case.",
        ),
        "window_closed": Reason(
            "The customer's last message to this number is 24 hours old or older, and the message is free-form.",
            "Send an approved template, or name a `fallback_template` in the request.",
        ),
        "template_unknown": Reason(
            "The account has no template of this name in this language.",
            "Check name and language; submit the template to Meta.",
        ),
        "template_not_approved": Reason(
            "Meta has not approved the template, or has rejected it.",
            "Wait for the approval, or edit the template and submit it again.",
            "until Meta approves the template (not when it was rejected)",
        ),
        "template_paused": Reason(
            "Meta has paused the template because customers block or report it.",
            "Use another template; send again when the pause is over (3 hours the first time, 6 the second).",
            "until the pause is over",
        ),
        "template_disabled": Reason(
            "Meta has disabled the template for good.",
            "Use another template; a disabled one does not come back by itself.",
        ),
        "template_parameters": Reason(
            "The parameters do not fit the template in number or form.",
            "Give exactly the parameters that the approved template has; the error's `message` names each that does not fit.",
        ),
        "payment_method_missing": Reason(
            "The account has no valid payment method, so it cannot start conversations; it may answer customers within the free tier.",
            "Add a valid payment method in Meta Business Manager, then set `payment_method: valid` and run `wam apply`.",
            "until a payment method is there, or a refused payment is tried again after an hour",
        ),
        "sender_not_default": Reason(
            "Without a valid payment method only the provided default number may send.",
            "Send from the default number, or add a payment method.",
        ),
        "recipient_not_verified": Reason(
            "Without a valid payment method a recipient must have been added and verified by a one-time password.",
            "Have the recipient verified (`wam receivers verify` tells of it), or add a payment method.",
            "until the recipient is verified",
        ),
        "opted_out": Reason(
            "The customer has opted out of marketing messages.",
            "Send no marketing to this customer until they opt in again; other categories are not affected.",
        ),
        "marketing_not_allowed": Reason(
            "Meta delivers no marketing templates to numbers with the dialling code +1 of the United States.",
            "Send a utility template where the content is one, or use another channel.",
        ),
        "not_marketing": Reason(
            "The message names a `product_policy`, so it is for the Marketing Messages API, and its template is not marketing.",
            "Leave `product_policy` out, or use a template that Meta holds for marketing.",
        ),
        "marketing_on_cloud_api_disabled": Reason(
            "The account sends marketing by the Marketing Messages API only.",
            "Set `marketing_messages_api: true` in the accounts file and run `wam apply`, or name a `product_policy` in the message.",
        ),
        "free_tier_exhausted": Reason(
            "The month's free service conversations are used up and the account has no valid payment method.",
            "Add a payment method, or wait for the next month in the account's time zone.",
            "until the next month in the account's time zone",
        ),
        "tier_limit_reached": Reason(
            "The portfolio's messaging limit of new users within 24 hours is reached.",
            "Wait until users of yesterday drop out of the moving day; verify the business and keep the quality high to raise the limit.",
            "until a place is free; the nearer its `expires_at`, the earlier the place it is told",
        ),
        "rate_unknown": Reason(
            "No rate card in force has a rate for this market and category, so the price cannot be told.",
            "Add the rate to the rate card, or do not write to this market.",
        ),
        "max_price_exceeded": Reason(
            "The predicted price is above the request's own `max_price`.",
            "Raise `max_price`, or do not send.",
        ),
        "budget_exceeded": Reason(
            "The message would take the spend above the account's budget.",
            "Raise the budget, or wait for the next month.",
            "until the next month in the account's time zone",
        ),
        "refused_for_now": Reason(
            "Meta refuses the message for now, or took it and did not deliver it, or it could not leave in time: a template is still being made ready, a user gets enough marketing, a rate is exceeded, a number or account is held up. The event's `error` says which.",
            "Nothing to do: it is decided anew at `not_before_at` and goes out as another attempt. Take it back if it is not wanted any more.",
            "until `error.retry_at`; without `expires_at`, or if that is earlier, it ends as `failed`, with `error.retry_at`",
        ),
        "cancelled": Reason(
            "The request was cancelled while it was deferred or held.",
            "Nothing to do; send it under a new `request_id` if it is wanted after all.",
        ),
    }
)

FAILURES: Mapping[str, Reason] = MappingProxyType(
    {
        "expired": Reason(
            "The message waited for its turn until the window, the request's `expires_at` or the promised price was over, or for four hours (a one-time password: ten minutes).",
            "It has not gone out. With a later `expires_at` it is decided anew a minute later (`deferred`); else send it anew if it still matters.",
        ),
        "backlog": Reason(
            "More messages of the number waited already than it can send in four hours; the least urgent and youngest are turned away.",
            "It has not gone out. With `expires_at` beyond four hours it waits and is decided anew (`deferred`); else send it later, in smaller portions, or from another number.",
        ),
        "outcome_unknown": Reason(
            "Meta gave no answer from which it follows whether the message went out (event `uncertain`).",
            "Nothing to do: a status of Meta decides, or else at `retry_at` it is sent once more or given up. Do not send it again yourself.",
        ),
        "uncertain_unresolved": Reason(
            "Meta never said whether the message went out. It is not sent (again) by itself: it is a one-time password, was sent twice already, or its time is over.",
            "Check with the customer before sending it again: it may have arrived.",
        ),
        "read_mark_unanswered": Reason(
            "Meta gave no answer to a read mark; the message may be marked or not.",
            "Nothing to do: the mark of a later message holds for the earlier ones too.",
        ),
        "uncertain_webhooks_missing": Reason(
            "Nobody knows whether the message went out, and until its time was over no statuses of later messages of the number came: Meta's webhooks or their way to us failed.",
            "Mend the webhooks: statuses that come late still count. Check with the customer before sending it again.",
        ),
        "uncertain_not_allowed": Reason(
            "Nobody knows whether the message went out, and when it was to be sent once more it might not go out any more; `message` says why.",
            "Check with the customer before sending it again: it may have arrived.",
        ),
        "settled_by_operator": Reason(
            "An operator settled what became of the message, or had it sent again; `message` says who.",
            "Nothing to do.",
        ),
        "duplicate": Reason(
            "The request was sent twice, because nobody knew whether the first message had gone out, and both have gone out (in event `accepted`). Meta charges both.",
            "Nothing to do; expect that the customer has it twice.",
        ),
        "cancel_too_late": Reason(
            "The message was to be taken back, but had gone out (in event `accepted`).",
            "Nothing to do; it can't be taken back any more.",
        ),
        "held_for_quality_assessment": Reason(
            "Meta holds the template's messages until it has seen how customers take the first ones (event `held`).",
            "Wait: Meta sends it, or tells that it failed, within days.",
        ),
        "held_paused": Reason(
            "Meta holds the message because its template is paused (event `held`).",
            "Wait, or use another template: Meta sends it, or tells that it failed.",
        ),
    }
)
"""Reasons after a decision that are ours; those that follow from Meta's error codes are in config/errors.yaml."""

META_CODES: Mapping[str, int] = MappingProxyType(
    {
        "window_closed": 131047,
        "template_unknown": 132001,
        "template_not_approved": 132001,
        "template_paused": 132015,
        "template_disabled": 132016,
        "template_parameters": 132000,
        "payment_method_missing": 131042,
        "free_tier_exhausted": 131042,
        "recipient_not_verified": 131030,
        "opted_out": 131050,
        "number_not_registered": 133010,
        "account_restricted": 368,
        "marketing_on_cloud_api_disabled": 131063,
        "not_marketing": 134100,
    }
)
"""What Meta would have answered, for readers who know its codes (Meta, Cloud API, error codes)."""
