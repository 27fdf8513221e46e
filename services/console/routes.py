"""The console's shell: the page, and the admin API with its audit trail."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Protocol

import msgspec
import structlog
from aiohttp import web
from aiokafka.errors import KafkaError

from services.console import document, page, view
from services.console.access import Tokens, holder
from services.console.applying import Applier
from services.console.document import AccountsDocument, InvalidDocument
from services.console.open_messages import NotOpen, Settling
from services.console.pausing import Pause, UnknownSubject
from services.console.plan import Applied
from services.console.settling import IndexUnavailable, OpenMessages
from services.console.style import STYLE
from services.console.tally import Month
from shared.accounts import AccountFacts
from shared.clock import Clock
from shared.pricing import local_month

log = structlog.get_logger(__name__)

Audit = dict[str, Any]
"""What an audit line says."""
CATCH_UP_S = 5.0
"""How long an answer waits until this process itself has read what it published."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Reader(Protocol):
    """Who follows the account facts: `facts` are current, `reached` waits until they are of a revision."""

    @property
    def facts(self) -> AccountFacts: ...
    async def reached(self, revision: int) -> None: ...


class Tallies(Protocol):
    """Who knows what was counted and charged: account → month in, months out, None without an answer."""

    async def of_months(self, months: Mapping[str, str]) -> dict[str, Month | None]: ...


class Refusal(Exception):
    """An admin call that is answered with an error."""

    def __init__(self, status: HTTPStatus, code: str, text: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.problems = problems


class Console:
    """Handlers of the page and of the admin API."""

    def __init__(
        self,
        *,
        reader: Reader,
        applier: Applier,
        messages: OpenMessages,
        tallies: Tallies,
        tokens: Tokens,
        is_regime: Callable[[str], bool],
        is_market: Callable[[str], bool],
        links: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._applier = applier
        self._messages = messages
        self._tallies = tallies
        self._tokens = tokens
        self._is_regime = is_regime
        self._is_market = is_market
        self._links = links
        self._clock = clock

    def application(self) -> web.Application:
        """The aiohttp application with all routes."""
        app = web.Application(middlewares=[_safe_headers], client_max_size=document.MAX_CHARS)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/style.css", self._style),
                web.get("/v1/accounts", self._accounts),
                web.post("/v1/accounts/apply", self._apply),
                web.post("/v1/pauses", self._pause),
                web.get("/v1/uncertain", self._uncertain),
                web.post("/v1/uncertain/settle", self._settle),
            ]
        )
        return app

    async def _page(self, _: web.Request) -> web.Response:
        facts, now = self._reader.facts, self._clock.now()
        months = {
            waba: local_month(now, account.timezone)
            for waba in facts.accounts()
            if (account := facts.account(waba)) is not None
        }
        tallies = await self._tallies.of_months(months)
        shown = page.Page(facts, tallies, self._links, now.strftime("%Y-%m-%d %H:%M:%S UTC"))
        return web.Response(text=page.render(shown), content_type="text/html")

    async def _style(self, _: web.Request) -> web.Response:
        return web.Response(text=STYLE, content_type="text/css")

    async def _accounts(self, request: web.Request) -> web.Response:
        log.info("audit", action="accounts.read", by=None, remote=request.remote, outcome="ok")
        return web.json_response(view.accounts(self._reader.facts))

    async def _apply(self, request: web.Request) -> web.Response:
        return await self._audited("accounts.apply", request, self._apply_file)

    async def _pause(self, request: web.Request) -> web.Response:
        return await self._audited("pauses.set", request, self._set_pause)

    async def _uncertain(self, request: web.Request) -> web.Response:
        log.info("audit", action="uncertain.read", by=None, remote=request.remote, outcome="ok")
        try:
            found = await self._messages.list()
        except IndexUnavailable as error:
            return _refused(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", str(error)))
        return web.json_response({"open": msgspec.to_builtins(found)})

    async def _settle(self, request: web.Request) -> web.Response:
        return await self._audited("uncertain.settle", request, self._settle_one)

    async def _audited(
        self, action: str, request: web.Request, act: Callable[[web.Request, Audit], Awaitable[web.Response]]
    ) -> web.Response:
        """Whatever comes of an admin call, one audit line says who wanted what, and what came of it."""
        audit: Audit = {"action": action, "remote": request.remote, "by": None}
        try:
            audit["by"] = self._holder(request)
            answer = await act(request, audit)
        except Refusal as refusal:
            log.warning("audit", **audit, outcome=refusal.code, problems=len(refusal.problems))
            return _refused(refusal)
        except web.HTTPRequestEntityTooLarge:
            log.warning("audit", **audit, outcome="too_large")
            raise
        log.info("audit", **audit, outcome="ok")
        return answer

    async def _apply_file(self, request: web.Request, audit: Audit) -> web.Response:
        audit["dry_run"] = dry_run = _flag(request, "dry_run")
        audit["force"] = force = _flag(request, "force")
        outcome = await self._applied(await self._document(request), force=force, dry_run=dry_run)
        audit["revision"] = outcome.revision
        audit["changes"] = list(view.changed_fields(outcome.plan.changes))
        return web.json_response(view.applied(outcome, dry_run=dry_run))

    async def _set_pause(self, request: web.Request, audit: Audit) -> web.Response:
        try:
            pause = msgspec.json.decode(await request.read(), type=Pause)
        except msgspec.MsgspecError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, "invalid", "the body is no pause", (str(error),)) from error
        audit |= {"kind": pause.kind, "id": pause.id, "paused": pause.paused, "reason": pause.reason}
        try:
            changed, revision = await self._applier.pause(pause)
        except UnknownSubject as error:
            raise Refusal(HTTPStatus.NOT_FOUND, "unknown", str(error)) from error
        except KafkaError as error:
            log.error("pause_failed", error=repr(error))
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "Kafka did not take the pause"
            ) from error
        audit |= {"changed": changed, "revision": revision}
        await self._catch_up(revision)
        return web.json_response({"changed": changed, "revision": revision})

    async def _settle_one(self, request: web.Request, audit: Audit) -> web.Response:
        try:
            settling = msgspec.json.decode(await request.read(), type=Settling)
        except msgspec.MsgspecError as error:
            raise Refusal(
                HTTPStatus.BAD_REQUEST, "invalid", "the body settles no message", (str(error),)
            ) from error
        audit |= {"request_id": settling.request_id, "verdict": settling.verdict, "note": settling.note}
        try:
            command = await self._messages.settle(settling, audit["by"])
        except NotOpen as error:
            raise Refusal(HTTPStatus.NOT_FOUND, "not_open", str(error)) from error
        except (IndexUnavailable, KafkaError) as error:
            log.error("settling_failed", error=repr(error))
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "Kafka or Redis does not answer"
            ) from error
        return web.json_response({"command_id": command})

    def _holder(self, request: web.Request) -> str:
        try:
            tokens = self._tokens.known()
        except OSError as error:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "tokens_unreadable", "the tokens file can't be read"
            ) from error
        if not tokens:
            raise Refusal(HTTPStatus.FORBIDDEN, "no_token_set", "changes are refused: no admin token is set")
        name = holder(request.headers.get("Authorization", ""), tokens)
        if name is None:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "unauthorized", "a valid bearer token is required")
        return name

    async def _document(self, request: web.Request) -> AccountsDocument:
        try:
            return document.parse((await request.read()).decode(), self._is_regime, self._is_market)
        except UnicodeDecodeError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, "invalid", "the body is not UTF-8") from error
        except InvalidDocument as error:
            problems = tuple(map(str, error.problems))
            raise Refusal(
                HTTPStatus.BAD_REQUEST, "invalid", "the accounts file is not valid", problems
            ) from error

    async def _applied(self, accounts: AccountsDocument, *, force: bool, dry_run: bool) -> Applied:
        try:
            outcome = await self._applier.apply(accounts, force=force, dry_run=dry_run)
        except KafkaError as error:
            log.error("apply_failed", error=repr(error))
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "Kafka did not take all changes"
            ) from error
        if outcome.plan.conflicts:
            text = "the file contradicts the facts"
            raise Refusal(HTTPStatus.CONFLICT, "conflict", text, outcome.plan.conflicts)
        await self._catch_up(outcome.revision)
        return outcome

    async def _catch_up(self, revision: int) -> None:
        with suppress(TimeoutError):  # published it is; the page shows it a little later
            await asyncio.wait_for(self._reader.reached(revision), CATCH_UP_S)


def _flag(request: web.Request, name: str) -> bool:
    value = request.query.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid", f"{name} must be true or false")
    return value in ("true", "1")


def _refused(refusal: Refusal) -> web.Response:
    error = {"code": refusal.code, "message": refusal.text, "problems": list(refusal.problems)}
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == HTTPStatus.UNAUTHORIZED else None
    return web.json_response({"error": error}, status=refusal.status, headers=headers)


@web.middleware
async def _safe_headers(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(HEADERS)
        raise
    response.headers.update(HEADERS)
    return response
