"""What a webhook body holds: one fixture per shape that Meta sends, and any damage to them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingress.updates import Undecodable, Update
from services.ingress.webhooks import NotJson, UnknownObject, updates
from shared.events import (
    AccountWebhook,
    ConversationWebhook,
    MessageReceived,
    StatusReceived,
    decode_account_event,
    decode_conversation_event,
    encode,
)
from tests.unit.ingress.expected import described

RECEIVED_MS = 1_790_000_000_000
FIXTURES = Path(__file__).parents[2] / "fixtures" / "webhooks"
SHAPES = {path.stem: json.loads(path.read_text()) for path in sorted(FIXTURES.glob("*.json"))}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_webhook_holds_the_events_its_fixture_says(shape: str) -> None:
    body = json.dumps(SHAPES[shape]["body"]).encode()
    assert [described(part) for part in updates(body, RECEIVED_MS)] == SHAPES[shape]["expected"]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_event_can_be_read_back_from_its_record(shape: str) -> None:
    for part in updates(json.dumps(SHAPES[shape]["body"]).encode(), RECEIVED_MS):
        if isinstance(part, Update):
            decode = (
                decode_account_event if isinstance(part.event, AccountWebhook) else decode_conversation_event
            )
            assert encode(decode(encode(part.event))) == encode(part.event)


def test_what_meta_wrote_is_kept_to_the_byte() -> None:
    item = b'{"id" : "w", "from":"16505551234","timestamp":"1","type":"text","text":{"body":"\\u00e4\\/\\ud83d\\ude00", "n":1.50}}'
    part = one(message_body(item))
    assert isinstance(part, Update)
    assert isinstance(part.event, MessageReceived)
    assert bytes(part.event.message) == item


def test_the_same_account_webhook_sent_again_has_the_same_id_although_it_has_no_time() -> None:
    body = json.dumps(SHAPES["unknown_field_of_a_number"]["body"]).encode()
    first, second = updates(body, RECEIVED_MS)[0], updates(body, RECEIVED_MS + 60_000)[0]
    assert isinstance(first, Update)
    assert isinstance(second, Update)
    assert first.event.event_id == second.event.event_id


def test_half_a_character_in_a_text_costs_that_character_only() -> None:
    part = one(
        message_body(
            rb'{"id":"w","from":"16505551234","timestamp":"1","type":"text","text":{"body":"cut \ud83d\\ud83d \ud83d\ude00"}}'
        )
    )
    assert isinstance(part, Update)
    assert isinstance(part.event, MessageReceived)
    assert msgspec.json.decode(part.event.message)["text"]["body"] == "cut \ufffd\\ud83d \U0001f600"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"object":',
        b"[[[[",
        b'{"object":"page","entry":[}',
        b'\xff{"object":"page"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(NotJson):
        updates(body, RECEIVED_MS)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"{}",
        b'{"object":null}',
        b'{"object":["page"]}',
        b'{"object":"user","entry":[]}',
    ],
)
def test_an_object_of_nobody_here_is_unknown(body: bytes) -> None:
    with pytest.raises(UnknownObject):
        updates(body, RECEIVED_MS)


@pytest.mark.parametrize("entry", [b"1", b'"x"', b"{}", b"null"])
def test_entries_that_are_no_list_are_one_undecodable_update(entry: bytes) -> None:
    (part,) = updates(b'{"object":"whatsapp_business_account","entry":%s}' % entry, RECEIVED_MS)
    assert isinstance(part, Undecodable)
    assert part.place == "entry"


@pytest.mark.parametrize(
    "timestamp",
    [b"null", b'""', b'"soon"', b"-5", b"1e300", b"true", b'"99999999999999999999"', b'"\xd9\xa3"'],
)
def test_a_timestamp_that_is_none_gives_way_to_the_time_of_receipt(timestamp: bytes) -> None:
    part = one(message_body(b'{"id":"w","from":"16505551234","type":"text","timestamp":%s}' % timestamp))
    assert isinstance(part, Update)
    assert part.event.at_ms == RECEIVED_MS


def test_a_huge_number_costs_its_own_message_only() -> None:
    huge = b'{"id":"w1","from":"16505551234","timestamp":%s}' % (b"9" * 5000)
    found = updates(message_body(huge + b',{"id":"w2","from":"16505551234","timestamp":"1"}'), RECEIVED_MS)
    assert [type(part) for part in found] == [Undecodable, Update]


def test_a_huge_number_inside_a_message_goes_along_verbatim() -> None:
    item = b'{"id":"w","from":"16505551234","timestamp":"1","order":{"item_price":%s}}' % (b"9" * 5000)
    part = one(message_body(item))
    assert isinstance(part, Update)
    assert isinstance(part.event, MessageReceived)
    assert bytes(part.event.message) == item


def test_a_full_batch_of_1000_statuses_comes_out_whole_and_in_order() -> None:
    statuses = ",".join(
        f'{{"id":"w{n}","status":"sent","timestamp":"1750030073","recipient_id":"16505551234"}}'
        for n in range(1000)
    )
    value = f'{{"metadata":{{"phone_number_id":"5"}},"statuses":[{statuses}]}}'
    body = f'{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":{value}}}]}}]}}'
    found = updates(body.encode(), RECEIVED_MS)
    assert [
        part.event.wamid
        for part in found
        if isinstance(part, Update) and isinstance(part.event, StatusReceived)
    ] == [f"w{n}" for n in range(1000)]


def test_nothing_in_a_known_shape_is_dropped() -> None:
    """Each leaf list of each fixture comes out as at least one part."""
    for name, shape in SHAPES.items():
        assert updates(json.dumps(shape["body"]).encode(), RECEIVED_MS), name


def deep(levels: int) -> bytes:
    return b'{"a":[' * levels + b"0" + b"]}" * levels


def test_json_nested_too_deep_costs_its_own_item_only() -> None:
    """Deeper than anything can be read that is read at all: Python gives up at a thousand levels."""
    bad = b'{"id":"w1","from":"16505551234","timestamp":"1","type":"text","text":{"body":%s}}' % deep(3000)
    good = b'{"id":"w%d","from":"16505551234","timestamp":"1","type":"text","text":{"body":"hi"}}'
    before, parked, after = updates(message_body(b",".join((good % 0, bad, good % 2))), RECEIVED_MS)
    assert isinstance(parked, Undecodable)
    assert parked == ("entry/0/changes/0/messages/1", "nested too deep", bad)
    assert [part.event.event_id for part in (before, after) if isinstance(part, Update)] == ["w0", "w2"]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"object":"page","entry":[{"id":"1","messaging":[{"sender":{"id":"5"},"message":{"mid":"m","text":%s}}]}]}',
         "entry/0/messaging/0"),
        (b'{"object":"instagram","entry":[{"id":"1","changes":[{"field":"comments","value":{"from":{"id":"5"},"x":%s}}]}]}',
         "entry/0/changes/0"),
        (b'{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"flows","value":{"x":[1,%s]}}]}]}',
         "entry/0/changes/0"),
        (b'{"object":"page","entry":[7,%s]}', "entry/1"),
    ],
)  # fmt: skip
def test_too_deep_an_item_is_parked_with_its_place_wherever_it_stands(body: bytes, place: str) -> None:
    found = updates(body % deep(3000), RECEIVED_MS)
    parked = [part for part in found if isinstance(part, Undecodable) and part.place == place]
    assert len(parked) == 1
    assert deep(3000) in parked[0].raw
    assert not any(isinstance(part, Update) for part in found)


def test_of_a_call_and_a_preference_too_deep_one_dead_letter_each_is_left() -> None:
    for list_, item in (
        ("calls", b'{"id":"c","from":"16505551234","event":"connect","x":%s}'),
        (
            "user_preferences",
            b'{"wa_id":"16505551234","category":"marketing_messages","value":"stop","x":%s}',
        ),
    ):
        body = message_body(b"").replace(b'"messages":[]', b'"%s":[%s]' % (list_.encode(), item % deep(3000)))
        (parked,) = updates(body, RECEIVED_MS)
        assert parked == (f"entry/0/changes/0/{list_}/0", "nested too deep", item % deep(3000))


def test_a_contact_too_deep_costs_only_what_it_would_have_told() -> None:
    body = message_body(b'{"id":"w","from":"16505551234","timestamp":"1"}')
    contacts = b'"contacts":[{"wa_id":"4915112345678","x":%s},{"wa_id":"16505551234","profile":{"name":"Bob"}}],"messages":['
    for levels in (3000, 480):
        part = one(body.replace(b'"messages":[', contacts % deep(levels)))
        assert isinstance(part, Update)
        assert isinstance(part.event, MessageReceived)
        assert part.event.profile_name == "Bob"


@pytest.mark.parametrize("metadata", [b"null", b"7", b"[]", b"{}", b'{"phone_number_id":{}}', b'"x"'])
def test_a_change_of_no_number_is_one_dead_letter_and_the_next_goes_on(metadata: bytes) -> None:
    good = b'{"field":"messages","value":{"metadata":{"phone_number_id":"5"},"statuses":[{"id":"s","status":"read","recipient_id":"16505551234"}]}}'
    bad = b'{"field":"messages","value":{"metadata":%s,"messages":[{"id":"a"},{"id":"b"}]}}' % metadata
    body = b'{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[%s,%s]}]}' % (bad, good)
    parked, read = updates(body, RECEIVED_MS)
    assert parked == Undecodable("entry/0/changes/0", "no metadata.phone_number_id", bad)
    assert isinstance(read, Update)


@pytest.mark.parametrize(
    "bad", [b"7", b"null", b'"x"', b"[]", b"{}", b'{"field":"messages"}', b'{"field":"flows"}']
)
def test_what_is_no_change_is_one_dead_letter_and_the_next_goes_on(bad: bytes) -> None:
    body = (
        b'{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[%s,{"field":"flows","value":{}}]}]}'
        % bad
    )
    parked, read = updates(body, RECEIVED_MS)
    assert isinstance(parked, Undecodable)
    assert (parked.place, parked.raw) == ("entry/0/changes/0", bad)
    assert isinstance(read, Update)


def test_a_batch_of_1000_updates_and_3_mb_over_several_numbers_and_accounts_comes_out_item_by_item() -> None:
    """Each tenth item is damaged: it is parked with its place, and the rest comes in Meta's order."""
    entries, expected, parked = [], [], []
    for account in range(4):
        changes = []
        for number in range(5):
            lists: dict[str, list[Any]] = {"messages": [], "statuses": []}
            for index in range(25):
                for name, items in lists.items():
                    id_ = f"{account}.{number}.{name}.{index}"
                    user = f"4915{account}{number}{index:07}"
                    item: dict[str, Any] = {"id": id_, "timestamp": "1749416383"}
                    if name == "messages":
                        item |= {"from": user, "type": "text", "text": {"body": "x" * 5750}}
                    else:
                        item |= {"status": "read", "recipient_id": user}
                    key = (f"N{account}{number}", user)
                    if index % 10 == 3:
                        item["id"] = [id_]
                        parked.append(f"entry/{account}/changes/{number}/{name}/{index}")
                    else:
                        expected.append((":".join(key), id_ if name == "messages" else f"{id_}:read"))
                    items.append(item)
            metadata = {"phone_number_id": f"N{account}{number}"}
            changes.append({"field": "messages", "value": {"metadata": metadata, **lists}})
        entries.append({"id": f"W{account}", "changes": changes})
    body = json.dumps({"object": "whatsapp_business_account", "entry": entries}).encode()
    assert 2_900_000 < len(body) < 3_000_000
    found = updates(body, RECEIVED_MS)
    assert len(found) == 1000
    assert [part.place for part in found if isinstance(part, Undecodable)] == sorted(
        parked, key=lambda place: [int(step) if step.isdigit() else step for step in place.split("/")]
    )
    read = [(part.key, part.event.event_id) for part in found if isinstance(part, Update)]
    assert sorted(read) == sorted(expected)
    assert {part.event.waba_id for part in found if isinstance(part, Update) and isinstance(part.event, MessageReceived)} == {
        "W0", "W1", "W2", "W3",
    }  # fmt: skip


@pytest.mark.parametrize("odd", [b"\x01", b"\x00", b"\xff", b"\xe4", b"\xed\xa0\x80"])
def test_a_byte_that_json_knows_in_no_text_costs_that_byte_only(odd: bytes) -> None:
    part = one(
        message_body(
            b'{"id":"w","from":"16505551234","timestamp":"1","type":"text","text":{"body":"cut%shere"}}' % odd
        )
    )
    assert isinstance(part, Update)
    assert isinstance(part.event, MessageReceived)
    body = msgspec.json.decode(part.event.message)["text"]["body"]
    assert body.startswith("cut")
    assert body.endswith("here")


def test_what_meta_sends_again_in_another_batch_has_the_same_id() -> None:
    """The id is the item's own: what stands beside it, and where, changes nothing."""
    for name, shape in SHAPES.items():
        alone = {
            part.event.event_id
            for part in updates(json.dumps(shape["body"]).encode(), RECEIVED_MS)
            if isinstance(part, Update)
        }
        twice = {**shape["body"], "entry": shape["body"]["entry"] * 2}
        again = [
            part.event.event_id
            for part in updates(json.dumps(twice).encode(), RECEIVED_MS + 99_000)
            if isinstance(part, Update)
        ]
        assert set(again) == alone, name


def test_what_the_history_brings_is_no_message_of_today() -> None:
    found = updates(json.dumps(SHAPES["history"]["body"]).encode(), RECEIVED_MS)
    assert all(isinstance(part, Update) and isinstance(part.event, ConversationWebhook) for part in found)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A fixture's body with some of its values replaced, removed or doubled, and at times with its bytes cut or flipped."""
    body = json.loads(json.dumps(SHAPES[draw(st.sampled_from(sorted(SHAPES)))]["body"]))
    for _ in range(draw(st.integers(1, 4))):
        _damage(draw, body)
    raw = bytearray(json.dumps(body).encode())
    if draw(st.booleans()) and raw:
        place = draw(st.integers(0, len(raw) - 1))
        if draw(st.booleans()):
            raw[place] = draw(st.integers(0, 255))
        else:
            del raw[place:]
    return bytes(raw)


def _damage(draw: st.DrawFn, node: Any) -> None:
    while isinstance(node, dict | list) and node:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        how = draw(st.sampled_from(("down", "down", "down", "replace", "remove", "double")))
        if how == "replace":
            node[key] = draw(JSON)
            return
        if how == "remove":
            del node[key]
            return
        if how == "double" and isinstance(node, list):
            node.append(node[key])
            return
        node = node[key]


@settings(max_examples=400, deadline=None)
@given(damaged())
def test_no_damage_makes_it_raise_anything_but_its_two_refusals(body: bytes) -> None:
    try:
        found = updates(body, RECEIVED_MS)
    except (NotJson, UnknownObject):
        return
    for part in found:
        if isinstance(part, Update):
            assert part.key.encode()
            assert encode(part.event)


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from(("whatsapp_business_account", "instagram", "page")))
def test_any_json_in_the_place_of_the_entries_is_taken(entry: Any, name: str) -> None:
    updates(json.dumps({"object": name, "entry": [entry]}).encode(), RECEIVED_MS)


def message_body(items: bytes) -> bytes:
    return (
        b'{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":'
        b'{"metadata":{"phone_number_id":"5"},"messages":[' + items + b"]}}]}]}"
    )


def one(body: bytes) -> Update | Undecodable:
    (part,) = updates(body, RECEIVED_MS)
    return part
