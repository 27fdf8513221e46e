"""What every call goes through: who calls, how often, how many at once; every refusal in Graph's shape; counted and logged without anybody's data."""

import secrets
import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from redis.exceptions import RedisError

from services.ingress.edge.bodies import json_answer
from services.ingress.edge.callers import Caller, Callers
from services.ingress.edge.errors import INVALID, TOO_MANY_CALLS, Refusal, graph_error, unavailable
from services.ingress.edge.index import Index
from services.ingress.edge.token_file import Scope
from shared import metrics

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_COUNTED = frozenset({"400", "401", "403", "404", "409", "429", "500", "503"})
_SLOWEST_RETRY_S = 3600


class Door:
    """The middleware, and the bounds behind it."""

    def __init__(
        self, callers: Callers, index: Index, titles: Callable[[int], str], most_in_flight: int
    ) -> None:
        self._callers = callers
        self._index = index
        self._titles = titles
        self._most = most_in_flight
        self.in_flight = 0

    def opened(self, handler: Handler, route: str, scope: Scope | None = None) -> Handler:
        """The handler for callers with the scope; without one the handler asks for it itself. `route` is its name in metrics."""

        async def admitted(request: web.Request) -> web.StreamResponse:
            if self.in_flight >= self._most:
                raise unavailable("too many calls are under way here; try again")
            self.in_flight += 1
            try:
                caller = self._callers.caller(request)
                if scope is not None:
                    caller.require(scope)
                await self.limit(caller)
                return await handler(request)
            finally:
                self.in_flight -= 1

        return self.open_to_all(admitted, route)

    def open_to_all(self, handler: Handler, route: str) -> Handler:
        """The handler for anybody, refusals in Graph's shape, counted."""

        async def through(request: web.Request) -> web.StreamResponse:
            began = time.perf_counter()
            try:
                answer = await handler(request)
            except Refusal as refusal:
                answer = self.refused(request, refusal)
            except RedisError as error:
                log.error("edge_without_redis", error=repr(error))
                answer = self.refused(request, unavailable("Redis does not answer; try again"))
            except web.HTTPException:
                raise
            except Exception as error:
                log.error("edge_fault", route=route, error=repr(error), exc_info=error)
                answer = self.refused(
                    request, Refusal(1, "internal", "a fault of the middleware", status=500)
                )
            metrics.EDGE_REQUESTS.labels(route, _label(answer.status)).inc()
            metrics.EDGE_SECONDS.labels(route).observe(time.perf_counter() - began)
            return answer

        return through

    @web.middleware
    async def elsewhere(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What no route takes, in Graph's shape too; the token is asked for first, so that nobody learns which paths there are."""
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            try:
                self._callers.caller(request)
            except Refusal as refusal:
                return self.refused(request, refusal)
            text = f"{request.method} {request.path[:200]} is not served here"
            answer = self.refused(request, Refusal(INVALID, "unknown_path", text, status=error.status))
            if isinstance(error, web.HTTPMethodNotAllowed):
                answer.headers["Allow"] = error.headers["Allow"]
            return answer

    async def limit(self, caller: Caller, calls: int = 1) -> None:
        """Count calls of a business system; raises Refusal (429) beyond its rate."""
        wait_s = await self._index.passes(f"token:{caller.name}", 1 / caller.rate, caller.burst, calls)
        if wait_s > 0:
            text = f"the token's limit is {caller.rate:g} calls a second"
            raise Refusal(TOO_MANY_CALLS, "token_rate_limit", text, retry_after_s=wait_s)

    def refused(self, request: web.Request, refusal: Refusal) -> web.Response:
        """The answer to a refused call."""
        trace = secrets.token_urlsafe(9)
        log.info(
            "edge_refused",
            status=refusal.status,
            code=refusal.code,
            reason=refusal.reason,
            trace=trace,
            length=request.content_length,
        )
        answer = json_answer(graph_error(refusal, self._titles(refusal.code), trace), refusal.status)
        if refusal.status == 401:
            answer.headers["WWW-Authenticate"] = "Bearer"
        if refusal.retry_after_s is not None:
            answer.headers["Retry-After"] = str(min(_SLOWEST_RETRY_S, int(refusal.retry_after_s) + 1))
        if not request.content.is_eof():
            answer.force_close()
        return answer


def _label(status: int) -> str:
    text = str(status)
    return text if text in _COUNTED else f"{text[0]}xx"
