"""A body nested too deep to be read in, one that can be read out, with what was taken out of it. Pure.

Meta nests a dozen levels. Whatever an item holds below `DEEPEST` gives way to a mark, so that the rest of the body can be read; who has read it puts it back.
"""

import re
from collections.abc import Generator
from typing import NamedTuple

DEEPEST = 100
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{},:]', re.DOTALL)
_STEP = 2000
"""Tokens."""
_LEVELS = 7
"""`entry/0/changes/0/value/messages/0`: no item's place has more."""


class Deep(NamedTuple):
    """One value nested too deep: the place of the item it belongs to, its bytes, and the JSON text that stands for it."""

    place: str
    raw: bytes
    mark: bytes


def shallow(body: bytes) -> Generator[None, None, tuple[bytes, list[Deep]]]:
    """The body with a mark in place of each list or object below `DEEPEST` levels; brackets that do not match are left as they are. In steps of a millisecond."""
    path: list[str | int] = []
    """Of each open list or object, the index or key read last."""
    kept, found = list[bytes](), list[Deep]()
    end, begun, word = 0, None, b""
    for nth, token in enumerate(_TOKEN.finditer(body), 1):
        if not nth % _STEP:
            yield
        match token[0]:
            case b"[" | b"{":
                path.append(0 if token[0] == b"[" else "")
                if len(path) == DEEPEST + 1:
                    begun = token.start()
            case b"]" | b"}":
                if path:
                    path.pop()
                if len(path) == DEEPEST and begun is not None:
                    deep = body[begun : token.end()]
                    mark = b'"\\u0000%d:%d\\u0000"' % (begun, len(deep))
                    found.append(Deep(_place(path), deep, mark))
                    kept += (body[end:begun], mark)
                    end, begun = token.end(), None
            case b"," if path and isinstance(path[-1], int):
                path[-1] += 1
            case b":" if path:
                path[-1] = word.decode(errors="replace")
            case _:
                word = token[0][1:-1]
    return b"".join((*kept, body[end:])), found


def change_of(place: str) -> str:
    """The place of the change that an item stands in: `entry/0/changes/0`."""
    return "/".join(place.split("/")[:4])


def _place(path: list[str | int]) -> str:
    """The item's place, as all that can't be read is named: without `value`, down to the last list."""
    within = path[: _LEVELS if "changes" in path[2:3] else 4]
    while within and isinstance(within[-1], str):
        within.pop()
    return "/".join(str(step) for step in within if step != "value") or "entry"
