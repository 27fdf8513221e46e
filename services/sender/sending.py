"""One command on its way: wait for the number's moment, claim, the last checks, the call, the record."""

import asyncio
from collections.abc import Callable
from time import monotonic

import msgspec
import structlog

from services.sender import request
from services.sender.answers import Answer, Refused
from services.sender.desk import Desk
from services.sender.entry import TOMBSTONE_MS, Stored
from services.sender.journal import Claimed, Held
from services.sender.judge import Again, End, cancelled, expired, judge, uncertain
from services.sender.learning import learn
from services.sender.records import Records
from services.sender.schedule import Candidate
from shared.events import SendMessage
from shared.metrics import CATEGORIES, GRAPH_CALLS, SEND_WAIT_SECONDS
from shared.tokens import Credentials

log = structlog.get_logger(__name__)

_WAITED = {category: SEND_WAIT_SECONDS.labels(category) for category in CATEGORIES}

CLAIM_FRESH_S = 3.0
"""A claim older than this is asked for again before its call: a process that was stopped may have lost its partition meanwhile."""


def too_late(desk: Desk, found: Stored) -> End:
    """How a command ends that is unsent after its time. One so late that its tombstone would be gone may be a repetition."""
    now_ms = desk.now_ms()
    if now_ms > found.entry.valid_until_ms + TOMBSTONE_MS:
        return uncertain(found.id, "late", now_ms)
    GRAPH_CALLS.labels("expired").inc()
    return expired(found.id, now_ms)


class Ready(msgspec.Struct, frozen=True):
    """A command that is to be called now."""

    claim: Claimed


async def prepare(
    desk: Desk, records: Records, candidate: Candidate, serving: Callable[[], bool]
) -> Ready | Held | Stored | None:
    """Everything before the call.

    Returns:
        `Ready`: call now. `Held`: the pair must wait; nothing was claimed. `Stored`: the command ended here, to be reported. None: back to
        waiting, or no longer ours.
    """
    if desk.now_ms() > candidate.found.entry.valid_until_ms:
        return await records.record(candidate.found, too_late(desk, candidate.found))
    if candidate.found.id in desk.called:
        return await records.record(
            candidate.found, uncertain(candidate.found.id, "journal_lost", desk.now_ms())
        )
    command = candidate.command
    gate = desk.gate(command.phone_number_id)
    # It opens before the call may be made, by what a claim takes and no more: what a crash finds claimed may have been called, so the fewer the better.
    at_s = await gate.enter()
    if at_s is None:
        return None
    claiming_s = monotonic()
    claim, candidate.found = await records.claim(candidate.found, command, lined=candidate.lined)
    desk.claimed_in(monotonic() - claiming_s)
    if not isinstance(claim, Claimed):
        gate.unused()
        if claim == "cancelled":
            return await records.record(candidate.found, cancelled(candidate.found.id, desk.now_ms()))
        return claim if isinstance(claim, Held) else None
    found = candidate.found
    desk.reached("claimed", found.id)
    while (early_s := at_s - monotonic()) > 0:  # noqa: ASYNC110 (a timer may be half a millisecond early)
        await asyncio.sleep(early_s)
    may_go = serving() and (monotonic() - claiming_s < CLAIM_FRESH_S or await records.still_claimed(found))
    late = desk.now_ms() > found.entry.valid_until_ms
    if may_go and not late and desk.permits.admit(command):
        return Ready(claim)
    gate.unused()
    if may_go and late:
        return await records.record(found, too_late(desk, found))
    await records.again(found, command, Again(0, called=False), claim)
    return None


async def call(desk: Desk, records: Records, candidate: Candidate, ready: Ready) -> Stored | None:
    """The call and what follows from it; the recorded outcome, None when it is to be tried again."""
    command, found = candidate.command, candidate.found
    _WAITED[command.category].observe(max(0.0, (desk.now_ms() - command.at_ms) / 1000))
    desk.remember_call(found.id)
    desk.reached("calling", found.id)
    called_s = monotonic()
    credentials = desk.tokens.get(desk.permits.reference(command.phone_number_id))
    try:
        answer = await _answer(desk, command, credentials)
    finally:
        desk.gate(command.phone_number_id).leave(called_s)
    desk.reached("answered", found.id)
    judgement = judge(answer, command, found.entry.attempts, desk.table, desk.now_ms())
    learn(desk, answer, judgement, command, credentials)
    if isinstance(judgement, Again):
        desk.called.pop(found.id, None)
        await records.again(found, command, judgement, ready.claim)
        return None
    return await records.record(found, judgement, (command, ready.claim))


async def _answer(desk: Desk, command: SendMessage, credentials: Credentials | None) -> Answer:
    if credentials is None:
        log.error("no_access_token", phone_number_id=command.phone_number_id)
        return Refused(401, 0, "no access token is configured for this number")
    try:
        body = request.body(command)
    except msgspec.MsgspecError as error:
        return Refused(400, 100, f"the message is no JSON object: {error}")
    left_s = (command.valid_until_ms - desk.now_ms()) / 1000
    return await desk.graph.send(
        command.phone_number_id, credentials, body, command.endpoint, start_within_s=left_s
    )
