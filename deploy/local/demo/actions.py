"""What can happen in the story: each action is data, and `play` lets it happen through the public surface."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol

from deploy.local.demo.business import Told
from deploy.local.demo.played import Facts, Played, clock_time, decision_facts, decision_lines
from deploy.local.demo.stage import PEOPLE, Stage
from services.console.conversation_events import publish
from services.console.receivers import verified
from services.console.steps import template_message, text_message
from services.console.tally import money
from shared.events import AccountChange, ReceivedMessage, SendEvent
from shared.times import HOUR_MS, parse_rfc3339

LANGUAGE: Final = "de"
_ON_THE_WAY: Final = {
    "decided": ("ingress.intake", "router"),
    "accepted": ("sender", "router"),
    "failed": ("sender", "simulator", "ingress", "router"),
}


class Action(Protocol):
    """Something that happens."""

    async def play(self, stage: Stage) -> Played:
        """Lets it happen and tells what came back. Raises Missing."""
        ...


@dataclass(frozen=True)
class Send:
    """A business asks to send a text or a template; the same `id` twice is the same request.

    Attributes:
        by: `shop` or `cafe`; the shop names no number: its default number sends.
        fallback: a template for a closed window.
        within_h: hours from now until which it matters: it may wait so long.
        then: how the fake Meta treats the call (control API, `POST /sim/script`).
        until: the last step of the message's life to wait for, if it may go out.
    """

    id: str
    to: str
    text: str | None = None
    template: str | None = None
    by: str = "shop"
    fallback: str | None = None
    within_h: float | None = None
    then: Mapping[str, object] = field(default_factory=dict)
    until: str = "read"

    async def play(self, stage: Stage) -> Played:
        request_id = f"demo-{self.id}"
        before = stage.business.of_request(request_id, "decided")
        if self.then:
            await stage.simulator.call(
                "POST", "/sim/script", {"match": {"command_id": request_id}, "then": dict(self.then)}
            )
        asked_s = await stage.business.request(self._body(stage, request_id))

        def answer() -> Told | None:
            decided = stage.business.of_request(request_id, "decided")
            return decided[len(before)] if len(decided) > len(before) else None

        told = await stage.business.until(answer, f"decision on {request_id}", _ON_THE_WAY["decided"])
        event = _send_event(told)
        if event.decision is None:
            raise ValueError(f"a decision without one: {event.event_id}")
        played = Played([self._line(stage)], decision_lines(event), decision_facts(event.decision))
        played.came_back[0] += f"  ({_ms(told, asked_s)})"
        if before:
            same = told.value == before[0].value
            played.facts["answer"] = "the first one, byte for byte" if same else "another one"
        elif event.decision.outcome == "allow":
            await _live(stage, request_id, self.until, asked_s, played)
        played.facts["calls at Meta"] = await stage.simulator.calls_of(request_id)
        return played

    def _body(self, stage: Stage, request_id: str) -> dict[str, Any]:
        to = f"+{PEOPLE[self.to]}"
        body: dict[str, Any] = {
            "request_id": request_id,
            "correlation_id": self.id,
            "tags": {"story": "demo"},
        }
        if self.template is not None:
            body["message"] = template_message(to, self.template, LANGUAGE, [])
        else:
            body["message"] = text_message(to, self.text or "")
        if self.fallback is not None:
            body["fallback_template"] = {"name": self.fallback, "language": {"code": LANGUAGE}}
        if self.by != "shop":
            body["from"] = stage.number(self.by)
        if self.within_h is not None:
            body["expires_at"] = (stage.now() + timedelta(hours=self.within_h)).isoformat()
        return body

    def _line(self, stage: Stage) -> str:
        what = f"template {self.template}" if self.template else f"text {self.text!r}"
        otherwise = f", else template {self.fallback}" if self.fallback else ""
        otherwise += f", within {self.within_h:g} h" if self.within_h else ""
        return f"{stage.accounts.named(self.by).name} → {self.to}: {what}{otherwise}   [request {self.id}]"


async def _live(stage: Stage, request_id: str, until: str, asked_s: float, played: Played) -> None:
    """Waits for a message's life to come so far, and tells it."""

    def came_so_far() -> Told | None:
        last = stage.business.of_request(request_id)[-1]
        return last if _send_event(last).event == until else None

    concerned = _ON_THE_WAY.get(until, ("sender", "simulator", "ingress", "router"))
    await stage.business.until(came_so_far, f"{until!r} of {request_id}", concerned)
    told_of = [(told, _send_event(told)) for told in stage.business.of_request(request_id)]
    steps = [(told, event) for told, event in told_of if event.event != "decided"]
    played.facts["life"] = " ".join(event.event for _, event in steps)
    played.came_back.append("then     " + ", ".join(f"{e.event} {_ms(t, asked_s)}" for t, e in steps))
    for _, event in steps:
        if event.charge is not None:
            charge = event.charge
            played.facts["charge"] = "paid" if charge.amount_micros else "free"
            counted = "" if charge.counted else ", nothing new to count"
            played.came_back.append(
                f"charged  {money(charge.amount_micros, charge.currency)} ({charge.type}{counted})"
            )
        if event.error is not None:
            played.facts["error"] = event.error.code
            played.came_back.append(
                f"error    {event.error.code} {event.error.reason} ({event.error.origin})"
            )


@dataclass(frozen=True)
class GoesOut:
    """A request that waited is decided for good, and sent."""

    id: str

    async def play(self, stage: Stage) -> Played:
        request_id, since_s = f"demo-{self.id}", time.monotonic()

        def answer() -> SendEvent | None:
            event = _send_event(stage.business.of_request(request_id, "decided")[-1])
            return event if event.decision is not None and event.decision.final else None

        event = await stage.business.until(answer, f"final decision on {request_id}", _ON_THE_WAY["decided"])
        if event.decision is None:
            raise ValueError(f"a decision without one: {event.event_id}")
        played = Played([f"nothing: it has waited   [request {self.id}]"], decision_lines(event))
        played.facts = decision_facts(event.decision)
        await _live(stage, request_id, "read", since_s, played)
        played.facts["calls at Meta"] = await stage.simulator.calls_of(request_id)
        return played


@dataclass(frozen=True)
class Write:
    """A customer writes to a business; `again` posts the webhook of an earlier message once more."""

    by: str
    name: str
    to: str = "shop"
    text: str = "Hello"
    referral: str | None = None
    again: bool = False

    async def play(self, stage: Stage) -> Played:
        number, user = stage.number(self.to), PEOPLE[self.by]
        body: dict[str, Any] = {"to": number, "text": self.text}
        if self.referral is not None:
            body["referral"] = self.referral
        earlier: ReceivedMessage | None = None
        if self.again:
            earlier = _received(stage, stage.wamids[self.name])[0]
            body |= {"id": stage.wamids[self.name], "sent_at": earlier.sent_at}
        asked_s = time.monotonic()
        answer = await stage.simulator.call("POST", f"/sim/users/{user}/messages", body)
        wamid = stage.wamids[self.name] = answer["id"]
        ad = " after a click on an ad" if self.referral else ""
        went_in = [f"webhook  {self.by} → {stage.accounts.named(self.to).name}: {self.text!r}{ad}"]
        if earlier is not None:
            return await self._repeated(stage, earlier, went_in)
        told = await stage.business.until(
            lambda: next(iter(stage.business.received(wamid)), None),
            "received message",
            ("ingress", "router"),
        )
        message = _received(stage, wamid)[0]
        facts = _window(message) | {"received": len(stage.business.received(wamid))}
        until = clock_time(message.window_expires_at or message.sent_at)
        return Played(went_in, [f"received, the window is open until {until}  ({_ms(told, asked_s)})"], facts)

    async def _repeated(self, stage: Stage, earlier: ReceivedMessage, went_in: list[str]) -> Played:
        await stage.simulator.quiet()
        decision = await stage.dry_run(stage.number(self.to), PEOPLE[self.by])
        received = len(stage.business.received(stage.wamids[self.name]))
        same = decision.window_expires_at == earlier.window_expires_at
        facts: Facts = {"received": received, "window": "unchanged" if same else decision.window_expires_at}
        until = clock_time(decision.window_expires_at) if decision.window_expires_at else "now"
        went_in[0] += ", the same webhook once more"
        return Played(
            went_in, [f"nothing new; received {received} time; the window still ends {until}"], facts
        )


@dataclass(frozen=True)
class Advance:
    """Time goes on, for every process at once."""

    hours: float

    async def play(self, stage: Stage) -> Played:
        await stage.simulator.call("POST", "/sim/clock", {"advance_s": self.hours * 3600})
        return Played([f"clock    + {self.hours:g} h: it is {stage.now():%d %b %H:%M}"])


@dataclass(frozen=True)
class Apply:
    """An operator applies the accounts file, with some fields of one account changed."""

    to: str = ""
    changes: Mapping[str, object] = field(default_factory=dict)

    async def play(self, stage: Stage) -> Played:
        changes = {stage.accounts.named(self.to).id: self.changes} if self.to else {}
        applied = await stage.accounts.apply(changes)
        for waba, fields in changes.items():
            await stage.simulator.call("PATCH", f"/sim/accounts/{waba}", dict(fields))
        await stage.know()
        what = ", ".join(f"{name}: {value}" for name, value in self.changes.items())
        line = f"wam apply config/accounts.example.yaml{f' with {what}' if what else ''}"
        return Played(
            [line],
            [f"published {applied.published} account events, facts revision {applied.revision}"],
            {"published": applied.published},
        )


@dataclass(frozen=True)
class Verify:
    """A customer proves by a one-time password that the number is theirs; an operator notes it."""

    who: str
    to: str

    async def play(self, stage: Stage) -> Played:
        at_ms = int(stage.clock.time() * 1000)
        await publish(stage.settings, [verified(stage.number(self.to), PEOPLE[self.who], at_ms)])
        return Played([f"wam receivers verify --from {stage.number(self.to)} --to {self.who}"])


@dataclass(frozen=True)
class Review:
    """Meta reviews a template of the shop."""

    template: str
    status: str

    async def play(self, stage: Stage) -> Played:
        waba, subject = stage.accounts.shop.id, f"{self.template}/{LANGUAGE}"
        body = {"status": self.status, "waba_id": waba, "language": LANGUAGE}
        await stage.simulator.call("POST", f"/sim/templates/{self.template}/review", body)
        change = await _changed(stage, subject, "status", self.status)
        return Played(
            [f"webhook  message_template_status_update {subject}: {self.status}"],
            [f"account change  status {change.before.get('status')} → {change.after.get('status')}"],
        )


@dataclass(frozen=True)
class Limit:
    """Meta changes the shop's messaging limit: users in a moving day who did not write first."""

    users: int

    async def play(self, stage: Stage) -> Played:
        waba = stage.accounts.shop.id
        value = {"max_daily_conversations_per_business": self.users}
        await stage.simulator.call(
            "POST", "/sim/webhooks", {"waba_id": waba, "field": "business_capability_update", "value": value}
        )
        change = await _changed(stage, waba, "messaging_limit", self.users)
        return Played(
            [f"webhook  business_capability_update: {self.users}"],
            [f"account change  messaging_limit {change.before.get('messaging_limit')} → {self.users}"],
        )


@dataclass(frozen=True)
class Posting:
    """How Meta posts its webhooks from now on (control API, `POST /sim/options`)."""

    options: Mapping[str, object]

    async def play(self, stage: Stage) -> Played:
        await stage.simulator.call("POST", "/sim/options", dict(self.options))
        return Played()


@dataclass(frozen=True)
class Once:
    """Everything has come to rest, and each step of a request's life was told once."""

    id: str

    async def play(self, stage: Stage) -> Played:
        await stage.settled()
        told = stage.business.of_request(f"demo-{self.id}")
        life = " ".join(_send_event(step).event for step in told)
        return Played([], [], {"told in all": life})


def _send_event(told: Told) -> SendEvent:
    if not isinstance(told.event, SendEvent):
        raise TypeError(f"not a send event: {told.event}")
    return told.event


def _received(stage: Stage, wamid: str) -> list[ReceivedMessage]:
    return [told.event for told in stage.business.received(wamid) if isinstance(told.event, ReceivedMessage)]


def _window(message: ReceivedMessage) -> Facts:
    if message.window_expires_at is None:
        return {"window": "none"}
    open_ms = parse_rfc3339(message.window_expires_at) - parse_rfc3339(message.sent_at)
    return {"window": f"{open_ms / HOUR_MS:g} h"}


async def _changed(stage: Stage, subject: str, name: str, value: object) -> AccountChange:
    def found() -> AccountChange | None:
        changes = stage.business.changes(subject)
        return changes[-1] if changes and changes[-1].after.get(name) == value else None

    change = await stage.business.until(found, f"change of {subject}", ("ingress", "router"))
    await stage.know()
    return change


def _ms(told: Told, asked_s: float) -> str:
    return f"{max(0.0, told.seen_s - asked_s) * 1000:.0f} ms"
