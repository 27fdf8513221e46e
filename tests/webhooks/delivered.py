"""How updates come: one by one, or as Meta and a bad network may bring them. Bodies, and the items that must end in the dead letters."""

import hmac
import json
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeVar

from tests.webhooks.told import INSTAGRAM, NUMBER, PAGE, PHONES, WABA, Brings, Told

TOO_DEEP = b'{"a":[' * 1500 + b"0" + b"]}" * 1500
HUGE = b"9" * 5000
"""Of so many digits nobody reads a number."""
_SECRET = b"generated"
_ABOUT = {"display_phone_number": "15550101000"}


@dataclass(frozen=True)
class Damaged:
    """What can't be read: an item among others, or (`level`) a change or entry of its own; `parked` is what the dead letters must hold of it."""

    at: Told
    level: str
    parked: bytes


@dataclass
class Delivery:
    """Bodies in the order in which they come."""

    bodies: list[bytes] = field(default_factory=list)
    damaged: list[bytes] = field(default_factory=list)
    duplicates: int = 0
    halved: int = 0
    """Texts cut within a character."""
    refused: int = 0
    """Bodies that the network damaged: their signature fails, and they come again whole."""


def one_by_one(told: Iterable[Told]) -> Delivery:
    return Delivery([whole for one in told for whole in bodies([one])])


def disordered(told: Sequence[Told], chance: random.Random) -> Delivery:
    """Doubled, shuffled, batched anew over numbers, accounts and channels in any mix, with damaged items among them."""
    found = Delivery()
    again = [one for one in told for _ in range(chance.choice((0, 0, 0, 1, 2)))]
    bad = [chance.choice(DAMAGES)(n) for n in range(chance.randint(0, 1 + len(told) // 4))]
    coming: list[Told | Damaged] = [*told, *again, *bad]
    chance.shuffle(coming)
    found.damaged, found.duplicates = [one.parked for one in bad], len(again)
    while coming:
        size = chance.choice((1, 2, 5, 20, 1000))
        for whole in bodies(coming[:size], chance):
            halved = whole.replace(rb"\ufffd", rb"\ud83d", chance.randint(0, 3))
            found.halved += halved != whole
            found.refused += _comes_damaged(halved, chance)
            found.bodies.append(halved)
        coming = coming[size:]
    return found


def _comes_damaged(body: bytes, chance: random.Random) -> bool:
    """At times a body comes with some bits turned or its end missing: then its signature says so."""
    if chance.random() > 0.1:
        return False
    bad = bytearray(body[: chance.choice((len(body), chance.randrange(len(body))))])
    for _ in range(chance.randint(0 if len(bad) < len(body) else 1, 3)):
        bad[chance.randrange(len(bad) or 1) : 1] = bytes([chance.randrange(256)])
    if bytes(bad) == body:
        return False
    assert hmac.digest(_SECRET, bytes(bad), "sha256") != hmac.digest(_SECRET, body, "sha256")
    return True


# --- joined into bodies


def bodies(batch: Sequence[Told | Damaged], chance: random.Random | None = None) -> list[bytes]:
    """POSTs of these updates, one for each object: neighbours share entry, change and list; or (by `chance`) whatever can."""
    joined = chance is not None and chance.random() < 0.5
    found = []
    for same in _grouped(batch, lambda one: _at(one).object, joined=True):
        entries = [
            _entry(one, joined, chance) for one in _grouped(same, _entry_of, joined=joined)
        ]  # fmt: skip
        found.append(b'{"object":"%s","entry":[%s]}' % (_at(same[0]).object.encode(), b",".join(entries)))
    return found


T = TypeVar("T")


def _grouped(items: Sequence[T], key: Callable[[T], Hashable], *, joined: bool) -> list[list[T]]:
    if joined:
        groups: dict[Hashable, list[T]] = {}
        for one in items:
            groups.setdefault(key(one), []).append(one)
        return list(groups.values())
    return [list(group) for _, group in groupby(items, key)]


def _at(one: Told | Damaged) -> Told:
    return one if isinstance(one, Told) else one.at


def _entry_of(one: Told | Damaged) -> Hashable:
    if isinstance(one, Damaged) and one.level == "entry":
        return id(one)
    return _at(one).account, _at(one).time


def _entry(items: list[Told | Damaged], joined: bool, chance: random.Random | None) -> bytes:
    first = items[0]
    at = _at(first)
    if isinstance(first, Damaged) and first.level == "entry":
        return at.item
    time = b"" if at.time is None else b'"time":%d,' % at.time
    if at.object == "whatsapp_business_account":
        changes = [_change(group, chance) for group in _grouped(items, _change_of, joined=joined)]
        lists = b'"changes":[%s]' % b",".join(changes)
    else:
        lists = b",".join(
            b'"%s":[%s]' % (name.encode(), b",".join(map(_chat_item, group)))
            for group in _grouped(items, lambda one: _at(one).list or "changes", joined=True)
            for name in [_at(group[0]).list or "changes"]
        )
    return b'{"id":"%s",%s%s}' % (at.account.encode(), time, lists)


def _chat_item(one: Told | Damaged) -> bytes:
    at = _at(one)
    if at.list is not None or isinstance(one, Damaged):
        return at.item
    return b'{"field":"%s","value":%s}' % (at.field.encode(), at.item)


def _change_of(one: Told | Damaged) -> Hashable:
    at = _at(one)
    if at.alone or at.list is None or (isinstance(one, Damaged) and one.level == "change"):
        return id(one)
    return at.field, at.number


def _change(items: list[Told | Damaged], chance: random.Random | None) -> bytes:
    first, at = items[0], _at(items[0])
    if isinstance(first, Damaged) and first.level == "change":
        return at.item
    value = at.item
    if at.list is not None:
        known = {json.dumps(_at(one).contact): _at(one).contact for one in items if _at(one).contact}
        contacts = list(known.values())
        if chance is not None:
            chance.shuffle(contacts)
        shared: dict[str, Any] = {
            "messaging_product": "whatsapp",
            "metadata": {**_ABOUT, "phone_number_id": at.number},
        }
        if contacts:
            shared["contacts"] = contacts
        lists = b"".join(
            b',"%s":[%s]' % (name.encode(), b",".join(_at(one).item for one in group))
            for group in _grouped(items, lambda one: _at(one).list, joined=True)
            for name in [_at(group[0]).list or ""]
        )
        value = json.dumps(shared, separators=(",", ":")).encode()[:-1] + lists + b"}"
    return b'{"field":"%s","value":%s}' % (at.field.encode(), value)


# --- damage

WHATSAPP = "whatsapp_business_account"


def _item(
    field_: str, list_: str | None, item: bytes, *, number: str = NUMBER, object_: str = WHATSAPP
) -> Damaged:
    account = {"page": PAGE, "instagram": INSTAGRAM}.get(object_, WABA)
    return Damaged(Told(object_, account, field_, list_, item, Brings(), number=number), "item", item)


def _level(level: str, bytes_: bytes, parked: bytes | None = None, object_: str = WHATSAPP) -> Damaged:
    at = Told(object_, WABA if object_ == WHATSAPP else PAGE, "", None, bytes_, Brings())
    return Damaged(at, level, bytes_ if parked is None else parked)


def _named(rest: bytes) -> bytes:
    return (
        b'{"id":"bad%d","from":"'
        + PHONES[0].encode()
        + b'","recipient_id":"'
        + PHONES[0].encode()
        + b'",'
        + rest
        + b"}"
    )


_MESSAGES = (
    b'{"n":%d,"from":"16505551234"}', b'{"id":{"n":%d},"from":"16505551234"}', b'{"id":"","n":%d,"from":"16505551234"}',
    b"%d", b'"no %d"', b"[%d]", _named(b'"timestamp":' + HUGE), _named(b'"text":' + TOO_DEEP), _named(b'"context":' + TOO_DEEP),
)  # fmt: skip
_STATUSES = (
    _named(b'"status":null'), _named(b'"status":[]'), b'{"status":"read","recipient_id":"16505551234","n":%d}',
    b'{"id":"bad%d","status":"sent"}', b"%d", _named(b'"status":"sent","errors":' + HUGE), _named(b'"status":"sent","x":' + TOO_DEEP),
)  # fmt: skip
_ELSE = (b"%d", b'"no %d"', b"[%d]", _named(b'"x":' + HUGE), _named(b'"x":' + TOO_DEEP))
_CHATS = (
    b'{"sender":{"id":"5"},"message":{"text":"bad%d"}}', b'{"message":{"mid":"bad%d"}}', b'{"sender":{"id":[%d]},"postback":{"mid":"m"}}',
    b"%d", _named(b'"sender":{"id":"5"},"message":{"mid":' + HUGE + b"}"),
    _named(b'"sender":{"id":"5"},"message":{"mid":"m","text":' + TOO_DEEP + b"}"), _named(b'"read":' + TOO_DEEP),
)  # fmt: skip
_CHANGES = (
    b"%d", b'"no %d"', b'{"field":"messages","n":%d}', b'{"field":"messages","value":{"messages":[{"id":"bad%d"}]}}',
    b'{"field":"messages","value":%d}', b'{"field":"messages","value":{"metadata":{"phone_number_id":[%d]},"statuses":[]}}',
)  # fmt: skip
_ENTRIES = (
    b"%d", b'{"changes":[],"n":%d}', b'{"id":"bad%d"}', b'{"id":"bad%d","changes":"none"}', b'{"id":[%d],"changes":[],"messaging":[]}'
)  # fmt: skip

DAMAGES: tuple[Callable[[int], Damaged], ...] = (
    *(lambda n, bad=bad: _item("messages", "messages", bad % n) for bad in _MESSAGES),
    lambda n: _item("messages", "messages", b'{"id":"bad%d","type":"text"}' % n, number="N9"),  # of nobody
    *(lambda n, bad=bad: _item("messages", "statuses", bad % n) for bad in _STATUSES),
    *(
        lambda n, bad=bad, list_=list_: _item(list_, list_, bad % n)
        for bad in _ELSE
        for list_ in ("calls", "user_preferences", "message_echoes", "state_sync", "groups")
    ),
    lambda n: _item("history", "history", b'{"n":%d,"threads":[{"id":"16505551234"},7]}' % n),
    lambda n: _item("history", "history", b'{"n":%d,"threads":"none"}' % n),
    *(
        lambda n, bad=bad, object_=object_: _item("", "messaging", bad % n, object_=object_)
        for bad in _CHATS
        for object_ in ("page", "instagram")
    ),
    lambda n: _item("", None, b'{"field":"feed","n":%d}' % n, object_="page"),
    *(lambda n, bad=bad: _level("change", bad % n) for bad in _CHANGES),
    lambda n: _level("change", b'{"field":"messages","value":{"metadata":{"phone_number_id":"N1"},"messages":"none %d"}}' % n, b'"none %d"' % n),
    lambda n: _level("change", b'{"field":"flows","value":{"n":%d,"x":%s}}' % (n, TOO_DEEP), b'{"n":%d,"x":%s}' % (n, TOO_DEEP)),
    *(lambda n, bad=bad: _level("entry", bad % n) for bad in _ENTRIES),
    *(lambda n, bad=bad: _level("entry", bad % n, object_="page") for bad in _ENTRIES if b"none" not in bad),
)  # fmt: skip
"""Each makes the nth damaged item of a delivery."""
