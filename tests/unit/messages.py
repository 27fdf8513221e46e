"""Messages of every type as the Cloud API takes them, and each limit: what just keeps it and what just breaks it."""

import copy
from typing import Any, NamedTuple

Json = dict[str, Any]
Way = tuple[str | int, ...]
FILE = {"id": "1234567890"}
LINK = {"link": "https://example.com/a?b=c#d"}


def _interactive(kind: str, action: Json, **more: Any) -> Json:
    body = {"body": {"text": "Choose"}}
    return {"type": "interactive", "interactive": {"type": kind, **body, "action": action, **more}}


def _template(*components: Json, **more: Any) -> Json:
    content: Json = {"name": "promo", "language": {"code": "de", "policy": "deterministic"}}
    return {
        "type": "template",
        "template": content | ({"components": list(components)} if components else {}),
        **more,
    }


def reply(number: int) -> Json:
    return {"type": "reply", "reply": {"id": f"id-{number}", "title": f"Button {number}"}}


def row(number: int) -> Json:
    return {"id": f"row-{number}", "title": f"Row {number}", "description": "More"}


def rows(*counts: int) -> list[Json]:
    """Sections of so many rows."""
    first = 0
    sections = []
    for place, count in enumerate(counts):
        sections.append({"title": f"Part {place}", "rows": [row(first + n) for n in range(count)]})
        first += count
    return sections


def products(*counts: int) -> list[Json]:
    """Sections of so many products."""
    return [
        {"title": f"Part {place}", "product_items": [{"product_retailer_id": f"p{n}"} for n in range(count)]}
        for place, count in enumerate(counts)
    ]


def card(number: int) -> Json:
    """A card with a link."""
    action = {"name": "cta_url", "parameters": {"display_text": "Go", "url": LINK["link"]}}
    header = {"type": "image", "image": LINK}
    return {
        "card_index": number,
        "type": "cta_url",
        "header": header,
        "body": {"text": "x"},
        "action": action,
    }


def product_card(number: int) -> Json:
    action = {"catalog_id": "c1", "product_retailer_id": f"p{number}"}
    return {"card_index": number, "type": "product", "action": action}


def template_card(number: int) -> Json:
    """A card of a carousel template."""
    image = {"type": "header", "parameters": [{"type": "image", "image": FILE}]}
    return {"card_index": number, "components": [image, text_component("body", "x")]}


def text_component(kind: str, *texts: Any) -> Json:
    return {"type": kind, "parameters": [{"type": "text", "text": text} for text in texts]}


def button(index: Any, sub_type: str, *parameters: Json) -> Json:
    return {"type": "button", "sub_type": sub_type, "index": index, "parameters": list(parameters)}


def contact(**more: Any) -> Json:
    return {"name": {"formatted_name": "Ada Lovelace", "first_name": "Ada"}, **more}


ORDER = {
    "status": "pending",
    "items": [{"name": "Shoe", "amount": {"value": 1000, "offset": 100}, "quantity": 1}],
}
PAYMENT = {
    "reference_id": "order-4711",
    "type": "digital-goods",
    "currency": "INR",
    "total_amount": {"value": 1000, "offset": 100},
    "order": ORDER,
}
FLOW = {
    "flow_message_version": "3",
    "flow_id": "4711",
    "flow_cta": "Book",
    "flow_token": "t",
    "mode": "published",
    "flow_action": "navigate",
    "flow_action_payload": {"screen": "FIRST", "data": {"a": 1}},
}
SHOUT = button(0, "quick_reply", {"type": "payload", "payload": "p"})

GOOD: dict[str, Json] = {
    "text": {"type": "text", "text": {"body": "Hello 🙂", "preview_url": True}},
    "text by default": {"text": {"body": "Hello"}},
    "answer": {"type": "text", "text": {"body": "Yes"}, "context": {"message_id": "wamid.1"}},
    "image": {"type": "image", "image": {**FILE, "caption": "A shoe"}},
    "image by link": {"type": "image", "image": LINK},
    "video": {"type": "video", "video": {**LINK, "caption": "A shoe"}},
    "audio": {"type": "audio", "audio": {**FILE, "voice": True}},
    "document": {"type": "document", "document": {**LINK, "filename": "a.pdf", "caption": "Bill"}},
    "sticker": {"type": "sticker", "sticker": FILE},
    "location": {"type": "location", "location": {"latitude": 52.5, "longitude": 13, "name": "Here"}},
    "location in digits": {"type": "location", "location": {"latitude": "-90", "longitude": "180.0"}},
    "contacts": {
        "type": "contacts",
        "contacts": [contact(phones=[{"phone": "+49 151 1", "type": "WORK"}], birthday="1815-12-10", org={"company": "A"})],
    },
    "reaction": {"type": "reaction", "reaction": {"message_id": "wamid.1", "emoji": "👍🏽"}},
    "reaction taken back": {"type": "reaction", "reaction": {"message_id": "wamid.1", "emoji": ""}},
    "reply buttons": _interactive(
        "button", {"buttons": [reply(1), reply(2), reply(3)]}, header={"type": "image", "image": FILE}, footer={"text": "x"}
    ),
    "list": _interactive("list", {"button": "Open", "sections": rows(5, 5)}, header={"type": "text", "text": "x"}),
    "link": _interactive("cta_url", {"name": "cta_url", "parameters": {"display_text": "Go", "url": LINK["link"]}}),
    "flow": _interactive("flow", {"name": "flow", "parameters": FLOW}),
    "location request": _interactive("location_request_message", {"name": "send_location"}),
    "address": _interactive("address_message", {"name": "address_message", "parameters": {"country": "IN"}}),
    "order details": _interactive("order_details", {"name": "review_and_pay", "parameters": PAYMENT}),
    "order status": _interactive(
        "order_status", {"name": "review_order", "parameters": {"reference_id": "order-4711", "order": {"status": "shipped"}}}
    ),
    "product": _interactive("product", {"catalog_id": "c1", "product_retailer_id": "p1"}),
    "products": _interactive(
        "product_list", {"catalog_id": "c1", "sections": products(20, 10)}, header={"type": "text", "text": "x"}
    ),
    "catalog": _interactive(
        "catalog_message", {"name": "catalog_message", "parameters": {"thumbnail_product_retailer_id": "p1"}}
    ),
    "carousel": _interactive("carousel", {"cards": [card(n) for n in range(10)]}),
    "carousel of products": _interactive("carousel", {"cards": [product_card(1), product_card(0)]}),
    "call permission": _interactive("call_permission_request", {"name": "call_permission_request"}),
    "call": _interactive("voice_call", {"name": "voice_call", "parameters": {"display_text": "Call us"}}),
    "interactive of tomorrow": _interactive("hologram", {"name": "beam"}),
    "template": _template(),
    "template with a body": _template(text_component("body", "Ada", 4711)),
    "template with everything": _template(
        {"type": "HEADER", "parameters": [{"type": "document", "document": {**LINK, "filename": "a.pdf"}}]},
        {
            "type": "body",
            "parameters": [
                {"type": "text", "text": "Ada", "parameter_name": "name"},
                {"type": "currency", "currency": {"fallback_value": "1 €", "code": "EUR", "amount_1000": 1000}},
                {"type": "date_time", "date_time": {"fallback_value": "today"}},
            ],
        },
        SHOUT,
        button("1", "URL", {"type": "text", "text": "x"}),
        button(2, "copy_code", {"type": "coupon_code", "coupon_code": "SAVE20"}),
        button("9", "flow", {"type": "action", "action": {"flow_token": "t"}}),
        {"type": "limited_time_offer", "parameters": [{"type": "limited_time_offer", "limited_time_offer": {"expiration_time_ms": 1_800_000_000_000}}]},
        {"type": "carousel", "cards": [template_card(n) for n in range(10)]},
        {"type": "tap_target_configuration", "parameters": [{"type": "tap", "title": "x"}]},
    ),
    "template with a place": _template(
        {"type": "header", "parameters": [{"type": "location", "location": {"latitude": "52.5", "longitude": "13.4"}}]}
    ),
    "template with a text header": _template(text_component("header", "Ada"), text_component("body", "Ada")),
    "template for sharing": _template(message_activity_sharing=False),
}  # fmt: skip
"""One good example of each, without its recipient."""


class Limit(NamedTuple):
    """A limit of a good message: at the place `way` `keeps` just keeps it, `breaks` just breaks it. `told`: the problem."""

    of: str
    way: Way
    keeps: Any
    breaks: Any
    told: str


def _characters(of: str, way: Way, most: int, *, emptiable: bool = False) -> list[Limit]:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in way)[1:]
    long = Limit(of, way, "x" * most, "x" * (most + 1), f"{path}: at most {most} characters")
    empty = Limit(of, way, "x", "", f"{path}: must not be empty")
    return [long] if emptiable else [long, empty]


ACTION: Way = ("interactive", "action")
COMPONENTS: Way = ("template", "components")
LIMITS: list[Limit] = [
    *_characters("text", ("text", "body"), 4096),
    *_characters("answer", ("context", "message_id"), 128),
    *_characters("image", ("image", "caption"), 1024, emptiable=True),
    *_characters("video", ("video", "caption"), 1024, emptiable=True),
    *_characters("document", ("document", "caption"), 1024, emptiable=True),
    *_characters("reaction", ("reaction", "message_id"), 128),
    Limit("image", ("image",), LINK, {}, "image: either `id` or `link` is required"),
    Limit("image", ("image",), FILE, {**FILE, **LINK}, "image: either `id` or `link`, not both"),
    *(
        Limit("image by link", ("image", "link"), "http://example.com/", link, "image.link: must be an http or https URL")
        for link in ("ftp://example.com/a", "example.com/a", "https:///a", "data:image/png;base64,AA")
    ),
    Limit("audio", ("audio",), FILE, {**FILE, "caption": "x"}, "audio.caption: only images, videos and documents have one"),
    Limit("sticker", ("sticker",), FILE, {**FILE, "caption": "x"}, "sticker.caption: only images, videos and documents have one"),
    Limit("location", ("location", "latitude"), 90, 90.1, "location.latitude: between -90 and 90"),
    Limit("location", ("location", "latitude"), "-90", "-90.1", "location.latitude: between -90 and 90"),
    Limit("location", ("location", "longitude"), -180, -180.1, "location.longitude: between -180 and 180"),
    Limit("location", ("location", "longitude"), 0, "east", "location.longitude: must be a number"),
    Limit("location", ("location",), {"latitude": 1, "longitude": 1}, {"latitude": 1}, "location.longitude: is required"),
    Limit("contacts", ("contacts",), [contact()] * 257, [contact()] * 258, "contacts[257]: at most 257 contacts"),
    Limit("contacts", ("contacts",), [contact()], [], "contacts: at least 1 contact"),
    Limit(
        "contacts", ("contacts", 0, "name"), {"formatted_name": "A", "suffix": "Jr"}, {"formatted_name": "A"},
        "contacts[0].name: one of first_name, last_name, middle_name, suffix, prefix is required beside `formatted_name`",
    ),
    Limit("contacts", ("contacts", 0, "name"), {"formatted_name": "A", "prefix": "x"}, {"prefix": "x"}, "contacts[0].name.formatted_name: is required"),
    *(
        Limit("reaction", ("reaction", "emoji"), emoji, word, "reaction.emoji: must be an emoji, or empty to take the reaction back")
        for emoji, word in (("❤️", "love"), ("1️⃣", "1"), ("👩‍❤️‍👨", " "), ("🏴󠁧󠁢󠁳󠁣󠁴󠁿", "ä"), ("\u2139\ufe0f", "👍 ok"))
    ),
    *_characters("reply buttons", ("interactive", "body", "text"), 1024),
    *_characters("reply buttons", ("interactive", "footer", "text"), 60),
    Limit("reply buttons", ("interactive", "header"), {"type": "text", "text": "x" * 60}, {"type": "text", "text": "x" * 61}, "interactive.header.text: at most 60 characters"),
    Limit("reply buttons", ("interactive", "header"), {"type": "video", "video": LINK}, {"type": "video", "video": {}}, "interactive.header.video: either `id` or `link` is required"),
    *_characters("reply buttons", (*ACTION, "buttons", 2, "reply", "id"), 256),
    *_characters("reply buttons", (*ACTION, "buttons", 0, "reply", "title"), 20),
    Limit("reply buttons", (*ACTION, "buttons"), [reply(1), reply(2), reply(3)], [reply(n) for n in range(4)], "interactive.action.buttons[3]: at most 3 buttons"),
    Limit("reply buttons", (*ACTION, "buttons"), [reply(1)], [], "interactive.action.buttons: at least 1 button"),
    Limit("reply buttons", (*ACTION, "buttons", 2), reply(3), reply(1), "interactive.action.buttons[2].reply.id: must be another than those of the buttons before"),
    Limit("reply buttons", (*ACTION, "buttons", 2), reply(3), {"type": "reply", "reply": {"id": "id-3", "title": "Button 1"}}, "interactive.action.buttons[2].reply.title: must be another than those of the buttons before"),
    *_characters("list", ("interactive", "body", "text"), 4096),
    *_characters("list", (*ACTION, "button"), 20),
    Limit("list", (*ACTION, "sections"), rows(*[1] * 10), rows(*[1] * 11), "interactive.action.sections[10]: at most 10 sections"),
    Limit("list", (*ACTION, "sections"), rows(9, 1), rows(9, 2), "interactive.action.sections[1].rows[1]: at most 10 rows in all sections"),
    Limit("list", (*ACTION, "sections"), rows(1), rows(0), "interactive.action.sections[0].rows: at least 1 row"),
    Limit("list", (*ACTION, "sections"), [{"rows": [row(1)]}], [*rows(1), {"rows": [row(0)]}], "interactive.action.sections[1].rows[0].id: must be another than those of the rows before"),
    Limit("list", (*ACTION, "sections"), [{"rows": [row(1)]}], [*rows(1), {"rows": [row(2)]}], "interactive.action.sections[1].title: is required where there are several sections"),
    *_characters("list", (*ACTION, "sections", 0, "title"), 24, emptiable=True),
    *_characters("list", (*ACTION, "sections", 0, "rows", 0, "id"), 200),
    *_characters("list", (*ACTION, "sections", 1, "rows", 4, "title"), 24),
    *_characters("list", (*ACTION, "sections", 1, "rows", 4, "description"), 72, emptiable=True),
    Limit("list", ("interactive", "header"), {"type": "text", "text": "x"}, {"type": "image", "image": FILE}, "interactive.header.type: must be text"),
    *_characters("link", (*ACTION, "parameters", "display_text"), 20),
    Limit("link", (*ACTION, "parameters", "url"), "http://a.b", "mailto:a@b.c", "interactive.action.parameters.url: must be an http or https URL"),
    Limit("flow", (*ACTION, "parameters"), FLOW, {**FLOW, "flow_name": "x"}, "interactive.action.parameters: either `flow_id` or `flow_name`, not both"),
    Limit("flow", (*ACTION, "parameters"), FLOW, {k: v for k, v in FLOW.items() if k != "flow_id"}, "interactive.action.parameters: either `flow_id` or `flow_name` is required"),
    *(
        Limit("flow", (*ACTION, "parameters"), FLOW, {k: v for k, v in FLOW.items() if k != name}, f"interactive.action.parameters.{name}: is required")
        for name in ("flow_message_version", "flow_cta")
    ),
    Limit("location request", ACTION, {"name": "send_location"}, {"name": "send_place"}, "interactive.action.name: must be 'send_location'"),
    Limit("address", (*ACTION, "parameters"), {"country": "SG"}, {}, "interactive.action.parameters.country: is required"),
    *_characters("order details", (*ACTION, "parameters", "reference_id"), 35),
    *_characters("order status", (*ACTION, "parameters", "reference_id"), 35),
    Limit("order details", (*ACTION, "parameters", "total_amount", "value"), 1, 1.5, "interactive.action.parameters.total_amount.value: must be a whole number"),
    Limit("product", ACTION, {"catalog_id": 1, "product_retailer_id": "1"}, {"catalog_id": "1"}, "interactive.action.product_retailer_id: is required"),
    Limit("products", (*ACTION, "sections"), products(29, 1), products(29, 2), "interactive.action.sections[1].product_items[1]: at most 30 products in all sections"),
    Limit("products", (*ACTION, "sections"), products(*[1] * 10), products(*[1] * 11), "interactive.action.sections[10]: at most 10 sections"),
    Limit("products", ("interactive", "header"), {"type": "text", "text": "x"}, None, "interactive.header: must be an object"),
    Limit("carousel", (*ACTION, "cards"), [card(0), card(1)], [card(0)], "interactive.action.cards: at least 2 cards"),
    Limit("carousel", (*ACTION, "cards"), [card(n) for n in range(10)], [card(n) for n in range(11)], "interactive.action.cards[10]: at most 10 cards"),
    Limit("carousel", (*ACTION, "cards"), [card(1), card(0)], [card(0), card(2)], "interactive.action.cards[1].card_index: each card needs its own number, from 0"),
    *_characters("call", (*ACTION, "parameters", "display_text"), 20),
    *_characters("template", ("template", "name"), 512),
    Limit("template", ("template", "language", "code"), "x" * 15, "x" * 16, "template.language.code: at most 15 characters"),
    Limit("template", ("template", "language", "code"), "de", "d", "template.language.code: at least 2 characters"),
    *_characters("template with a body", (*COMPONENTS, 0, "parameters", 0, "text"), 32_768),
    *_characters("template with a text header", (*COMPONENTS, 0, "parameters", 0, "text"), 60),
    *_characters("template with a text header", (*COMPONENTS, 1, "parameters", 0, "text"), 1024),
    *(
        Limit("template with a body", (*COMPONENTS, 0, "parameters", 0, "text"), "a    b", text, "template.components[0].parameters[0].text: without line breaks, tabs or more than four spaces in a row")
        for text in ("a     b", "a\nb", "a\tb", "a\rb")
    ),
    Limit("template", COMPONENTS, [text_component("body", "a")], [text_component("body", "a")] * 2, "template.components[1]: given more than once"),
    Limit("template", COMPONENTS, [SHOUT, {**SHOUT, "index": "1"}], [SHOUT, {**SHOUT, "index": "0"}], "template.components[1]: given more than once"),
    Limit("template", COMPONENTS, [{**SHOUT, "index": 9}], [{**SHOUT, "index": 10}], "template.components[0].index: at most 9"),
    Limit("template", COMPONENTS, [{**SHOUT, "index": "0"}], [{**SHOUT, "index": "x"}], "template.components[0].index: must be a whole number"),
    Limit("template", COMPONENTS, [SHOUT], [{k: v for k, v in SHOUT.items() if k != "sub_type"}], "template.components[0].sub_type: is required"),
    Limit("template", COMPONENTS, [{"type": "body"}], [{"parameters": []}], "template.components[0].type: is required"),
    *_characters("template with everything", (*COMPONENTS, 2, "parameters", 0, "payload"), 256),
    *_characters("template with everything", (*COMPONENTS, 4, "parameters", 0, "coupon_code"), 15),
    Limit("template with everything", (*COMPONENTS, 1, "parameters", 1, "currency"), {"fallback_value": "", "code": "", "amount_1000": 0}, {"fallback_value": "", "code": ""}, "template.components[1].parameters[1].currency.amount_1000: is required"),
    Limit("template with everything", (*COMPONENTS, 6, "parameters", 0, "limited_time_offer", "expiration_time_ms"), "1800000000000", "tomorrow", "template.components[6].parameters[0].limited_time_offer.expiration_time_ms: must be a whole number"),
    Limit("template with everything", (*COMPONENTS, 7, "cards"), [template_card(n) for n in range(10)], [template_card(n) for n in range(11)], "template.components[7].cards[10]: at most 10 cards"),
    Limit("template with everything", (*COMPONENTS, 7, "cards", 0, "components", 1, "parameters", 0, "text"), "x" * 1024, "x" * 1025, "template.components[7].cards[0].components[1].parameters[0].text: at most 1024 characters"),
    Limit("template for sharing", ("message_activity_sharing",), True, "yes", "message_activity_sharing: must be true or false"),
]  # fmt: skip


def whole(content: Json) -> Json:
    """A message with its recipient."""
    return {"messaging_product": "whatsapp", "to": "+4915112345678", **copy.deepcopy(content)}


def having(of: str, way: Way, value: Any) -> Json:
    """The good message of that name with another value in one place."""
    message = whole(GOOD[of])
    holder: Any = message
    for part in way[:-1]:
        holder = holder[part]
    holder[way[-1]] = value
    return message
