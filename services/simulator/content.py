"""The content of a message by its type: what Meta objects to, fault by fault. Pure.

Source: Meta, Cloud API, messages: required fields and limits per type; error codes 131008, 131009.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from services.simulator.errors import GraphError

Faults = Iterator[GraphError]
Check = Callable[[Any, str], Faults]
_LINK = re.compile(r"https?://[^\s/?#]+", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def missing(where: str) -> GraphError:
    """A required parameter is not there."""
    return GraphError(131008, f"The parameter {where} is required.")


def invalid(where: str, why: str) -> GraphError:
    """A parameter does not hold what it must."""
    return GraphError(131009, f"Param {where} {why}")


def text(holder: Any, key: str, where: str, most: int | None = None, *, needed: bool = True) -> Faults:
    """A text of 1 to `most` characters; one that is not needed may be left out, or empty."""
    value = holder.get(key)
    if value is None or value == "":
        if needed:
            yield missing(f"{where}['{key}']")
    elif not isinstance(value, str):
        yield invalid(f"{where}['{key}']", "must be a string.")
    elif most is not None and len(value) > most:
        yield invalid(f"{where}['{key}']", f"must be at most {most} characters long.")


def link(holder: Any, key: str, where: str) -> Faults:
    """A needed http or https address."""
    yield from text(holder, key, where)
    value = holder.get(key)
    if isinstance(value, str) and value and not _LINK.match(value):
        yield invalid(f"{where}['{key}']", "is not a valid URL.")


def number_or_text(holder: Any, key: str, where: str) -> Faults:
    """An id, which may be written as a number."""
    value = holder.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return
    yield from text(holder, key, where)


def items(holder: Any, key: str, where: str, least: int, most: int) -> Faults:
    """A needed list of `least` to `most` objects."""
    value = holder.get(key)
    if value is None:
        yield missing(f"{where}['{key}']")
    elif not isinstance(value, list) or not least <= len(value) <= most:
        yield invalid(f"{where}['{key}']", f"must hold {least} to {most} items.")
    elif not all(isinstance(item, dict) for item in value):
        yield invalid(f"{where}['{key}']", "must hold objects.")


def within(holder: Any, key: str, where: str, check: Check, *, needed: bool = True) -> Faults:
    """An object that a check of its own looks at."""
    value = holder.get(key)
    if value is None:
        if needed:
            yield missing(f"{where}['{key}']")
    elif not isinstance(value, dict):
        yield invalid(f"{where}['{key}']", "must be an object.")
    else:
        yield from check(value, f"{where}['{key}']")


def flag(holder: Any, key: str, where: str) -> Faults:
    """Yes or no, or left out."""
    value = holder.get(key)
    if value is not None and not isinstance(value, bool):
        yield invalid(f"{where}['{key}']", "must be a boolean.")


# --- the types


def _text(content: Any, where: str) -> Faults:
    yield from text(content, "body", where, 4096)
    yield from flag(content, "preview_url", where)


def media(content: Any, where: str) -> Faults:
    """A file by id or by link."""
    has_id, has_link = content.get("id") is not None, content.get("link") is not None
    if has_id == has_link:
        if has_id:
            yield invalid(where, "must have either id or link, not both.")
        else:
            yield GraphError(131008, f"One of the parameters {where}['id'], {where}['link'] is required.")
    elif has_id:
        yield from number_or_text(content, "id", where)
    else:
        yield from link(content, "link", where)


def _captioned(content: Any, where: str) -> Faults:
    yield from media(content, where)
    yield from text(content, "caption", where, 1024, needed=False)


def document(content: Any, where: str) -> Faults:
    """A file with a name."""
    yield from _captioned(content, where)
    yield from text(content, "filename", where, needed=False)


def _uncaptioned(content: Any, where: str) -> Faults:
    yield from media(content, where)
    if content.get("caption") is not None:
        yield invalid(f"{where}['caption']", "is not supported for this type.")
    yield from flag(content, "voice", where)


def location(content: Any, where: str) -> Faults:
    """A place on the globe."""
    for key, most in (("latitude", 90.0), ("longitude", 180.0)):
        value = content.get(key)
        if value is None:
            yield missing(f"{where}['{key}']")
            continue
        try:
            degrees = float(value) if not isinstance(value, bool) else None
        except (TypeError, ValueError, OverflowError):
            degrees = None
        if degrees is None or not -most <= degrees <= most:
            yield invalid(f"{where}['{key}']", "is not a valid coordinate.")
    for key in ("name", "address"):
        yield from text(content, key, where, needed=False)


def _contacts(content: Any, where: str) -> Faults:
    if not 1 <= len(content) <= 257:
        yield invalid(where, "must be a list of 1 to 257 contacts.")
    for place, contact in enumerate(content):
        if not isinstance(contact, dict):
            yield invalid(f"{where}[{place}]", "must be an object.")
            continue
        yield from within(contact, "name", f"{where}[{place}]", _name)
        for key in ("addresses", "emails", "phones", "urls"):
            if contact.get(key) is not None:
                yield from items(contact, key, f"{where}[{place}]", 0, 10**6)
        birthday = contact.get("birthday")
        if birthday is not None and not (isinstance(birthday, str) and _DATE.fullmatch(birthday)):
            yield invalid(f"{where}[{place}]['birthday']", "must be YYYY-MM-DD.")
        yield from within(contact, "org", f"{where}[{place}]", _org, needed=False)


def _name(name: Any, where: str) -> Faults:
    others = ("first_name", "last_name", "middle_name", "suffix", "prefix")
    yield from text(name, "formatted_name", where)
    for key in others:
        yield from text(name, key, where, needed=False)
    if not any(name.get(key) for key in others):
        yield GraphError(131008, f"At least one of {where}'s optional names is required.")


def _org(org: Any, where: str) -> Faults:
    for key in ("company", "department", "title"):
        yield from text(org, key, where, needed=False)


def _reaction(content: Any, where: str) -> Faults:
    yield from text(content, "message_id", where, 128)
    emoji = content.get("emoji")
    if emoji is None:
        yield missing(f"{where}['emoji']")
    elif not isinstance(emoji, str) or (emoji and not _pictures(emoji)):
        yield invalid(f"{where}['emoji']", "must be an emoji, or empty.")


def _pictures(emoji: str) -> bool:
    """Whether a text has a picture in it and no word: letters, numbers, spaces and controls spell words, but for a keycap's number."""
    if len(emoji) > 32:
        return False
    if emoji[-1] == "\u20e3" and emoji[0] in "0123456789#*":
        return len(emoji) == 2 or emoji[1:-1] == "\ufe0f"
    words = ("L", "Nd", "Z", "Cc")
    spelt = [c for c in emoji if c != "\u2139" and unicodedata.category(c).startswith(words)]
    return not spelt and min(emoji) > "\x7f"


TYPES: Mapping[str, Check] = {
    "text": _text,
    "image": _captioned,
    "video": _captioned,
    "audio": _uncaptioned,
    "document": document,
    "sticker": _uncaptioned,
    "location": location,
    "contacts": _contacts,
    "reaction": _reaction,
}
"""All but interactive messages and templates."""
