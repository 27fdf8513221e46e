"""A record of the ledger as a row of an archived file, and back. Pure.

Columns: the coordinates, then every field of `LedgerEntry` (those that are objects as JSON text), then `record`: the record itself in base64,
only where the other columns do not give it back byte for byte (written by an older version, or unreadable).
"""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from services.billing.books.records import LedgerRecord, Place, Read, Standing, event_of
from shared.events import LedgerEntry, PredictedCost, VolumeTier, encode

_FIELDS = msgspec.structs.fields(LedgerEntry)
_OBJECTS = {
    "tags": dict[str, str],
    "predicted": PredictedCost,
    "volume_tier": VolumeTier,
    "meta_pricing": None,
}
_NAMES = tuple(field.name for field in _FIELDS)

COORDINATES = {
    "topic": "VARCHAR",
    "partition": "INTEGER",
    "offset": "BIGINT",
    "published_ms": "BIGINT",
    "source": "VARCHAR",
    "standing": "VARCHAR",
}


def _column_type(type_: Any) -> str:
    if type_ is bool:
        return "BOOLEAN"
    return "BIGINT" if type_ is int or type_ == int | None else "VARCHAR"


COLUMNS: dict[str, str] = (
    COORDINATES | {field.name: _column_type(field.type) for field in _FIELDS} | {"record": "VARCHAR"}
)
"""Column → SQL type, in the order of the file."""


def to_row(topic: str, record: LedgerRecord, standing: Standing) -> dict[str, Any]:
    """The row of a record; JSON can carry it."""
    row: dict[str, Any] = {
        "topic": topic,
        "partition": record.place.partition,
        "offset": record.place.offset,
        "published_ms": record.published_ms,
        "source": record.source,
        "standing": standing,
    }
    if record.entry is not None:
        for name in _NAMES:
            value = getattr(record.entry, name)
            if name in _OBJECTS and value is not None:
                value = encode(value).decode()
            row[name] = value.replace("\0", "�") if isinstance(value, str) else value
    if _from_columns(row) != record.value:
        row["record"] = base64.b64encode(record.value).decode()
    return row


def from_row(row: Mapping[str, Any], file: str) -> Read:
    """The record of a row read from `file`; the inverse of `to_row`.

    Raises:
        ValueError: it is no such row (msgspec's errors are such).
    """
    kept = row.get("record")
    entry = _entry(row)
    if kept:
        value = base64.b64decode(kept, validate=True)
        try:
            entry = msgspec.json.decode(value, type=LedgerEntry)
        except msgspec.MsgspecError:
            entry = None
    elif entry is None:
        raise ValueError(
            f"row {row.get('partition')}:{row.get('offset')} holds neither an entry nor a record"
        )
    else:
        value = encode(entry)
    place = Place(row["partition"], row["offset"], file)
    source = row["source"]
    record = LedgerRecord(place, row["published_ms"], source, value, entry, event_of(source))
    return Read(record, row["standing"])


def _from_columns(row: Mapping[str, Any]) -> bytes | None:
    entry = _entry(row)
    return None if entry is None else encode(entry)


def _entry(row: Mapping[str, Any]) -> LedgerEntry | None:
    """The entry of the columns; a column that the file does not have, for it is older, has the field's default."""
    if row.get("event_id") is None:
        return None
    fields = {name: row[name] for name in _NAMES if row.get(name) is not None}
    for field in _FIELDS:
        if field.required and field.name not in fields:
            fields[field.name] = None
    for name, type_ in _OBJECTS.items():
        text = fields.get(name)
        if text is not None:
            fields[name] = (
                msgspec.Raw(text.encode()) if type_ is None else msgspec.json.decode(text, type=type_)
            )
    return LedgerEntry(**fields)
