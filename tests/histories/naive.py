"""A naive model of the router, written differently: lists of all that happened, and each question walks them anew.

It knows the guide's rules and the regimes', and shares no code with the router or with `shared/pricing`. Times are epoch milliseconds. Where the
router tells a request that waits for a place in the messaging limit when one becomes free, the model takes its word (`hint`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tests.histories import naive_prices as prices
from tests.histories.naive_talk import DAY, HOUR, Fall, Message, Talk, Told

MINUTE = 60_000
LOOK_AGAIN = 10 * MINUTE
LONGEST_WAIT = 30 * DAY
REMEMBERED_S = 8 * 24 * 3600
US_STOPPED = 1_743_465_600_000  # 2025-04-01
STOPPED_NUMBER = {"BANNED", "RESTRICTED", "DISCONNECTED", "DELETED", "MIGRATED", "RATE_LIMITED"}
TAKEN_TEMPLATE = {"APPROVED", "FLAGGED", "UNARCHIVED", "PENDING_DELETION"}
SOME_DAY, NEVER = None, 0


class Price(NamedTuple):
    """A price as it is told; micros None: there is no rate."""

    regime: str
    card: str
    market: str
    type: str
    micros: int | None


class Charge(NamedTuple):
    """What a delivery was charged, in which month of the account."""

    counted: bool
    category: str
    month: str
    price: Price


@dataclass
class Telling:
    """One answer to a request, at a time."""

    at: int
    outcome: str
    reason: str
    category: str | None = None
    action: str | None = None
    price: Price | None = None
    tier_used: int | None = None
    free_left: int | None = None
    not_before: int | None = None


@dataclass
class Ask:
    """A request and all that it was answered. `due` is when it is looked at again, while it waits; `rounds`, how often Meta refused it for now."""

    id: str
    waba: str
    number: str
    user: str
    template: str | None
    fallback: str | None
    expires: int | None
    not_before: int | None
    dry: bool
    most: int | None
    tellings: list[Telling] = field(default_factory=list)
    due: int | None = None
    at: int = 0
    rounds: int = 0
    conflict: bool = False
    resent: list[Telling] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.number}:{self.user}"

    @property
    def name(self) -> str:
        """What its places are held by."""
        return f"{self.id}/round {self.rounds}" if self.rounds else self.id

    @property
    def body(self) -> str:
        fields = (self.template, self.fallback, self.expires, self.not_before, self.dry, self.most)
        return "/".join(map(str, fields))


@dataclass
class Sent(Message):
    """A message with what it holds: a place in the messaging limit until a time, one in a free tier, amounts of budgets by month and category.

    It may be sent until `valid`; `attempt` counts the messages of its request, `chances` those of them that may have gone out. `kept`: it can still be sent anew.
    """

    ask: Ask | None = None
    place: int | None = None
    free: tuple[str, str, str] | None = None
    spent: dict[tuple[str, str | None], int] = field(default_factory=dict)
    charge: Charge | None = None
    attempt: int = 1
    chances: int = 1
    kept: bool = True
    valid: int = 0

    def spend(self, month: str, micros: int) -> None:
        self.spent = {(month, None): micros, (month, self.category): micros}

    @property
    def asked(self) -> Ask:
        assert self.ask is not None
        return self.ask

    def give_back(self, *, place: bool = True) -> None:
        """All it holds; who may have been written to keeps the place in the messaging limit."""
        self.free, self.spent = None, {}
        if place and not self.twice:
            self.place = None


@dataclass
class Naive:
    """All that ever happened. `free_units` is the size of the free tiers; one portfolio, with one messaging limit, for all accounts."""

    free_units: int
    hint: Callable[[Ask], int | None]
    webhooks: Callable[[], bool]
    facts: list[tuple[int, str, str, str, Any]] = field(default_factory=list)
    talks: dict[str, Talk] = field(default_factory=dict)
    asks: list[Ask] = field(default_factory=list)
    waiting: list[Ask] = field(default_factory=list)
    messages: list[Sent] = field(default_factory=list)
    owners: list[tuple[int, str, str]] = field(default_factory=list)

    # --- what is known of accounts, numbers and templates

    def know(self, at: int, waba: str, id_: str, **fields: Any) -> None:
        self.facts += [(at, waba, id_, name, value) for name, value in fields.items()]

    def fact(self, waba: str, id_: str, name: str, default: Any = None) -> Any:
        """The word of the latest time, of two of one time the later heard."""
        latest, value = 0, default
        for at, of, id_of, name_of, said in self.facts:
            if (of, id_of, name_of) == (waba, id_, name) and at >= latest:
                latest, value = at, said
        return value

    def zone(self, waba: str) -> str:
        return str(self.fact(waba, waba, "timezone"))

    def regime(self, waba: str, at: int) -> dict[str, Any]:
        return prices.regime(self.fact(waba, waba, "regime"), self.zone(waba), at)

    def rules(self, ask: Ask, category: str, at: int) -> dict[str, Any]:
        """The account's regime; of a conversation opened where conversations were charged, that one's until it ends."""
        rules = self.regime(ask.waba, at)
        opened = self.talk(ask.key).open_for(category, at)
        if opened is not None and not self._by_conversation(rules["name"]):
            before = self.regime(ask.waba, opened.since)
            return before if self._by_conversation(before["name"]) else rules
        return rules

    def can_pay(self, waba: str, now: int) -> bool:
        method = self.fact(waba, waba, "payment_method")
        until = self.fact(waba, waba, "payment_failing_until_ms")
        return method == "valid" or (method == "failing" and until is not None and until <= now)

    def messaging_limit(self) -> int:
        """The portfolio's, as last told of any of its accounts."""
        told = [
            (at, waba, n) for n, (at, waba, _, name, _) in enumerate(self.facts) if name == "messaging_limit"
        ]
        return int(self.facts[max(told)[2]][4])

    # --- what is held of what is limited

    def tier_users(self, now: int) -> set[str]:
        return {m.asked.user for m in self.messages if m.place is not None and now < m.place}

    def free_holders(self, owner: str, month: str) -> set[tuple[str, str]]:
        """The conversations, pending or opened, in a free tier; where messages are charged, the messages."""
        return {
            (m.asked.key, m.pending if self._by_conversation(m.free[0]) else m.request)
            for m in self.messages
            if m.free is not None and m.free[1:] == (owner, month)
        }

    def spent(self, waba: str, month: str, category: str | None) -> int:
        return sum(m.spent.get((month, category), 0) for m in self.messages if m.asked.waba == waba)

    # --- what happens

    def talk(self, key: str) -> Talk:
        return self.talks.setdefault(key, Talk())

    def tick(self, now: int) -> None:
        """Let pass what is due: messages nobody hears of are given up, waiting requests looked at."""
        while True:
            due: list[tuple[int, str, int, Sent | Ask]] = [
                (m.deadline, m.asked.key, -1, m)
                for m in self.messages
                if m.deadline is not None and m.deadline <= now
            ]
            due += [
                (a.due, a.key, n, a) for n, a in enumerate(self.waiting) if a.due is not None and a.due <= now
            ]
            if not due:
                return
            at, _, _, what = min(due, key=lambda d: d[:3])
            if isinstance(what, Sent):
                self._overdue(what.asked.key, at)
            else:
                self._look(what, at)

    def send(self, ask: Ask, now: int) -> tuple[Ask, bool]:
        """The request that is answered, and whether it is a new one."""
        same = [a for a in self.asks if (a.key, a.id) == (ask.key, ask.id)]
        for known in same:
            if known.body == ask.body:
                return known, False
        self.asks.append(ask)
        if same or not (ask.dry or self._owns(ask, now)):
            late = ask.expires is not None and ask.expires <= now
            reason = "request_expired" if late else "idempotency_conflict"
            ask.conflict = True
            ask.tellings.append(Telling(now, "reject", reason))
        else:
            self._tell(ask, self._decide(ask, now), now)
        return ask, True

    def cancel(self, ask: Ask, now: int) -> str:
        """`waited`, `called back`, `called back before`, or `gone`."""
        if ask in self.waiting:
            self.waiting.remove(ask)
            ask.tellings.append(Telling(now, "reject", "cancelled"))
            return "waited"
        for message in reversed(self.attempts(ask)):
            if not (message.taken or message.given_up or message.over):
                before, message.back = message.back, True
                return "gone" if message.doubtful else "called back before" if before else "called back"
        for message in self.attempts(ask):
            message.back = True
        return "gone"

    def attempts(self, ask: Ask) -> list[Sent]:
        return [message for message in self.messages if message.asked is ask]

    def settle(self, message: Sent, verdict: str, now: int) -> None:
        """An operator's word on a message of which nobody knows."""
        if not message.doubtful:
            return
        if verdict == "sent":
            self._take(message, now)
        elif verdict == "resend":
            self._again(message, now)
        else:
            message.steps.append("failed")
            message.given_up, message.deadline, message.doubtful = True, None, False
            message.give_back()

    def _overdue(self, key: str, now: int) -> None:
        """Nobody heard of these in time: give up, look again later, or send one of them once more."""
        chosen, later = None, []
        for message in [m for m in self.messages if m.asked.key == key and (m.deadline or now + 1) <= now]:
            again = message.category != "authentication" and message.chances < 2 and not message.back
            if self._other_gone(message):
                message.given_up, message.deadline, message.doubtful = True, None, False
                message.give_back(place=False)
            elif not (message.doubtful and again and now < message.valid):
                self._give_up(message)
            elif self.webhooks() and chosen is None:
                chosen = message
            else:
                later.append(message)
        for message in later:
            message.deadline = min(now + (1000 if chosen else 5 * MINUTE), message.valid)
        if chosen is not None:
            self._again(chosen, now)

    def _give_up(self, message: Sent) -> None:
        message.steps.append("failed")
        message.given_up, message.deadline, message.doubtful = True, None, False
        message.give_back(place=False)  # it may have gone out: its user counts until the day is over

    def _again(self, first: Sent, now: int) -> None:
        """A new decision; the second message takes over what the first one holds."""
        ask = first.asked
        first.given_up, first.deadline, first.doubtful = True, None, False
        telling = self._decide(replace(ask, not_before=None), now, first)
        if telling.outcome != "allow":
            self._give_up(first)
            return
        first.steps.append("resent")
        ask.resent.append(telling)
        before = first.spent
        first.twice = True
        first.give_back(place=False)
        self._command(ask, telling, now)
        second = self.messages[-1]
        second.attempt, second.chances, second.twice = first.attempt + 1, first.chances + 1, True
        second.request, first.request = ask.name, f"{ask.id}/{second.attempt}"
        second.valid = min(first.valid, second.valid)
        second.deadline = second.valid + 15 * MINUTE
        second.spent = {
            scope: before.get(scope) or amount for scope, amount in second.spent.items() if amount
        }

    def _other_gone(self, message: Sent) -> bool:
        others = self.attempts(message.asked)
        return any(other.taken and not other.failed for other in others if other is not message)

    def _take(self, message: Sent, at: int) -> None:
        """Meta has it; another attempt that may still wait is not sent again."""
        message.steps.append("accepted")
        message.kept = message.kept and not message.given_up and at < self._waits(message.asked)
        message.taken, message.given_up, message.deadline, message.doubtful = True, False, None, False
        for other in self.attempts(message.asked):
            other.back = other.back or (other is not message and not other.taken and not other.given_up)

    @staticmethod
    def _waits(ask: Ask) -> int:
        """Until when it may wait."""
        return 0 if ask.expires is None else min(ask.expires, ask.at + LONGEST_WAIT)

    def _put_off(self, message: Sent, at: int, retry: int | None) -> bool:
        """Whether what Meta refused until `retry` waits until then, to be decided anew: it was certainly refused, and is wanted and of use by then."""
        ask = message.asked
        if retry is None or not message.kept or message.back or message.chances > 1:
            return False
        if retry >= self._waits(ask):
            return False
        ask.rounds += 1
        ask.tellings.append(
            Telling(at, "defer", "refused_for_now", category=message.category, not_before=retry)
        )
        ask.due = retry
        self.waiting.append(ask)
        return True

    def hear(
        self, what: str, message: Sent, at: int, told: Told | None, code: int | None, retry: int | None
    ) -> None:
        """The sender's or Meta's word on a message; `at` is the time it speaks of, `retry` when Meta may take what it refuses now."""
        talk, steps = self.talk(message.asked.key), message.steps
        if what == "sent" and told is not None and self._by_conversation(message.regime):
            talk.learn(told)
        if message.over:
            return
        if what == "uncertain":
            if not (message.taken or message.doubtful or message.given_up):
                steps.append("uncertain")
                message.doubtful, message.deadline = True, at + 15 * MINUTE
            return
        if what in ("refused", "cancelled") and message.taken:
            return
        if what in ("refused", "cancelled", "failed") and message.given_up:
            message.over = message.failed = True
            message.give_back()
            if code == 131050:
                talk.preferences.append((at, True))
            return
        if what not in ("refused", "cancelled") and not message.taken:
            self._take(message, at)
        if what in ("failed", "refused", "cancelled") and not message.delivered:
            gone = not message.taken and self._other_gone(message)
            if not gone and not self._put_off(message, at, retry):
                steps.append("cancelled" if what == "cancelled" else "failed")
            message.over = message.failed = True
            message.deadline, message.doubtful = None, False
            message.give_back()
            if code == 131050:
                talk.preferences.append((at, True))
        elif what == "sent" and not message.delivered:
            if message.meta is None:
                message.meta = told
            if not message.sent:
                message.sent = True
                steps.append("sent")
        elif what in ("delivered", "read"):
            if not message.delivered:
                steps.append("delivered")
                message.delivered = True
                self._deliver(message, at, told)
            if what == "read":
                steps.append("read")
                message.over = True

    # --- how it is answered

    def _owns(self, ask: Ask, now: int) -> bool:
        """A request id is one receiver's for 8 days, counted in whole seconds."""
        for since, id_, key in self.owners:
            if id_ == ask.id and since // 1000 + REMEMBERED_S > now // 1000:
                return key == ask.key
        self.owners.append((now, ask.id, ask.key))
        return True

    def _look(self, ask: Ask, now: int) -> None:
        """Look at a request that waits: tell what is new, or nothing."""
        self.waiting.remove(ask)
        before = ask.tellings[-1]
        telling = self._decide(ask, now)
        told_for = before.not_before or 0
        if telling.outcome == "defer" and telling.reason == before.reason != "ok" and not 0 < told_for <= now:
            self._wait(ask, told_for, now)
        else:
            self._tell(ask, telling, now)

    def _tell(self, ask: Ask, telling: Telling, now: int) -> None:
        ask.tellings.append(telling)
        if telling.outcome == "defer" and not ask.dry:
            self._wait(ask, telling.not_before or 0, now)
            if telling.reason == "ok":
                ask.due = telling.not_before
        elif telling.outcome == "allow" and not ask.dry:
            self._command(ask, telling, now)

    def _wait(self, ask: Ask, told_for: int, now: int) -> None:
        times = (told_for, now + LOOK_AGAIN, ask.expires or 0)
        ask.due = min(at for at in times if at > now)
        self.waiting.append(ask)

    def _command(self, ask: Ask, telling: Telling, now: int) -> None:
        talk, category, price = self.talk(ask.key), telling.category, telling.price
        assert category is not None
        assert price is not None
        ends = [now + (10 * MINUTE if category == "authentication" else 4 * HOUR), ask.expires or 2**60]
        if category == "service" or price.type == "free_customer_service":
            ends.append(talk.window)
        before = self.attempts(ask)
        message = Sent(
            request=ask.name,
            category=category,
            at=now,
            regime=price.regime,
            in_window=now < talk.window,
            answers_click=talk.answers_click(now),
            deadline=min(ends) + 15 * MINUTE,
            valid=min(ends),
            pending=talk.foresee(category, now).pending or ask.name,
            ask=ask,
            attempt=len(before) + 1,
            steps=before[0].steps if before else [],
            place=None if telling.tier_used is None else now + DAY,
        )
        message.spend(prices.month(self.zone(ask.waba), now), price.micros or 0)
        if price.type == "free_tier":
            message.free = self._free_scope(ask, self.rules(ask, category, now), now)
        talk.messages.append(message)
        self.messages.append(message)

    def _decide(self, ask: Ask, now: int, first: Sent | None = None) -> Telling:
        """`first` is the message that it is decided for once more: what that one holds counts as held."""
        talk = self.talk(ask.key)
        if ask.expires is not None and ask.expires <= max(now, ask.not_before or 0):
            return Telling(now, "reject", "request_expired")
        refusal = self._sender_refuses(ask, now < talk.window)
        if refusal is not None:
            return self._refused(ask, now, refusal, Telling(now, "", ""))
        if ask.not_before is not None and now < ask.not_before:
            return Telling(now, "defer", "ok", not_before=ask.not_before)
        name = ask.template
        if name is None and now >= talk.window:
            name = ask.fallback
            if name is None:
                return Telling(now, "reject", "window_closed")
        if name is not None:
            refusal = self._template_refuses(ask.waba, name)
            if refusal is not None:
                return self._refused(ask, now, refusal, Telling(now, "", ""))
        category = "service" if name is None else str(self.fact(ask.waba, f"{name}/en", "category"))
        answer = Telling(now, "allow", "ok", category)
        refusal = self._content_refuses(ask, talk, category, now) or self._price(
            ask, talk, answer, now, first
        )
        return answer if refusal is None else self._refused(ask, now, refusal, answer)

    @staticmethod
    def _refused(ask: Ask, now: int, refusal: tuple[str, int | None], answer: Telling) -> Telling:
        """A reason that passes lets a request wait that still matters by then."""
        answer.reason, until = refusal
        passes = until is None or until > now
        answer.not_before = until if passes else None
        answer.outcome = "defer" if passes and (ask.expires or 0) > (until or 0) else "reject"
        answer.action = None
        return answer

    def _sender_refuses(self, ask: Ask, inside: bool) -> tuple[str, int | None] | None:
        waba, number = ask.waba, ask.number
        answers = ask.template is None and inside
        forbidden = f"RESTRICTED_{'CUSTOMER' if answers else 'BIZ'}_INITIATED_MESSAGING"
        if self.fact(waba, waba, "status", "active") != "active":
            return "account_restricted", SOME_DAY
        if forbidden in self.fact(waba, waba, "restrictions", []):
            return "account_restricted", SOME_DAY
        if not self.fact(waba, number, "registered", True):
            return "number_not_registered", NEVER
        if self.fact(waba, number, "status", "CONNECTED") in STOPPED_NUMBER:
            return "number_restricted", SOME_DAY
        if self.fact(waba, waba, "paused", False) or self.fact(waba, number, "paused", False):
            return "paused_by_operator", SOME_DAY
        return None

    def _template_refuses(self, waba: str, name: str) -> tuple[str, int | None] | None:
        status = self.fact(waba, f"{name}/en", "status")
        if status is None or (status == "DELETED" and not self.fact(waba, f"{name}/en", "paused", False)):
            return "template_unknown", NEVER
        if self.fact(waba, f"{name}/en", "paused", False):
            return "paused_by_operator", SOME_DAY
        if status in TAKEN_TEMPLATE:
            return None
        if status == "PAUSED":
            return "template_paused", self.fact(waba, f"{name}/en", "paused_until_ms", SOME_DAY)
        if status == "DISABLED":
            return "template_disabled", NEVER
        return "template_not_approved", SOME_DAY if status in ("PENDING", "IN_APPEAL") else NEVER

    def _content_refuses(
        self, ask: Ask, talk: Talk, category: str, now: int
    ) -> tuple[str, int | None] | None:
        if not self.can_pay(ask.waba, now):
            if category != "service":
                failing = self.fact(ask.waba, ask.waba, "payment_method") == "failing"
                until = self.fact(ask.waba, ask.waba, "payment_failing_until_ms")
                return "payment_method_missing", until if failing else SOME_DAY
            if not self.fact(ask.waba, ask.number, "default", False):
                return "sender_not_default", NEVER
            if not talk.verified:
                return "recipient_not_verified", SOME_DAY
        if category == "marketing":
            if talk.opted_out():
                return "opted_out", NEVER
            american = ask.user.startswith(("1212", "US."))
            if american and now >= US_STOPPED and self.rules(ask, category, now)["name"] != "2023-06-01":
                return "marketing_not_allowed", NEVER
        if category == "authentication" and not ask.user.isdecimal():
            return "recipient_invalid", NEVER
        return None

    def _price(
        self, ask: Ask, talk: Talk, answer: Telling, now: int, first: Sent | None
    ) -> tuple[str, int | None] | None:
        """Fill in price and limits; the reason, if any, why it must not go out."""
        waba, category, inside = ask.waba, str(answer.category), now < talk.window
        zone, rules = self.zone(waba), self.rules(ask, category, now)
        fall = talk.foresee(category, now)
        scope = self._free_scope(ask, rules, now)
        holders = set() if scope is None else self.free_holders(*scope[1:])
        name = (fall.pending or ask.name) if self._by_conversation(rules["name"]) else ask.name
        used, held = len(holders), first is not None and (ask.key, name) in holders
        kind = self._kind(rules, category, fall, in_window=inside)
        free = kind == "free_tier"
        if free and used >= self.free_units and not held:
            kind = "regular"
        price = self._priced(ask, rules, category, kind, now)
        answer.action = "open" if fall.opened else "reuse"
        answer.price = None if price.micros is None else price
        answer.free_left = (
            max(0, self.free_units - used - (kind == "free_tier" and not ask.dry and not held))
            if free
            else None
        )
        users = self.tier_users(now)
        limit = most = self.messaging_limit()
        if category == "marketing":
            limit -= most * self.fact(waba, waba, "marketing_reserve_percent", 0) // 100
        counts = not inside and most != -1
        fits = ask.user in users or len(users) < limit
        if counts:
            answer.tier_used = len(users | {ask.user}) if fits and not ask.dry else len(users)
        if kind == "regular" and not self.can_pay(waba, now):
            return "free_tier_exhausted", prices.next_month(zone, now)
        if counts and not fits:
            return "tier_limit_reached", self.hint(ask)
        if price.micros is None:
            return "rate_unknown", NEVER
        if kind == "regular":
            if ask.most is not None and price.micros > ask.most:
                return "max_price_exceeded", NEVER
            for budget in self.fact(waba, waba, "budgets", []):
                scope_of_budget = (prices.month(zone, now), budget.get("category"))
                if first is not None and first.spent.get(scope_of_budget):
                    continue
                if budget.get("category") in (None, category):
                    spent = self.spent(waba, prices.month(zone, now), budget.get("category"))
                    if spent + price.micros > budget["amount_micros"]:
                        return "budget_exceeded", prices.next_month(zone, now)
        return None

    # --- what it costs

    def _deliver(self, message: Sent, at: int, told: Told | None) -> None:
        ask, rules = message.asked, self.rules(message.asked, message.category, at)
        talk, zone = self.talk(ask.key), self.zone(ask.waba)
        if not self._by_conversation(rules["name"]):
            told = message.meta = None
        fall = talk.deliver(message, at, told)
        kind = self._kind(rules, message.category, fall, in_window=message.in_window)
        scope = self._free_scope(ask, rules, at)
        if kind != "free_tier":
            message.free = None
        else:
            assert scope is not None
            name = (fall.pending or "") if self._by_conversation(rules["name"]) else message.request
            if message.free != scope or name != (message.pending if fall.pending else name):
                holders = self.free_holders(*scope[1:])
                fits = (ask.key, name) in holders or len(holders) < self.free_units
                message.free = scope if fits else None
        if fall.pending is not None:
            message.pending = fall.pending
        if kind == "free_tier" and message.free is None:
            kind = "regular"
        price = self._priced(ask, rules, message.category, kind, at)
        if price.micros is not None:
            counted = fall.opened or not self._by_conversation(rules["name"])
            message.charge = Charge(counted, message.category, prices.month(zone, at), price)
            ask.charges.append(message.charge)
            message.spend(prices.month(zone, at), price.micros)

    @staticmethod
    def _by_conversation(regime: str) -> bool:
        return regime < "2025-07-01"

    def _free_scope(self, ask: Ask, rules: dict[str, Any], at: int) -> tuple[str, str, str] | None:
        """Regime, account or number, and month: what a free tier is counted over."""
        if rules["free_tier"] is None:
            return None
        owner = ask.waba if rules["free_tier"]["scope"] == "waba" else ask.number
        return str(rules["name"]), owner, prices.month(self.zone(ask.waba), at)

    @staticmethod
    def _kind(rules: dict[str, Any], category: str, fall: Fall, *, in_window: bool) -> str:
        if fall.entry:
            return "free_entry_point"
        if rules["unit"] == "conversation" and not fall.opened:
            return "reused"
        if category == "service" and rules["service"] == "free":
            return "free_customer_service"
        if category == "service" and rules["service"] == "free_tier":
            return "free_tier"
        if category == "utility" and in_window and rules["utility_in_window_free"]:
            return "free_customer_service"
        return "regular"

    def _priced(self, ask: Ask, rules: dict[str, Any], category: str, kind: str, at: int) -> Price:
        zone, currency = self.zone(ask.waba), self.fact(ask.waba, ask.waba, "currency")
        rate = prices.rate(rules["name"], category, ask.user, currency, zone, prices.day(zone, at))
        return Price(rules["name"], rate.card, rate.market, kind, rate.micros if kind == "regular" else 0)
