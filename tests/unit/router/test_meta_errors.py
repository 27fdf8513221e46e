"""What Meta's error codes are called in public."""

from shared.error_table import ErrorTable
from tests.unit.router.world import CONFIG, errors


def test_a_failed_status_is_named_by_its_code_alone_as_the_error_table_has_it() -> None:
    table = ErrorTable.load(CONFIG / "errors.yaml")
    assert 100 in table.refined
    for code, row in table.by_code.items():
        verdict = row.verdict(1)
        assert errors().named(code or None)[:2] == (
            ("meta_error_unknown", False) if code == 0 else (verdict.reason, verdict.retryable)
        )
