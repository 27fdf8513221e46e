"""Plays guide cases (tests/fixtures/guide-cases.yaml) as pure decisions: a case in, per step what was expected and what came out.

The reading of a case is told at the head of the fixture file. Statuses come as they would from Meta: accepted at once, delivered after a second.
"""

import heapq
import itertools
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from shared.events import (
    AccountChanged,
    AccountEvent,
    AccountWebhook,
    MessageReceived,
    PreferenceChanged,
    ReceiverVerified,
    SendAccepted,
    SendEvent,
    SendMessage,
    SendRequested,
    StatusReceived,
    TemplateRef,
    decode_command,
    decode_send_event,
)
from shared.ids import conversation_key
from shared.stream.fold import Claim, Outgoing
from shared.times import to_ms
from shared.topics import MESSAGES_RECEIVED, SEND_COMMANDS, SEND_EVENTS
from tests.unit.router.world import World, book

FILE = Path(__file__).parents[2] / "fixtures" / "guide-cases.yaml"
WABA = "W1"
START = "2026-11-02T12:00:00+00:00"
TEMPLATES = {"promo": "marketing", "order_update": "utility", "login_code": "authentication"}
USERS = {name: f"49151100000{code}" for code, name in enumerate("ABCDEFGH", start=10)} | {
    "unrated": "881612345678"  # satellite telephones belong to no country, so to no market
}
_UNITS_MS = {"h": 3_600_000, "m": 60_000, "s": 1000}


def load(path: Path = FILE) -> list[dict[str, Any]]:
    """The cases of a file, each with the file's defaults filled in."""
    document = yaml.safe_load(path.read_text("utf-8"))
    return [{**document["defaults"], **case} for case in document["cases"]]


def offset_ms(text: str) -> int:
    """`1h10m` in milliseconds."""
    parts = re.findall(r"(\d+)([hms])", text)
    assert "".join(amount + unit for amount, unit in parts) == text, text
    return sum(int(amount) * _UNITS_MS[unit] for amount, unit in parts)


@dataclass
class Checked:
    """One thing that was expected, and what came."""

    step: str
    what: str
    expected: Any
    actual: Any

    @property
    def ok(self) -> bool:
        if isinstance(self.expected, list):
            return self.actual in self.expected
        return bool(self.actual == self.expected)


@dataclass
class Run:
    """One case being played."""

    case: dict[str, Any]
    world: World = field(default_factory=World)
    checked: list[Checked] = field(default_factory=list)
    answers: dict[str, bytes] = field(default_factory=dict)
    _agenda: list[tuple[int, int, StatusReceived]] = field(default_factory=list)
    _ids: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.start_ms = to_ms(datetime.fromisoformat(str(self.case.get("start", START))))
        self.account: dict[str, Any] = self.case.get("account", {})

    def play(self) -> list[Checked]:
        """Play the whole case and return everything that was checked."""
        self._set_up()
        for step in self.case["steps"]:
            at_ms = self.start_ms + offset_ms(step["at"])
            self._deliver(at_ms)
            self._step(step, at_ms)
        self._deliver(self.start_ms + 400 * 3_600_000)
        self._totals()
        return self.checked

    # --- the account

    def _set_up(self) -> None:
        account, at_ms = self.account, self.start_ms
        facts: list[AccountEvent] = [
            self._changed("account", WABA, at_ms, {
                "regime": str(self.case["regime"]),
                "payment_method": account.get("payment_method", self.case["payment_method"]),
                "business_verified": True,
                "messaging_limit": account.get("limit", self.case["limit"]),
                "timezone": account.get("timezone", self.case["timezone"]),
                "currency": "USD",
            }),
            self._changed("number", "N1", at_ms, {"default": True, "display_phone_number": "+1 555 0101"}),
            self._changed("number", "N2", at_ms, {"display_phone_number": "+1 555 0102"}),
        ]  # fmt: skip
        facts += [
            self._changed("number", number, at_ms, fields)
            for number, fields in account.get("numbers", {}).items()
        ]
        facts += [
            self._changed("template", f"{name}/en", at_ms, {"category": category, "status": "APPROVED"})
            for name, category in TEMPLATES.items()
        ]
        facts += [
            self._changed("template", f"{name}/en", at_ms, fields)
            for name, fields in account.get("templates", {}).items()
        ]
        self.world.know(*facts)
        for name in account.get("verified_receivers", []):
            for number in ("N1", "N2"):
                self._verify(number, USERS[name], at_ms)
        for name in account.get("opted_out", []):
            user = USERS[name]
            event = PreferenceChanged(
                event_id="p", at_ms=at_ms, phone_number_id="N1", user=user, opted_out=True
            )
            self.world.play(conversation_key("N1", user), event, at_ms)
        self._use_up()

    def _use_up(self) -> None:
        """Places in the shared limits that others took before the case begins."""
        at_ms, account = self.start_ms, self.account
        zone = account.get("timezone", self.case["timezone"])
        month = datetime.fromtimestamp(at_ms / 1000).astimezone(_zone(zone)).strftime("%Y-%m")
        used = {f"tier:{WABA}": account.get("limit_used_by_others", 0)}
        used[f"free:{WABA}:{month}"] = account.get("free_used", 0)
        for number, count in account.get("free_used_by_number", {}).items():
            used[f"free:{number}:{month}"] = count
        for scope, count in used.items():
            for other in range(count):
                name = f"other{other}"
                self.world.claims.ask(Claim(scope, name, name, 10**9, at_ms + 10**10), at_ms)

    def _changed(self, subject: Any, id_: str, at_ms: int, fields: dict[str, Any]) -> AccountChanged:
        return AccountChanged(
            event_id=f"e{next(self._ids)}", at_ms=at_ms, waba_id=WABA, subject=subject, id=id_, fields=fields
        )

    # --- steps

    def _step(self, step: dict[str, Any], at_ms: int) -> None:
        if "receive" in step:
            self._receive(step["receive"], at_ms)
        elif "send" in step:
            self._send(step, at_ms)
        elif "webhook" in step:
            self._webhook(dict(step["webhook"]), at_ms)
        elif "payment_method" in step:
            fields = {"payment_method": step["payment_method"]}
            self.world.know(self._changed("account", WABA, at_ms, fields))
        elif "verify_receiver" in step:
            self._verify("N1", USERS[step["verify_receiver"]], at_ms)
        else:
            raise AssertionError(f"unknown step {step}")

    def _verify(self, number: str, user: str, at_ms: int) -> None:
        event = ReceiverVerified(event_id=f"v{at_ms}", at_ms=at_ms, phone_number_id=number, user=user)
        self.world.play(conversation_key(number, user), event, at_ms)

    def _receive(self, what: dict[str, Any], at_ms: int) -> None:
        number, user = what.get("to", "N1"), USERS[what["from"]]
        wamid = what.get("id", f"wamid.in{next(self._ids)}")
        sent_ms = self.start_ms + offset_ms(what["sent_at"]) if "sent_at" in what else at_ms
        event = MessageReceived(
            event_id=wamid, at_ms=sent_ms, received_ms=at_ms, phone_number_id=number, user=user, wamid=wamid,
            type="text", message=msgspec.Raw(b'{"type":"text"}'), waba_id=WABA, referral=what.get("referral"),
        )  # fmt: skip
        self.world.play(conversation_key(number, user), event, at_ms)

    def _webhook(self, value: dict[str, Any], at_ms: int) -> None:
        name = value.pop("field")
        if "template" in value:
            value |= {"message_template_name": value.pop("template"), "message_template_language": "en"}
        if "restriction" in value:
            value["restriction_info"] = [{"restriction_type": value.pop("restriction")}]
        raw = msgspec.Raw(msgspec.json.encode(value))
        event = AccountWebhook(event_id=f"w{at_ms}", at_ms=at_ms, waba_id=WABA, field=name, value=raw)
        self.world.know(event)

    def _send(self, step: dict[str, Any], at_ms: int) -> None:
        what, expect = step["send"], step["expect"]
        number, user = what.get("from") or self.world.facts.default_number() or "", USERS[what["to"]]
        request_id = what.get("request_id", f"r{next(self._ids)}@{step['at']}")
        fallback = what.get("fallback_template")
        meaning = {k: v for k, v in what.items() if k not in ("delivery", "delivered_after", "statuses")}
        event = SendRequested(
            event_id=f"{request_id}:requested", at_ms=at_ms, request_id=request_id, phone_number_id=number,
            user=user, type="template" if "template" in what else "text", message=msgspec.Raw(b'{"to":"x"}'),
            digest=msgspec.json.encode(meaning, order="sorted").hex(),
            template=TemplateRef(what["template"], "en") if "template" in what else None,
            fallback=msgspec.Raw(b'{"name":"order_update"}') if fallback else None,
            fallback_ref=TemplateRef(fallback, "en") if fallback else None,
            expires_ms=self.start_ms + offset_ms(what["expires"]) if "expires" in what else None,
            max_price_micros=what.get("max_price_micros"),
        )  # fmt: skip
        out = self.world.play(conversation_key(number, user), event, at_ms)
        decided = next(o for o in out if o.topic is SEND_EVENTS)
        if "same_as" in expect:
            self._check(step, "same bytes", True, decided.value == self.answers[expect["same_as"]])
            self._check(step, "commands", 0, len(_commands(out)))
            return
        self.answers.setdefault(request_id, decided.value)
        self._compare(step, expect, decode_send_event(decided.value))
        for command in _commands(out):
            self._carry_out(command, what, at_ms)

    def _compare(self, step: dict[str, Any], expect: dict[str, Any], event: SendEvent) -> None:
        decision = event.decision
        assert decision is not None
        self._check(step, "outcome", expect.get("outcome"), decision.outcome)
        self._check(step, "reason", expect.get("reason", "ok"), decision.reason)
        if "category" in expect:
            self._check(step, "category", expect["category"], decision.category)
        if "used_fallback" in expect:
            self._check(step, "used_fallback", expect["used_fallback"], decision.used_fallback)
        if "from" in expect:
            self._check(step, "from", expect["from"], event.phone_number_id)
        use, price = decision.conversation, decision.price
        if "conversation" in expect:
            self._check(step, "conversation", expect["conversation"], use and use.action)
            self._check(step, "in", expect.get("in", decision.category), use and use.category)
        if "charge" in expect:
            charge = None if price is None else "free" if price.amount_micros == 0 else "paid"
            self._check(step, "charge", expect["charge"], charge)

    # --- Meta

    def _carry_out(self, command: SendMessage, what: dict[str, Any], at_ms: int) -> None:
        wamid = f"wamid.{command.command_id}"
        accepted = SendAccepted(
            event_id=f"{command.command_id}:accepted", at_ms=at_ms, command_id=command.command_id, wamid=wamid,
            user=command.user,
        )  # fmt: skip
        self.world.play(command.conversation_key, accepted, at_ms)
        after_ms = offset_ms(what.get("delivered_after", "1s"))
        names = what.get("statuses") or (
            ["failed"] if what.get("delivery") == "failed" else ["sent", "delivered"]
        )
        for name in names:
            status = StatusReceived(
                event_id=f"{wamid}:{name}", at_ms=at_ms + after_ms, received_ms=at_ms + after_ms,
                phone_number_id=command.phone_number_id, user=command.user, wamid=wamid, status=name,
                meta=msgspec.Raw(b"{}"), command_id=command.command_id,
                error_code=131026 if name == "failed" else None,
            )  # fmt: skip
            heapq.heappush(self._agenda, (status.at_ms, next(self._ids), status))

    def _deliver(self, until_ms: int) -> None:
        while self._agenda and self._agenda[0][0] <= until_ms:
            at_ms, _, status = heapq.heappop(self._agenda)
            self.world.play(conversation_key(status.phone_number_id, status.user), status, at_ms)

    # --- the end

    def _totals(self) -> None:
        if "tally" in self.case:
            tally: dict[str, dict[str, int]] = {}
            for event in self.world.send_events():
                if event.charge is not None and event.charge.counted:
                    counted = tally.setdefault(event.charge.category, {"free": 0, "paid": 0})
                    counted["paid" if event.charge.type == "regular" else "free"] += 1
            self.checked.append(Checked("end", "tally", self.case["tally"], tally))
        if "received" in self.case:
            received = sum(out.topic is MESSAGES_RECEIVED for out in self.world.out)
            self.checked.append(Checked("end", "received", self.case["received"], received))
        if "calls" in self.case:
            self.checked.append(Checked("end", "calls", self.case["calls"], len(_commands(self.world.out))))

    def _check(self, step: dict[str, Any], what: str, expected: Any, actual: Any) -> None:
        self.checked.append(Checked(str(step["at"]), what, expected, actual))


def _commands(out: Any) -> list[SendMessage]:
    found: list[Outgoing] = [o for o in out if o.topic is SEND_COMMANDS]
    return [decode_command(o.value) for o in found]


def _zone(name: str) -> Any:
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


__all__ = ["FILE", "Checked", "Run", "book", "load"]
