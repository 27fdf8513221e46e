"""One form per user, whoever wrote the number."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.phone import canonical_user, conversation_key, country_of, is_bsuid

CALLING_CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


@pytest.mark.parametrize(
    "raw",
    [
        "4915112345678",
        "+4915112345678",
        "+49 151 12345678",
        "+49-151-1234-5678",
        "+49 (151) 12345678",
        "+49 (0) 151 12345678",
        " +49 151 12345678 ",
        "49 151 12345678",
    ],
)
def test_every_way_of_writing_a_number_is_one_user(raw: str) -> None:
    assert canonical_user(raw) == "4915112345678"


@pytest.mark.parametrize(
    ("raw", "user"),
    [
        ("5215512345678", "525512345678"),
        ("+52 1 55 1234 5678", "525512345678"),
        ("551187654321", "5511987654321"),
        ("5511987654321", "5511987654321"),
        ("54111512345678", "5491112345678"),
        ("5491112345678", "5491112345678"),
    ],
)
def test_older_forms_of_a_numbering_plan_become_todays(raw: str, user: str) -> None:
    assert canonical_user(raw) == user


@pytest.mark.parametrize("raw", ["390612345678", "+39 06 12345678"])
def test_a_zero_that_belongs_to_the_number_stays(raw: str) -> None:
    assert canonical_user(raw) == "390612345678"


@pytest.mark.parametrize("raw", ["US.13491208655302741918", "DE.ENT.1349"])
def test_a_business_scoped_id_passes_unchanged(raw: str) -> None:
    assert canonical_user(raw) == raw
    assert is_bsuid(raw)


@pytest.mark.parametrize("raw", ["15551234567", "870773111632", "12421234567"])
def test_a_number_of_a_known_shape_is_accepted_even_if_its_range_is_not_known(raw: str) -> None:
    assert canonical_user(raw) == raw


@pytest.mark.parametrize(
    "raw",
    [
        "", " ", "+", "()", "hello", "+49", "12345", "+49 151 1234 call", "++4915112345678",
        "+49+15112345678",
        "015112345678", "004915112345678", "+10000000000", "999123456789", "4915112345678901234",
        "1" * 10_000,
        "US.", "us.123", "USA.123", "US.12:34", "US.{1}", "US." + "1" * 129, "4915112345678;ext=1",
        "\uff14\uff19\uff11\uff15\uff11\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
    ],
)  # fmt: skip
def test_what_is_no_number_is_no_user(raw: str) -> None:
    assert canonical_user(raw) is None


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_the_numbers_of_every_country_are_accepted(region: str) -> None:
    mobile = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    number = mobile or phonenumbers.example_number(region)
    assert number is not None
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    assert canonical_user(e164) == canonical_user(e164[1:]) == e164[1:]


@given(st.sampled_from(CALLING_CODES), st.text("0123456789", min_size=4, max_size=12))
def test_the_short_way_and_the_library_agree(calling_code: int, rest: str) -> None:
    digits = f"{calling_code}{rest}"
    # A space keeps the short way from being taken.
    assert canonical_user(digits) == canonical_user(f" {digits}")


@given(st.one_of(st.text(max_size=40), st.from_regex(r"\+?[0-9 ()-]{1,20}", fullmatch=True)))
def test_a_canonical_user_is_its_own_canonical_form(raw: str) -> None:
    user = canonical_user(raw)
    if user is not None:
        assert canonical_user(user) == user
        assert ":" not in user


def test_a_conversation_is_named_by_number_and_user() -> None:
    assert conversation_key("106540352242922", "4915112345678") == "106540352242922:4915112345678"


@pytest.mark.parametrize(
    ("user", "country"),
    [
        ("4915112345678", "DE"),
        ("447911123456", "GB"),
        ("212612345678", "MA"),
        ("212528812345", "MA"),
        ("79161234567", "RU"),
        ("77011234567", "KZ"),
        ("76011234567", "KZ"),
        ("12125551234", "US"),
        ("14165551234", "CA"),
        ("17875551234", "PR"),
        ("18095551234", "DO"),
        ("16585551234", "JM"),
        ("IN.13491208655302741918", "IN"),
        ("870773111632", None),
        ("hello", None),
        ("", None),
    ],
)
def test_a_user_is_of_the_country_of_the_calling_code(user: str, country: str | None) -> None:
    assert country_of(user) == country


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_the_country_of_a_number_shares_its_calling_code(region: str) -> None:
    number = phonenumbers.example_number(region)
    assert number is not None
    user = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
    assert phonenumbers.country_code_for_region(country_of(user) or "") == number.country_code
