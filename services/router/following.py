"""What became of the request that another one is to follow, as far as their conversation remembers. Pure."""

from typing import Literal

from services.router.state import DELIVERED, FAILED, SENT, Life, State
from shared.ids import fingerprint

Fate = Literal["pending", "arrived", "failed", "unknown"]


def fate_of(state: State, request_id: str) -> Fate:
    """Whether it may still arrive, has arrived (was delivered; a reaction: was sent), never will, or was not asked for in the last 8 days.

    A message of which nobody knows whether it went out is pending until it is given up; of one sent twice, one that arrives is enough.
    """
    if any(deferred.id == request_id for deferred in state.deferred):
        return "pending"
    stages = [_reached(life) for life in state.lives if life.request_id == request_id]
    stages += [ended.stage for ended in state.ended if ended.request == request_id]
    if any(DELIVERED <= stage < FAILED for stage in stages):
        return "arrived"
    if any(stage < DELIVERED for stage in stages):
        return "pending"
    if stages:
        return "failed"
    # A message that failed before Meta took it leaves no trace but its answer.
    wanted = fingerprint(request_id)
    known = any(
        answer.request == wanted and answer.reason != "idempotency_conflict" for answer in state.answers
    )
    return "failed" if known else "unknown"


def _reached(life: Life) -> int:
    """How far it has come; of a reaction Meta says no more than that it is sent (Meta, webhooks, statuses), so with that it has arrived."""
    return DELIVERED if life.sent_is_all and life.stage == SENT else life.stage
