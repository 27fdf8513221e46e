"""The endpoints file: what it may hold, and what is said of what it may not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from services.push.endpoints import Endpoint, EndpointsInvalid, parse
from services.push.kinds import NAMES, Event, Head, topics_of
from services.push.records import Reader, Unreadable, marks
from services.push.secrets import SecretMissing, Secrets
from shared.topics import BILLING_CHARGES, MESSAGES_RECEIVED, SEND_EVENTS, WEBHOOKS_PASSED

EXAMPLE = Path(__file__).parents[3] / "config" / "push.example.yaml"
SHOP: dict[str, Any] = {
    "name": "shop",
    "url": "https://shop.example/hooks",
    "secrets": [{"env": "SHOP_SECRET"}],
    "events": ["message.received", "send.*"],
}


def endpoint(**fields: Any) -> Endpoint:
    (found,) = parse(yaml.safe_dump({"endpoints": [SHOP | fields]}), allow_private=False)
    return found


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(EndpointsInvalid) as refused:
        parse(text, allow_private=False)
    return refused.value.problems


def of(*endpoints: dict[str, Any]) -> str:
    return yaml.safe_dump({"endpoints": list(endpoints)})


def test_the_example_is_valid_and_shows_every_field() -> None:
    text = EXAMPLE.read_text("utf-8")
    assert parse(text, allow_private=False)
    for field in Endpoint.model_fields:
        assert f"{field}:" in text


@pytest.mark.parametrize("text", ["", "endpoints: []"])
def test_a_file_without_endpoints_is_valid(text: str) -> None:
    assert parse(text, allow_private=False) == ()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"url": "http://shop.example/hooks"}, "shop.url: must be https"),
        ({"url": "https://localhost/hooks"}, "shop.url: is this machine"),
        ({"url": "https://10.0.0.7/hooks"}, "shop.url: 10.0.0.7 is no public address"),
        ({"url": "https://[::ffff:127.0.0.1]/"}, "shop.url: ::ffff:127.0.0.1 is no public address"),
        ({"url": "https://me:pw@shop.example/"}, "shop.url: must hold no user and password"),
        ({"url": "ftp://shop.example/"}, "shop.url: is no http(s) URL with a host"),
        ({"url": "https://shop.example:99999/"}, "shop.url: is no URL: Port out of range 0-65535"),
        ({"secrets": []}, "shop.secrets: Tuple should have at least 1 item after validation, not 0"),
        ({"secrets": [{"env": "A", "file": "b"}]}, "shop.secrets.0: is `file: PATH` or `env: NAME`"),
        ({"concurency": 3}, "shop.concurency: Extra inputs are not permitted"),
        ({"concurrency": 0}, "shop.concurrency: Input should be greater than or equal to 1"),
        ({"format": "meta", "events": ["account.changed"]}, "shop: events account.changed have no form of Meta's"),
        ({"format": "meta", "batch": 5}, "shop: batch is for format: events"),
        ({"verify_token": {"env": "T"}}, "shop: verify_token is for format: meta"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(fields: dict[str, Any], problem: str) -> None:
    found, *_ = problems(of(SHOP | fields))
    assert found.startswith(problem)


def test_an_unknown_event_is_answered_with_those_that_there_are() -> None:
    (found,) = problems(of(SHOP | {"events": ["send.deliverd"]}))
    assert found.startswith(
        "shop.events: 'send.deliverd' fits no event; there are message.received, send.decided"
    )


def test_all_problems_of_all_endpoints_are_told_at_once() -> None:
    assert len(problems(of(SHOP | {"events": []}, SHOP | {"name": "Big Shop"}, {"name": "x"}))) == 5


def test_a_name_given_twice_is_refused_and_text_that_is_no_yaml() -> None:
    assert problems(of(SHOP, SHOP)) == ("shop: the name is given 2 times",)
    assert problems("endpoints: [")[0].startswith("not YAML")
    assert problems("- a")[0].startswith("the file: ")


def test_a_local_stack_may_call_private_addresses_without_tls() -> None:
    text = of(SHOP | {"url": "http://127.0.0.1:9999/hooks"})
    assert parse(text, allow_private=True)[0].url == "http://127.0.0.1:9999/hooks"


def test_only_topics_that_hold_something_wanted_are_read() -> None:
    assert endpoint().topics == (MESSAGES_RECEIVED, SEND_EVENTS)
    assert endpoint(events=["billing.charge"]).topics == (BILLING_CHARGES,)
    assert endpoint(format="meta", events=["*"]).topics == (MESSAGES_RECEIVED, SEND_EVENTS, WEBHOOKS_PASSED)
    assert len(topics_of(["*"])) == 8


def event(kind: str, waba_id: str | None = "1", number: str | None = "2") -> Event:
    return Event(kind, Head("id", waba_id=waba_id, phone_number_id=number), Any)  # type: ignore[arg-type]


def test_an_endpoint_is_told_what_it_wants_of_the_accounts_and_numbers_it_names() -> None:
    assert endpoint().wants(event("send.read"))
    assert not endpoint().wants(event("billing.charge"))
    assert endpoint(events=["*"], accounts=["1"]).wants(event("account.changed", number=None))
    assert not endpoint(accounts=["7"]).wants(event("send.read"))
    assert endpoint(numbers=["2"]).wants(event("send.read"))
    assert not endpoint(numbers=["7"]).wants(event("send.read"))


def test_every_kind_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert {"send.delivered", "media.stored", "billing.correction", "billing.alert"} <= set(NAMES)


def test_what_an_operator_repeats_is_told_to_its_endpoint_only_whatever_the_filter() -> None:
    one = endpoint(events=["send.read", "send.failed"])
    reader = Reader(one, {"wa.send.events.v1": SEND_EVENTS}, "wa.push.redeliveries.v1")
    value = b'{"event_id":"e","event":"sent","at":"2026-11-26T20:00:00Z"}'
    assert reader.event("wa.send.events.v1", value, []) is None
    again = reader.event("wa.push.redeliveries.v1", value, marks("shop", "send.events.v1", []))
    assert again is not None
    assert again.kind == "send.sent"
    assert reader.event("wa.push.redeliveries.v1", value, marks("other", "send.events.v1", [])) is None
    with pytest.raises(Unreadable):
        reader.event("wa.send.events.v1", b"{", [])


def test_a_secret_of_a_file_is_read_anew_when_the_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("app-secret-one\n")
    one = endpoint(format="meta", events=["send.*"], secrets=[{"file": str(file)}])
    secrets = Secrets({})
    assert secrets.keys(one) == [b"app-secret-one"]
    other = tmp_path / "other"
    other.write_text("app-secret-two\n")
    other.replace(file)
    assert secrets.keys(one) == [b"app-secret-two"]


@pytest.mark.parametrize(("environ", "why"), [({}, "SHOP_SECRET is not set"), ({"SHOP_SECRET": "hunter2"}, "does not begin with whsec_")])  # fmt: skip
def test_a_secret_that_can_t_be_used_is_named_and_not_shown(environ: dict[str, str], why: str) -> None:
    with pytest.raises(SecretMissing, match=why) as refused:
        Secrets(environ).keys(endpoint())
    assert "hunter2" not in str(refused.value)
