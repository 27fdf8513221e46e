"""Which contact of a webhook an item belongs to."""

import msgspec
import pytest

from services.ingress.contacts import Contacts
from services.ingress.updates import ABSENT

BOB = {"wa_id": "5511987654321", "user_id": "BR.1", "profile": {"name": "Bob"}}
ANA = {"wa_id": "16505551234", "profile": {"name": "Ana"}}


def contacts(*them: object) -> Contacts:
    return Contacts(msgspec.Raw(msgspec.json.encode(them)))


@pytest.mark.parametrize(
    "names", [("5511987654321",), ("551187654321",), (None, "BR.1"), ("+55 11 98765-4321",)]
)
def test_a_contact_is_found_by_number_in_whatever_form_and_by_id(names: tuple[str | None, ...]) -> None:
    assert contacts(ANA, BOB).of(*names) == BOB
    assert contacts(BOB).of(*names) == BOB


def test_the_only_contact_is_that_of_an_item_that_names_nobody() -> None:
    assert contacts(ANA).of() == ANA
    assert contacts(ANA).of(None, None) == ANA
    assert contacts(ANA, BOB).of() is None


def test_nobody_gets_the_contact_of_another() -> None:
    assert contacts(BOB).of("16505551234") is None
    assert contacts({"user_id": "US.1"}).of("16505551234") is None
    assert contacts(ANA, BOB).of("4915112345678", "BR.2") is None


@pytest.mark.parametrize("odd", [7, None, [], {"wa_id": {}}, {"wa_id": ""}, {"user_id": [1]}])
def test_a_contact_that_is_none_costs_itself_only(odd: object) -> None:
    assert contacts(odd, ANA).of("16505551234") == ANA
    assert contacts(odd).of("16505551234") is None


def test_without_contacts_there_is_none() -> None:
    for raw in (ABSENT, msgspec.Raw(b"null"), msgspec.Raw(b"7"), msgspec.Raw(b'{"wa_id":"16505551234"}')):
        assert Contacts(raw).of("16505551234") is None
