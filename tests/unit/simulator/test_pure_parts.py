"""The pure parts alone: conversations against a naive model, prices, envelopes, scripts, limits, bodies."""

import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator.accounts import Accounts, Template, Waba
from services.simulator.agenda import Agenda
from services.simulator.conversations import Thread, deliver, receive, window_open
from services.simulator.envelope import Update, encode, envelope, signature
from services.simulator.errors import GraphError
from services.simulator.limits import RateLimits
from services.simulator.messages import ReadMark, Send, parse
from services.simulator.pricing import charge, local_day, model_for
from services.simulator.scripts import Behaviour, Match, Rule, Script, command_names, plan

HOUR = 3600
CATEGORIES = ("marketing", "utility", "authentication", "service")


def naive_openings(deliveries: list[tuple[int, str]]) -> list[bool]:
    """Which deliveries open a conversation, told from the whole past each time, without any state."""
    opened: list[tuple[int, str]] = []
    answers = []
    for at, category in deliveries:
        running = [c for since, c in opened if since <= at < since + 24 * HOUR]
        covered = bool(running) if category == "service" else category in running
        answers.append(not covered)
        if not covered:
            opened.append((at, category))
    return answers


@given(st.lists(st.tuples(st.integers(0, 13 * HOUR), st.sampled_from(CATEGORIES)), max_size=30))
def test_conversations_open_as_a_naive_model_says(steps: list[tuple[int, str]]) -> None:
    at, deliveries = 1_000_000, []
    for gap, category in steps:
        at += gap
        deliveries.append((at, category))
    thread = Thread()
    opened = [deliver(thread, c, at, at, f"c{n}")[1] for n, (at, c) in enumerate(deliveries)]
    assert opened == naive_openings(deliveries)


@given(st.lists(st.integers(0, 72 * HOUR), min_size=1, max_size=10), st.integers(0, 100 * HOUR))
def test_a_window_is_open_if_any_message_is_younger_than_24_hours(times: list[int], now: int) -> None:
    thread = Thread()
    for at in times:
        receive(thread, at, by_ad=False)
    assert window_open(thread, now) == any(now < at + 24 * HOUR for at in times)


@pytest.mark.parametrize(
    ("regime", "day", "name"),
    [
        ("guide", "2030-01-01", "guide"),
        ("calendar", "2022-01-01", "2023-06-01"),
        ("calendar", "2024-10-31", "2023-06-01"),
        ("calendar", "2024-11-01", "2024-11-01"),
        ("calendar", "2026-09-30", "2025-07-01"),
        ("calendar", "2026-10-01", "2026-10-01"),
        ("2025-07-01", "2030-01-01", "2025-07-01"),
    ],
)
def test_the_calendar_follows_metas_dates_and_a_name_pins(regime: str, day: str, name: str) -> None:
    assert model_for(regime, day).name == name


def test_the_day_is_the_accounts_own() -> None:
    assert local_day(1_796_090_399, "America/Sao_Paulo") == "2026-11-30"
    assert local_day(1_796_090_399, "UTC") == "2026-12-01"


def test_only_a_service_conversation_uses_the_free_tier() -> None:
    def cost(category: str, free_left: int) -> tuple[bool, bool]:
        made = charge(
            model_for("guide", "2026-12-01"),
            category=category,
            opened=True,
            conversation_category=category,
            conversation_free=False,
            in_window=True,
            free_left=free_left,
        )
        return made.billable, made.uses_free_tier

    assert cost("service", 1) == (False, True)
    assert cost("service", 0) == (True, False)
    assert cost("marketing", 1000) == (True, False)


def test_neighbouring_updates_share_entry_and_change_and_keep_their_order() -> None:
    def update(waba: str, number: str, kind: Any, n: int) -> Update:
        return Update(waba, kind, {"id": n}, phone_number_id=number, display_phone_number="+1")

    body = envelope(
        [
            update("W1", "1", "statuses", 1),
            update("W1", "1", "statuses", 2),
            update("W1", "1", "messages", 3),
            update("W1", "2", "messages", 4),
            Update("W1", "account", {"event": "X"}, field="account_update", time=9),
            update("W2", "3", "statuses", 5),
        ]
    )
    assert [(e["id"], e.get("time"), len(e["changes"])) for e in body["entry"]] == [
        ("W1", None, 3),
        ("W1", 9, 1),
        ("W2", None, 1),
    ]
    first = body["entry"][0]["changes"][0]["value"]
    assert first["statuses"] == [{"id": 1}, {"id": 2}]
    assert first["metadata"] == {"display_phone_number": "+1", "phone_number_id": "1"}
    assert body["entry"][1]["changes"] == [{"value": {"event": "X"}, "field": "account_update"}]


@given(st.dictionaries(st.text(), st.text()))
def test_encoding_keeps_the_meaning_and_escapes_all_but_ascii(body: dict[str, str]) -> None:
    raw = encode(body)
    assert json.loads(raw) == body
    assert raw.isascii()
    assert not set(b"<%@") & set(raw)
    expected = "sha256=" + hmac.new(b"key", raw, "sha256").hexdigest()
    assert signature(b"key", raw) == {"X-Hub-Signature-256": expected}


def test_items_of_the_same_time_come_in_the_order_entered() -> None:
    agenda: Agenda[str] = Agenda()
    for due, item in ((5.0, "b"), (1.0, "a"), (5.0, "c"), (9.0, "d")):
        agenda.add(due, item)
    assert [item for _, item in agenda.release(5.0)] == ["a", "b", "c"]
    assert (agenda.next_due, len(agenda), agenda.due_by(8.9), agenda.due_by(9)) == (9.0, 1, 0, 1)


def test_a_pair_may_send_45_at_once_then_one_in_six_seconds() -> None:
    limits, allowed = RateLimits(), 0
    for second in range(60):
        for _ in range(10):
            allowed += limits.allow(("n", "u"), 1000.0 + second, 6.0, 45)
    assert allowed == 45 + 59 // 6


def test_a_command_goes_by_its_id_its_request_and_its_whole_text() -> None:
    assert command_names("106:49151|r1#2") == ("r1#2", "r1", "106:49151|r1#2")
    assert command_names("what others put there") == ("what others put there",)
    assert command_names(None) == ()


def test_a_script_matches_all_that_is_named_and_nothing_less() -> None:
    script = Script()
    script.add(Rule(match=Match(to="+4915112345678", phone_number_id="106"), then=Behaviour(times=None)))
    send = Send("+49 151 12345678", "4915112345678", False, "text")
    assert script.take("106", send) is not None
    assert script.take("107", send) is None
    assert script.take("106", Send("1", "1", False, "text")) is None
    assert script.take("106", send) is not None


def test_a_reaction_is_only_ever_sent() -> None:
    steps = plan(None, message_type="reaction", delay_s=1, read=True, automatic=True)
    assert steps == [(0.0, "sent", 0)]


BODIES: list[tuple[str, dict[str, Any], int | None]] = [
    ("image with a link", {"type": "image", "image": {"link": "https://example.com/a.png"}}, None),
    ("image without a source", {"type": "image", "image": {"caption": "x"}}, 131008),
    ("location", {"type": "location", "location": {"latitude": 1, "longitude": 2}}, None),
    (
        "contacts",
        {"type": "contacts", "contacts": [{"name": {"formatted_name": "A", "first_name": "A"}}]},
        None,
    ),
    ("contacts without a name", {"type": "contacts", "contacts": [{}]}, 131008),
    ("reaction removed", {"type": "reaction", "reaction": {"message_id": "wamid.X", "emoji": ""}}, None),
    (
        "four buttons",
        {
            "type": "interactive",
            "interactive": {"type": "button", "body": {"text": "x"}, "action": {"buttons": [{}] * 4}},
        },
        131009,
    ),
    (
        "a list of eleven rows",
        {
            "type": "interactive",
            "interactive": {
                "type": "list",
                "body": {"text": "x"},
                "action": {"button": "x", "sections": [{"rows": [{}] * 11}]},
            },
        },
        131009,
    ),
    ("text is the default type", {"text": {"body": "x"}}, None),
    ("template without a language", {"type": "template", "template": {"name": "x"}}, 131008),
    ("a group", {"recipient_type": "group", "text": {"body": "x"}}, 131009),
    ("unread", {"status": "unread", "message_id": "wamid.X"}, 131009),
]


@pytest.mark.parametrize(("part", "code"), [b[1:] for b in BODIES], ids=[b[0] for b in BODIES])
def test_bodies_are_checked_by_type(part: dict[str, Any], code: int | None) -> None:
    result = parse({"messaging_product": "whatsapp", "to": "4915112345678", **part})
    assert (result.code if isinstance(result, GraphError) else None) == code


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda children: (
            st.lists(children, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["to", "type", "text", "template", "interactive", "action", "name", "language", "body"]
                ),
                children,
                max_size=5,
            )
        ),
    )
)
def test_no_body_breaks_the_parser(content: Any) -> None:
    base = content if isinstance(content, dict) else {"text": content}
    for kind in ("text", "template", "interactive", "contacts", "image"):
        body = {**base, "messaging_product": "whatsapp", "to": "4915112345678", "type": kind, kind: content}
        assert isinstance(parse(body), Send | ReadMark | GraphError)


def test_a_replaced_account_takes_its_numbers_and_templates_along() -> None:
    accounts = Accounts()
    accounts.put(Waba(id="W1", templates=[Template(name="a", category="utility")]))
    accounts.put(Waba(id="W1", templates=[Template(name="b", category="utility")]))
    assert accounts.template("W1", "a", "en_US") is None
    found = accounts.template("W1", "b", "en_US")
    assert found is not None
    assert found is accounts.named("b")[0][1]
