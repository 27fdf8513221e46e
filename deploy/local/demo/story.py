"""The guide as a story: its steps in order, each with what it must come to. Data only.

`shop` (Nordlicht Versand) has a valid payment method, `cafe` (Café Morgenrot) has none yet: config/accounts.example.yaml. Both are
pinned to the guide's regime: conversations of 24 h by category, 1,000 free service conversations a month.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deploy.local.demo.actions import (
    Action,
    Advance,
    Apply,
    GoesOut,
    Limit,
    Once,
    Posting,
    Review,
    Send,
    Verify,
    Write,
)
from deploy.local.demo.counting import ONE_EACH, PROMISED, Tally

WHOLE: Final = "accepted sent delivered read"


@dataclass(frozen=True)
class Step:
    """One step: what happens, and the facts that must come of it (others may come too).

    Attributes:
        guide: the guide's own rule, where it has one.
    """

    name: str
    does: tuple[Action, ...]
    expect: Mapping[str, Any] = field(default_factory=dict)
    guide: str = ""


def refused(reason: str) -> dict[str, Any]:
    """Refused by us: Meta hears nothing of it."""
    return {"outcome": "reject", "reason": reason, "calls at Meta": 0}


def sent(category: str, conversation: str, charge: str, **more: object) -> dict[str, Any]:
    """Goes out in one call, arrives and is read, each told once."""
    return {
        "outcome": "allow",
        "reason": "ok",
        "category": category,
        "conversation": conversation,
        "life": WHOLE,
        "charge": charge,
        "calls at Meta": 1,
        **more,
    }


STORY: Final = (
    Step(
        "two businesses are set up from a file; applying it again changes nothing",
        (Apply(), Apply()),
        {"published": 0},
    ),
    Step(
        "a business without a payment method is refused",
        (Send("cafe-promo", "Emil", template="promo", by="cafe"),),
        refused("payment_method_missing"),
        guide="Businesses cannot message customers until a valid payment method is added.",
    ),
    Step(
        "a free-form message to a customer who never wrote is refused",
        (Send("anna-too-early", "Anna", text="Hi Anna!"),),
        refused("window_closed"),
        guide="Outside the window you can only send template messages.",
    ),
    Step(
        "a customer writes: a window of 24 hours opens",
        (Write("Anna", "question", text="Where is my order?"),),
        {"received": 1, "window": "24 h"},
        guide="When a customer messages you, a 24-hour customer service window opens.",
    ),
    Step(
        "a free-form answer inside the window goes out, free",
        (Send("anna-answer", "Anna", text="It left this morning."),),
        sent("service", "open service", "free", price="free_tier"),
        guide="Each account receives 1,000 free service conversations per month.",
    ),
    Step(
        "the same webhook once more changes nothing",
        (Advance(1), Write("Anna", "question", text="Where is my order?", again=True)),
        {"received": 1, "window": "unchanged"},
    ),
    Step(
        "the same request once more gets the same answer and sends nothing",
        (Send("anna-answer", "Anna", text="It left this morning."),),
        {"answer": "the first one, byte for byte", "calls at Meta": 1},
    ),
    Step(
        "another message under a used request id is refused",
        (Send("anna-answer", "Anna", text="It will leave tomorrow."),),
        {"outcome": "reject", "reason": "idempotency_conflict", "calls at Meta": 1},
    ),
    Step(
        "a marketing template outside the window opens a paid conversation",
        (Send("ben-promo", "Ben", template="promo"),),
        sent("marketing", "open marketing", "paid", price="regular"),
        guide="Otherwise a new conversation of that category is opened and lasts for 24 hours.",
    ),
    Step(
        "a second one within 24 hours reuses it and costs nothing more",
        (Advance(2), Send("ben-promo-2", "Ben", template="promo")),
        sent("marketing", "reuse marketing", "free", price="reused"),
        guide="If a conversation of the same category exists, no new conversation is opened.",
    ),
    Step(
        "a utility template beside it opens a conversation of its own",
        (Send("ben-order", "Ben", template="order_update"),),
        sent("utility", "open utility", "paid", price="regular"),
    ),
    Step(
        "statuses that come twice and out of order are told once and charged once",
        (
            Posting({"duplicate": 1.0, "shuffle": True, "shuffle_s": 0.3, "seed": 7}),
            Send("ben-login", "Ben", template="login_code"),
            Once("ben-login"),
            Posting({"duplicate": 0.0, "shuffle": False}),
        ),
        {
            "outcome": "allow",
            "conversation": "open authentication",
            "charge": "paid",
            "calls at Meta": 1,
            "told in all": f"decided {WHOLE}",
        },
    ),
    Step(
        "an unapproved template is refused",
        (Send("clara-draft", "Clara", template="draft"),),
        refused("template_not_approved"),
        guide="Approved templates are necessary for initiating conversations.",
    ),
    Step(
        "once Meta approves it, it goes out",
        (Review("draft", "APPROVED"), Send("clara-approved", "Clara", template="draft")),
        sent("marketing", "open marketing", "paid"),
    ),
    Step(
        "a message that Meta can't deliver opens nothing and costs nothing",
        (Send("dina-promo", "Dina", template="promo", then={"delivery": "failed"}, until="failed"),),
        {"outcome": "allow", "life": "accepted failed", "error": 131026, "calls at Meta": 1},
    ),
    Step(
        "a request may name a template for the case that the window is closed",
        (Send("dina-shipped", "Dina", text="Shipped!", fallback="order_update"),),
        sent("utility", "open utility", "paid", used_fallback=True),
    ),
    Step(
        "without a payment method a receiver must be verified by a one-time password",
        (
            Write("Emil", "table", to="cafe", text="A table for two?"),
            Send("emil-early", "Emil", text="Yes!", by="cafe"),
        ),
        refused("recipient_not_verified") | {"received": 1},
        guide="Receiver numbers first need to be added and verified using an OTP.",
    ),
    Step(
        "the verified one is answered from the default number, within the free tier",
        (Verify("Emil", "cafe"), Send("emil-answer", "Emil", text="Yes, at eight.", by="cafe")),
        sent("service", "open service", "free", price="free_tier"),
        guide="Without a payment method businesses can only respond, within the free tier.",
    ),
    Step(
        "but no template goes out, not even inside the window",
        (Send("emil-promo", "Emil", template="promo", by="cafe"),),
        refused("payment_method_missing"),
    ),
    Step(
        "adding a payment method opens the door",
        (Apply("cafe", {"payment_method": "valid"}), Send("emil-paid", "Emil", template="promo", by="cafe")),
        sent("marketing", "open marketing", "paid"),
    ),
    Step(
        "a day later the window is closed: free-form is refused",
        (Advance(22), Send("anna-late", "Anna", text="Has it arrived?")),
        refused("window_closed"),
    ),
    Step(
        "and the marketing conversation is over: the next template opens a new one",
        (Advance(2), Send("ben-promo-3", "Ben", template="promo")),
        sent("marketing", "open marketing", "paid"),
    ),
    Step(
        "beyond the messaging limit no new customer is written to",
        (Limit(1), Send("gerda-promo", "Gerda", template="promo")),
        refused("tier_limit_reached"),
        guide="You can increase your daily limit from 250 to 1,000+ new conversations.",
    ),
    Step(
        "a request that says until when it matters waits for a place",
        (Send("gerda-waits", "Gerda", template="promo", within_h=30),),
        {"outcome": "defer", "reason": "tier_limit_reached", "calls at Meta": 0},
    ),
    Step(
        "with a higher limit it goes out by itself",
        (Limit(1000), Advance(0.25), GoesOut("gerda-waits")),
        sent("marketing", "open marketing", "paid"),
    ),
    Step(
        "the answer to a click on an ad opens 72 hours in which everything is free",
        (
            Write("Fritz", "ad", text="I saw your ad", referral="ad"),
            Send("fritz-answer", "Fritz", text="Welcome!"),
        ),
        {"outcome": "allow", "price": "free_entry_point", "charge": "free", "life": WHOLE},
    ),
    Step(
        "a day after, a marketing template in it is free, too",
        (Advance(48), Send("fritz-promo", "Fritz", template="promo")),
        {
            "outcome": "allow",
            "category": "marketing",
            "price": "free_entry_point",
            "charge": "free",
            "life": WHOLE,
        },
    ),
    Step(
        "the month's tally agrees with what Meta itself counted",
        (Tally(),),
        {
            "shop": "authentication 0 free 1 paid, free entry point 1 free 0 paid, marketing 0 free 4 paid,"
            " service 1 free 0 paid, utility 0 free 2 paid",
            "shop at Meta": "the same",
            "cafe": "marketing 0 free 1 paid, service 1 free 0 paid",
            "cafe at Meta": "the same",
            "amount": PROMISED,
            "calls": ONE_EACH,
            "told twice": 0,
        },
    ),
)
