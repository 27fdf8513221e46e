"""The accounts file: what is taken, what is refused, and how it is said."""

from pathlib import Path

import msgspec
import pytest

from services.console.document import (
    MAX_DEPTH,
    AccountEntry,
    AccountsDocument,
    InvalidDocument,
    NumberEntry,
    Problem,
    TemplateEntry,
    parse,
)
from shared.accounts import Account, Number, Template
from shared.price_facts import AuthInternational
from shared.pricing import PriceBook
from shared.template_definition import Shape

CONFIG = Path(__file__).parents[3] / "config"


OF_META_ALONE = {
    *("paused_until_ms", "disabled_at_ms", "next_category", "next_category_ms"),
    *("rejection_reason", "recommendation", "meta_id"),
}


def read(text: str) -> AccountsDocument:
    return parse(text, lambda pin: pin in ("guide", "calendar"), lambda market: market == "India")


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidDocument) as refused:
        read(text)
    return refused.value.problems


def test_the_example_is_valid_and_is_what_its_comments_say() -> None:
    book = PriceBook.load(CONFIG)
    text = (CONFIG / "accounts.example.yaml").read_text("utf-8")
    paying, trying = parse(text, book.regimes.is_pin, book.cards.markets.is_market).accounts
    assert (paying.payment_method, trying.payment_method) == ("valid", "missing")
    assert [number.default for number in paying.numbers] == [True, False]
    assert {template.id: template.status for template in paying.templates} == {
        "promo/de": "APPROVED",
        "order_update/de": "APPROVED",
        "login_code/de": "APPROVED",
        "draft/de": "PENDING",
    }


@pytest.mark.parametrize(
    ("entry", "facts", "not_in_the_file"),
    [
        (
            AccountEntry,
            Account,
            {"payment_failing_until_ms", "tier_notices", "pause_reason", "review", "alert", "refused"},
        ),
        (NumberEntry, Number, {"pause_reason", "refused", "security_event"}),
        (TemplateEntry, Template, OF_META_ALONE | {"parameters", "pause_reason"}),
    ],
)
def test_every_fact_that_is_not_set_elsewhere_is_in_the_file_with_the_same_default(
    entry: type[AccountEntry | NumberEntry | TemplateEntry],
    facts: type[Account | Number | Template],
    not_in_the_file: set[str],
) -> None:
    known = {field.name: field.default for field in msgspec.structs.fields(facts)}
    given = {name: field for name, field in entry.model_fields.items() if name not in entry.not_facts}
    assert set(given) == set(known) - not_in_the_file
    for name, field in given.items():
        if not field.is_required() and known[name] is not msgspec.NODEFAULT:
            assert field.default == known[name], name


def test_only_what_the_file_says_becomes_facts() -> None:
    document = read(
        'accounts: [{id: "1", name: A, templates: [{name: promo, language: de, category: utility}]}]'
    )
    assert document.accounts[0].facts() == {"name": "A"}
    assert document.accounts[0].templates[0].facts() == {"category": "utility"}
    assert document.accounts[0].templates[0].id == "promo/de"


def test_json_is_taken_too() -> None:
    assert read('{"accounts": [{"id": "1", "default": true}]}').accounts[0].default is True


def test_a_problem_names_line_and_path() -> None:
    text = 'accounts:\n  - id: "1"\n    numbers:\n      - id: "2"\n        throughput: 0\n'
    (problem,) = problems(text)
    assert (problem.line, problem.path) == (5, "accounts[0].numbers[0].throughput")
    assert str(problem).startswith("line 5: accounts[0].numbers[0].throughput: ")


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = "accounts:\n  - id: 1\n    currency: usd\n    templates:\n      - name: promo\n        category: utility\n"
    found = problems(text)
    assert [(problem.line, problem.path.rpartition(".")[2]) for problem in found] == [
        (2, "id"),
        (3, "currency"),
        (5, "language"),
    ]
    assert found[0].text == "must be text; write it in quotes"
    assert found[2].text == "is missing"


def test_a_misspelt_field_is_told_with_the_right_one() -> None:
    (problem,) = problems('accounts: [{id: "1", payment_metod: valid}]')
    assert problem.text == "unknown field; did you mean `payment_method`?"


TOKEN = "EAAJB" + "x7Q" * 60


@pytest.mark.parametrize(
    "line",
    [
        f"token: {TOKEN}",
        f"token: {TOKEN[5:]}",
        f"access_token: {TOKEN}",
        f"secret: {TOKEN}",
        f"token: '{TOKEN} '",
    ],
)
def test_a_token_written_into_the_file_is_refused_and_never_repeated(line: str) -> None:
    found = problems(f'accounts:\n  - id: "1"\n    numbers:\n      - id: "2"\n        {line}\n')
    assert len(found) == 1
    assert found[0].line == 5
    assert TOKEN[5:20] not in str(found[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("accounts: []", "at least 1"),
        ("accounts: [}", "not YAML"),
        ("accounts: &a [*a]", "aliases"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested too deeply"),
        ('accounts: [{id: "1"}]\naccounts: []', "written twice"),
        ('accounts: [{id: "1"}, {id: "1"}]', "account more than once: 1"),
        (
            'accounts: [{id: "1", numbers: [{id: "2"}]}, {id: "3", numbers: [{id: "2"}]}]',
            "number more than once: 2",
        ),
        ('accounts: [{id: "1", timezone: Mars/Base}]', "unknown time zone"),
        ('accounts: [{id: "1", timezone: ../../etc/passwd}]', "unknown time zone"),
        ('accounts: [{id: "1", regime: tomorrow}]', "unknown regime"),
        ('accounts: [{id: "1", business_verified: "yes"}]', "boolean"),
        ('accounts: [{id: "+49 30 1"}]', "pattern"),
        (
            'accounts: [{id: "1", templates: [{name: p, language: no, category: utility}]}]',
            "write it in quotes",
        ),
        ("accounts: !!python/object/apply:os.system [ls]", "not YAML"),
        ("accounts: \x00", "not YAML"),
        ("- 1: 2", "Input should be"),
        ("x" * 5_000_000, "longer than"),
    ],
)
def test_what_is_no_accounts_file_is_refused_with_the_reason(text: str, said: str) -> None:
    assert any(said in str(problem) for problem in problems(text)), problems(text)


def template(fields: str) -> str:
    return f"accounts:\n  - id: '1'\n    templates:\n      - {{name: promo, language: en-US, category: utility, {fields}}}\n"


def test_a_definition_is_given_as_meta_writes_it_or_as_a_body_alone() -> None:
    full = read(template('components: [{type: BODY, text: "Hello {{1}}", example: {body_text: [[Anna]]}}]'))
    short = read(template('body: "Hello {{1}}"'))
    for document in (full, short):
        (entry,) = document.accounts[0].templates
        assert entry.id == "promo/en_US"
        assert entry.facts() == {"category": "utility", "parameters": Shape(body=["1"])}
        assert entry.definition() is not None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("components: []", "at least 1"),
        ("components: BODY", "list"),
        ("components: [{type: HEADER}]", "header: `format` is missing"),
        ("components: [{type: BODDY, text: x}]", "component 0: unknown type; did you mean BODY?"),
        ("components: [{type: HEADER, format: IMGAE}]", "component 0: unknown format; did you mean IMAGE?"),
        ("components: [{type: BUTTONS, buttons: [{type: QUICKREPLY}]}]", "button 0: unknown type; did you mean QUICK_REPLY?"),
        ("components: [{type: CAROUSEL, cards: [{components: [{type: BOYD, text: x}]}]}]", "card 0, component 0: unknown type; did you mean BODY?"),
        ("components: [{type: BODY, text: '{{1}} {{name}}'}]", "named and positional variables are mixed"),
        ("body: '{{2}}'", "positional variables"),
        ("body: x, components: [{type: BODY, text: x}]", "either `components` or `body`, not both"),
        ("body: x, parameter_format: numbered", "pattern"),
        ("boddy: x", "did you mean `body`?"),
    ],
)  # fmt: skip
def test_a_wrong_definition_is_refused_at_its_template(fields: str, said: str) -> None:
    (problem,) = problems(template(fields))
    assert said in problem.text
    assert problem.path.startswith("accounts[0].templates[0]")


def test_a_word_of_meta_that_is_not_known_here_is_taken() -> None:
    read(template("components: [{type: CALL_PERMISSION_REQUEST}, {type: HEADER, format: HOLOGRAM}]"))


PRICED = """
accounts:
  - id: "1"
    primary_location: DE
    auth_international:
      start_at: 2026-03-01T00:00:00Z
      exceptions: {IN: 2026-04-01T02:00:00+02:00}
    volume_tiers:
      - {category: utility, market: India, month: "2026-11", tier: "1001:5000", reached_at: "2026-11-17T08:30:00Z"}
      - {category: utility, market: India, month: "2026-11", tier: "1:1000"}
"""


def test_the_facts_that_decide_prices_become_those_of_an_account() -> None:
    facts = msgspec.convert(read(PRICED).accounts[0].facts(), Account)
    assert facts.primary_location == "DE"
    assert facts.auth_international == AuthInternational(
        start_ms=1_772_323_200_000, exceptions={"IN": 1_775_001_600_000}
    )
    assert facts.volume_tiers == {
        "utility/2026-11/india": {"1001:5000": 1_794_904_200_000, "1:1000": 0},
    }


@pytest.mark.parametrize(
    ("old", "new", "path", "text"),
    [
        ("DE", "Germany", "primary_location", "unknown country; use two capital letters like IN"),
        ("{IN:", "{XX:", "auth_international.exceptions.XX.[key]", "unknown country"),
        ("start_at: 2026-03-01T00:00:00Z", "start_at: soon", "auth_international.start_at", "not a time; write"),
        ("start_at: 2026-03-01T00:00:00Z", "start_at: 2026-03-01T00:00:00", "auth_international.start_at", "timezone"),
        ("start_at", "starts_at", "auth_international.starts_at", "did you mean `start_at`?"),
        ("utility, market: India", "utility, market: Atlantis", "volume_tiers[0].market", "market_map.csv"),
        ("category: utility", "category: marketing", "volume_tiers[0].category", "authentication"),
        ('"1001:5000"', '"5000:1001"', "volume_tiers[0].tier", "not a tier; write"),
        ('"1001:5000"', "1001", "volume_tiers[0].tier", "must be text"),
        ('"2026-11"', '"2026-13"', "volume_tiers[0].month", "pattern"),
        ('"1:1000"', '"1001:5000"', "", "volume tier more than once"),
    ],
)  # fmt: skip
def test_a_wrong_fact_of_prices_is_told_at_its_place(old: str, new: str, path: str, text: str) -> None:
    (problem,) = problems(PRICED.replace(old, new, 1))
    assert problem.path.removeprefix("accounts[0]").removeprefix(".") == path
    assert text in problem.text
    assert problem.line > 1
