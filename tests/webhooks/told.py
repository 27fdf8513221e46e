"""Random updates as Meta tells them, of all fields and channels; each says what it must bring, whatever ingress makes of it.

Written from Meta's description of its webhooks, not from the code that reads them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.unit.router.make import NOW

DAY_MS = 86_400_000
LATEST = 50
"""Updates are up to so many thousand seconds apart, in any order; no two are of the same second."""
WABA, OTHER_WABA, PAGE, INSTAGRAM = "W1", "W2", "7001", "8001"
NUMBER, OTHER_NUMBER = "N1", "N2"
DISPLAYED = "15550101000"
SENT = 6
"""So many messages of ours are on their way to `PHONES[0]`; those of odd number fail."""
PHONES = ("4915110000010", "16505551234", "5511987654321")
BSUIDS = ("DE.10", "US.20", "BR.30")
NEW_BSUID = "DE.11"
"""The first one's after a change."""
HIDDEN = "US.99"
"""A user without a number."""


@dataclass(frozen=True)
class Brings:
    """What an update must come to, each at most once: a message told, a window open until, a webhook passed on, a step of a life, a word, a fact."""

    said: str | None = None
    window: tuple[str, int] | None = None
    passed: bool = False
    step: tuple[str, str] | None = None
    word: tuple[str, int, bool] | None = None
    fact: tuple[str, int, Any] | None = None


@dataclass(frozen=True)
class Told:
    """One update: where it stands, and its own bytes. `list` None: `item` is the whole value of the field."""

    object: str
    account: str
    field: str
    list: str | None
    item: bytes
    brings: Brings
    number: str | None = None
    contact: dict[str, Any] | None = None
    time: int | None = None
    alone: bool = False
    """Its user is told by the contact only, so it shares its value with no other."""

    def __repr__(self) -> str:
        return f"{self.object}/{self.account}/{self.number}/{self.field}/{self.list} {self.item[:300]!r} {self.contact} {self.time}"


Draw = st.DrawFn


def text(draw: Draw) -> str:
    """Anything people write; half a character among it, as it is once ingress has mended it."""
    return draw(st.sampled_from(("Hallo", "Straße 😀 / <b>", "cut \ufffd here", "STOPP nicht", "x" * 300)))


def raw(item: Any) -> bytes:
    """As Meta transmits it: escaped, without spaces."""
    return json.dumps(item, separators=(",", ":")).encode()


def second(draw: Draw, n: int) -> int:
    return NOW // 1000 - 60_000 + n % 1000 + 1000 * draw(st.integers(0, LATEST))


def person(draw: Draw) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(the user's name in keys, how an item names the sender, the contact): by number, in an older form of it, by id, or by both."""
    which = draw(st.integers(0, 3))
    if which == 3:
        names = draw(st.sampled_from(({}, {"from": ""}, {"from": HIDDEN})))
        return HIDDEN, {**names, "from_user_id": HIDDEN}, {"user_id": HIDDEN, "profile": {"username": "x"}}
    phone, bsuid = PHONES[which], BSUIDS[which]
    written = "551187654321" if which == 2 and draw(st.booleans()) else phone
    contact = {"wa_id": phone, "user_id": bsuid, "profile": {"name": f"U{which}"}}
    return phone, {"from": written}, contact


def number_item(field: str, list_: str | None, item: Any, brings: Brings, **more: Any) -> Told:
    return Told(
        "whatsapp_business_account", WABA, field, list_, raw(item), brings, number=NUMBER, **more
    )  # fmt: skip


# --- messages and statuses of WhatsApp

BODIES: dict[str, Callable[[Draw], Any]] = {
    "text": lambda draw: {"body": text(draw)},
    "image": lambda draw: {"id": "1", "mime_type": "image/jpeg", "sha256": "a", "caption": text(draw)},
    "audio": lambda draw: {"id": 2, "mime_type": "audio/ogg; codecs=opus", "voice": True},
    "button": lambda draw: {"payload": "p", "text": text(draw)},
    "reaction": lambda draw: {"message_id": "wamid.r2#1", "emoji": draw(st.sampled_from(("", "👍")))},
    "interactive": lambda draw: {"type": "nfm_reply", "nfm_reply": {"response_json": "[]"}},
    "location": lambda draw: {"latitude": draw(st.floats(-90, 90)), "longitude": 1},
    "order": lambda draw: {"catalog_id": "c", "product_items": [{"quantity": draw(st.integers(0, 9))}]},
    "unsupported": lambda draw: {"type": "poll"},
    "system": lambda draw: {"type": draw(st.sampled_from(("user_changed_number", "customer_identity_changed")))},
    "edit": lambda draw: {"original_message_id": "wamid.1"},
    "revoke": lambda draw: {"original_message_id": "wamid.1"},
    "hologram": lambda draw: draw(st.sampled_from(([1, 2], 7, None, {"deep": [[[[]]]]}))),
}  # fmt: skip
NO_WINDOW = {"system", "edit", "revoke"}
ODDITIES: tuple[dict[str, Any], ...] = (
    {}, {}, {}, {"context": {"id": "wamid.r2#1", "from": 5}}, {"context": 7}, {"referral": {"source_type": "ad"}}, {"referral": []},
    {"errors": [{"code": 131051}]}, {"group_id": "Y2Fw"}, {"errors": "none"}, {"shiny": {"new": True}}, {"context": {"id": None}},
)  # fmt: skip


def message(draw: Draw, n: int) -> Told:
    user, names, contact = person(draw)
    kind, at = draw(st.sampled_from(sorted(BODIES))), second(draw, n)
    written = draw(st.sampled_from((str(at), at, at * 1000, f"{at}000")))
    item = {**names, "id": f"wamid.{n}", "timestamp": written, "type": kind, kind: BODIES[kind](draw)}
    key = f"{NUMBER}:{user}"
    window = None if kind in NO_WINDOW else (key, at * 1000 + DAY_MS)
    brings = Brings(said=f"wamid.{n}", window=window)
    item |= draw(st.sampled_from(ODDITIES))
    return number_item("messages", "messages", item, brings, contact=None if kind == "system" else contact)


def stop_word(draw: Draw, n: int) -> Told:
    """Only the word that ends: that one is taken as it is, one that begins again counts after an end only."""
    user, names, contact = person(draw)
    at = second(draw, n)
    item = {
        **names,
        "id": f"wamid.{n}",
        "timestamp": str(at),
        "type": "text",
        "text": {"body": "Stop!"},
    }
    key = f"{NUMBER}:{user}"
    brings = Brings(said=f"wamid.{n}", window=(key, at * 1000 + DAY_MS), word=(key, at, True))
    return number_item("messages", "messages", item, brings, contact=contact)  # fmt: skip


def status(draw: Draw, n: int) -> Told:
    """Of a message of ours, under whatever name the recipient goes."""
    sent = draw(st.integers(0, SENT - 1))
    step = draw(st.sampled_from(("sent", "failed") if sent % 2 else ("sent", "delivered", "read")))
    at = second(draw, n)
    item: dict[str, Any] = {
        "id": f"wamid.r{sent}#1",
        "status": step,
        "timestamp": draw(st.sampled_from((str(at), at))),
        "recipient_id": draw(st.sampled_from((PHONES[0], "+49 1511 0000010", "16505550000"))),
        "biz_opaque_callback_data": f"{NUMBER}:{PHONES[0]}|r{sent}#1",
    }
    if step == "failed":
        item["errors"] = [{"code": draw(st.sampled_from((131026, "131026"))), "title": "x"}]
    elif draw(st.booleans()):
        item["pricing"] = {"billable": True, "pricing_model": "CBP", "category": "marketing"}
    item |= draw(
        st.sampled_from(({}, {"conversation": 5}, {"type": "message"}, {"recipient_user_id": BSUIDS[0]}))
    )
    return number_item("messages", "statuses", item, Brings(step=(f"r{sent}", step)))


def odd_status(draw: Draw, n: int) -> Told:
    kind = draw(
        st.sampled_from(
            ({"status": "deleted"}, {"status": "failed", "type": "payment"}, {"status": "sleeping"})
        )
    )
    item = {"id": f"wamid.odd{n}", "timestamp": second(draw, n), "recipient_id": PHONES[1], **kind}
    return number_item("messages", "statuses", item, Brings(passed=True))


# --- what else a number tells


def call(draw: Draw, n: int) -> Told:
    user, names, contact = person(draw)
    event = draw(st.sampled_from(("connect", "terminate")))
    ours = draw(st.booleans())
    at = second(draw, n)
    item = {
        "id": f"wacid.{n}",
        "event": event,
        "timestamp": str(at),
        "direction": "BUSINESS_INITIATED" if ours else "USER_INITIATED",
    }
    item |= {"to": user} if ours and user != HIDDEN else {"to_user_id": user} if ours else names
    opens = event == "connect" and not ours
    brings = Brings(passed=True)
    if opens:
        brings = Brings(passed=True, said=f"wacid.{n}", window=(f"{NUMBER}:{user}", at * 1000 + DAY_MS))
    return number_item("calls", "calls", item, brings, contact=contact)


def preference(draw: Draw, n: int) -> Told:
    user, _, contact = person(draw)
    at, value = second(draw, n), draw(st.sampled_from(("stop", "resume", "signup", "whisper")))
    names = {"user_id": user} if user == HIDDEN else {"wa_id": user}
    item = {**names, "category": "marketing_messages", "value": value, "timestamp": at, "detail": f"word {n}"}
    word = None if value == "whisper" else (f"{NUMBER}:{user}", at, value == "stop")
    return number_item(
        "user_preferences", "user_preferences", item, Brings(passed=True, word=word), contact=contact
    )


def noted(draw: Draw, n: int) -> Told:
    """What is only passed on, item by item."""
    user, names, contact = person(draw)
    stamp = {"timestamp": str(second(draw, n))}
    to = {"to_user_id": user} if user == HIDDEN else {"to": user}
    field, list_, item, named = draw(st.sampled_from((
        ("smb_message_echoes", "message_echoes", {"from": DISPLAYED, **to, "id": f"wamid.e{n}", "type": "text", **stamp}, True),
        ("message_echoes", "message_echoes", {"from": DISPLAYED, **to, "id": f"wamid.e{n}", "type": "revoke", **stamp}, True),
        ("history", "history", {"metadata": {"phase": 1, "chunk_order": n}, "threads": [{"id": user, "messages": [{"id": f"old{n}"}]}]}, True),
        ("history", "messages", {**names, "id": f"wamid.h{n}", "type": "image", **stamp}, True),
        ("standby", "messages", {**names, "id": f"wamid.sb{n}", "type": "text", **stamp}, True),
        ("brand_new_field", "brand_new_list", {**names, "n": n, "any": [None, True]}, True),
        ("calls", "statuses", {"id": f"wacid.s{n}", "type": "call", "status": "RINGING", "recipient_id": PHONES[0], **stamp}, False),
        ("group_participants_update", "groups", {"group_id": f"G{n}", "type": "x", **stamp}, False),
        ("user_id_update", "user_id_update", {"wa_id": PHONES[0], "user_id": {"previous": BSUIDS[0], "current": NEW_BSUID}, "n": n}, False),
        ("smb_app_state_sync", "state_sync", {"type": "contact", "contact": {"phone_number": PHONES[1]}, "metadata": stamp, "n": n}, False),
        ("messages", "errors", {"code": 130429, "n": n}, False),
    )))  # fmt: skip
    return number_item(field, list_, item, Brings(passed=True), contact=contact if named else None)


def by_contact(draw: Draw, n: int) -> Told:
    _, _, contact = person(draw)
    event = {"id": f"wamid.a{n}", "event_name": "Purchase", "timestamp": second(draw, n)}
    field, item = draw(st.sampled_from((("automatic_events", event), ("brand_new_list", [n, "no object"]))))
    return number_item(field, field, item, Brings(passed=True), contact=contact, alone=True)


def whole(draw: Draw, n: int) -> Told:
    """The value is no list: a handover, and whatever Meta thinks of next."""
    recipient = {"phone_number_id": NUMBER, "display_phone_number": DISPLAYED}
    value = draw(st.sampled_from((
        {"recipient": recipient, "sender": {"phone_number": PHONES[1]}, "type": "control_passed", "timestamp": str(second(draw, n)), "n": n},
        {"metadata": recipient, "n": n},
        {"metadata": recipient, "mood": {"now": n}, "messages": []},
    )))  # fmt: skip
    return number_item("messaging_handovers", None, value, Brings(passed=True))


# --- accounts

REVIEWS = ("APPROVED", "REJECTED", "PENDING", "DEFERRED", 7)
TEMPLATE = {"message_template_name": "promo", "message_template_language": "en_US", "message_template_id": 99}


def account(draw: Draw, n: int) -> Told:
    """Of a field that facts are read from, or not; the facts of it that are easy to tell are foretold."""
    at = second(draw, n)
    waba = draw(st.sampled_from((WABA, OTHER_WABA)))
    quality, limit = (
        draw(st.sampled_from(("GREEN", "YELLOW", "RED"))),
        draw(st.sampled_from((250, "TIER_2K", -1, "10000"))),
    )
    review = draw(st.sampled_from(REVIEWS))
    limits = {250: 250, "TIER_2K": 2000, -1: -1, "10000": 10_000}
    field, value, fact = draw(st.sampled_from((
        ("account_review_update", {"decision": review}, (f"{waba}.review", str(review))),
        ("business_capability_update", {"max_daily_conversations_per_business": limit}, (f"{waba}.messaging_limit", limits[limit])),
        ("message_template_quality_update", {"new_quality_score": quality, **TEMPLATE}, (f"{waba}.promo.quality", quality)),
        ("message_template_status_update", {"new_quality_score": quality, **TEMPLATE}, (f"{waba}.promo.quality", quality)),
        ("message_template_status_update", {"event": "FROZEN", **TEMPLATE, "reason": None}, (f"{waba}.promo.status", "FROZEN")),
        ("message_template_status_update", {"event": "PAUSED", **TEMPLATE, "other_info": {"title": "FIRST_PAUSE"}},
         (f"{waba}.promo.status", "PAUSED")),
        ("message_template_status_update", {"event": "APPROVED", **TEMPLATE, "reason": ["odd"]}, (f"{waba}.promo.status", "APPROVED")),
        ("message_template_components_update", {"message_template_element": f"Hi {{{{1}}}} {n}", **TEMPLATE}, None),
        ("template_category_update", {"new_category": "UTILITY", **TEMPLATE}, None),
        ("phone_number_quality_update", {"display_phone_number": DISPLAYED, "event": "FLAGGED"}, None),
        ("phone_number_name_update", {"display_phone_number": f"+{DISPLAYED}", "decision": "APPROVED", "requested_verified_name": f"S{n}"}, None),
        ("security", {"display_phone_number": DISPLAYED, "event": "PIN_CHANGED"}, None),
        ("account_alerts", {"alert_info": {"alert_type": "OBA_APPROVED"}}, (f"{waba}.alert", "OBA_APPROVED")),
        ("account_alerts", {"alert_type": "OBA_REJECTED", "entity_id": 5}, (f"{waba}.alert", "OBA_REJECTED")),
        ("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": ["DISABLE"]}}, (f"{waba}.status", "disabled")),
        ("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"}}, (f"{waba}.status", "active")),
        ("account_update", {"event": "ACCOUNT_DELETED"}, (f"{waba}.status", "deleted")),
        ("account_update", {"event": "ACCOUNT_RESTRICTION", "restriction_info": [{"restriction_type": "R", "expiration": str(n + 1)}]},
         (f"{waba}.restrictions", {"R": (n + 1) * 1000})),
        ("account_update", {"event": "BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE", "country": "in"}, (f"{waba}.primary_location", "IN")),
        ("account_update", {"event": "VOLUME_BASED_PRICING_TIER_UPDATE", "volume_tier_info": {
            "tier_update_time": at, "pricing_category": "UTILITY", "tier": f"{n}:MAX", "effective_month": "2026-11", "region": "India"}}, None),
        ("account_update", {"event": "PARTNER_APP_UNINSTALLED", "waba_info": {"waba_id": "W3"}}, ("W3.status", "deleted")),
        ("account_update", {"event": "PAINTED_BLUE", "paint": n}, None),
        ("account_update", {"event": "ACCOUNT_RESTRICTION", "restriction_info": "odd"}, (f"{waba}.restrictions", {})),
        ("flows", {"event": "FLOW_STATUS_CHANGE", "flow_id": f"{n}"}, None),
        ("payment_configuration_update", {"configuration_name": f"c{n}"}, None),
        ("partner_solutions", {"solution_id": f"{n}"}, None),
        ("tracking_events", [n, {"any": "thing"}], None),
    )))  # fmt: skip
    brings = Brings(passed=True, fact=None if fact is None else (fact[0], at, fact[1]))
    return Told("whatsapp_business_account", waba, field, None, raw(value), brings, time=at)


# --- Instagram and Messenger


def chat(draw: Draw, n: int) -> Told:
    object_, me = draw(st.sampled_from((("page", PAGE), ("instagram", INSTAGRAM))))
    user = draw(st.sampled_from(("555", "666")))
    at_ms = second(draw, n) * 1000 + draw(st.integers(0, 999))
    sayings: tuple[tuple[dict[str, Any], bool, str | None], ...] = (
        ({"message": {"mid": f"m{n}", "text": text(draw)}}, True, f"m{n}"),
        ({"message": {"mid": f"m{n}", "attachments": [{"type": "image", "payload": {"url": "https://x"}}], "reply_to": {"mid": "m0"}}}, True, f"m{n}"),
        ({"message": {"mid": f"m{n}", "text": 7, "attachments": "odd", "is_echo": 0}}, True, f"m{n}"),
        ({"postback": {"mid": f"m{n}", "title": "x", "payload": "y"}}, True, f"m{n}"),
        ({"postback": {"title": "x", "payload": n}}, True, ""),
        ({"reaction": {"mid": "m0", "action": "react", "emoji": "❤", "n": n}}, True, ""),
        ({"reaction": {"mid": "m0", "action": "unreact", "n": n}}, False, ""),
        ({"referral": {"source": "SHORTLINK", "ref": f"{n}"}}, True, ""),
        ({"message": {"mid": f"m{n}", "is_deleted": True}}, False, None),
        ({"message_edit": {"mid": f"m{n}", "text": "x", "num_edit": 1}}, False, None),
        ({"read": {"watermark": n}}, False, None),
        ({"delivery": {"mids": [f"m{n}"]}}, False, None),
        ({"optin": {"type": "notification_messages", "n": n}}, False, None),
        ({"pass_thread_control": {"new_owner_app_id": f"{n}"}}, False, None),
        ({"policy_enforcement": {"action": "block", "n": n}}, False, None),
    )  # fmt: skip
    says, opens, mid = draw(st.sampled_from(sayings))
    item: dict[str, Any] = {"sender": {"id": user}, "recipient": {"id": me}, "timestamp": at_ms}
    window = (f"{me}:{user}", at_ms + DAY_MS) if opens else None
    brings = Brings(said=mid, window=window, passed=mid is None)
    return Told(object_, me, "", "messaging", raw(item | says), brings)


def aside(draw: Draw, n: int) -> Told:
    """Echoes, standby and changes, which are all passed on."""
    object_, me = draw(st.sampled_from((("page", PAGE), ("instagram", INSTAGRAM))))
    echo = {
        "sender": {"id": me},
        "recipient": {"id": "555"},
        "timestamp": n + 1,
        "message": {"mid": f"m{n}", "is_echo": True},
    }
    field, list_, item = draw(st.sampled_from((
        ("", "messaging", echo),
        ("", "standby", {"sender": {"id": "555"}, "recipient": {"id": me}, "message": {"mid": f"m{n}"}}),
        ("comments", None, {"from": {"id": "666"}, "id": f"c{n}", "text": text(draw)}),
        ("feed", None, {"item": "status", "post_id": f"{n}", "created_time": n + 1}),
        ("mentions", None, n),
    )))  # fmt: skip
    return Told(object_, me, field, list_, raw(item), Brings(passed=True))


KINDS = (
    message, message, message, stop_word, status, status, status, odd_status, call, preference, noted, noted, by_contact, whole,
    account, account, chat, chat, aside,
)  # fmt: skip


@st.composite
def tellings(draw: Draw, least: int, most: int) -> list[Told]:
    """From `least` to `most` updates, each another."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=least, max_size=most))
    return [kind(draw, n) for n, kind in enumerate(kinds)]
