"""The fake Graph API over HTTP: sending, and the reads and template submission that a set-up needs."""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from services.simulator import analytics, registration
from services.simulator.accounts import Template, Waba
from services.simulator.errors import GraphError
from services.simulator.ledger import Call
from services.simulator.limits import sending_headers
from services.simulator.media import MediaRoutes
from services.simulator.messages import Endpoint, ReadMark, Send, parse
from services.simulator.meta import Meta
from services.simulator.metrics import SimulatorMetrics
from services.simulator.nodes import number_node, template_node, waba_node
from services.simulator.objections import unknown_object
from services.simulator.scheduler import Scheduler
from services.simulator.scripts import Behaviour

Handler = Callable[[web.Request], Awaitable[web.Response]]
_VERSION = r"/{version:v\d+\.\d+}"


class GraphRoutes:
    """Handlers of `/{version}/…`."""

    def __init__(
        self,
        meta: Meta,
        scheduler: Scheduler,
        access_token: str,
        app_secret: str,
        metrics: SimulatorMetrics,
    ) -> None:
        self._meta = meta
        self._scheduler = scheduler
        self._access_token = access_token
        self._app_secret = app_secret.encode()
        self._metrics = metrics
        self._media = MediaRoutes(meta, scheduler, self._unauthorised, self._error)
        self._traces = 0
        self.calls_in_progress = 0

    def table(self) -> list[web.RouteDef]:
        """All routes, the busiest first: aiohttp tries them in order."""
        return [
            web.post(_VERSION + "/{id}/{endpoint:messages|marketing_messages}", self._send),
            *(
                web.route(method, _VERSION + path, self._counted(handler))
                for method, path, handler in (
                    ("GET", "/{id}/phone_numbers", self._phone_numbers),
                    ("GET", "/{id}/message_templates", self._templates),
                    ("POST", "/{id}/message_templates", self._submit_template),
                    ("DELETE", "/{id}/message_templates", self._delete_template),
                    ("GET", "/{id}/subscribed_apps", self._subscribed_apps),
                    ("POST", "/{id}/subscribed_apps", self._subscribe_app),
                    ("POST", "/{id}/{call:request_code|verify_code|register}", self._number_call),
                    ("GET", "/{id}", self._node),
                )
            ),
            web.post(_VERSION + "/{id}/media", self._media.upload),
            web.delete(_VERSION + "/{id}", self._media.delete),
            web.get("/whatsapp_business/attachments/", self._media.download),
            web.get("/cdn/{id}", self._media.public),
        ]

    def _counted(self, handler: Handler) -> Handler:
        """A management call, counted against its account's hour."""

        async def counted(request: web.Request) -> web.Response:
            object_id = request.match_info["id"]
            meta = self._meta
            use = meta.management.count(object_id, self._scheduler.release(), meta.options.management_calls)
            if use.regain_minutes:
                answer = self._error(GraphError(80008, ""))
            else:
                answer = await handler(request)
            answer.headers["X-Business-Use-Case-Usage"] = json.dumps(use.header(object_id))
            return answer

        return counted

    # --- sending

    async def _send(self, request: web.Request) -> web.Response:
        self.calls_in_progress += 1
        try:
            answer = await self._handle_send(request)
            answer.headers.update(self._usage(request.match_info["id"]))
            return answer
        finally:
            self.calls_in_progress -= 1

    async def _handle_send(self, request: web.Request) -> web.Response:
        raw = await request.read()
        now = self._scheduler.release()
        endpoint: Endpoint = (
            "messages" if request.match_info["endpoint"] == "messages" else "marketing_messages"
        )
        call = Call(now, request.match_info["id"], endpoint)
        error = self._unauthorised(request)
        parsed = error or parse(_json(raw), endpoint)
        if isinstance(parsed, ReadMark):
            return self._marked_read(call.phone_number_id, parsed, now)
        self._meta.ledger.calls.append(call)
        if isinstance(parsed, GraphError):
            return self._refused(call, parsed)
        call.to, call.type, call.template, call.opaque = (
            parsed.user,
            parsed.type,
            parsed.template,
            parsed.opaque,
        )
        behaviour = self._meta.troubles.behaviour(call.phone_number_id, now) or self._meta.script.take(
            call.phone_number_id, parsed
        )
        if behaviour is not None and behaviour.reset:
            await asyncio.sleep(behaviour.hang_s or 0)
            return self._cut(request, call)
        if behaviour is not None and (behaviour.error is not None or behaviour.http_status is not None):
            if behaviour.processed:
                self._processed(call, parsed, behaviour, now)
            answer = self._scripted_refusal(call, behaviour)
        else:
            answer = self._processed(call, parsed, behaviour, now)
        if behaviour is not None and behaviour.hang_s:
            await asyncio.sleep(behaviour.hang_s)
        if behaviour is not None and behaviour.drop_answer_after_processing:
            return self._cut(request, call)
        return answer

    def _processed(self, call: Call, send: Send, behaviour: Behaviour | None, now: float) -> web.Response:
        error = self._meta.refuse(call.phone_number_id, send, now)
        if error is None:
            accepted = self._meta.accept(call.phone_number_id, send, behaviour, call, now)
        elif error.code in self._meta.options.async_errors:
            accepted = self._meta.accept_and_fail(call.phone_number_id, send, error, call, now)
        else:
            return self._refused(call, error)
        self._scheduler.wake()
        call.http_status = 200
        self._metrics.calls["accepted"].inc()
        return web.json_response(accepted.body)

    def _scripted_refusal(self, call: Call, behaviour: Behaviour) -> web.Response:
        if behaviour.error is not None:
            error = GraphError(
                behaviour.error, behaviour.details or "Scripted by a test.", status=behaviour.http_status
            )  # fmt: skip
            return self._refused(call, error, behaviour.headers)
        status = behaviour.http_status or 500
        call.http_status = status
        self._metrics.calls["refused"].inc()
        text = (
            f"<html><body>{HTTPStatus(status).phrase if status in list(HTTPStatus) else status}</body></html>"
        )
        return web.Response(status=status, text=text, content_type="text/html", headers=behaviour.headers)

    def _refused(self, call: Call, error: GraphError, headers: dict[str, str] | None = None) -> web.Response:
        call.http_status, call.code = error.http_status, error.code
        self._metrics.calls["refused"].inc()
        return self._error(error, headers)

    def _marked_read(self, phone_number_id: str, mark: ReadMark, now: float) -> web.Response:
        error = self._meta.mark_read(phone_number_id, mark, now)
        self._metrics.calls["read_mark"].inc()
        if error is not None:
            return self._error(error)
        return web.json_response({"success": True})

    def _cut(self, request: web.Request, call: Call) -> web.Response:
        """Drop the connection instead of answering."""
        call.http_status = 0
        self._metrics.calls["dropped"].inc()
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    # --- reading

    async def _node(self, request: web.Request) -> web.Response:
        object_id = request.match_info["id"]
        if self._meta.files.knows(object_id):
            return await self._media.describe(request)
        found = self._meta.accounts.number(object_id)
        waba = self._meta.accounts.wabas.get(object_id)
        if waba is not None and (asked := analytics.asked(request.query.get("fields", ""))):
            return self._analytics(request, waba, asked)
        if found is not None:
            return self._read(request, number_node(*found))
        if waba is not None:
            return self._read(request, waba_node(waba))
        for owner in self._meta.accounts.wabas.values():
            for template in owner.templates:
                if template.id == object_id:
                    return self._read(request, template_node(template))
        return self._read(request, None)

    def _analytics(self, request: web.Request, waba: Waba, asked: analytics.Asked) -> web.Response:
        error = self._unauthorised(request)
        node = error or analytics.answer(asked, waba, self._meta.ledger.deliveries, self._meta.rates)
        return self._error(node) if isinstance(node, GraphError) else web.json_response(node)

    async def _phone_numbers(self, request: web.Request) -> web.Response:
        waba = self._meta.accounts.wabas.get(request.match_info["id"])
        return self._list(request, None if waba is None else [number_node(waba, n) for n in waba.numbers])

    async def _templates(self, request: web.Request) -> web.Response:
        waba = self._meta.accounts.wabas.get(request.match_info["id"])
        if waba is None:
            return self._list(request, None)
        wanted = {k: v for k, v in request.query.items() if k in ("name", "status", "category", "language")}
        templates = [template_node(t) for t in waba.templates]
        return self._list(
            request, [t for t in templates if all(str(t[k]).lower() == v.lower() for k, v in wanted.items())]
        )

    async def _subscribed_apps(self, request: web.Request) -> web.Response:
        waba = self._meta.accounts.wabas.get(request.match_info["id"])
        app = {"whatsapp_business_api_data": {"id": "1", "name": "simulated app", "link": ""}}
        return self._list(request, None if waba is None else [app] if waba.subscribed else [])

    async def _subscribe_app(self, request: web.Request) -> web.Response:
        waba = self._meta.accounts.wabas.get(request.match_info["id"])
        if waba is not None:
            waba.subscribed = True
        return self._read(request, None if waba is None else {"success": True})

    def _waba_for(self, request: web.Request) -> Waba | GraphError:
        """The account that a call is about, if it may be made."""
        id_ = request.match_info["id"]
        return self._unauthorised(request) or self._meta.accounts.wabas.get(id_) or unknown_object(id_)

    async def _submit_template(self, request: web.Request) -> web.Response:
        waba = self._waba_for(request)
        if isinstance(waba, GraphError):
            return self._error(waba)
        body = _json(await request.read())
        given = (
            {
                k: v
                for k, v in body.items()
                if k in ("name", "language", "category", "components", "parameter_format")
            }
            if isinstance(body, dict)
            else {}
        )
        try:
            template = Template.model_validate({**given, "status": "PENDING"})
        except ValidationError as invalid:
            return self._error(GraphError(100, "; ".join(e["msg"] for e in invalid.errors())))
        added = self._meta.submit(waba, template, self._scheduler.release())
        if added is None:
            return self._error(
                GraphError(
                    100, "There is already content in this language for this template.", subcode=2388024
                )
            )
        self._scheduler.wake()
        return web.json_response({"id": added.id, "status": added.status, "category": added.category.upper()})

    async def _delete_template(self, request: web.Request) -> web.Response:
        waba = self._waba_for(request)
        if isinstance(waba, GraphError):
            return self._error(waba)
        name = request.query.get("name", "")
        if not self._meta.accounts.delete(waba, name, request.query.get("hsm_id")):
            return self._error(GraphError(100, f"Message template {name!r} was not found.", subcode=2593002))
        return web.json_response({"success": True})

    async def _number_call(self, request: web.Request) -> web.Response:
        found = self._meta.accounts.number(request.match_info["id"])
        body = _json(await request.read())
        error = self._unauthorised(request)
        if error is None and found is not None:
            call = registration.CALLS[request.match_info["call"]]
            error = call(found[1], body if isinstance(body, dict) else {})
        return self._error(error) if error else self._read(request, {"success": True} if found else None)

    # --- answers

    def _unauthorised(self, request: web.Request) -> GraphError | None:
        given = request.headers.get("Authorization")
        if given is None:
            return GraphError(200, "Provide valid app ID")
        token = self._meta.options.access_token or self._access_token
        if not _same(given, f"Bearer {token}"):
            return GraphError(190, "")
        proof = request.query.get("appsecret_proof")
        if proof is None:
            missing = self._meta.options.require_appsecret_proof
            return (
                GraphError(100, "API calls from the server require an appsecret_proof") if missing else None
            )
        if not _same(proof, hmac.digest(self._app_secret, token.encode(), "sha256").hex()):
            return GraphError(100, "Invalid appsecret_proof provided in the API argument")
        return None

    def _usage(self, phone_number_id: str) -> dict[str, str]:
        options, found = self._meta.options, self._meta.accounts.number(phone_number_id)
        return sending_headers(
            options.app_usage_percent,
            options.account_usage_percent,
            options.regain_minutes,
            phone_number_id if found is None else found[0].id,
        )

    def _error(self, error: GraphError, headers: dict[str, str] | None = None) -> web.Response:
        self._traces += 1
        body = error.body(f"A{self._traces:010X}")
        return web.json_response(body, status=error.http_status, headers=headers)

    def _read(self, request: web.Request, node: dict[str, Any] | None) -> web.Response:
        error = self._unauthorised(request)
        if error is None and node is None:
            error = unknown_object(request.match_info["id"])
        if error is not None or node is None:
            return self._error(error or unknown_object(request.match_info["id"]))
        unknown = self._unknown_field(request)
        return self._error(unknown) if unknown else web.json_response(_fields(request, node))

    def _unknown_field(self, request: web.Request) -> GraphError | None:
        unknown = set(_wanted(request)) & set(self._meta.options.unknown_fields)
        if not unknown:
            return None
        return GraphError(100, f"(#100) Tried accessing nonexisting field ({min(unknown)}) on node")

    def _list(self, request: web.Request, nodes: list[dict[str, Any]] | None) -> web.Response:
        """One page; cursors are positions."""
        error = self._unauthorised(request)
        if error is None and nodes is None:
            error = unknown_object(request.match_info["id"])
        if error is not None or nodes is None:
            return self._error(error or unknown_object(request.match_info["id"]))
        if error := self._unknown_field(request):
            return self._error(error)
        try:
            start, limit = int(request.query.get("after", "0")), int(request.query.get("limit", "25"))
        except ValueError:
            return self._error(GraphError(100, "after and limit must be cursors and numbers given before."))
        page = nodes[start : start + min(limit, self._meta.options.page)]
        body: dict[str, Any] = {"data": [_fields(request, n) for n in page]}
        if page:
            after = str(start + len(page))
            body["paging"] = {"cursors": {"before": str(start), "after": after}}
            if start + len(page) < len(nodes):
                body["paging"]["next"] = str(request.url.update_query(after=after))
        return web.json_response(body)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _json(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _wanted(request: web.Request) -> list[str]:
    return [name.strip() for name in request.query.get("fields", "").split(",") if name.strip()]


def _fields(request: web.Request, node: dict[str, Any]) -> dict[str, Any]:
    wanted = {"id", *_wanted(request)}
    return node if wanted == {"id"} else {k: v for k, v in node.items() if k in wanted}
