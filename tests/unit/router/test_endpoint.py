"""Where messages are posted, and what closes an endpoint."""

from typing import Any

import msgspec
import pytest

from shared.events import SendMessage, decode_command
from shared.stream.fold import Outgoing
from shared.topics import SEND_COMMANDS
from tests.unit.router.make import KEY, NOW, events, received, request, world

FALLBACK = msgspec.Raw(b'{"name":"promo","language":{"code":"en"}}')


def asked(
    template: str | None = "promo", *, account: dict[str, Any] | None = None, **more: Any
) -> tuple[Outgoing, ...]:
    made = world(**(account or {}))
    if template is None:
        made.play(KEY, received(), NOW)
    return made.play(KEY, request("r1", template, **more), NOW)


def command(out: tuple[Outgoing, ...]) -> SendMessage:
    [one] = [decode_command(o.value) for o in out if o.topic is SEND_COMMANDS]
    return one


def refused(out: tuple[Outgoing, ...]) -> tuple[str, int | None]:
    [event] = events(out)
    assert event.error is not None
    return event.error.reason, event.error.code


@pytest.mark.parametrize("template", ["promo", "order_update", "login_code", None])
def test_everything_goes_to_messages_unless_something_is_said(template: str | None) -> None:
    assert command(asked(template)).endpoint == "messages"


@pytest.mark.parametrize(
    ("template", "endpoint"),
    [("promo", "marketing_messages"), ("order_update", "messages"), ("login_code", "messages"), (None, "messages")],
)  # fmt: skip
def test_an_account_sends_its_marketing_and_nothing_else_by_the_marketing_messages_api(
    template: str | None, endpoint: str
) -> None:
    assert command(asked(template, account={"marketing_messages_api": True})).endpoint == endpoint


def test_a_message_that_names_a_product_policy_goes_there_by_itself() -> None:
    assert command(asked(product_policy="STRICT")).endpoint == "marketing_messages"


def test_a_product_policy_on_anything_but_marketing_is_refused() -> None:
    assert refused(asked("order_update", product_policy="STRICT")) == ("not_marketing", 134100)


def test_where_messages_is_closed_for_marketing_only_marketing_is_refused_there() -> None:
    closed = {"marketing_on_cloud_api_disabled": True}
    assert refused(asked(account=closed)) == ("marketing_on_cloud_api_disabled", 131063)
    assert command(asked("order_update", account=closed)).endpoint == "messages"
    assert command(asked(account=closed, product_policy="STRICT")).endpoint == "marketing_messages"
    both = {**closed, "marketing_messages_api": True}
    assert command(asked(account=both)).endpoint == "marketing_messages"


def test_a_fallback_is_posted_by_what_it_is_itself() -> None:
    made = world(marketing_messages_api=True)
    asked_ = request("r1", None, fallback_ref=request().template, fallback=FALLBACK)
    assert command(made.play(KEY, asked_, NOW)).endpoint == "marketing_messages"
