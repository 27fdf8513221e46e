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
from shared.pricing import Regimes

CONFIG = Path(__file__).parents[3] / "config"


def read(text: str) -> AccountsDocument:
    return parse(text, lambda pin: pin in ("guide", "calendar"))


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidDocument) as refused:
        read(text)
    return refused.value.problems


def test_the_example_is_valid_and_is_what_its_comments_say() -> None:
    regimes = Regimes.load(CONFIG / "regimes.yaml")
    paying, trying = parse((CONFIG / "accounts.example.yaml").read_text("utf-8"), regimes.is_pin).accounts
    assert (paying.payment_method, trying.payment_method) == ("valid", "missing")
    assert [number.default for number in paying.numbers] == [True, False]
    assert {template.id: template.status for template in paying.templates} == {
        "promo/de": "APPROVED",
        "order_update/de": "APPROVED",
        "login_code/de": "APPROVED",
        "draft/de": "PENDING",
    }


@pytest.mark.parametrize(
    ("entry", "facts", "of_meta_alone"),
    [
        (AccountEntry, Account, {"payment_failing_until_ms"}),
        (NumberEntry, Number, set()),
        (TemplateEntry, Template, {"meta_id", "paused_until_ms", "rejection_reason"}),
    ],
)
def test_every_fact_an_operator_may_set_is_in_the_file_with_the_same_default(
    entry: type[AccountEntry | NumberEntry | TemplateEntry],
    facts: type[Account | Number | Template],
    of_meta_alone: set[str],
) -> None:
    known = {field.name: field.default for field in msgspec.structs.fields(facts)}
    given = {name: field for name, field in entry.model_fields.items() if name not in entry.not_facts}
    assert set(given) == set(known) - of_meta_alone
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
