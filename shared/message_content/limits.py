"""The limits that Meta sets to a message's content, one constant each. Pure.

Lengths are in characters. Meta does not say of which kind; they are counted as Unicode code points, so that a letter or a simple emoji is one and a
family of four is seven. Where two of Meta's texts contradict each other the larger limit holds: what lies between is left to Meta.
"""

MAX_TEXT = 4096
"""Characters of a text message (Meta, Cloud API, text messages)."""
MAX_CAPTION = 1024
"""Characters of an image's, a video's or a document's caption (Meta, Cloud API, media messages)."""
MAX_CONTACTS = 257
"""Contacts in one message (Meta, Cloud API, contacts messages)."""
MAX_WAMID = 128
"""Characters of a message id (Meta, Cloud API, webhooks, messages)."""

MAX_INTERACTIVE_BODY = 1024
"""Characters of an interactive message's body (Meta, Cloud API, interactive messages)."""
MAX_LIST_BODY = 4096
"""Characters of a list's body (Meta, Cloud API, interactive list messages; an older page says 1,024)."""
MAX_HEADER_TEXT = 60
"""Characters of a text header (Meta, Cloud API, interactive messages)."""
MAX_FOOTER = 60
"""Characters of a footer (Meta, Cloud API, interactive messages)."""
MAX_BUTTONS = 3
"""Reply buttons of a message (Meta, Cloud API, interactive reply buttons messages)."""
MAX_BUTTON_ID = 256
"""Characters of a reply button's id (Meta, Cloud API, interactive reply buttons messages)."""
MAX_BUTTON_TITLE = 20
"""Characters of a button's label: reply, list, URL and call buttons (Meta, Cloud API, interactive messages)."""
MAX_SECTIONS = 10
"""Sections of a list or of a product list (Meta, Cloud API, interactive list messages, multi-product messages)."""
MAX_SECTION_TITLE = 24
"""Characters of a section's title (Meta, Cloud API, interactive list messages)."""
MAX_ROWS = 10
"""Rows of a list, over all its sections (Meta, Cloud API, interactive list messages)."""
MAX_ROW_ID = 200
"""Characters of a row's id (Meta, Cloud API, interactive list messages)."""
MAX_ROW_TITLE = 24
"""Characters of a row's title (Meta, Cloud API, interactive list messages)."""
MAX_ROW_DESCRIPTION = 72
"""Characters of a row's description (Meta, Cloud API, interactive list messages)."""
MAX_PRODUCTS = 30
"""Products of a product list, over all its sections (Meta, Cloud API, multi-product messages)."""
MIN_CARDS, MAX_CARDS = 2, 10
"""Cards of an interactive carousel (Meta, Cloud API, interactive carousel messages)."""
MAX_REFERENCE = 35
"""Characters of an order's `reference_id` (Meta, payments API, order details)."""

MAX_TEMPLATE_NAME = 512
"""Characters of a template's name (Meta, Business Management API, message templates)."""
MIN_LANGUAGE, MAX_LANGUAGE = 2, 15
"""Characters of a language code: the longest of Meta's list, such as en_GB, have five; one day they may have more (Meta, supported languages)."""
MAX_INDEX = 9
"""The last position of a template's button or card, from 0 (Meta, Cloud API, messages, button components)."""
MAX_TEMPLATE_CARDS = 10
"""Cards of a carousel template (Meta, carousel templates)."""
MAX_HEADER_PARAMETER = 60
"""Characters of a text parameter in a template's header (Meta, Cloud API, messages, parameter object)."""
MAX_BODY_PARAMETER = 1024
"""Characters of a text parameter in a template's body (Meta, Cloud API, messages, parameter object)."""
MAX_BODY_ALONE = 32_768
"""The same where the body is the only component of the message (Meta, Cloud API, messages, parameter object)."""
MAX_PAYLOAD = 256
"""Characters of a template quick reply's payload. 128 is reported too, unverified; what lies between is left to Meta."""
MAX_COUPON = 15
"""Characters of a coupon code (Meta, coupon code templates)."""
MAX_LATITUDE, MAX_LONGITUDE = 90, 180
"""Degrees, either way (WGS 84)."""

MAX_COMPONENTS, MAX_PARAMETERS, MAX_ENTRIES = 64, 256, 64
"""Components of a template, parameters of a component, entries of a contact's lists. Meta tells no limit: these are ours, far above any message, so that a list
without end does not keep everybody else waiting while its errors are told."""
