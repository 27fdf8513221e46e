"""Where a bulk request waits: for its number, or for nobody."""

import json
from typing import Any

import pytest

from services.ingress.intake.address import Address, address

NOW_MS = 1_795_000_000_000
EARLIER, LATER = "2026-11-18T00:00:00Z", "2026-12-31T00:00:00+01:00"


def at(default: str | None = "900", **members: Any) -> Address:
    body = {"request_id": "r1", **members}
    return address(json.dumps({k: v for k, v in body.items() if v is not None}).encode(), NOW_MS, default)


def test_a_request_waits_for_the_number_it_names_else_for_the_default_one() -> None:
    assert at(**{"from": "106"}) == Address("106", "r1", None)
    assert at() == Address("900", "r1", None)
    assert at(default=None) == Address(None, "r1", None)


@pytest.mark.parametrize(
    "members", [{"dry_run": True}, {"not_before_at": LATER}, {"expires_at": EARLIER}], ids=str
)
def test_what_sends_nothing_soon_waits_for_no_number(members: dict[str, Any]) -> None:
    assert at(**members).number is None


@pytest.mark.parametrize(
    "members",
    [
        {"dry_run": False},
        {"not_before_at": EARLIER},
        {"expires_at": LATER},
        {"expires_at": "tomorrow"},
        {"expires_at": "2026-11-18T00:00:00"},
        {"not_before_at": LATER, "after_request_id": "r0"},
    ],
    ids=str,
)
def test_what_may_be_sent_or_follows_another_waits_for_its_number(members: dict[str, Any]) -> None:
    assert at(**members).number == "900"


def test_a_cancellation_waits_behind_what_it_takes_back() -> None:
    assert at(request_id=None, cancel_request_id="r1", **{"from": "106"}) == Address("106", None, "r1")


@pytest.mark.parametrize(
    "value", [None, b"", b"no json", b"[]", b'{"request_id": 5}', b"[" * 100_000, b'"\xff"']
)
def test_what_nobody_can_read_waits_for_no_number(value: bytes | None) -> None:
    assert address(value, NOW_MS, "900") == Address(None, None, None)
