"""What follows from a call: an answer and the error table in, an end to report or another try out. Pure."""

from dataclasses import dataclass
from typing import Literal

from services.sender.answers import Accepted, Answer, Marked, NoAnswer, NotSent, Refused
from shared.error_table import ErrorTable, Scope, Verdict
from shared.events import SendAccepted, SendFailed, SendMessage, SendUncertain


@dataclass(frozen=True, slots=True)
class End:
    """The command is done with; `event` says how."""

    status: Literal["accepted", "failed", "uncertain"]
    event: SendAccepted | SendFailed | SendUncertain
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """The message certainly did not go out and is to be tried again.

    Attributes:
        delay_ms: before the next try; 0 puts it back into its place in the queue.
        called: whether the try counts.
        throttled: the number is to slow down.
        pair: the delay holds for all messages to this user.
        park: scope to stop, and for how long in ms (None: until something changes).
        unreachable: nothing can be sent at all just now.
    """

    delay_ms: int
    called: bool = True
    throttled: bool = False
    pair: bool = False
    park: tuple[Scope, int | None] | None = None
    unreachable: bool = False
    label: str | None = None


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
            return Again(0, called=False, unreachable=True, label="transport")
        case NoAnswer(cause):
            return uncertain(command.command_id, cause, now_ms)
        case Refused():
            verdict = table.verdict(answer.code, answer.http_status, attempt)
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
    if wait_s is not None and answer.regain_s is not None:
        wait_s = max(wait_s, answer.regain_s)
    match verdict.action:
        case "uncertain":
            return uncertain(command_id, f"http_{answer.http_status}", now_ms, verdict.label)
        case "retry":
            return Again(
                round((wait_s or 0) * 1000),
                throttled=verdict.label == "rate_number",
                pair=verdict.scope == "pair",
                label=verdict.label,
            )
        case "park":
            return Again(
                0, park=(verdict.scope, None if wait_s is None else round(wait_s * 1000)), label=verdict.label
            )
        case "final" | "defer":
            return End(
                "failed",
                SendFailed(
                    event_id=f"{command_id}:failed",
                    at_ms=now_ms,
                    command_id=command_id,
                    origin="transport" if answer.code is None else "meta",
                    reason=verdict.reason,
                    retryable=verdict.retryable or verdict.action == "defer",
                    code=answer.code,
                    message=answer.text,
                    fix=verdict.hint,
                ),
                verdict.label,
            )


def uncertain(command_id: str, cause: str, now_ms: int, label: str = "uncertain") -> End:
    """The end of a command of which nobody knows whether it went out."""
    event = SendUncertain(
        event_id=f"{command_id}:uncertain", at_ms=now_ms, command_id=command_id, cause=cause
    )
    return End("uncertain", event, label)


def expired(command_id: str, now_ms: int) -> End:
    """The end of a command whose time ran out before its call."""
    return End(
        "failed",
        SendFailed(
            event_id=f"{command_id}:expired",
            at_ms=now_ms,
            command_id=command_id,
            origin="policy",
            reason="expired",
            retryable=False,
            message="not sent before its time ran out",
        ),
    )
