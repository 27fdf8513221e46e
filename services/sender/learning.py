"""What the sender learns from an answer beyond the command itself: metrics, the number's pace, circuits, facts of the account."""

from logging import INFO
from typing import Any, Literal

import structlog

from services.sender.answers import Accepted, Answer, Marked, Refused
from services.sender.desk import Desk
from services.sender.judge import Again, End
from services.sender.standing import account_of
from shared.events import AccountChanged, SendMessage
from shared.metrics import GRAPH_CALLS, SEND_ERRORS
from shared.refusals import learnt
from shared.tokens import Credentials

log = structlog.get_logger(__name__)

_CALLS = {outcome: GRAPH_CALLS.labels(outcome) for outcome in ("accepted", "failed", "uncertain", "retried")}


def learn(
    desk: Desk,
    answer: Answer,
    judgement: End | Again,
    command: SendMessage,
    credentials: Credentials | None,
) -> None:
    """Count, log, slow down, hold back, tell; `credentials`: with what the call was made."""
    outcome = judgement.status if isinstance(judgement, End) else "retried"
    _CALLS[outcome].inc()
    if judgement.label is not None:
        SEND_ERRORS.labels(judgement.label).inc()
    if log.is_enabled_for(INFO):
        log.info(
            "sent" if isinstance(answer, Accepted | Marked) else "not_sent",
            outcome=outcome,
            command_id=command.command_id,
            phone_number_id=command.phone_number_id,
            user=desk.user_hash(command.user),
            category=command.category,
            code=answer.code if isinstance(answer, Refused) else None,
            label=judgement.label,
        )
    desk.permits.heard(command, answer, judgement, credentials)
    if isinstance(judgement, Again) and judgement.throttled:
        desk.gate(command.phone_number_id).throttled()
    if judgement.label == "unreachable" and isinstance(answer, Refused):
        log.warning(
            "answer_not_metas",
            http_status=answer.http_status,
            phone_number_id=command.phone_number_id,
            waba_id=command.waba_id,
        )
    if isinstance(answer, Refused) and answer.code is not None:
        _tell_account(desk, answer, command)
    if isinstance(answer, Accepted) and command.category != "service":
        _tell_paid(desk, command)


def _tell_account(desk: Desk, refusal: Refused, command: SendMessage) -> None:
    """Let the router know what Meta's refusal says about the account, unless it knows."""
    facts = desk.facts()
    found = learnt(
        desk.table.verdict_on(refusal).reason,
        facts.account(account_of(command, facts)),
        facts.number(command.phone_number_id),
        desk.now_ms(),
    )
    if found is not None:
        _tell(desk, command, str(refusal.code), *found)


def _tell_paid(desk: Desk, command: SendMessage) -> None:
    """Meta took the message that put a refused payment to the test: that is over. What was under way when it was refused says nothing."""
    facts = desk.facts()
    account = facts.account(account_of(command, facts))
    if account is None or account.payment_method != "failing":
        return
    until_ms = account.payment_failing_until_ms
    if until_ms is None or until_ms > desk.now_ms():
        return
    _tell(desk, command, "paid", "account", {"payment_method": "valid", "payment_failing_until_ms": None})


def _tell(
    desk: Desk,
    command: SendMessage,
    because: str,
    subject: Literal["account", "number"],
    fields: dict[str, Any],
) -> None:
    waba_id = account_of(command, desk.facts())
    event = AccountChanged(
        event_id=f"{command.command_id}:{because}",
        at_ms=desk.now_ms(),
        waba_id=waba_id,
        subject=subject,
        id=waba_id if subject == "account" else command.phone_number_id,
        fields=dict(fields),
        by="sender",
    )
    desk.spawn(desk.outcomes.report_account(event), "account-fact")
