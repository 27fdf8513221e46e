"""Our check of a message and the fake Meta's, each written without the other: what ours lets through, Meta takes."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.simulator.errors import GraphError
from services.simulator.messages import parse
from shared.message_content import content_problems
from tests.unit.messages import GOOD, LIMITS, Json, Limit, having, whole

WORDS: list[Any] = [
    *(None, True, False, 0, 1, 1.5, -1, 9, 10, "", "0", "9", "10", "-1", " ", "x", "text", "image", "body", "button"),
    *("x" * n for n in (20, 21, 24, 25, 35, 36, 60, 61, 72, 73, 128, 129, 200, 201, 256, 257, 512, 513, 1024, 1025)),
    *("👍", "ä", "https://example.com", "http://", "https:/x", "a\nb", "a     b", [], {}, [{}], ["x"], {"id": "1"}),
    *({"link": "https://a.b"}, {"type": "text", "text": "x"}, {"text": "x"}, {"latitude": 1, "longitude": 1}),
]  # fmt: skip
REFUSALS = {100, 131008, 131009, 132005, 132018}


def fault(message: Json) -> GraphError | None:
    """What the fake Meta objects to, as the message comes over the wire."""
    taken = parse(json.loads(json.dumps(message)))
    return taken if isinstance(taken, GraphError) else None


@pytest.mark.parametrize("name", GOOD)
def test_meta_takes_every_good_message(name: str) -> None:
    assert fault(whole(GOOD[name])) is None


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.of}: {limit.told}"[:120])
def test_meta_has_the_same_limits(limit: Limit) -> None:
    assert fault(having(limit.of, limit.way, limit.keeps)) is None
    refused = fault(having(limit.of, limit.way, limit.breaks))
    assert refused is not None
    assert refused.code in REFUSALS


def places(value: Any) -> Any:
    """Every (holder, key) within a message."""
    for key, inner in list(value.items()) if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


@st.composite
def changed(draw: st.DrawFn) -> Json:
    """A good message with one or two places changed, taken away, or doubled."""
    content = draw(st.sampled_from(sorted(GOOD)))
    message = whole(GOOD[content])
    for _ in range(draw(st.integers(1, 2))):
        found = [place for place in places(message) if place[0] is not message or place[1] in GOOD[content]]
        if not found:
            break
        holder, key = draw(st.sampled_from(found))
        match draw(st.sampled_from(["change", "take away", "double"])):
            case "take away":
                del holder[key]
            case "double" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case _:
                holder[key] = copy.deepcopy(draw(st.sampled_from(WORDS)))
    return message


@settings(max_examples=1500)
@given(changed())
def test_what_our_check_lets_through_meta_takes_and_nothing_else(message: Json) -> None:
    ours, metas = content_problems(message), fault(message)
    if message.get("type", "text") in ("text", *{content.get("type") for content in GOOD.values()}):
        assert (ours == []) == (metas is None), (list(map(str, ours)), metas, message)
