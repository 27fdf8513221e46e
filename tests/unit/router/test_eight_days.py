"""Meta and businesses repeat what they said for up to a week, in any order: nothing is told, sent or charged twice, and what that costs is bounded."""

import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from services.billing.ledger import LedgerFold, Remembered
from services.router.seen import has
from services.router.state import (
    ADDRESS_MS,
    DELIVERED,
    MAX_ANSWERS,
    MAX_ENDED,
    MAX_INBOUND,
    MAX_LIVES,
    READ,
    REMEMBER_MS,
    Address,
    Answer,
    Ended,
    Name,
    State,
    encode_state,
)
from shared.events import (
    ConversationEvent,
    LedgerEntry,
    MessageReceived,
    MetaPricing,
    PreferenceChanged,
    StatusReceived,
    decode_ledger_entry,
    decode_send_event,
)
from shared.ids import fingerprint
from shared.logs import hasher
from shared.pricing import PriceBook
from shared.stream.fold import Grants, Outgoing
from shared.times import DAY_MS
from shared.topics import (
    CONVERSATION_EVENTS,
    MESSAGES_RECEIVED,
    PREFERENCES,
    SEND_COMMANDS,
    SEND_EVENTS,
)
from tests.unit.router.make import HOUR, KEY, NOW, USER, accepted, events, received, request, status, world
from tests.unit.router.world import World

CONFIG = Path(__file__).parents[3] / "config"
WEEK = 7 * DAY_MS
PRICED = MetaPricing(billable=True, pricing_model="PMP", type="regular", category="marketing")
FREE = MetaPricing(billable=False, pricing_model="PMP", type="free_customer_service", category="utility")


def again(event: ConversationEvent, at: int) -> ConversationEvent:
    """What Meta sends once more: the same, received later."""
    return replace(event, received_ms=at) if isinstance(event, MessageReceived | StatusReceived) else event


def month(seed: int) -> list[tuple[int, ConversationEvent]]:
    """What happens to one user in ten days, each thing repeated up to a week, in the order it comes."""
    chance = random.Random(seed)
    first = list[tuple[int, ConversationEvent]]()
    for n in range(40):
        at = NOW + chance.randrange(10 * DAY_MS)
        first.append((at, received(f"wamid.in{n}", at, waba_id="W1")))
    for n in range(40):
        at, id_ = NOW + chance.randrange(10 * DAY_MS), f"r{n}"
        first.append((at, request(id_, chance.choice(["promo", "order_update", None]), at)))
        command, later = f"{id_}#1", at + chance.randrange(1, 4) * 1000
        first.append((later, accepted(command, later)))
        fate = chance.choice(
            [["sent", "delivered", "read"], ["sent", "read"], ["delivered"], ["sent", "failed"], []]
        )
        price = chance.choice([PRICED, FREE])
        for nth, name in enumerate(fate):
            later += chance.choice([0, 1000, HOUR])
            # Meta gives a price with `sent` and one of the others, and may correct it.
            told = (
                None if name == "failed" or (name == "read" and nth == 2 and chance.random() < 0.7) else price
            )
            if name == "read" and chance.random() < 0.2:
                told = FREE if price is PRICED else PRICED
            code = 131050 if name == "failed" and chance.random() < 0.3 else None
            first.append((later, status(name, command, later, pricing=told, error_code=code)))
    for n in range(5):
        at = NOW + chance.randrange(10 * DAY_MS)
        first.append(
            (
                at,
                PreferenceChanged(
                    event_id="p", at_ms=at, phone_number_id="N1", user=USER, opted_out=n % 2 == 0, noted_ms=at
                ),
            )
        )
    for n in range(10):
        at = NOW + chance.randrange(10 * DAY_MS)
        first.append((at, status("delivered", None, at, wamid=f"wamid.others{n}", pricing=PRICED)))
    repeated = [
        (at + chance.randrange(WEEK), event) for at, event in first for _ in range(chance.randrange(4))
    ]
    return sorted(first + repeated, key=lambda row: row[0])


def ledger(made: World) -> dict[str, list[LedgerEntry]]:
    """The ledger's entries of all that was told, by message."""
    fold = LedgerFold(PriceBook.load(CONFIG), hasher("key"))
    known = dict[str, Remembered | None]()
    entries = defaultdict[str, list[LedgerEntry]](list)
    for out in made.out:
        if out.topic is SEND_EVENTS:
            event = decode_send_event(out.value)
            key = fold.key(out.key, event)
            step = fold.fold(known.get(key), event, made.facts, Grants())
            known[key] = step.state
            entries[key] += [decode_ledger_entry(own.value) for own in step.out]
    return entries


@pytest.mark.parametrize("regime", ["guide", "calendar"])
@pytest.mark.parametrize("seed", range(4))
def test_a_week_of_repetitions_tells_sends_and_charges_nothing_twice(seed: int, regime: str) -> None:
    made, once = world(regime=regime, budgets=[]), world(regime=regime, budgets=[])
    rows = month(seed)
    seen = set[int]()
    for at, event in rows:
        made.play(KEY, again(event, at), at)
        if id(event) not in seen:
            seen.add(id(event))
            once.play(KEY, event, at)
    for topic in (MESSAGES_RECEIVED, PREFERENCES, SEND_COMMANDS):
        told = Counter(out.id for out in made.out if out.topic is topic)
        assert set(told.values()) <= {1}
        assert told == Counter(out.id for out in once.out if out.topic is topic)
    steps = [out for out in made.out if out.topic is SEND_EVENTS and out.type != "decided"]
    assert set(Counter(out.id for out in steps).values()) == {1}
    assert [out.id for out in steps] == [
        o.id for o in once.out if o.topic is SEND_EVENTS and o.type != "decided"
    ]
    decided = Counter(out.value for out in made.out if out.topic is SEND_EVENTS and out.type == "decided")
    assert len({decode_send_event(value).event_id for value in decided}) == 40
    charged = ledger(made)
    assert charged == ledger(once)
    for entries in charged.values():
        assert sum(entry.counts for entry in entries) <= 1
        assert len(entries) <= 3


def test_two_prices_of_the_same_second_are_each_told_once_however_often_they_come() -> None:
    made = world(regime="calendar")
    made.play(KEY, request(), NOW)
    first, second = (status(n, pricing=p) for n, p in (("delivered", PRICED), ("read", FREE)))
    for at in range(6):
        for event in (first, second):
            made.play(KEY, event, NOW + 2000 + at)
    assert [e.event for e in made.send_events()][2:] == ["delivered", "priced", "read"]


# --- at the bounds


def filled(made: World, **fields: Any) -> None:
    made.states[KEY] = encode_state(State(1, "N1", USER, waba="W1", window_ms=NOW + 20 * HOUR, **fields))


def seen(n: int, since: int) -> bytes:
    """So many entries, one each second."""
    rows = (fingerprint(f"wamid.{i}") + ((since // 1000) + i).to_bytes(4, "big") for i in range(n))
    return b"".join(rows)


def told(out: tuple[Outgoing, ...]) -> list[str]:
    return [one.id for one in out if one.topic is MESSAGES_RECEIVED]


def test_a_message_that_had_to_be_forgotten_before_its_time_is_parked_and_not_told_twice() -> None:
    made, since = world(), NOW - DAY_MS
    filled(made, inbound=seen(MAX_INBOUND, since))
    at = since + MAX_INBOUND * 1000
    out = made.play(KEY, received("wamid.new", at), at)
    assert told(out) == ["wamid.new:received"]
    out = made.play(KEY, again(received("wamid.0", since), at + 1000), at + 1000)
    (parked,) = out
    assert (parked.topic, parked.type) == (CONVERSATION_EVENTS.dead_letters, "PerhapsToldBefore")
    assert made.fold.decode(parked.value).event_id == "wamid.0"
    assert told(made.play(KEY, again(received("wamid.1", since + 1000), at), at)) == [], "this one is known"
    late = received("wamid.late", at - HOUR)
    assert told(made.play(KEY, again(late, at + 2000), at + 2000)) == ["wamid.late:received"]


def test_a_conversation_that_is_just_full_has_forgotten_nothing() -> None:
    made = world()
    filled(made, inbound=seen(MAX_INBOUND - 1, NOW - DAY_MS))
    made.play(KEY, received("wamid.new", NOW), NOW)
    late = received("wamid.late", NOW - 2 * DAY_MS)
    assert told(made.play(KEY, again(late, NOW + 1), NOW + 1)) == ["wamid.late:received"]


def test_what_is_forgotten_in_its_time_parks_nothing() -> None:
    made, since = world(), NOW - 20 * DAY_MS
    filled(made, inbound=seen(MAX_INBOUND, since))
    made.play(KEY, received("wamid.new", NOW), NOW)
    assert told(made.play(KEY, again(received("wamid.old", NOW - DAY_MS), NOW + 1), NOW + 1)) == [
        "wamid.old:received"
    ]


def test_a_status_of_a_message_whose_tombstone_gave_way_is_not_told_again() -> None:
    made = world(regime="calendar")
    price = "marketing:regular:True"
    stones = tuple(
        Ended(fingerprint(f"wamid.r{n}#1"), READ, NOW - DAY_MS + n, 5, f"r{n}", None, price)
        for n in range(MAX_ENDED)
    )
    filled(made, ended=stones)
    made.play(KEY, request("last", "promo"), NOW)
    made.play(KEY, status("read", "last#1"), NOW + 1000)
    before = len(made.out)
    for name in ("sent", "delivered", "read"):
        for n in (0, 1, MAX_ENDED - 1):
            made.play(KEY, status(name, f"r{n}#1", NOW - DAY_MS, pricing=PRICED), NOW + 2000)
    assert made.out[before:] == []


def test_a_message_that_arrived_and_had_to_be_forgotten_unread_is_still_told_to_be_read_and_charged_once() -> (
    None
):
    made = world(regime="calendar")
    made.play(KEY, request("r0", "promo"), NOW)
    made.play(KEY, status("delivered", "r0#1", pricing=PRICED), NOW + 1000)
    state = made.fold.decode_state(made.states[KEY])
    (life,) = state.lives
    others = tuple(replace(life, command=f"o{n}#1", wamid=f"wamid.o{n}#1") for n in range(MAX_LIVES - 1))
    made.states[KEY] = encode_state(replace(state, lives=(life, *others)))
    made.play(KEY, request("r1", "promo"), NOW + 2000)
    lives = made.fold.decode_state(made.states[KEY]).lives
    assert (len(lives), lives[0].command, lives[-1].command) == (MAX_LIVES, "o0#1", "r1#1")
    for at in (3000, 4000):
        made.play(KEY, status("delivered", "r0#1", pricing=PRICED), NOW + at)
        made.play(KEY, status("read", "r0#1", NOW + 3000), NOW + at)
    assert [e.event for e in made.send_events() if e.request_id == "r0"] == [
        "decided",
        "accepted",
        "delivered",
        "read",
    ]


def test_a_message_in_flight_outlives_five_hundred_that_arrived_after_it() -> None:
    made = world(regime="calendar")
    made.play(KEY, request("r0", "promo"), NOW)
    made.play(KEY, accepted("r0#1"), NOW)
    state = made.fold.decode_state(made.states[KEY])
    (life,) = state.lives
    others = tuple(
        replace(life, command=f"o{n}#1", wamid=f"wamid.o{n}#1", stage=DELIVERED) for n in range(MAX_LIVES - 1)
    )
    made.states[KEY] = encode_state(replace(state, lives=(life, *others)))
    made.play(KEY, request("r1", "promo"), NOW + 2000)
    made.play(KEY, status("delivered", "r0#1", NOW + 3000, pricing=PRICED), NOW + 3000)
    assert [e.event for e in made.send_events() if e.request_id == "r0"][-1] == "delivered"


def test_a_request_whose_answer_gave_way_is_not_sent_again() -> None:
    made = world()
    given = tuple(
        Answer(fingerprint(f"r{n}"), fingerprint("promo"), NOW - DAY_MS + n, "allow", "ok", "marketing", None)
        for n in range(MAX_ANSWERS)
    )
    filled(made, answers=given)
    made.play(KEY, request("last"), NOW)
    (answer,) = events(made.play(KEY, request("r0", at=NOW + 1), NOW + 1))
    assert answer.decision is not None
    assert (answer.decision.reason, answer.event_id) == (
        "idempotency_conflict",
        f"r0!{fingerprint('promo').hex()}:decided",
    )
    (known,) = events(made.play(KEY, request("r5", at=NOW + 2), NOW + 2))
    assert known.decision is not None
    assert known.decision.reason == "ok"
    assert [out.id for out in made.out if out.topic is SEND_COMMANDS] == ["last#1"]


# --- what it costs (docs/decisions/0014): bytes of the encoded state


def weight(made: World) -> int:
    return len(made.states[KEY])


def test_a_received_message_costs_12_bytes_for_8_days() -> None:
    made = world()
    made.play(KEY, received("wamid.first"), NOW)
    before = weight(made)
    for n in range(1000):
        made.play(KEY, received(f"wamid.{n}", NOW + n), NOW + n)
    assert (weight(made) - before) / 1000 <= 12.01
    made.play(KEY, received("wamid.later", NOW + REMEMBER_MS + DAY_MS), NOW + REMEMBER_MS + DAY_MS)
    assert weight(made) < before + 50
    assert not has(made.fold.decode_state(made.states[KEY]).inbound, fingerprint("wamid.first"))


def test_a_sent_message_costs_so_many_bytes_while_it_lives_and_as_a_tombstone() -> None:
    body = msgspec.Raw(b'{"type":"text","text":{"body":"%s"}}' % (b"x" * 200))
    weights = list[int]()
    made = world()
    made.play(KEY, received(), NOW)
    after_a_day = NOW + DAY_MS + HOUR
    for step in ("request", "accepted", "read", "day"):
        before = weight(made)
        for n in range(50):
            id_ = f"order-4711-shipped-{n:04}"
            command, wamid = f"{id_}#1", "wamid." + "x" * 50
            match step:
                case "request":
                    made.play(KEY, request(id_, None, NOW, message=body), NOW)
                case "accepted":
                    made.play(KEY, replace(accepted(command), wamid=f"{wamid}{n}"), NOW)
                case "read":
                    made.play(KEY, status("read", command, wamid=f"{wamid}{n}", pricing=PRICED), NOW + 1000)
                case _:
                    made.fire(after_a_day)
        weights.append((weight(made) - before) // 50)
    commanded, taken, finished, _ = weights
    assert commanded <= 1550, "the request, and its answer in full for a day"
    assert commanded + taken <= 1150, "once Meta has taken it, without the request"
    assert commanded + taken + finished <= 1000
    assert sum(weights) <= 125, "the tombstone and the answer in short, for 7 days more"


def test_an_address_costs_so_many_bytes_and_the_name_in_its_home_fewer() -> None:
    id_ = "DE.13491208655302741918"
    address = State(
        1, "106540352242922", id_, wake_ms=NOW + ADDRESS_MS, address=Address("4915112345678", NOW, NOW)
    )
    assert len(encode_state(address)) <= 110
    plain = State(1, "106540352242922", "4915112345678", bsuid=id_)
    named = replace(plain, names=(Name(id_, NOW, NOW),))
    assert len(encode_state(named)) - len(encode_state(plain)) <= 45
