"""Calls of the management API that go through to Meta: with the account's own token, within Meta's limits, and only those on the list.

The caller's version of the API does not count: ours (WA_GRAPH_VERSION) is called. Nothing is kept of the answers.
Source: Meta, Graph API, WhatsApp Business Account, phone numbers, message templates, business profiles; Meta, Graph API, rate limits.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from aiohttp import web

from services.ingress.edge.bodies import body_of, json_answer
from services.ingress.edge.callers import Callers
from services.ingress.edge.errors import INVALID, TOO_MANY_CALLS, Refusal, invalid, unavailable
from services.ingress.edge.idempotency import Repeats
from services.ingress.edge.index import Index
from services.ingress.edge.paging import SECRETS, without_secrets
from services.ingress.edge.settings import EdgeSettings
from shared.account_tokens import NoToken, credentials_of
from shared.accounts import AccountFacts, Template
from shared.graph_answers import Usage
from shared.graph_calls import GraphCalls, GraphRefused, GraphUnavailable
from shared.tokens import Tokens

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Json = dict[str, Any]
_HOUR_S = 3600.0
CALLS_AN_HOUR, CALLS_OF_AN_ACTIVE_ACCOUNT = 200, 5000
"""Of an app to an account; an account is active once a number is registered (Meta, rate limits, business management API)."""
_EXHAUSTED = frozenset({4, TOO_MANY_CALLS, 80008})
_PAUSE_S = 300.0
"""When Meta says that the allowance is used up and not until when."""
_FULL_PERCENT = 100.0
_LARGEST_TEMPLATE = 256 * 1024
_PARAMETERS = frozenset(
    [
        "fields",
        "limit",
        "after",
        "before",
        "name",
        "name_or_content",
        "content",
        "hsm_id",
        "hsm_ids",
        "status",
        "category",
        "language",
        "quality_score",
        "summary",
        "sort",
        "filtering",
    ]
)
"""What a query may name. Others change what a call is: `method` makes another one of it, `ids` is about other objects (Meta, Graph API, requests)."""
_object = msgspec.json.Decoder(dict[str, Any]).decode


class Passing:
    """The handlers."""

    def __init__(
        self,
        settings: EdgeSettings,
        callers: Callers,
        index: Index,
        calls: GraphCalls,
        tokens: Tokens,
        facts: Callable[[], AccountFacts],
    ) -> None:
        self._settings = settings
        self._callers = callers
        self._index = index
        self._calls = calls
        self._tokens = tokens
        self._facts = facts
        self._repeats = Repeats(index)
        self.media: Mapping[str, Handler] = {}
        """By method, who serves a file by its id."""

    async def of_account(self, request: web.Request) -> web.Response:
        """`/{waba_id}/message_templates` and `/{waba_id}/phone_numbers`."""
        waba_id = request.match_info["waba_id"]
        edge = request.path.rpartition("/")[2]
        return await self._through(request, waba_id, f"{waba_id}/{edge}", whole_account=True)

    async def node(self, request: web.Request) -> web.StreamResponse:
        """A phone number, a template or a file, by its id."""
        id = request.match_info["media_id"]
        facts = self._facts()
        waba_id = facts.waba_of(id)
        if waba_id is not None and request.method == "GET":
            self._callers.caller(request).require_number(id)
            return await self._through(request, waba_id, id, whole_account=False)
        waba_id = _owner_of_template(facts, id) or await self._index.owner(id)
        if waba_id is not None and request.method != "DELETE":
            return await self._through(request, waba_id, id, whole_account=True)
        if request.method in self.media:
            return await self.media[request.method](request)
        raise Refusal(INVALID, "unknown_object", f"no number and no template of id {id!r} is known here")

    async def of_number(self, request: web.Request) -> web.Response:
        """`/{phone_number_id}/whatsapp_business_profile`."""
        number = request.match_info["phone_number_id"]
        self._callers.caller(request).require_number(number)
        waba_id = self._facts().waba_of(number)
        if waba_id is None:
            raise Refusal(INVALID, "unknown_object", f"no number of id {number!r} is known here")
        return await self._through(
            request, waba_id, f"{number}/whatsapp_business_profile", whole_account=False
        )

    async def _through(
        self, request: web.Request, waba_id: str, path: str, *, whole_account: bool
    ) -> web.Response:
        caller = self._callers.caller(request)
        if whole_account:
            caller.require_account(waba_id)
        body = b""
        if request.method == "POST":
            body = await body_of(request, self._settings.edge_body_timeout_s, _LARGEST_TEMPLATE)
            return await self._repeats.once(
                request, caller.name, body, lambda: self._call(request, waba_id, path, body)
            )
        return json_answer(await self._call(request, waba_id, path, body))

    async def _call(self, request: web.Request, waba_id: str, path: str, body: bytes) -> bytes:
        """Meta's answer, without what is secret; raises Refusal with Meta's own code."""
        try:
            reference, credentials = credentials_of(self._facts(), waba_id, self._tokens)
        except NoToken:
            raise unavailable("no access token of this account is configured") from None
        query = _query(request.query)
        await self._allow(waba_id, reference)
        try:
            _, answer, used = await self._calls.call(
                request.method, path, credentials, query=query, body=_json(body) if body else None
            )
        except GraphUnavailable as failure:
            log.warning("edge_meta_unavailable", error=str(failure))
            raise unavailable("Meta did not answer") from None
        except GraphRefused as failure:
            refused = failure.answer
            if refused.code in _EXHAUSTED:
                await self._index.shut(_account(waba_id), refused.regain_s or _PAUSE_S)
            raise Refusal(
                refused.code if refused.code is not None else 1,
                "refused_by_meta",
                refused.text or "Meta gave no reason",
                status=refused.http_status,
                retry_after_s=refused.regain_s,
            ) from None
        await self._note(waba_id, reference, used)
        await self._own(answer, waba_id)
        return msgspec.json.encode(without_secrets(answer, str(request.url.origin()), request.path))

    async def _allow(self, waba_id: str, reference: str) -> None:
        """Raises Refusal while Meta would refuse, or when the call would be one too many within an hour."""
        shut_s = await self._index.shut_for(_account(waba_id), _app(reference))
        if shut_s <= 0:
            # Half in advance and half evenly: never more than the whole in any hour.
            half = self._calls_an_hour(waba_id) // 2
            shut_s = await self._index.passes(_account(waba_id), _HOUR_S / half, half)
        if shut_s > 0:
            text = "the hour's calls to this account are used up at Meta"
            raise Refusal(TOO_MANY_CALLS, "management_limit_reached", text, retry_after_s=shut_s)

    def _calls_an_hour(self, waba_id: str) -> int:
        facts = self._facts()
        numbers = [facts.number(number) for number in facts.numbers_of(waba_id)]
        active = any(number is not None and number.registered for number in numbers)
        return CALLS_OF_AN_ACTIVE_ACCOUNT if active else CALLS_AN_HOUR

    async def _note(self, waba_id: str, reference: str, used: Usage | None) -> None:
        """Stop calling before Meta refuses: its headers say how much is left."""
        if used is None:
            return
        if used.regain_s is not None or (used.account_percent or 0) >= _FULL_PERCENT:
            await self._index.shut(_account(waba_id), used.regain_s or _PAUSE_S)
        if (used.app_percent or 0) >= _FULL_PERCENT:
            await self._index.shut(_app(reference), _PAUSE_S)

    async def _own(self, answer: Mapping[str, Any], waba_id: str) -> None:
        """Remember a template that was just submitted: account facts hear of it later."""
        if isinstance(answer.get("id"), str) and "category" in answer and "status" in answer:
            await self._index.own(answer["id"], waba_id)


def _query(given: Mapping[str, str]) -> dict[str, str]:
    """The caller's query without its secrets; raises Refusal for what would reach beyond the object that was checked."""
    query = {name: value for name, value in given.items() if name not in SECRETS}
    problems = [f"{name}: is not passed on" for name in query if name not in _PARAMETERS]
    if "{" in query.get("fields", ""):
        problems.append("fields: no fields of other objects")
    if problems:
        raise invalid("; ".join(problems), *problems)
    return query


def _owner_of_template(facts: AccountFacts, id: str) -> str | None:
    for (subject, waba_id, _), value in facts.known().items():
        if subject == "template" and isinstance(value, Template) and value.meta_id == id:
            return waba_id
    return None


def _account(waba_id: str) -> str:
    return f"account:{waba_id}"


def _app(reference: str) -> str:
    return f"app:{reference}"


def _json(body: bytes) -> Json:
    try:
        return _object(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise invalid("the body is no JSON object") from None
