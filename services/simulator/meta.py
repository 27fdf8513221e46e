"""The fake Meta: takes calls, users' messages and the time; gives answers and updates to post. Pure.

It keeps its own truth. Every method takes `now` in epoch seconds; statuses to come wait until `release`.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from services.simulator.account_changes import status_update
from services.simulator.accounts import Accounts, Number, Template, Waba
from services.simulator.agenda import Agenda
from services.simulator.analytics import Rate, country_of
from services.simulator.conversations import (
    DAY_S,
    SERVICE,
    Conversation,
    Thread,
    announce,
    deliver,
    preview,
    receive,
    window_open,
)
from services.simulator.envelope import Update
from services.simulator.errors import GraphError
from services.simulator.files import File, Files, UserFile, content
from services.simulator.inbound import UserCall, UserMessage, UserPreference
from services.simulator.ledger import Call, Delivery, Ledger, Mark
from services.simulator.limits import PAIR_BURST, PAIR_INTERVAL_S, ManagementCalls, RateLimits, Throughput
from services.simulator.messages import ReadMark, Send
from services.simulator.objections import account_fault, endpoint_fault, template_fault, unknown_object
from services.simulator.options import Options
from services.simulator.pricing import ENTRY_POINT, Charge, PricingModel, charge, local_day, model_for
from services.simulator.scripts import Behaviour, CountedAs, Script, plan
from services.simulator.troubles import Troubles


@dataclass(slots=True)
class Message:
    """An accepted message on its way."""

    wamid: str
    waba: Waba
    number: Number
    send: Send
    wa_id: str
    category: str
    accepted_at: float
    delivery_at: int
    """When it is planned to be delivered, for the expiry told in `sent`."""
    call: Call
    delivered: bool = False
    conversation: Conversation | None = None
    charge: Charge | None = None
    conversation_key: str = ""
    unsaid: frozenset[str] = frozenset()
    counted_as: CountedAs = field(default_factory=CountedAs)


@dataclass(frozen=True, slots=True)
class _Step:
    message: Message
    status: str
    code: int


@dataclass(frozen=True, slots=True)
class _Review:
    waba_id: str
    name: str
    language: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """Meta took the message."""

    wamid: str
    body: dict[str, Any]


@dataclass(slots=True)
class Meta:
    """Everything the simulator knows."""

    run_id: str
    """Makes ids of this run differ from other runs': hex digits."""
    accounts: Accounts = field(default_factory=Accounts)
    options: Options = field(default_factory=Options)
    script: Script = field(default_factory=Script)
    troubles: Troubles = field(default_factory=Troubles)
    ledger: Ledger = field(default_factory=Ledger)
    rates: tuple[Rate, ...] = ()
    """What a charged delivery costs in the analytics."""
    agenda: Agenda[_Step | _Review] = field(default_factory=Agenda)
    management: ManagementCalls = field(default_factory=ManagementCalls)
    files: Files = field(init=False)
    _threads: dict[tuple[str, str], Thread] = field(default_factory=dict)
    _users: dict[str, str] = field(default_factory=dict)
    """Business-scoped id → wa_id, as far as fake users have told both."""
    _received: set[str] = field(default_factory=set)
    _free_used: dict[tuple[str, str], int] = field(default_factory=dict)
    """Free service units used, by account or number and month."""
    _held: list[tuple[Template, Message, list[tuple[float, str, int]]]] = field(default_factory=list)
    """Messages of templates that are held, with the statuses they will have."""
    _limits: RateLimits = field(default_factory=RateLimits)
    _throughput: Throughput = field(default_factory=Throughput)
    _ids: int = 0

    def __post_init__(self) -> None:
        self.files = Files(self.run_id)

    # --- set-up

    def put(self, waba: Waba, now: float) -> None:
        """Add or replace an account; what it says of the free tier counts for the current month."""
        self.changed(waba, now, free_tier=True, numbers=True)

    def changed(self, waba: Waba, now: float, *, free_tier: bool, numbers: bool) -> None:
        """Take note of an account changed in place; what it says of the free tier counts if it was named."""
        self.accounts.put(waba)
        month = local_day(now, waba.timezone)[:7]
        if free_tier:
            self._free_used[waba.id, month] = waba.free_used
        if numbers:
            for number in waba.numbers:
                self._free_used[number.id, month] = number.free_used

    def reset(self, now: float) -> None:
        """Forget users, conversations, messages on their way, rules and counts; accounts stay as set up."""
        self.script.clear()
        self.troubles.clear()
        self.ledger.clear()
        self.agenda.clear()
        self._held.clear()
        self._limits.clear()
        self._throughput.clear()
        self.management.clear()
        self._threads.clear()
        self._users.clear()
        self._received.clear()
        self._free_used.clear()
        self.files.clear()
        for waba in self.accounts.wabas.values():
            self.changed(waba, now, free_tier=True, numbers=True)

    def submit(self, waba: Waba, template: Template, now: float) -> Template | None:
        """Take in a template for its review; None if its name and language are taken."""
        added = self.accounts.submit(waba, template)
        if added is not None and self.options.review_after_s is not None:
            self.agenda.add(now + self.options.review_after_s, _Review(waba.id, added.name, added.language))
        return added

    # --- calls

    def refuse(self, phone_number_id: str, send: Send, now: float) -> GraphError | None:
        """What Meta objects to in a well-formed message, the first objection; None if it takes it."""
        found = self.accounts.number(phone_number_id)
        if found is None:
            return unknown_object(phone_number_id)
        waba, number = found
        if number.max_mps is not None and not self._throughput.allow(number.id, now, number.max_mps):
            return GraphError(130429, "Cloud API message throughput has been reached.")
        throttle = self.troubles.throttle(number.id, now)
        if throttle is not None and not self._limits.allow(
            ("throttled", throttle.number or ""), now, 1 / throttle.mps, max(1.0, throttle.mps)
        ):
            return GraphError(130429, "Cloud API message throughput has been reached.")
        if not number.registered:
            return GraphError(133010, "The phone number is not registered on the WhatsApp Business Platform.")
        user = self._user(send)
        if user == _digits(number.display_phone_number):
            return GraphError(131021, "Recipient cannot be the sender.")
        if send.template is not None:
            template = self.accounts.template(waba.id, send.template, send.language or "")
            fault = template_fault(send, template, now) or endpoint_fault(waba, send, template, now)
            if fault is not None:
                return fault
        refusal = account_fault(
            waba,
            user,
            self._thread(number.id, user),
            now,
            initiated=send.template is not None,
            would_cost=lambda: self._would_cost(waba, number, user, now),
        )
        if refusal is not None:
            return refusal
        if self.options.pair_rate and not self._limits.allow(
            (number.id, user), now, PAIR_INTERVAL_S, PAIR_BURST
        ):
            return GraphError(
                131056, "Too many messages sent from this phone number to the same phone number."
            )
        return None

    def accept(
        self, phone_number_id: str, send: Send, behaviour: Behaviour | None, call: Call, now: float
    ) -> Accepted:
        """Take a message in and plan its statuses.

        Raises:
            KeyError: the number is unknown (ask `refuse` first).
        """
        found = self.accounts.number(phone_number_id)
        if found is None:
            raise KeyError(phone_number_id)
        waba, number = found
        user = self._user(send)
        category: str = SERVICE
        template: Template | None = None
        if send.template is not None:
            template = self.accounts.template(waba.id, send.template, send.language or "")
            category = template.category_at(now) if template is not None else "marketing"
        steps = plan(
            behaviour,
            message_type=send.type,
            delay_s=self.options.delay_s,
            read=self.options.read,
            automatic=self.options.auto_statuses,
        )
        delivery = next(
            (after for after, status, _ in steps if status in ("delivered", "read", "played")), 0.0
        )
        message = Message(
            self._wamid(user), waba, number, send, user, category, now, int(now + delivery), call
        )  # fmt: skip
        if behaviour is not None:
            message.unsaid = behaviour.unsaid
            message.counted_as = behaviour.counted_as or message.counted_as
        call.wamid, call.category = message.wamid, category
        holds = template.holds if template is not None else None
        if template is not None and holds is not None:
            self._held.append((template, message, steps))
        else:
            self._plan(message, steps, now)
        return Accepted(message.wamid, self._answer(message, behaviour, holds))

    def let_go(self, template: Template, drop_code: int | None, now: float) -> int:
        """Send what is held of a template, or with a code drop it: each message fails with that; how many there were."""
        template.holds = None
        held = [(message, steps) for of, message, steps in self._held if of is template]
        self._held = [entry for entry in self._held if entry[0] is not template]
        for message, steps in held:
            message.accepted_at = now
            self._plan(message, steps if drop_code is None else [(0.0, "failed", drop_code)], now)
        return len(held)

    def _plan(self, message: Message, steps: list[tuple[float, str, int]], now: float) -> None:
        for after, status, code in steps:
            self.agenda.add(now + after, _Step(message, status, code))

    def accept_and_fail(
        self, phone_number_id: str, send: Send, error: GraphError, call: Call, now: float
    ) -> Accepted:
        """Answer 200 and tell the error by a `failed` status, as Meta does for what it checks later."""
        failing = Behaviour(delivery="failed", code=error.code, delivered_after_s=0)
        return self.accept(phone_number_id, send, failing, call, now)

    def mark_read(self, phone_number_id: str, mark: ReadMark, now: float) -> GraphError | None:
        """Take in that a number has read a message; what Meta objects to, if anything."""
        if self.accounts.number(phone_number_id) is None:
            return unknown_object(phone_number_id)
        if mark.message_id not in self._received:
            return GraphError(100, f"Message with ID '{mark.message_id}' does not exist.")
        self.ledger.marks.append(Mark(now, phone_number_id, mark.message_id, mark.typing))
        return None

    def receive(
        self, phone_number_id: str, wa_id: str, message: UserMessage, now: float
    ) -> tuple[str, Update] | GraphError:
        """Let a fake user write to a number: the message's id and its update. The same id again is the same message."""
        found = self.accounts.number(phone_number_id)
        if found is None:
            return unknown_object(phone_number_id)
        waba, number = found
        sent_at = int(now if message.sent_at is None else message.sent_at)
        wamid = message.id or self._wamid(wa_id)
        if message.bsuid is not None:
            self._users[message.bsuid] = wa_id
        if wamid not in self._received:
            self._received.add(wamid)
            self.ledger.received += 1
            if number.max_mps is not None:
                self._throughput.count(number.id, now)
            if message.type != "system":
                receive(self._thread(number.id, wa_id), sent_at, by_ad=message.referral is not None)
        update = Update(
            waba.id,
            "messages",
            message.item(wamid, wa_id, sent_at),
            phone_number_id=number.id,
            display_phone_number=number.display_phone_number,
            contact=message.contact(wa_id),
        )
        return wamid, update

    def receive_file(
        self, wa_id: str, given: UserFile, link: Callable[[File], str], now: float
    ) -> tuple[str, File, Update] | GraphError:
        """Let a fake user send a file: the message's id, the file and the update; `link` gives its whole link. ValueError if it is not Base64."""
        if self.accounts.number(given.to) is None:
            return unknown_object(given.to)
        file = self.files.receive(given.to, given, now)
        told = {given.type: content(given, file, link(file))}
        message = UserMessage.model_validate({"to": given.to, "type": given.type, "id": given.id, **told})
        received = self.receive(given.to, wa_id, message, now)
        return received if isinstance(received, GraphError) else (received[0], file, received[1])

    def call(
        self, phone_number_id: str, wa_id: str, call: UserCall, now: float
    ) -> tuple[str, Update] | GraphError:
        """Let a fake user call a number, which opens the window as a message does: the call's id and its update."""
        found = self.accounts.number(phone_number_id)
        if found is None:
            return unknown_object(phone_number_id)
        waba, number = found
        call_id = call.id or f"wacid.{self._next():X}"
        receive(self._thread(number.id, wa_id), int(now), by_ad=False)
        item = call.item(call_id, wa_id, _digits(number.display_phone_number), int(now))
        return call_id, _of_number(waba, number, "calls", item)

    def prefer(
        self, phone_number_id: str, wa_id: str, preference: UserPreference, now: float
    ) -> Update | GraphError:
        """Let a fake user stop or resume a number's marketing messages; the update."""
        found = self.accounts.number(phone_number_id)
        if found is None:
            return unknown_object(phone_number_id)
        return _of_number(*found, "user_preferences", preference.item(wa_id, int(now)))

    def release(self, now: float) -> list[tuple[float, Update]]:
        """Let happen what is due by now, in order, and return the statuses to post, each with its time."""
        return [
            (due, update)
            for due, step in self.agenda.release(now)
            if (update := self._due(step, due)) is not None
        ]  # fmt: skip

    # --- what happens to a message

    def _due(self, step: _Step | _Review, due: float) -> Update | None:
        return self._reviewed(step, due) if isinstance(step, _Review) else self._happen(step, due)

    def _reviewed(self, review: _Review, due: float) -> Update | None:
        """Approve what still waits."""
        template = self.accounts.template(review.waba_id, review.name, review.language)
        if template is None or template.status != "PENDING":
            return None
        template.status = "APPROVED"
        value = status_update(template, None)
        return Update(review.waba_id, "account", value, field="message_template_status_update", time=int(due))

    def _happen(self, step: _Step, due: float) -> Update | None:
        message = step.message
        # `sent` tells when Meta took the message, even where it arrives after `delivered`.
        at = int(message.accepted_at if step.status == "sent" else due)
        status: dict[str, Any] = {
            "id": message.wamid,
            "status": step.status,
            "timestamp": str(at),
            # Who is written to by an id may hide the number.
            **(
                {"recipient_user_id": message.send.user}
                if message.send.bsuid
                else {"recipient_id": message.wa_id}
            ),
        }
        if message.send.opaque is not None:
            status["biz_opaque_callback_data"] = message.send.opaque
        if step.status == "sent":
            status.update(self._announced(message))
        elif step.status == "failed":
            status["errors"] = [GraphError(step.code, "").item()]
        elif not message.delivered:
            status.update(self._delivered(message, at))
        message.call.statuses.append(step.status)
        if step.status in message.unsaid:
            return None
        return Update(
            message.waba.id,
            "statuses",
            status,
            phone_number_id=message.number.id,
            display_phone_number=message.number.display_phone_number,
        )

    def _announced(self, message: Message) -> dict[str, Any]:
        """`conversation` and `pricing` of a `sent`: what the delivery will bring, as far as it is known."""
        if message.charge is not None and message.conversation is not None:
            return self._told(message, message.conversation.id, message.conversation.category,
                              message.conversation.expires_at, message.charge)  # fmt: skip
        at = message.delivery_at
        thread = self._thread(message.number.id, message.wa_id)
        message.conversation_key = message.conversation_key or self._conversation_id()
        seen = preview(thread, message.category, int(message.accepted_at), at, message.conversation_key)
        announce(thread, seen)
        cost = self._charge(message, at, seen.existing, seen.category)[1]
        return self._told(message, seen.id, seen.category, seen.expires_at, cost)

    def _delivered(self, message: Message, at: int) -> dict[str, Any]:
        """Count the delivery; its `conversation` and `pricing`, without the expiry, which only `sent` tells."""
        thread = self._thread(message.number.id, message.wa_id)
        message.conversation_key = message.conversation_key or self._conversation_id()
        seen = preview(thread, message.category, int(message.accepted_at), at, message.conversation_key)
        model, cost = self._charge(message, at, seen.existing, seen.category)
        conversation, opened = deliver(
            thread, message.category, int(message.accepted_at), at, message.conversation_key
        )  # fmt: skip
        month = local_day(at, message.waba.timezone)[:7]
        if opened:
            conversation.free = not cost.billable
            self.ledger.conversation_opened(
                message.waba.id, month, conversation.category, billable=cost.billable
            )
        if cost.uses_free_tier:
            self._free_used[_scope(model, message), month] = self._used(model, message, month) + 1
        self.ledger.message_delivered(
            message.waba.id, month, message.category, billable=cost.counted and cost.billable
        )  # fmt: skip
        if cost.counted:
            self.ledger.unit_counted(message.waba.id, month, cost.category, billable=cost.billable)
            self._count(message, model, cost, at)
        message.delivered, message.conversation, message.charge = True, conversation, cost
        message.call.billable, message.call.conversation_id = cost.counted and cost.billable, conversation.id
        return self._told(message, conversation.id, conversation.category, None, cost)

    def _count(self, message: Message, model: PricingModel, cost: Charge, at: int) -> None:
        """Let the analytics know of a delivery, as told or as a script has it."""
        as_ = message.counted_as
        if not as_.volume:
            return
        delivery = Delivery(
            at + as_.days * DAY_S,
            message.waba.id,
            message.number.id,
            model.unit,
            as_.country or country_of(message.wa_id),
            as_.category or _told_category(message, cost),
            as_.type or cost.type,
            as_.cost,
        )
        self.ledger.deliveries.append(delivery)

    def _charge(
        self, message: Message, at: int, existing: Conversation | None, conversation_category: str
    ) -> tuple[PricingModel, Charge]:
        day = local_day(at, message.waba.timezone)
        model = model_for(message.waba.regime or self.options.pricing, day)
        free_left = (model.free_service or 0) - self._used(model, message, day[:7])
        return model, charge(
            model,
            category=message.category,
            opened=existing is None,
            conversation_category=conversation_category,
            conversation_free=existing is not None and existing.free,
            in_window=window_open(self._thread(message.number.id, message.wa_id), at),
            free_left=free_left,
        )

    def _told(
        self, message: Message, conversation_id: str, category: str, expires_at: int | None, cost: Charge
    ) -> dict[str, Any]:
        model = model_for(
            message.waba.regime or self.options.pricing, local_day(message.delivery_at, message.waba.timezone)
        )  # fmt: skip
        pricing: dict[str, Any] = {
            "billable": cost.billable,
            "pricing_model": model.wire_name,
            "category": _told_category(message, cost),
        }
        if model.unit == "message":
            pricing["type"] = cost.type
            if category != ENTRY_POINT:
                if self.options.webhook_version >= 24:
                    return {"pricing": pricing}
                # Up to v23 the conversation's id is the message's own under per-message pricing.
                conversation_id = message.conversation_key
        conversation: dict[str, Any] = {"id": conversation_id, "origin": {"type": category}}
        if expires_at is not None:
            conversation["expiration_timestamp"] = str(expires_at)
        return {"conversation": conversation, "pricing": pricing}

    # --- the free tier

    def _would_cost(self, waba: Waba, number: Number, user: str, now: float) -> bool:
        probe = Message(
            "",
            waba,
            number,
            Send(user, user, False, "text"),
            user,
            SERVICE,
            now,
            int(now),
            Call(now, number.id),
        )
        seen = preview(self._thread(number.id, user), SERVICE, int(now), int(now), "")
        cost = self._charge(probe, int(now), seen.existing, seen.category)[1]
        return cost.counted and cost.billable

    # --- lookups and ids

    def _thread(self, phone_number_id: str, user: str) -> Thread:
        thread = self._threads.get((phone_number_id, user))
        if thread is None:
            thread = self._threads[phone_number_id, user] = Thread()
        return thread

    def _user(self, send: Send) -> str:
        if send.bsuid:
            return self._users.get(send.user, send.user)
        return self.options.rewrites.get(send.user, send.user)

    def _used(self, model: PricingModel, message: Message, month: str) -> int:
        return self._free_used.get((_scope(model, message), month), 0)

    def _answer(self, message: Message, behaviour: Behaviour | None, holds: str | None) -> dict[str, Any]:
        contact = {"input": message.send.input}
        contact |= {"user_id": message.send.user} if message.send.bsuid else {"wa_id": message.wa_id}
        sent: dict[str, Any] = {"id": message.wamid}
        if message.send.template is not None:
            sent["message_status"] = (behaviour.message_status if behaviour else None) or holds or "accepted"
        return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [sent]}

    def _next(self) -> int:
        self._ids += 1
        return self._ids

    def _wamid(self, user: str) -> str:
        """Base64 of the user and a serial, as long and as odd as Meta's."""
        name = user.encode()
        serial = f"{self.run_id}{self._next():010X}".upper().encode()
        packed = (
            b"\x1c\x18"
            + bytes([len(name) & 0x7F])
            + name
            + b"\x15\x02\x00\x11\x18"
            + bytes([len(serial)])
            + serial
        )
        return "wamid." + base64.b64encode(packed + b"\x00").decode()

    def _conversation_id(self) -> str:
        return f"{self.run_id}{self._next():024x}"


def _scope(model: PricingModel, message: Message) -> str:
    return message.number.id if model.free_scope == "number" else message.waba.id


def _told_category(message: Message, cost: Charge) -> str:
    """By the name that `pricing` tells: what the Marketing Messages API sends is charged as marketing under a name of its own (Meta, webhooks, pricing)."""
    lite = message.send.endpoint == "marketing_messages" and cost.category == "marketing"
    return "marketing_lite" if lite else cost.category


def _digits(display: str) -> str:
    return "".join(c for c in display if c.isdigit())


def _of_number(
    waba: Waba, number: Number, kind: Literal["calls", "user_preferences"], item: dict[str, Any]
) -> Update:
    return Update(
        waba.id,
        kind,
        item,
        field=kind,
        phone_number_id=number.id,
        display_phone_number=number.display_phone_number,
    )
