"""What follows from a call: an answer and the error table in, an end to report or another try out. Pure."""

from typing import Literal, NamedTuple

import msgspec

from services.sender.answers import Accepted, Answer, Marked, NoAnswer, NotSent, Refused
from shared.error_table import ErrorTable, Label, Scope, Verdict
from shared.events import SendAccepted, SendFailed, SendMessage, SendUncertain
from shared.reasons import FAILURES, REASONS


class Opens(NamedTuple):
    """A circuit that a refusal opens: what it holds back, why, and for how long in ms (None: until something changes)."""

    scope: Scope
    reason: Label
    wait_ms: int | None


class End(msgspec.Struct, frozen=True):
    """The command is done with; `event` says how. `opens`, `silent`: what it means for others, as in `Again`."""

    status: Literal["accepted", "failed", "uncertain"]
    event: SendAccepted | SendFailed | SendUncertain
    label: Label | None = None
    opens: Opens | None = None
    silent: bool = False


_ALLOWANCES: tuple[Label, ...] = ("rate_app", "rate_waba")
"""Refusals of which Meta's usage header says for how long, better than the table knows."""


class Again(msgspec.Struct, frozen=True):
    """The message certainly did not go out and is to be tried again.

    Attributes:
        delay_ms: before the next try; 0 puts it back into its place in the queue.
        called: whether the try counts.
        throttled: the number is to slow down.
        pair: the delay holds for all messages to this user.
        opens: a circuit that the refusal opens.
        silent: Meta gave no answer that says anything, said that it fails, or something else answered: a few of them in a row open a circuit.
    """

    delay_ms: int
    called: bool = True
    throttled: bool = False
    pair: bool = False
    opens: Opens | None = None
    silent: bool = False
    label: Label | Literal["transport"] | None = None


def judge(answer: Answer, command: SendMessage, attempt: int, table: ErrorTable, now_ms: int) -> End | Again:
    """Say what becomes of a command whose try number `attempt` (from 1) came to `answer`."""
    match answer:
        case Accepted(wamid, user, message_status):
            return _accepted(command, wamid, user, message_status, now_ms)
        case Marked() if command.marks is not None:
            return _accepted(command, "", None, None, now_ms)
        case Marked():  # an answer to a message that names none
            return uncertain(command.command_id, "no_message_id", now_ms)
        case NotSent():
            return Again(0, called=False, label="transport")
        case NoAnswer(cause):
            return msgspec.structs.replace(uncertain(command.command_id, cause, now_ms), silent=True)
        case Refused():
            verdict = table.verdict_on(answer, attempt)
            return _refused(answer, verdict, command.command_id, now_ms)


def _accepted(
    command: SendMessage, wamid: str, user: str | None, message_status: str | None, now_ms: int
) -> End:
    event = SendAccepted(
        event_id=f"{command.command_id}:accepted",
        at_ms=now_ms,
        command_id=command.command_id,
        wamid=wamid,
        user=user or command.user,
        message_status=message_status,
    )
    return End("accepted", event)


def _refused(answer: Refused, verdict: Verdict, command_id: str, now_ms: int) -> End | Again:
    wait_s = verdict.delay_s
    if answer.regain_s is not None and verdict.label in _ALLOWANCES:
        wait_s = answer.regain_s
    wait_ms = None if wait_s is None else round(wait_s * 1000)
    opens = Opens(verdict.scope, verdict.label, wait_ms) if verdict.holds else None
    silent = verdict.label == "unreachable" or (verdict.label == "platform" and answer.http_status >= 500)
    match verdict.action:
        case "uncertain":
            unclear = uncertain(command_id, f"http_{answer.http_status}", now_ms, verdict.label)
            return msgspec.structs.replace(unclear, silent=True)
        case "retry":
            return Again(
                wait_ms or 0,
                throttled=verdict.label == "rate_number",
                pair=verdict.scope == "pair",
                silent=silent,
                label=verdict.label,
            )
        case "park":
            return Again(0, opens=opens, label=verdict.label)
        case "final" | "defer" | "stop":
            deferred = verdict.action == "defer"
            return End(
                "failed",
                SendFailed(
                    event_id=f"{command_id}:failed",
                    at_ms=now_ms,
                    command_id=command_id,
                    origin="transport" if answer.code is None else "meta",
                    reason=verdict.reason,
                    retryable=verdict.retryable or deferred,
                    code=answer.code,
                    message=answer.text,
                    fix=verdict.hint,
                    retry_ms=now_ms + wait_ms if deferred and wait_ms is not None else None,
                ),
                verdict.label,
                opens=opens,
                silent=silent,
            )


def uncertain(command_id: str, cause: str, now_ms: int, label: Label = "uncertain") -> End:
    """The end of a command of which nobody knows whether it went out."""
    event = SendUncertain(
        event_id=f"{command_id}:uncertain", at_ms=now_ms, command_id=command_id, cause=cause
    )
    return End("uncertain", event, label)


def expired(command_id: str, now_ms: int) -> End:
    """The end of a command whose time ran out before its call."""
    return _unsent(command_id, now_ms, "expired")


def cancelled(command_id: str, now_ms: int) -> End:
    """The end of a command that was taken back before its call."""
    return _unsent(command_id, now_ms, "cancelled")


def turned_away(command_id: str, now_ms: int, retry_ms: int) -> End:
    """The end of a command that stands behind more than its number can send until `retry_ms`: back to the router, to be decided anew by then."""
    return _unsent(command_id, now_ms, "backlog", retry_ms)


def _unsent(command_id: str, now_ms: int, reason: str, retry_ms: int | None = None) -> End:
    known = FAILURES.get(reason) or REASONS[reason]
    return End(
        "failed",
        SendFailed(
            event_id=f"{command_id}:{reason}",
            at_ms=now_ms,
            command_id=command_id,
            origin="policy",
            reason=reason,
            retryable=retry_ms is not None,
            message=known.meaning,
            fix=known.fix,
            retry_ms=retry_ms,
        ),
    )
