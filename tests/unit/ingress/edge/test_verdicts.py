"""Refusals: every reason has a code of Meta's, and the reason itself can be read."""

import pytest

from services.ingress.edge import verdicts
from services.ingress.edge.book import Known
from shared.events import Decision, SendError
from shared.reasons import META_CODES, REASONS

NOW_MS = 1_790_000_000_000


def refused(reason: str, error: SendError | None) -> Known:
    decision = Decision(outcome="reject", final=True, reason=reason, category=None, facts_version="1")
    return Known(standing="refused", decision=decision, error=error)


@pytest.mark.parametrize("reason", [name for name in REASONS if name != "ok"])
def test_every_reason_comes_with_a_code_its_own_name_and_what_to_do(reason: str) -> None:
    found = verdicts.refusal(refused(reason, None), NOW_MS)
    assert found.details.startswith(f"{reason}: ")
    assert REASONS[reason].fix in found.details
    assert found.code == META_CODES.get(reason, found.code)
    assert reason in verdicts.CODES, "say which of Meta's codes is nearest"


def test_a_reason_that_passes_says_when() -> None:
    error = SendError(origin="policy", reason="tier_limit_reached", retry_at="2026-09-21T14:14:20.000Z")
    found = verdicts.refusal(refused("tier_limit_reached", error), NOW_MS)
    assert (found.status, found.retry_after_s) == (429, 60)


def test_metas_own_failure_keeps_metas_code_and_status() -> None:
    error = SendError(origin="meta", reason="server", code=131000, message="Something went wrong")
    known = Known(standing="failed", error=error)
    found = verdicts.refusal(known, NOW_MS)
    assert (found.code, found.status, found.details) == (131000, 500, "server: Something went wrong")


def test_a_conflict_is_409() -> None:
    assert verdicts.refusal(Known(standing="accepted", conflict=True), NOW_MS).status == 409
    assert verdicts.refusal(refused("idempotency_conflict", None), NOW_MS).status == 409
