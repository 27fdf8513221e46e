"""`POST /{version}/{phone_number_id}/messages` and `/marketing_messages`: the Cloud API's body in, its answer out."""

from collections.abc import Callable
from urllib.parse import quote

from aiohttp import web

from services.ingress.edge import book, cloud, verdicts
from services.ingress.edge.bodies import body_of, json_answer
from services.ingress.edge.callers import Callers
from services.ingress.edge.errors import invalid
from services.ingress.edge.idempotency import request_id_of
from services.ingress.edge.index import Index
from services.ingress.edge.sending import Sending, settled
from services.ingress.edge.settings import EdgeSettings
from services.ingress.requests import MAX_REQUEST_BYTES, UnreadableRequest, take
from shared.events import RequestMalformed, SendRequested
from shared.message_content import is_read_mark

_OUT_LATER = 202


class Messages:
    """The handlers."""

    def __init__(
        self,
        settings: EdgeSettings,
        callers: Callers,
        sending: Sending,
        index: Index,
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._callers = callers
        self._sending = sending
        self._index = index
        self._now_ms = now_ms

    async def messages(self, request: web.Request) -> web.Response:
        """A message or a read mark."""
        return await self._send(request, "messages")

    async def marketing_messages(self, request: web.Request) -> web.Response:
        """A marketing message by the Marketing Messages API."""
        return await self._send(request, "marketing_messages")

    async def _send(self, request: web.Request, endpoint: cloud.Endpoint) -> web.Response:
        caller = self._callers.caller(request)
        number = request.match_info["phone_number_id"]
        caller.require_number(number)
        body = await body_of(request, self._settings.edge_body_timeout_s, MAX_REQUEST_BYTES)
        message, correlation = cloud.message_of(body, endpoint)
        message = await self._resolved(message, number)
        asked = self._asked(message, request_id_of(request), number, correlation)
        known = await self._sending.send(asked, settled, self._settings.edge_wait_s)
        if known.conflict or known.standing in ("refused", "failed", "cancelled"):
            raise verdicts.refusal(known, self._now_ms())
        answer = cloud.answer(message, asked.request_id, known)
        if known.standing == "accepted":
            return json_answer(answer)
        return json_answer(answer, _OUT_LATER, {"Location": location(asked.request_id)})

    def _asked(
        self, message: cloud.Message, request_id: str, number: str, correlation: str | None
    ) -> SendRequested:
        value = cloud.request_of(message, request_id, number, correlation)
        try:
            event = take(value, self._now_ms(), None)
        except UnreadableRequest as error:
            raise invalid(str(error), str(error)) from None
        if isinstance(event, RequestMalformed):
            problems = [problem.removeprefix("message.") for problem in event.problems]
            raise invalid("; ".join(problems), *problems)
        if not isinstance(event, SendRequested):
            raise TypeError(f"a {type(event).__name__} of a message")
        return event

    async def _resolved(self, message: cloud.Message, number: str) -> cloud.Message:
        """The message with Meta's id in place of a request's, and a read mark with the user it is about."""
        id = cloud.named(message)
        if id is None:
            return message
        if not cloud.is_wamid(id):
            wamid = await self._wamid_of(id, number)
            message, id = cloud.with_wamid(message, wamid), wamid
        if not is_read_mark(message) or message.get("to") or message.get("recipient"):
            return message
        heard = await self._index.heard(id)
        if heard is None or heard.number != number:
            raise cloud.unknown_message(id)
        key = "to" if heard.user.isdecimal() else "recipient"
        return {**message, key: f"+{heard.user}" if key == "to" else heard.user}

    async def _wamid_of(self, request_id: str, number: str) -> str:
        known = book.known(request_id, await self._index.row(request_id))
        if known.standing == "unknown" or known.number != number:
            raise cloud.unknown_message(request_id)
        if not known.wamid:
            raise cloud.not_out_yet(request_id)
        return known.wamid


def location(request_id: str) -> str:
    """Where it can be asked what became of a request."""
    return f"/v1/requests/{quote(request_id, safe='')}"
