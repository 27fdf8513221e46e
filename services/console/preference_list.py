"""A list of opt-outs and opt-ins: lines of CSV in, one event or one rejection for each out. Pure.

Columns `from` (phone_number_id), `to` (the user, international form), `marketing` (`in` or `out`), `at` (when the user said so: RFC 3339 with its
zone, or a date, which is meant in UTC), `evidence` (where the consent is kept; an opt-in needs it). Others are left alone.
"""

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from shared.events import PreferenceChanged
from shared.phone import canonical_user
from shared.times import to_ms

COLUMNS = ("from", "to", "marketing", "at", "evidence")
MAX_EVIDENCE = 2000
"""Characters; a reference to the evidence, not the evidence itself."""


class NoSuchList(ValueError):
    """The file has not the columns of a list; the text says which are missing."""


class Rejected(NamedTuple):
    """A line that was left out: its number from 1, why, and its fields as they stand."""

    line: int
    problem: str
    fields: tuple[str, ...]


class _Bad(ValueError):
    pass


def read(
    lines: Iterable[str], file: str, by: str, now_ms: int, is_number: Callable[[str], bool]
) -> Iterator[PreferenceChanged | Rejected]:
    """Read a list line by line.

    An event's id hashes what its line says, so the same line gives the same word wherever it stands. `is_number` knows the
    business's own numbers; `now_ms` (epoch ms) bounds what can have been said already.

    Raises:
        NoSuchList: the first line does not name the columns.
    """
    rows = csv.reader(lines, strict=True)
    try:
        heads = [head.strip().lower() for head in next(rows, [])]
    except csv.Error as error:
        raise NoSuchList(f"not CSV: {error}") from None
    if missing := [name for name in COLUMNS if name not in heads]:
        raise NoSuchList(f"columns missing in line 1: {', '.join(missing)}")
    while True:
        fields: list[str] = []
        try:
            fields = next(rows)
            if fields:
                yield _event(heads, fields, f"{file}:{rows.line_num}", by, now_ms, is_number)
        except StopIteration:
            return
        except (csv.Error, _Bad) as error:
            yield Rejected(rows.line_num, str(error), tuple(fields))


def _event(
    heads: list[str],
    fields: list[str],
    reference: str,
    by: str,
    now_ms: int,
    is_number: Callable[[str], bool],
) -> PreferenceChanged:
    if len(fields) != len(heads):
        raise _Bad(f"{len(fields)} fields, but {len(heads)} columns")
    row = dict(zip(heads, (field.strip() for field in fields), strict=True))
    number, marketing, evidence = row["from"], row["marketing"].lower(), row["evidence"]
    if not is_number(number):
        raise _Bad("from: no number of an account that is set up")
    user = canonical_user(row["to"])
    if user is None:
        raise _Bad("to: no phone number with its country code")
    if marketing not in ("in", "out"):
        raise _Bad("marketing: neither in nor out")
    if marketing == "in" and not evidence:
        raise _Bad("evidence: an opt-in needs it")
    if len(evidence) > MAX_EVIDENCE:
        raise _Bad(f"evidence: longer than {MAX_EVIDENCE} characters")
    at_ms = _at(row["at"])
    if at_ms > now_ms:
        raise _Bad("at: lies in the future")
    identity = msgspec.json.encode([number, user, marketing, at_ms, evidence])
    return PreferenceChanged(
        event_id=f"import:{hashlib.sha256(identity).hexdigest()[:32]}",
        at_ms=at_ms,
        phone_number_id=number,
        user=user,
        opted_out=marketing == "out",
        evidence=evidence or None,
        source="import",
        reference=reference,
        by=by,
        noted_ms=now_ms,
    )


def _at(written: str) -> int:
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        raise _Bad("at: no date or time; write 2026-03-01 or 2026-03-01T12:00:00+01:00") from None
    if at.tzinfo is None:
        if len(written) > len("2026-03-01"):
            raise _Bad("at: a time needs its zone, e.g. +01:00 or Z")
        at = at.replace(tzinfo=UTC)
    if at.year < 2009:
        raise _Bad("at: before there was WhatsApp")
    return to_ms(at)
