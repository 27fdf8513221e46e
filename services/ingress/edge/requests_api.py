"""`/v1/requests` and `/v1/estimate`: the public JSON of `send.requests.v1` over HTTP, and what became of requests."""

import re
from collections.abc import Callable

from aiohttp import web

from services.ingress.edge import book, verdicts
from services.ingress.edge.bodies import body_of, json_answer
from services.ingress.edge.book import Known
from services.ingress.edge.callers import Caller, Callers
from services.ingress.edge.door import Door
from services.ingress.edge.errors import INVALID, Refusal, graph_error, invalid, unavailable
from services.ingress.edge.idempotency import key_of, request_id_of
from services.ingress.edge.index import Index
from services.ingress.edge.messages import location
from services.ingress.edge.requests_json import (
    Estimate,
    TakenRequest,
    TakenRequests,
    bodies,
    cancellation_of,
    has_member,
    status_of,
    with_members,
)
from services.ingress.edge.sending import Sending, decided, settled
from services.ingress.edge.settings import EdgeSettings
from services.ingress.requests import UnreadableRequest, take
from shared.events import CancelRequested, RequestMalformed, SendRequested

_WAIT = re.compile(r"(?:^|[\s,;])wait=(\d{1,4})(?:$|[\s,;])")
_TAKEN, _NOTHING_TAKEN = 202, 400


class Requests:
    """The handlers; `titles` names a code of Meta's."""

    def __init__(
        self,
        settings: EdgeSettings,
        callers: Callers,
        sending: Sending,
        index: Index,
        door: Door,
        now_ms: Callable[[], int],
        titles: Callable[[int], str],
    ) -> None:
        self._settings = settings
        self._callers = callers
        self._sending = sending
        self._index = index
        self._door = door
        self._now_ms = now_ms
        self._titles = titles

    async def post(self, request: web.Request) -> web.Response:
        """One request, or a list: taken (202), or waited for (200) by `Prefer: wait=n`."""
        caller = self._callers.caller(request)
        body = await body_of(request, self._settings.edge_body_timeout_s)
        written, is_list = bodies(body)
        if not is_list:
            return await self._one(request, caller, written[0])
        return await self._many(request, caller, written)

    async def get(self, request: web.Request) -> web.Response:
        """What is known of a request."""
        caller = self._callers.caller(request)
        request_id = request.match_info["request_id"]
        return json_answer(status_of(request_id, await self._known(caller, request_id)))

    async def delete(self, request: web.Request) -> web.Response:
        """Take a request back, and say what became of it."""
        caller = self._callers.caller(request)
        request_id = request.match_info["request_id"]
        known = await self._known(caller, request_id)
        if not known.settled or known.standing in ("deferred", "uncertain"):
            known = await self._cancelled(request_id, known)
        answer = cancellation_of(request_id, known)
        return json_answer(answer, _TAKEN if answer.outcome == "pending" else 200)

    async def estimate(self, request: web.Request) -> web.Response:
        """The decision on a request now, as a dry run."""
        caller = self._callers.caller(request)
        body = await body_of(request, self._settings.edge_body_timeout_s)
        members: dict[str, object] = {"dry_run": True}
        if not has_member(body, "request_id"):
            members |= {"request_id": request_id_of(request)}
        asked = self._read(caller, with_members(body, **members))
        if not isinstance(asked, SendRequested):
            raise invalid("only a request can be estimated")
        known = await self._sending.send(asked, decided, self._settings.edge_wait_s)
        if known.conflict:
            raise verdicts.conflict()
        if known.decision is None:
            raise unavailable("nothing was decided in time; ask again")
        return json_answer(Estimate(request_id=asked.request_id, decision=known.decision, error=known.error))

    async def _one(self, request: web.Request, caller: Caller, body: bytes) -> web.Response:
        if (key := key_of(request)) is not None and not has_member(body, "request_id"):
            body = with_members(body, request_id=key)
        asked = self._read(caller, body)
        headers = {"Location": location(asked.request_id)}
        wait_s = self._wait_s(request)
        if isinstance(asked, CancelRequested) or wait_s is None:
            (free,) = await self._sending.take([asked])
            if not free:
                raise verdicts.conflict()
            taken = TakenRequests(requests=[TakenRequest(index=0, request_id=asked.request_id)])
            return json_answer(taken, _TAKEN, headers)
        known = await self._sending.send(asked, settled, wait_s)
        if known.conflict:
            raise verdicts.conflict()
        headers["Preference-Applied"] = f"wait={wait_s:g}"
        return json_answer(status_of(asked.request_id, known), 200 if known.settled else _TAKEN, headers)

    async def _many(self, request: web.Request, caller: Caller, written: list[bytes]) -> web.Response:
        if len(written) > 1:
            await self._door.limit(caller, len(written) - 1)
        answers: dict[int, TakenRequest] = {}
        asked: dict[int, SendRequested | CancelRequested] = {}
        for index, body in enumerate(written):
            try:
                asked[index] = self._read(caller, body)
            except Refusal as refusal:
                answers[index] = self._refused(index, refusal)
        free = await self._sending.take(list(asked.values()))
        for (index, one), is_free in zip(asked.items(), free, strict=True):
            answers[index] = (
                TakenRequest(index=index, request_id=one.request_id)
                if is_free
                else self._refused(index, verdicts.conflict(), one.request_id)
            )
        taken = TakenRequests(requests=[answers[index] for index in range(len(written))])
        return json_answer(taken, _TAKEN if any(free) else _NOTHING_TAKEN)

    def _read(self, caller: Caller, body: bytes) -> SendRequested | CancelRequested:
        """The checked request of a number that the caller may use."""
        try:
            event = take(body, self._now_ms(), caller.default_number())
        except UnreadableRequest as error:
            raise invalid(str(error), str(error)) from None
        if isinstance(event, RequestMalformed):
            raise invalid("; ".join(event.problems), *event.problems)
        caller.require_number(event.phone_number_id)
        return event

    def _refused(self, index: int, refusal: Refusal, request_id: str | None = None) -> TakenRequest:
        error = graph_error(refusal, self._titles(refusal.code), "").error
        return TakenRequest(index=index, request_id=request_id, error=error)

    async def _known(self, caller: Caller, request_id: str) -> Known:
        known = book.known(request_id, await self._index.row(request_id))
        if known.standing == "unknown" or (known.number and not caller.may_use(known.number)):
            days = self._settings.edge_keep_days
            text = f"no request of this id was heard of within {days} days; Kafka's topics may know more"
            raise Refusal(INVALID, "request_unknown", text, status=404)
        return known

    async def _cancelled(self, request_id: str, known: Known) -> Known:
        user = known.user or known.bsuid
        if not known.number or not user:
            return known
        cancellation = CancelRequested(
            event_id=f"{request_id}:cancelled",
            at_ms=self._now_ms(),
            request_id=request_id,
            phone_number_id=known.number,
            user=user,
        )

        def enough(now: Known) -> bool:
            return cancellation_of(request_id, now).outcome != "pending"

        return await self._sending.cancel(cancellation, enough, self._settings.edge_wait_s)

    def _wait_s(self, request: web.Request) -> float | None:
        """Seconds that the caller prefers to wait (RFC 7240), within ours; None when it did not ask."""
        found = _WAIT.search(request.headers.get("Prefer", ""))
        return None if found is None else min(float(found[1]), self._settings.edge_wait_s)
