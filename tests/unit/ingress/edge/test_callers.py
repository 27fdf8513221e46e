"""Tokens of business systems: who may do what, taken anew when the file changes."""

import os
from pathlib import Path

import pytest
import yaml
from aiohttp.test_utils import make_mocked_request

from services.ingress.edge.callers import Caller, Callers
from services.ingress.edge.errors import Refusal
from services.ingress.edge.token_file import InvalidTokens, digest_of, read
from shared.accounts import AccountFacts
from shared.events import AccountChanged

SHOP = {"name": "shop", "sha256": digest_of("shop-token"), "numbers": ["106"]}
GROUP = {
    "name": "group",
    "sha256": digest_of("group-token"),
    "accounts": ["55"],
    "scopes": ["read"],
    "rate": 5,
}


def facts() -> AccountFacts:
    known = AccountFacts()
    for number, fields in (("106", {"default": True}), ("107", {})):
        known.apply(
            AccountChanged(
                event_id=number, at_ms=1, waba_id="55", subject="number", id=number, fields=dict(fields)
            ),
            1,
        )
    return known


def written(path: Path, *entries: object) -> Path:
    draft = path.with_suffix(".new")
    draft.write_text(yaml.safe_dump({"tokens": list(entries)}))
    os.replace(draft, path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "tokens.yaml", SHOP, GROUP)


def caller(callers: Callers, authorization: str | None) -> Caller:
    headers = {} if authorization is None else {"Authorization": authorization}
    return callers.caller(make_mocked_request("GET", "/", headers))


def test_a_token_gives_its_holder_with_what_it_may_use(file: Path) -> None:
    callers = Callers(file, facts)
    shop, group = caller(callers, "Bearer shop-token"), caller(callers, "bearer group-token")
    assert (shop.name, shop.may_use("106"), shop.may_use("107"), shop.may_use_account("55")) == (
        "shop",
        True,
        False,
        False,
    )
    assert (group.name, group.may_use("107"), group.may_use("999"), group.rate) == ("group", True, False, 5)
    assert (shop.default_number(), group.default_number()) == ("106", "106")


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic shop-token", "Bearer wrong", "Bearer schön", "shop-token"],
)
def test_anything_but_a_valid_token_is_refused_as_meta_does(file: Path, authorization: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        caller(Callers(file, facts), authorization)
    assert (refused.value.status, refused.value.code) == (401, 190)
    assert "wrong" not in refused.value.details


def test_a_scope_that_is_missing_and_a_number_of_others_are_told_apart(file: Path) -> None:
    group = caller(Callers(file, facts), "Bearer group-token")
    with pytest.raises(Refusal) as no_scope:
        group.require("send")
    with pytest.raises(Refusal) as not_yours:
        group.require_number("999")
    assert [(one.value.status, one.value.code) for one in (no_scope, not_yours)] == [(403, 200), (403, 10)]


def test_a_changed_file_is_in_force_at_once_and_a_broken_one_changes_nothing(file: Path) -> None:
    callers = Callers(file, facts)
    written(file, {**SHOP, "sha256": digest_of("renewed")})
    assert caller(callers, "Bearer renewed").name == "shop"
    with pytest.raises(Refusal):
        caller(callers, "Bearer shop-token")
    written(file, {"name": "nobody"})
    assert caller(callers, "Bearer renewed").name == "shop"
    file.unlink()
    assert caller(callers, "Bearer renewed").name == "shop"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("tokens: [", "not YAML, line"),
        ("[]", "file"),
        (yaml.safe_dump({"tokens": [{**SHOP, "sha256": "short"}]}), "tokens.0.sha256"),
        (yaml.safe_dump({"tokens": [{**SHOP, "rate": 0}]}), "tokens.0.rate"),
        (yaml.safe_dump({"tokens": [{**SHOP, "numbers": []}]}), "tokens.0: "),
        (yaml.safe_dump({"tokens": [{**SHOP, "scope": ["all"]}]}), "tokens.0.scope"),
        (yaml.safe_dump({"tokens": [SHOP, {**GROUP, "name": "shop"}]}), "tokens[1] has the name"),
        (yaml.safe_dump({"tokens": [SHOP, {**GROUP, "sha256": SHOP["sha256"]}]}), "tokens[1] has the sha256"),
    ],
)
def test_a_broken_file_says_where_and_shows_no_digest(text: str, where: str) -> None:
    with pytest.raises(InvalidTokens, match=where.replace("[", r"\[")) as broken:
        read(text)
    assert str(SHOP["sha256"]) not in str(broken.value)
