"""One form per user: numbers as people and Meta write them in, E.164 digits without plus out. Pure.

A number is accepted when its country's numbering plan knows its length and shape (`phonenumbers`, general
description), not only when its range is known to be assigned: ranges are assigned before the library hears of
it, and refusing a real user is worse than one call that Meta answers with 131026.
"""

import re
from functools import lru_cache

import phonenumbers
from phonenumbers.phonemetadata import PhoneMetadata

from shared.ids import User, conversation_key

__all__ = ["canonical_user", "conversation_key", "country_of", "is_bsuid"]

_WA_ID = re.compile(r"[1-9][0-9]{6,14}")
_WRITTEN = re.compile(r"\s*\+?[0-9 ()-]+\s*", re.ASCII)
_PUNCTUATION = str.maketrans("", "", " ()-+\t\r\n\v\f")
_BSUID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")
_LONGEST_CHARS = 140
"""A business-scoped id has at most 135, a number with punctuation far fewer; bounds work and cache."""

_MAX_READINGS = 4
"""Reading takes one prefix off at a time; a real number is stable after two readings."""

_MEXICO_MOBILE = re.compile(r"521[0-9]{10}")
_KAZAKHSTAN = ("76", "77")
_BRAZIL_MOBILE_OLD = re.compile(r"55[1-9]{2}[689][0-9]{7}")


def canonical_user(raw: str) -> User | None:
    """Return the canonical form of a user, or None when no number or id can be read from `raw`.

    Accepts E.164 with plus, spaces, hyphens and brackets, the digits-only form of Meta's `wa_id` (always with
    its country code), and the business-scoped user id (`US.13491208655302741918`), which passes unchanged. A
    number that Meta writes in an older form of its country's plan (Mexico 521…, Brazil without the ninth
    digit) becomes today's E.164, so that one user has one form. Idempotent. About 1 µs for a number already
    canonical.
    Source: Meta, Cloud API, phone number formats; webhooks, business-scoped user ids.
    """
    if _WA_ID.fullmatch(raw):
        plan = _plan_of(raw)
        if plan is not None and plan.keeps(raw):
            return User(raw)
    return _canonical_written(raw) if len(raw) <= _LONGEST_CHARS else None


def is_bsuid(user: str) -> bool:
    """Whether a user is named by Meta's business-scoped id and not by a number."""
    return _BSUID.fullmatch(user) is not None


@lru_cache(maxsize=16_384)
def country_of(user: str) -> str | None:
    """Return the ISO 3166 country of a canonical user; None for what belongs to no country (satellite, services).

    By the calling code, as rate cards read it: of territories that share one, the main country. +1 and +7 are told apart by the digits
    after them. A business-scoped id goes by the country it begins with. Source: Meta, pricing, rate cards.
    """
    if is_bsuid(user):
        return user[:2]
    if not user.isdecimal():
        return None
    for length in (1, 2, 3):
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(user[:length]))
        if not regions:
            continue
        if regions[0] == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY:
            return None
        if regions[0] == "US":
            return _of_america(user[1:4])
        return "KZ" if user.startswith(_KAZAKHSTAN) else regions[0]
    return None


@lru_cache(maxsize=1000)
def _of_america(area: str) -> str:
    """The country of an area code of +1; the United States for one that the library does not know yet."""
    number = phonenumbers.parse(f"+1{area}2530000", None)
    return phonenumbers.region_code_for_number(number) or "US"


class _Plan:
    """The numbering plan behind one calling code: which digits are a number, as E.164 writes it."""

    __slots__ = ("_code_len", "_lengths", "_shape", "_stripped")

    def __init__(self, calling_code: int) -> None:
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[calling_code]
        plans = [
            PhoneMetadata.metadata_for_region_or_calling_code(calling_code, region) for region in regions
        ]
        shapes = [plan.general_desc for plan in plans if plan is not None and plan.general_desc is not None]
        main = plans[0]
        self._code_len = len(str(calling_code))
        self._lengths = frozenset(n for shape in shapes for n in shape.possible_length)
        patterns = (shape.national_number_pattern for shape in shapes)
        self._shape = re.compile("|".join(f"(?:{pattern})" for pattern in patterns if pattern))
        # What reading takes off the front: a number that begins so may not be in its canonical form yet.
        stripped = [main.national_prefix_for_parsing] if main and main.national_prefix_for_parsing else []
        older = {"52": ["1[0-9]{10}"], "55": ["[1-9]{2}[689][0-9]{7}$"]}.get(str(calling_code), [])
        self._stripped = (
            re.compile("|".join(f"(?:{p})" for p in stripped + older)) if stripped + older else None
        )

    def knows(self, digits: str) -> bool:
        """Whether the digits after the calling code have a length and a shape of this plan."""
        national = digits[self._code_len :]
        return len(national) in self._lengths and self._shape.fullmatch(national) is not None

    def keeps(self, digits: str) -> bool:
        """Whether the digits are a number that reading would not change."""
        if self._stripped is not None and self._stripped.match(digits, self._code_len):
            return False
        return self.knows(digits)


@lru_cache(maxsize=1024)
def _plan(calling_code: str) -> _Plan | None:
    code = int(calling_code)
    return _Plan(code) if code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE else None


def _plan_of(digits: str) -> _Plan | None:
    """The plan of E.164 digits; calling codes have one to three digits and none begins another."""
    return _plan(digits[:1]) or _plan(digits[:2]) or _plan(digits[:3])


@lru_cache(maxsize=16_384)
def _canonical_written(raw: str) -> User | None:
    """Read what is not canonical yet, by the library. About 20 µs when not cached."""
    if _BSUID.fullmatch(raw):
        return User(raw)
    if not _WRITTEN.fullmatch(raw):
        return None
    digits = raw.translate(_PUNCTUATION)
    for _ in range(_MAX_READINGS):
        read = _read(digits)
        if read is None:
            return None
        if read == digits:
            plan = _plan_of(read)
            return User(read) if plan is not None and plan.knows(read) else None
        digits = read
    return None


def _read(digits: str) -> str | None:
    """Read international digits once: national prefixes inside and older forms of a plan go away."""
    if _MEXICO_MOBILE.fullmatch(digits):
        digits = "52" + digits[3:]
    elif _BRAZIL_MOBILE_OLD.fullmatch(digits):
        digits = f"{digits[:4]}9{digits[4:]}"
    try:
        number = phonenumbers.parse("+" + digits, None)
    except phonenumbers.NumberParseException:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
