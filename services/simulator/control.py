"""The control API, `/sim/…`: set-up, fake users, scripted behaviour, the clock and the ledger.

    PUT    /sim/accounts              {"wabas": [{"id": "W1", "numbers": [{"id": "1", "display_phone_number": "+1 555"}],
                                       "templates": [{"name": "promo", "language": "en", "category": "marketing",
                                                      "components": [{"type": "BODY", "text": "Hello {{1}}"}]}]}]}
    PATCH  /sim/accounts/W1           {"payment_method": "missing", "verified_receivers": ["4915112345678"]}
    POST   /sim/options               {"batch": 1000, "duplicate": 0.1, "shuffle": true, "seed": 7, "pricing": "guide"}
    POST   /sim/script                {"match": {"command_id": "r1#1"}, "then": {"error": 130429, "times": 2}}
    POST   /sim/troubles              {"kind": "hang", "for_s": 30}
    POST   /sim/users/4915/messages   {"to": "1", "text": "hello", "sent_at": "2026-12-01T09:00:00Z", "referral": "ad"}
    POST   /sim/users/4915/files      {"to": "1", "type": "document", "mime_type": "application/pdf", "size": 100000}
    POST   /sim/users/4915/calls      {"to": "1"}
    POST   /sim/users/4915/preferences {"to": "1", "marketing": "stop"}
    POST   /sim/webhooks              {"waba_id": "W1", "field": "account_update", "value": {"event": "ACCOUNT_DELETED"}}
    POST   /sim/templates/promo/review {"status": "REJECTED", "reason": "INVALID_FORMAT"}
    POST   /sim/templates/promo/hold  {"as": "held_for_quality_assessment"}
    POST   /sim/templates/promo/let_go {"drop_code": 132015}
    PUT    /sim/rates                 {"rates": [{"country": "DE", "category": "marketing", "amount": "0.1365"}]}
    POST   /sim/deliveries            {"phone_number_id": "1", "country": "DE", "category": "marketing"}
    POST   /sim/clock                 {"advance_s": 86400}
    GET    /sim/quiet?within_s=60     GET /sim/ledger?calls=0&commands=0    POST /sim/reset

What is misspelt is answered with 422 and the place of the fault.
"""

import json
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.simulator.account_changes import apply, status_update
from services.simulator.accounts import AccountsBody, Template, Waba
from services.simulator.analytics import Rate
from services.simulator.envelope import Update
from services.simulator.errors import GraphError
from services.simulator.files import UserFile
from services.simulator.inbound import UserCall, UserMessage, UserPreference
from services.simulator.ledger import Delivery
from services.simulator.media import link
from services.simulator.meta import Meta
from services.simulator.options import Options
from services.simulator.outbox import Outbox
from services.simulator.routes import GraphRoutes
from services.simulator.scheduler import Scheduler
from services.simulator.scripts import Rule
from services.simulator.troubles import Trouble
from shared.clock import Clock, MovableClock

M = TypeVar("M", bound=BaseModel)


class Advance(BaseModel):
    """Body of `POST /sim/clock`."""

    model_config = ConfigDict(extra="forbid")

    advance_s: float = Field(ge=0)


class AccountWebhook(BaseModel):
    """Body of `POST /sim/webhooks`: an account's field, or a whole body of any shape as `raw`."""

    model_config = ConfigDict(extra="forbid")

    waba_id: str = ""
    field: str = ""
    value: dict[str, Any] = {}
    time: int | None = None
    apply: bool = True
    """Whether the fake Meta itself takes over what it tells."""
    raw: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _complete(self) -> "AccountWebhook":
        if self.raw is None and not (self.waba_id and self.field):
            raise ValueError("either raw, or waba_id, field and value")
        return self


class Review(BaseModel):
    """Body of `POST /sim/templates/{name}/review`."""

    model_config = ConfigDict(extra="forbid")

    status: str = "APPROVED"
    reason: str | None = None
    waba_id: str | None = None
    language: str | None = None


class Named(BaseModel):
    """A template of all accounts and languages that have it, unless they are named."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    waba_id: str | None = None
    language: str | None = None


class Hold(Named):
    """Body of `POST /sim/templates/{name}/hold`: what answers to calls say from now on."""

    as_: Literal["held_for_quality_assessment", "paused"] = Field("held_for_quality_assessment", alias="as")


class LetGo(Named):
    """Body of `POST /sim/templates/{name}/let_go`: what is held is sent, or with a code dropped."""

    drop_code: int | None = None


class RatesBody(BaseModel):
    """Body of `PUT /sim/rates`: what deliveries cost in the analytics, instead of all rates before."""

    model_config = ConfigDict(extra="forbid")

    rates: list[Rate]


class CountedDelivery(BaseModel):
    """Body of `POST /sim/deliveries`: a delivery that the analytics count and nobody sent."""

    model_config = ConfigDict(extra="forbid")

    phone_number_id: str
    country: str
    category: str
    type: str = "regular"
    unit: Literal["message", "conversation"] = "message"
    at: AwareDatetime | None = None


class ControlRoutes:
    """Handlers of `/sim/…`."""

    def __init__(
        self,
        meta: Meta,
        scheduler: Scheduler,
        outbox: Outbox,
        clock: Clock,
        mover: MovableClock | None,
        graph: GraphRoutes,
        refuse_connections: Callable[[float], None],
    ) -> None:
        self._meta = meta
        self._scheduler = scheduler
        self._outbox = outbox
        self._clock = clock
        self._mover = mover
        self._graph = graph
        self._refuse_connections = refuse_connections

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/sim/accounts", self._accounts),
            web.put("/sim/accounts", self._put_accounts),
            web.patch("/sim/accounts/{waba_id}", self._patch_account),
            web.get("/sim/options", self._options),
            web.post("/sim/options", self._set_options),
            web.delete("/sim/options", self._default_options),
            web.get("/sim/script", self._rules),
            web.post("/sim/script", self._add_rule),
            web.delete("/sim/script", self._clear_rules),
            web.get("/sim/troubles", self._troubles),
            web.post("/sim/troubles", self._begin_trouble),
            web.delete("/sim/troubles", self._end_troubles),
            web.post("/sim/users/{wa_id}/messages", self._user_writes),
            web.post("/sim/users/{wa_id}/files", self._user_sends_file),
            web.post("/sim/users/{wa_id}/calls", self._user_calls),
            web.post("/sim/users/{wa_id}/preferences", self._user_prefers),
            web.post("/sim/webhooks", self._webhook),
            web.post("/sim/templates/{name}/review", self._review),
            web.post("/sim/templates/{name}/hold", self._hold),
            web.post("/sim/templates/{name}/let_go", self._let_go),
            web.put("/sim/rates", self._put_rates),
            web.post("/sim/deliveries", self._count_delivery),
            web.get("/sim/clock", self._time),
            web.post("/sim/clock", self._advance),
            web.get("/sim/ledger", self._ledger),
            web.delete("/sim/ledger", self._clear_ledger),
            web.get("/sim/quiet", self._quiet),
            web.post("/sim/reset", self._reset),
        ]

    # --- set-up

    async def _accounts(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"wabas": [w.model_dump(mode="json") for w in self._meta.accounts.wabas.values()]}
        )

    async def _put_accounts(self, request: web.Request) -> web.Response:
        body = await _body(request, AccountsBody)
        now = self._scheduler.release()
        for waba in body.wabas:
            self._meta.put(waba, now)
        return await self._accounts(request)

    async def _patch_account(self, request: web.Request) -> web.Response:
        waba = self._meta.accounts.wabas.get(request.match_info["waba_id"])
        if waba is None:
            raise _fault(404, "no such account")
        changes = _loaded(await request.read())
        patched = _checked(Waba, {**waba.model_dump(), **changes, "id": waba.id})
        now = self._scheduler.release()
        # Messages on their way hold this very object: change it, don't replace it.
        for name in changes:
            setattr(waba, name, getattr(patched, name))
        self._meta.changed(waba, now, free_tier="free_used" in changes, numbers="numbers" in changes)
        return web.json_response(waba.model_dump(mode="json"))

    async def _options(self, _: web.Request) -> web.Response:
        return web.json_response(self._meta.options.model_dump(mode="json"))

    async def _set_options(self, request: web.Request) -> web.Response:
        changes = _loaded(await request.read())
        self._meta.options = _checked(Options, {**self._meta.options.model_dump(), **changes})
        self._outbox.reseed(self._meta.options.seed)
        return await self._options(request)

    async def _default_options(self, request: web.Request) -> web.Response:
        self._meta.options = Options()
        self._outbox.reseed(0)
        return await self._options(request)

    # --- behaviour

    async def _rules(self, _: web.Request) -> web.Response:
        return web.json_response({"rules": self._meta.script.listing()})

    async def _add_rule(self, request: web.Request) -> web.Response:
        return web.json_response({"id": self._meta.script.add(await _body(request, Rule))})

    async def _clear_rules(self, _: web.Request) -> web.Response:
        self._meta.script.clear()
        return web.json_response({"success": True})

    async def _troubles(self, _: web.Request) -> web.Response:
        return web.json_response({"troubles": self._meta.troubles.listing(self._clock.time())})

    async def _begin_trouble(self, request: web.Request) -> web.Response:
        trouble = await _body(request, Trouble)
        until = self._meta.troubles.add(trouble, self._clock.time())
        if trouble.kind == "refusing":
            self._refuse_connections(trouble.for_s)
        return web.json_response({"until": until})

    async def _end_troubles(self, _: web.Request) -> web.Response:
        self._meta.troubles.clear()
        return web.json_response({"success": True})

    # --- users and accounts act

    async def _user_writes(self, request: web.Request) -> web.Response:
        message = await _body(request, UserMessage)
        now = self._scheduler.release()
        return self._said(self._meta.receive(message.to, _wa_id(request), message, now), now)

    async def _user_sends_file(self, request: web.Request) -> web.Response:
        given = await _body(request, UserFile)
        now = self._scheduler.release()
        try:
            result = self._meta.receive_file(
                _wa_id(request), given, lambda file: link(request, self._meta, file, now), now
            )
        except ValueError as error:
            raise _fault(422, f"content: {error}") from None
        if isinstance(result, GraphError):
            raise _fault(404, result.details)
        wamid, file, update = result
        self._post([update], now)
        public = f"{request.url.origin()}/cdn/{file.id}"
        return web.json_response({"id": wamid, "media_id": file.id, "public_url": public})

    async def _user_calls(self, request: web.Request) -> web.Response:
        call = await _body(request, UserCall)
        now = self._scheduler.release()
        return self._said(self._meta.call(call.to, _wa_id(request), call, now), now)

    def _said(self, result: tuple[str, Update] | GraphError, now: float) -> web.Response:
        """Post what a user did, and answer its id."""
        if isinstance(result, GraphError):
            raise _fault(404, result.details)
        id_, update = result
        self._post([update], now)
        return web.json_response({"id": id_})

    async def _user_prefers(self, request: web.Request) -> web.Response:
        preference = await _body(request, UserPreference)
        now = self._scheduler.release()
        update = self._meta.prefer(preference.to, _wa_id(request), preference, now)
        if isinstance(update, GraphError):
            raise _fault(404, update.details)
        self._post([update], now)
        return web.json_response({"success": True})

    async def _webhook(self, request: web.Request) -> web.Response:
        body = await _body(request, AccountWebhook)
        now = self._scheduler.release()
        if body.raw is not None:
            self._post([Update("", "raw", body.raw)], now)
            return web.json_response({"success": True})
        if body.apply:
            apply(self._meta.accounts, body.waba_id, body.field, body.value, now)
        at = int(now) if body.time is None else body.time
        self._post([Update(body.waba_id, "account", body.value, field=body.field, time=at)], now)
        return web.json_response({"success": True})

    async def _review(self, request: web.Request) -> web.Response:
        body = await _body(request, Review)
        found = self._meta.accounts.named(request.match_info["name"], body.waba_id, body.language)
        if not found:
            raise _fault(404, "no such template")
        now = self._scheduler.release()
        updates = []
        for waba, template in found:
            template.status = body.status
            template.rejected_reason = body.reason or "NONE"
            value = status_update(template, body.reason)
            updates.append(
                Update(waba.id, "account", value, field="message_template_status_update", time=int(now))
            )
        self._post(updates, now)
        return web.json_response({"reviewed": len(found)})

    async def _hold(self, request: web.Request) -> web.Response:
        body = await _body(request, Hold)
        templates = self._templates(request, body)
        for template in templates:
            template.holds = body.as_
        return web.json_response({"held": len(templates)})

    async def _let_go(self, request: web.Request) -> web.Response:
        body = await _body(request, LetGo)
        now = self._scheduler.release()
        templates = self._templates(request, body)
        messages = sum(self._meta.let_go(template, body.drop_code, now) for template in templates)
        self._scheduler.release()
        self._scheduler.wake()
        return web.json_response({"messages": messages})

    def _templates(self, request: web.Request, body: Named) -> list[Template]:
        found = self._meta.accounts.named(request.match_info["name"], body.waba_id, body.language)
        if not found:
            raise _fault(404, "no such template")
        return [template for _, template in found]

    # --- analytics

    async def _put_rates(self, request: web.Request) -> web.Response:
        self._meta.rates = tuple((await _body(request, RatesBody)).rates)
        return web.json_response({"rates": len(self._meta.rates)})

    async def _count_delivery(self, request: web.Request) -> web.Response:
        body = await _body(request, CountedDelivery)
        found = self._meta.accounts.number(body.phone_number_id)
        if found is None:
            raise _fault(404, "no such number")
        at = self._scheduler.release() if body.at is None else body.at.timestamp()
        self._meta.ledger.deliveries.append(
            Delivery(at, found[0].id, body.phone_number_id, body.unit, body.country, body.category, body.type)
        )
        return web.json_response({"success": True})

    # --- time

    async def _time(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "now": self._clock.now().isoformat(),
                "time": self._clock.time(),
                "movable": self._mover is not None,
            }
        )

    async def _advance(self, request: web.Request) -> web.Response:
        body = await _body(request, Advance)
        if self._mover is None:
            raise _fault(409, "this clock can't be moved: no WA_CLOCK_FILE")
        self._mover.advance(body.advance_s)
        self._scheduler.release()
        self._scheduler.wake()
        return await self._time(request)

    # --- the truth

    async def _ledger(self, request: web.Request) -> web.Response:
        """Counts, commands and calls; `?calls=0`, `?commands=0` leave those out, `?since=` skips calls."""
        self._scheduler.release()
        ledger = self._meta.ledger
        answer: dict[str, Any] = {"counts": {**ledger.counts(), "webhooks": dict(self._outbox.counts)}}
        if request.query.get("commands") != "0":
            answer["commands"] = ledger.commands()
        if request.query.get("calls") != "0":
            since = request.query.get("since", "0")
            if not since.isdigit():
                raise _fault(422, "since must be a number of calls")
            answer["calls"] = [call.as_json() for call in ledger.calls[int(since) :]]
            answer["marks"] = [mark.as_json() for mark in ledger.marks]
        return web.json_response(answer)

    async def _clear_ledger(self, _: web.Request) -> web.Response:
        self._outbox.counts.clear()
        self._meta.ledger.clear()
        return web.json_response({"success": True})

    async def _quiet(self, request: web.Request) -> web.Response:
        """Whether nothing is pending or in flight; `?within_s=` ignores statuses due later than that from now."""
        now = self._scheduler.release()
        within = request.query.get("within_s")
        agenda = self._meta.agenda
        try:
            scheduled = len(agenda) if within is None else agenda.due_by(now + float(within))
        except ValueError:
            raise _fault(422, "within_s must be seconds") from None
        pending = (scheduled, self._outbox.waiting, self._outbox.in_flight, self._graph.calls_in_progress)
        names = ("scheduled", "waiting", "in_flight", "calls_in_progress")
        return web.json_response(
            {
                "quiet": not any(pending),
                **dict(zip(names, pending, strict=True)),
                "next_due_at": agenda.next_due,
            }
        )

    async def _reset(self, _: web.Request) -> web.Response:
        """Forget everything but accounts, options and the clock."""
        now = self._scheduler.release()
        self._outbox.clear()
        self._outbox.counts.clear()
        self._meta.reset(now)
        return web.json_response({"success": True})

    def _post(self, updates: list[Update], now: float) -> None:
        self._outbox.put((now, update) for update in updates)
        self._scheduler.wake()


def _wa_id(request: web.Request) -> str:
    return request.match_info["wa_id"].lstrip("+")


def _loaded(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        raise _fault(422, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise _fault(422, "the body must be a JSON object")
    return body


def _checked(model: type[M], body: dict[str, Any]) -> M:
    try:
        return model.model_validate(body)
    except ValidationError as invalid:
        faults = [{"at": ".".join(map(str, e["loc"])), "fault": e["msg"]} for e in invalid.errors()]
        raise _fault(422, faults) from None


async def _body(request: web.Request, model: type[M]) -> M:
    return _checked(model, _loaded(await request.read()))


def _fault(status: int, detail: object) -> web.HTTPException:
    kinds: dict[int, type[web.HTTPException]] = {
        404: web.HTTPNotFound,
        409: web.HTTPConflict,
        422: web.HTTPUnprocessableEntity,
    }
    return kinds[status](text=json.dumps({"error": detail}), content_type="application/json")
