"""Meta takes every message, and the status of each says later that it was refused: router and sender together hold the campaign."""

import heapq
from itertools import count
from typing import Any, Literal

import msgspec
import pytest

from services.router.concerns import Concerns
from services.router.meta_errors import MetaErrors
from services.sender.answers import Accepted
from services.sender.judge import judge
from services.sender.permits import Permits
from shared.accounts import AccountFacts
from shared.events import AccountChanged, SendMessage, StatusReceived, decode_account_event
from shared.tokens import Credentials
from tests.unit.router.world import CONFIG
from tests.unit.sender.fakes import NOW_MS, TABLE, OneToken, command

ERRORS = MetaErrors.load(CONFIG)
TICK_MS, ANSWER_MS, STATUS_MS = 50, 100, 1000
MINUTE_MS = 60_000


def sent_in_an_hour(code: int, changed_at_ms: int | None = None) -> list[int]:
    """When, in ms from the beginning, messages went out, of a number that had one to send at every tick; its facts changed once meanwhile."""
    now_ms, facts, sent = NOW_MS, AccountFacts(), list[int]()
    concerns = Concerns(ERRORS)

    def know(subject: Literal["account", "number"], **fields: Any) -> None:
        id = "10" if subject == "account" else "1001"
        event = AccountChanged(
            event_id=id,
            at_ms=now_ms,
            waba_id="10",
            subject=subject,
            id=id,
            fields=fields,
        )
        facts.apply(event, facts.revision + 1)

    know("account", payment_method="valid")
    know("number", throughput=80)
    permits = Permits(lambda: facts, OneToken(), TABLE, lambda: now_ms)
    token: Credentials | None = OneToken().get("default")
    under_way: list[tuple[int, int, bool, SendMessage]] = []
    nth = count()
    for since_ms in range(0, 60 * MINUTE_MS, TICK_MS):
        now_ms = NOW_MS + since_ms
        if since_ms == changed_at_ms:
            know("number", quality="RED")
        while under_way and under_way[0][0] <= now_ms:
            _, _, answered, one = heapq.heappop(under_way)
            if not answered:
                answer = Accepted(f"wamid.{one.command_id}", None, None)
                permits.heard(one, answer, judge(answer, one, 1, TABLE, now_ms), token)
                heapq.heappush(under_way, (now_ms + STATUS_MS, next(nth), True, one))
                continue
            status = StatusReceived(
                event_id="s", at_ms=now_ms, received_ms=now_ms, phone_number_id="1001", user=one.user,
                wamid=f"wamid.{one.command_id}", status="failed", meta=msgspec.Raw(b"{}"), error_code=code,
            )  # fmt: skip
            for fact in concerns.told(status, facts):
                facts.apply(decode_account_event(fact.value), facts.revision + 1)
        one = command(f"r{since_ms}", category="marketing", at_ms=now_ms, valid_for_ms=10**9)
        if permits.held(one) is None and permits.admit(one):
            sent.append(since_ms)
            heapq.heappush(under_way, (now_ms + ANSWER_MS, next(nth), False, one))
    return sent


@pytest.mark.parametrize(
    ("code", "changed_at_ms", "trials_min"),
    [
        (131031, None, [10, 30]),
        (368, None, [10, 30]),
        (131048, None, []),
        (131048, MINUTE_MS, [1]),
        (131048, MINUTE_MS // 4, [0]),
    ],
)
def test_a_campaign_that_meta_takes_and_refuses_later_is_tried_by_single_messages(
    code: int, changed_at_ms: int | None, trials_min: list[int]
) -> None:
    sent = sent_in_an_hour(code, changed_at_ms)
    until_told = STATUS_MS + 2 * ANSWER_MS
    assert [at_ms // MINUTE_MS for at_ms in sent if at_ms > until_told] == trials_min
