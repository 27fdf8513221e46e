"""A seed in, a body out: a fixture with its structure, its text or its bytes changed; the same seed gives the same body. Pure."""

import json
import random
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

Node = tuple[Any, Any]
"""A container and the key or index of one of its members."""

_RAW = re.compile(rb'"\xc2\xa7(\d+)"')
"""Where a text stands that no JSON writer would write."""
RAW = (
    b"1e999999", b"-0", b"0.1e-400", b"9" * 400, b"1" + b"0" * 5000, b"NaN", b"Infinity", b"01", b"+1", b".5", b"1.", b"tru",
    rb'"\ud83d"', rb'"\udc00\ud83d"', rb'"\ud83d\ud83d"', rb'"\u0000"', rb'"\x"', b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"\n"',
    b'"' + b"x" * 70_000 + b'"', b"[" * 300 + b"]" * 300, b"[" * 5000 + b"]" * 5000, b'{"a":' * 2000 + b"1" + b"}" * 2000,
    b"{}{}", b"[,]", b'{"id":1,"id":2}', b'{"messages":[{}],"messages":[]}', b"/**/1", b"'a'", b"",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**70), 10**30, 0.5, 1e300, -1e-300, "", " ", "0", "-1",
    "1749416383", "99999999999999999999", "1e3", "\u0661\u0662", "\x00", "a" * 300, "\u00e4\U0001f600", "\u202e\u200b", "|#:", "x:y:z",
    "../../etc", "{}", "DE.1", "15550783881", "+49 151", "wamid.", [], {}, [[]], [{}], [None], {"": None}, {"id": {}},
    {"phone_number_id": "106"}, [1, "a", None, {}],
)  # fmt: skip


class Mutator:
    """Bodies made of `fixtures` (parsed)."""

    def __init__(self, fixtures: Sequence[Any], seed: int) -> None:
        self._texts = [json.dumps(fixture) for fixture in fixtures]
        self._names = sorted({name for fixture in fixtures for name in _names(fixture)})
        self._seed = seed

    def body(self, index: int) -> bytes:
        """The body number `index`."""
        chance = random.Random(self._seed * 1_000_000_007 + index)
        if chance.random() < 0.03:
            return _noise(chance)
        tree = [json.loads(chance.choice(self._texts))]
        for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
            self._change(tree, chance)
        body = json.dumps(tree[0], ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")
        body = _RAW.sub(lambda found: RAW[int(found[1])], body)
        if chance.random() < 0.2:
            for _ in range(chance.randint(1, 3)):
                body = chance.choice(_ON_BYTES)(body, chance)
        return body

    def _change(self, tree: list[Any], chance: random.Random) -> None:
        holder, key = _anywhere(tree, chance)
        old = holder[key]
        what = chance.randrange(11)
        if what == 0:
            holder[key] = deepcopy(chance.choice(_VALUES))
        elif what == 1:
            holder[key] = f"\u00a7{chance.randrange(len(RAW))}"
        elif what == 2 and holder is not tree:
            del holder[key]
        elif what == 3 and isinstance(holder, list) and holder is not tree:
            holder[key:key] = [json.loads(json.dumps(old)) for _ in range(chance.choice((1, 2, 30)))]
        elif what == 4 and isinstance(holder, dict):
            holder[chance.choice(self._names)] = holder.pop(key)
        elif what == 5:
            other, place = _anywhere(tree, chance)
            holder[key] = json.loads(json.dumps(other[place]))
        elif what == 6:
            other, place = _anywhere([json.loads(chance.choice(self._texts))], chance)
            holder[key] = other[place]
        elif what == 7:
            for _ in range(chance.choice((1, 2, 10, 200))):
                old = {"a": old} if chance.random() < 0.5 else [old]
            holder[key] = old
        elif what == 8 and isinstance(old, dict):
            old[chance.choice(self._names)] = deepcopy(chance.choice(_VALUES))
        elif what == 9 and isinstance(old, str):
            at = chance.randint(0, len(old))
            holder[key] = (
                old[:at]
                + chance.choice(("", "\x00", "\ud83d", "\U0001f600", "%s", "'", "\\"))
                + old[at + 1 :]
            )
        elif what == 10:
            holder[key] = str(old) if isinstance(old, int | float) else [old]


def _anywhere(tree: list[Any], chance: random.Random) -> Node:
    """A random place, deep ones rather than the few near the root, whose change alone has the whole body refused."""
    holder: Any = tree
    key: Any = 0
    while isinstance(holder[key], dict | list) and holder[key] and chance.random() < 0.93:
        holder = holder[key]
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        deep = [key for key in keys if isinstance(holder[key], dict | list)]
        key = chance.choice(deep if deep and chance.random() < 0.7 else keys)
    return holder, key


def _names(tree: Any) -> set[str]:
    if isinstance(tree, dict):
        return set(tree).union(*map(_names, tree.values()))
    return set().union(*map(_names, tree)) if isinstance(tree, list) else set()


def _cut(body: bytes, chance: random.Random) -> bytes:
    return body[: chance.randint(0, len(body))]


def _flip(body: bytes, chance: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(chance.randint(1, 8)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _insert(body: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(body))
    return (
        body[:at]
        + chance.choice(
            (b"\x00", b"\xff", b"{", b"}", b"[", b'"', b",", b"\\", b"\xef\xbb\xbf", b"\xed\xb0\x80")
        )
        + body[at:]
    )


def _repeat(body: bytes, chance: random.Random) -> bytes:
    start, end = sorted((chance.randint(0, len(body)), chance.randint(0, len(body))))
    return body[:end] + body[start:end] * chance.choice((1, 2, 5)) + body[end:]


def _remove(body: bytes, chance: random.Random) -> bytes:
    start, end = sorted((chance.randint(0, len(body)), chance.randint(0, len(body))))
    return body[:start] + body[end:]


_ON_BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (_cut, _flip, _insert, _repeat, _remove)
_TOKENS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b'"object"', b'"entry"', b'"changes"', b'"value"', b'"whatsapp_business_account"',
    b'"instagram"', b'"page"', b'"id"', b"1", b"null", b"true", b"\\", b"\xff", b" ", b"e5", b"-",
)  # fmt: skip


def _noise(chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return chance.randbytes(chance.randrange(4096))
    return b"".join(chance.choices(_TOKENS, k=chance.randrange(200)))
