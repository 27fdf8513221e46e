"""What Meta's error codes are called in public."""

from shared.error_table import ErrorTable
from tests.unit.router.world import CONFIG, errors


def test_a_failed_status_is_named_by_its_code_alone_as_the_error_table_has_it() -> None:
    table = ErrorTable.load(CONFIG / "errors.yaml")
    assert 100 in table.refined
    for code, row in table.by_code.items():
        verdict = row.verdict(1)
        assert errors().named(code)[:2] == (verdict.reason, verdict.retryable)


def test_a_status_without_a_code_or_with_a_new_one_is_named_as_unknown() -> None:
    for code in (None, 999_999):
        assert errors().named(code)[:2] == ("meta_error_unknown", False)
