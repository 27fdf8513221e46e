"""Plays a history at once through the router's fold and through the naive model, which must agree at every step."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from itertools import count, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.router.fold import RouterFold
from services.router.heard import Heard
from services.router.uncertain import Resending
from shared.events import (
    AccountChanged,
    AccountWebhook,
    CancelRequested,
    ChargePredicted,
    ConversationEvent,
    Decision,
    MessageReceived,
    MetaConversation,
    PreferenceChanged,
    ReceiverVerified,
    SendAccepted,
    SendEvent,
    SendFailed,
    SendRequested,
    SendUncertain,
    StatusReceived,
    TemplateRef,
    UncertainSettled,
    decode_command,
    decode_send_event,
)
from shared.pricing import PriceBook
from shared.topics import MESSAGES_RECEIVED, SEND_COMMANDS, SEND_EVENTS
from shared.uncertain import RESENT, of_member
from tests.histories.generated import FATES, FORGOTTEN, NUMBERS, TEMPLATES, Setting
from tests.histories.naive import MINUTE, Ask, Charge, Naive, Price, Sent, Telling
from tests.histories.naive_talk import DAY, HOUR, Told
from tests.unit.router.world import World, book, errors, words

NEEDED_OF_A_MARK = {
    "ok",
    "account_restricted",
    "number_not_registered",
    "number_restricted",
    "paused_by_operator",
}
"""All that a read mark can be answered: it needs a number that may be used, and nothing else."""


@cache
def tariffs(free_units: int) -> PriceBook:
    """The price book with free tiers of a size that a history can use up."""
    whole = book()
    smaller = [
        replace(r, free_tier=r.free_tier and replace(r.free_tier, units_per_month=free_units))
        for r in whole.regimes.in_order
    ]
    by_name = {r.name: r for r in smaller}
    by_pin = {pin: by_name[r.name] for pin, r in whole.regimes.by_pin.items()}
    return replace(whole, regimes=replace(whole.regimes, in_order=tuple(smaller), by_pin=by_pin))


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


class _Heard(Heard):
    """Statuses of later messages come, of all numbers, or none do."""

    def __init__(self, game: "Game") -> None:
        super().__init__()
        self._game = game

    def later_than(self, number: str, sent_ms: int, now_ms: int) -> bool:
        return self._game.webhooks


@dataclass
class Game:
    """The world of the fold and the naive model side by side."""

    setting: Setting
    now: int = 0
    heard: int = 0
    charged: list[Charge] = field(default_factory=list)
    told: dict[tuple[str, str], list[SendEvent]] = field(default_factory=dict)
    said: dict[tuple[str, str], bytes] = field(default_factory=dict)
    fates: dict[tuple[str, str], tuple[str, int, Any]] = field(default_factory=dict)
    coming: list[tuple[int, int, Sent, str, Any]] = field(default_factory=list)
    order: Iterator[int] = field(default_factory=count)
    """Tells apart what comes at the same time."""
    commanded: int = 0
    webhooks: bool = True
    fated: list[Sent] = field(default_factory=list)
    resent: dict[tuple[str, str], list[Telling]] = field(default_factory=dict)
    marked: int = 0
    wrote: dict[str, int] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        turn = datetime.fromisoformat(self.setting.turn).replace(tzinfo=ZoneInfo(self.setting.zones[0]))
        self.now = round(turn.timestamp() * 1000) - self.setting.before
        resending = Resending(RESENT, _Heard(self))
        self.world = World(RouterFold(tariffs(self.setting.free_units), errors(), words(), resending))
        self.naive = Naive(self.setting.free_units, self._hint, lambda: self.webhooks)
        for n, waba in enumerate(("W1", "W2")):
            self._know(waba, "account", waba, {
                "portfolio_id": "P", "timezone": self.setting.zones[n], "regime": self.setting.pins[n],
                "payment_method": self.setting.payments[n], "messaging_limit": self.setting.limit,
                "marketing_reserve_percent": self.setting.reserve, "currency": self.setting.currency,
                "budgets": [{"category": c, "amount_micros": a} for c, a in self.setting.budgets],
            })  # fmt: skip
            for name, category in TEMPLATES.items():
                self._know(waba, "template", f"{name}/en", {"category": category, "status": "APPROVED"})
        for number, waba in NUMBERS.items():
            self._know(waba, "number", number, {"default": number != "N2"})
        self._write(0, "N1", 0, self.setting.clicked, 0)

    # --- moves

    def move(self, move: tuple[Any, ...]) -> None:
        """Play one move in both, and compare all that the router said with what the model says."""
        kind, *what = move
        self.pass_(1)
        getattr(self, f"_{kind}")(*what)
        self._compare()

    def pass_(self, time: int) -> None:
        """Let time pass, and what is to be heard in it be heard."""
        until = self.now + time
        while True:
            self._commands()
            due = self.coming[0][0] if self.coming else until + 1
            looks = min([a.due for a in self.naive.waiting if a.due is not None], default=until + 1)
            self.now = min(due, looks, until)
            self._tick()
            if due <= self.now:
                _, _, message, what, told = heapq.heappop(self.coming)
                self._word(message, what, 0, told)
            elif self.now == until:
                return

    def _pause(self, time: int) -> None:
        self.pass_(time)

    def _write(self, user: int, number: str, n: int, clicked: bool, late: int) -> None:
        key = self._key(number, user)
        wamid = f"wamid.{key}.{n}"
        if self.now - self.wrote.setdefault(wamid, self.now) > 7 * DAY:
            return  # Meta repeats itself for seven days; later, the same id is not promised to be known
        at = self.now - late
        out = self._play(key, MessageReceived(
            event_id=wamid, at_ms=at, received_ms=self.now, phone_number_id=number, user=self.setting.users[user],
            wamid=wamid, type="text", message=msgspec.Raw(b"{}"), waba_id=NUMBERS[number],
            referral="ad" if clicked else None,
        ))  # fmt: skip
        new = self.naive.talk(key).write(wamid, at, clicked=clicked)
        assert [o.topic for o in out] == ([MESSAGES_RECEIVED] if new else [])

    def _send(self, user: int, number: str, n: int, template: str | None, fallback: str | None, patience: int | None,
              wait: int | None, dry: bool, most: int | None, fate: str, pace: int, told: Any) -> None:  # fmt: skip
        ask = Ask(
            f"d{n}" if dry else f"r{n}", NUMBERS[number], number, self.setting.users[user], template, fallback,
            self.now + patience if patience else None, self.now + wait if wait else None, dry, most, at=self.now,
        )  # fmt: skip
        if any(self.now - a.tellings[0].at > 7 * DAY for a in self.naive.asks if a.id == ask.id):
            return  # an id is remembered for 8 days, and forgotten some time after
        request = SendRequested(
            event_id=ask.id, at_ms=self.now, request_id=ask.id, phone_number_id=number, user=ask.user,
            type="template" if template else "text", message=msgspec.Raw(b"{}"), digest=ask.body,
            template=TemplateRef(template, "en") if template else None,
            fallback=msgspec.Raw(b"{}") if fallback else None,
            fallback_ref=TemplateRef(fallback, "en") if fallback else None, expires_ms=ask.expires,
            not_before_ms=ask.not_before, dry_run=dry, max_price_micros=most,
        )  # fmt: skip
        before = self.heard
        self._play(ask.key, request)
        answer = next(e for e in self._said_since(before) if e.event == "decided")
        known, new = self.naive.send(ask, self.now)
        assert answer.decision is not None
        telling = known.tellings[-1]
        assert (answer.decision.outcome, answer.decision.reason) == (telling.outcome, telling.reason)
        if new and not known.conflict:
            self.fates[known.key, known.id] = (fate, pace, told)

    def _mark(self, user: int, number: str, fate: str) -> None:
        """A read mark and its fate, of which the model hears nothing: it must change nothing that the model knows."""
        key, before = self._key(number, user), self.heard
        self.marked += 1
        id_ = f"m{self.marked}"
        self._play(key, SendRequested(
            event_id=id_, at_ms=self.now, request_id=id_, phone_number_id=number, user=self.setting.users[user],
            type="read_mark", message=msgspec.Raw(b"{}"), digest=id_, marks="wamid.in",
        ))  # fmt: skip
        answer = decision(next(e for e in self._said_since(before) if e.request_id == id_))
        assert answer.reason in NEEDED_OF_A_MARK
        assert (answer.outcome == "allow") == (answer.reason == "ok")
        command = f"{id_}#1"
        heard: dict[str, ConversationEvent] = {
            "accepted": SendAccepted(event_id="a", at_ms=self.now, command_id=command, wamid="", user=""),
            "refused": SendFailed(
                event_id="f", at_ms=self.now, command_id=command, origin="meta", reason="x", retryable=False
            ),
            "uncertain": SendUncertain(event_id="u", at_ms=self.now, command_id=command, cause="timeout"),
        }
        if fate in heard:
            self._play(key, heard[fate])
            steps = [event.event for event in self._said_since(before) if event.request_id == id_]
            ends = ["accepted" if fate == "accepted" else "failed"]
            assert steps == ["decided", *(ends if answer.outcome == "allow" else [])]

    def _hear(self, n: int, what: str, late: int, told: Any) -> None:
        asks = [a for a in self.naive.asks if not a.conflict]
        for message in self.naive.messages:
            if asks and message.asked is asks[n % len(asks)]:
                self._word(message, what, late, told)

    def _cancel(self, n: int) -> None:
        asks = [a for a in self.naive.asks if not a.conflict]
        if not asks or asks[n % len(asks)].dry:
            return
        ask = asks[n % len(asks)]
        event = CancelRequested(
            event_id="c", at_ms=self.now, request_id=ask.id, phone_number_id=ask.number, user=ask.user
        )
        out = self._play(ask.key, event)
        what = self.naive.cancel(ask, self.now)
        assert len(out) == (what != "called back before")
        if what == "waited":
            assert out[0].id == f"{ask.id}#{len(self.naive.attempts(ask)) + 1}:decided"
        elif what == "called back":
            assert out[0].type == "CancelMessage"

    def _webhooks(self, come: bool) -> None:
        self.webhooks = come

    def _settle(self, n: int, verdict: Any) -> None:
        """An operator settles a message; of which somebody knows, nothing comes of it."""
        if self.naive.messages:
            message = self.naive.messages[n % len(self.naive.messages)]
            ask = message.asked
            self._play(ask.key, UncertainSettled(
                event_id="s", at_ms=self.now, phone_number_id=ask.number, user=ask.user,
                command_id=f"{ask.id}#{message.attempt}", verdict=verdict, by="Mia",
            ))  # fmt: skip
            self.naive.settle(message, verdict, self.now)

    def _again(self, n: int) -> None:
        """A record comes twice: it says nothing new, and moves nothing."""
        if n >= len(self.world.log):
            return
        record = self.world.log[-1 - n]
        if isinstance(record.event, UncertainSettled):
            return  # said before anybody was uncertain, it has something to say now
        if isinstance(record.event, CancelRequested) and self._sent_again(
            record.key, record.event.request_id
        ):
            return  # so has this, said before there was another attempt
        if record.now_ms + DAY <= self.now:
            return  # a day later an answer is repeated in short: see test_requests.py
        states, timers, places = self.world.states.copy(), self.world.timers.copy(), self.places()
        self._play(record.key, record.event)
        assert (self.world.states, self.world.timers, self.places()) == (states, timers, places)

    def _sent_again(self, key: str, request_id: str) -> bool:
        return any(
            m.attempt > 1 for m in self.naive.messages if (m.asked.key, m.asked.id) == (key, request_id)
        )

    def _prefer(self, user: int, number: str, out: bool, late: int) -> None:
        key, at = self._key(number, user), self.now - late
        self._play(key, PreferenceChanged(
            event_id="p", at_ms=at, phone_number_id=number, user=self.setting.users[user], opted_out=out
        ))  # fmt: skip
        self.naive.talk(key).preferences.append((at, out))

    def _verify(self, user: int, number: str) -> None:
        key = self._key(number, user)
        self._play(key, ReceiverVerified(
            event_id="v", at_ms=self.now, phone_number_id=number, user=self.setting.users[user]
        ))  # fmt: skip
        self.naive.talk(key).verified = True

    def _know(self, waba: str, what: Any, which: Any, then: Any) -> None:
        """An account fact: at set-up as given, later the `what`th of the changes, `which` late, of the template `then`."""
        if isinstance(what, str):
            self._set(self.now, waba, what, which, then)
            return
        at, template = self.now - which, f"{then}/en"
        number = "N1" if waba == "W1" else "N3"
        if what < 7:
            account: list[dict[str, Any]] = [
                {"payment_method": "valid"}, {"payment_method": "missing"},
                {"payment_method": "failing", "payment_failing_until_ms": at + 6 * HOUR},
                {"messaging_limit": self.setting.limit + 1 if self.setting.limit > 0 else 2},
                {"messaging_limit": 1}, {"paused": True}, {"paused": False},
            ]  # fmt: skip
            self._set(at, waba, "account", waba, account[what])
        elif what < 12:
            status = ["APPROVED", "PAUSED", "DISABLED", "PENDING", "FLAGGED"][what - 7]
            self._webhook(at, waba, "message_template_status_update", {"event": status, **_named(then)})
            self.naive.know(at, waba, template, status=status)
        elif what < 14:
            category = ["MARKETING", "UTILITY"][what - 12]
            self._webhook(at, waba, "template_category_update", {"new_category": category, **_named(then)})
            self.naive.know(at, waba, template, category=category.lower())
        else:
            self._set(at, waba, "number", number, {"status": ["RESTRICTED", "CONNECTED"][what - 14]})

    # --- how they are played

    def _set(self, at: int, waba: str, subject: Any, id_: str, fields: dict[str, Any]) -> None:
        self.world.know(
            AccountChanged(event_id="x", at_ms=at, waba_id=waba, subject=subject, id=id_, fields=fields)
        )
        self.naive.know(at, waba, id_, **fields)

    def _webhook(self, at: int, waba: str, field_: str, value: dict[str, Any]) -> None:
        raw = msgspec.Raw(msgspec.json.encode(value))
        self.world.know(AccountWebhook(event_id="x", at_ms=at, waba_id=waba, field=field_, value=raw))

    def _word(self, message: Sent, what: str, late: int, told: Any) -> None:
        """The sender's or Meta's word on a message, about a time up to `late` ago."""
        ask = message.asked
        if self.now > message.at + FORGOTTEN:
            return
        code = {"opted out": 131050, "capped": 131049}.get(what)
        retry = self.now + 10 * MINUTE if what == "syncing" else None
        what = "failed" if code else "refused" if retry else what
        command, wamid = f"{ask.id}#{message.attempt}", f"wamid.{ask.key}.{ask.id}.{message.at}"
        at, conversation, meta = self.now, None, None
        event: ConversationEvent
        if what == "accepted":
            event = SendAccepted(event_id="a", at_ms=at, command_id=command, wamid=wamid, user=ask.user)
        elif what == "refused":
            event = SendFailed(
                event_id="f", at_ms=at, command_id=command, origin="meta", reason="x", retryable=False, retry_ms=retry
            )  # fmt: skip
        elif what == "cancelled":
            event = SendFailed(
                event_id="f", at_ms=at, command_id=command, origin="policy", reason=what, retryable=False
            )
        elif what == "uncertain":
            event = SendUncertain(event_id="u", at_ms=at, command_id=command, cause="timeout")
        else:
            at = max(self.now - late, message.at)
            retry = at + DAY if code == 131049 else None
            if told is not None:
                meta = self._metas(ask.key, told, at, tells=what == "sent")
                conversation = MetaConversation(meta.id, expires_ms=meta.until)
            event = StatusReceived(
                event_id=what, at_ms=at, received_ms=self.now, phone_number_id=ask.number, user=ask.user,
                wamid=wamid, status=what, meta=msgspec.Raw(b"{}"), command_id=command, error_code=code,
                conversation=conversation, waba_id=ask.waba,
            )  # fmt: skip
        self._play(ask.key, event)
        self.naive.hear(what, message, at, meta, code, retry)

    def _metas(self, key: str, told: tuple[int, int], at: int, *, tells: bool) -> Told:
        """The `n`th of Meta's conversations with a user, or, once it is over, another; Meta says of each the same end, with `sent`."""
        n, hours = told
        while (end := self.ends.setdefault((key, n), at + hours * HOUR)) <= at:
            n += 10
        return Told(f"meta-{key}-{n}", end if tells else None)

    def _play(self, key: str, event: ConversationEvent) -> Any:
        out = self.world.play(key, event, self.now)
        self._listen()
        return out

    def _tick(self) -> None:
        self.world.fire(self.now)
        self._listen()
        self.naive.tick(self.now)

    def _listen(self) -> None:
        """Take in what the router says now: what it said before it may only say again byte for byte."""
        for out in self.world.out[self.heard :]:
            known = self.said.setdefault((out.key, out.id), out.value)
            if out.topic is SEND_COMMANDS:
                self.commanded += out.type == "SendMessage" and decode_command(out.value).marks is None
            elif out.topic is SEND_EVENTS:
                event = decode_send_event(out.value)
                old = len(self.told.get((out.key, event.request_id or ""), []))
                if known is not out.value:
                    assert _in_short(known) == _in_short(out.value), (known, out.value)
                elif event.charge is not None:
                    self.charged.append(charge_of(event.charge))
                elif event.event == "resent":
                    self.resent.setdefault((out.key, event.request_id or ""), []).append(told(event))
                elif event.decision is not None and "!" not in out.id:
                    self.told.setdefault((out.key, event.request_id or ""), []).append(event)
                    before = self.told[out.key, event.request_id or ""][old - 1 : old]
                    assert not any(map(_final, before)) or event.decision.reason == "refused_for_now"
        self.heard = len(self.world.out)

    def _said_since(self, start: int) -> list[SendEvent]:
        return [decode_send_event(o.value) for o in self.world.out[start:] if o.topic is SEND_EVENTS]

    def _commands(self) -> None:
        """Let what the business asked for have its fate."""
        for message in self.naive.messages:
            if message.attempt > 1 and all(known is not message for known in self.fated):
                self.fated.append(message)
                self.fates[message.asked.key, message.asked.id] = (
                    FATES[len(self.fated) % len(FATES)],
                    60_000,
                    None,
                )
            if message.attempt < len(self.naive.attempts(message.asked)):
                continue
            fate = self.fates.pop((message.asked.key, message.asked.id), None)
            if fate is not None:
                for n, what in enumerate(fate[0].split()):
                    heapq.heappush(
                        self.coming,
                        (self.now + fate[1] * (n + 1), next(self.order), message, what, fate[2]),
                    )

    def _key(self, number: str, user: int) -> str:
        return f"{number}:{self.setting.users[user]}"

    def _hint(self, ask: Ask) -> int | None:
        events = self.told.get((ask.key, ask.id), [])
        if len(events) <= len(ask.tellings):
            return None
        text = decision(events[len(ask.tellings)]).not_before_at
        until = None if text is None else ms(text)
        places = {m.place for m in self.naive.messages if m.place is not None}
        assert until is None or until in places, "a place is only promised for when one is free"
        return until

    def places(self) -> dict[str, dict[str, int]]:
        """Who holds what now, of every limit."""
        return places_of(self.world, self.now)

    # --- what must agree

    def _compare(self) -> None:
        """Every answer, every command, and what is held of every limit."""
        self._tick()
        for ask in self.naive.asks:
            if not ask.conflict:
                said = [told(e) for e in self.told.get((ask.key, ask.id), [])]
                assert said == ask.tellings, ask.id
                assert self.resent.get((ask.key, ask.id), []) == ask.resent, ask.id
        assert self.commanded == len(self.naive.messages), (
            "one command for each that is allowed, and no other"
        )
        doubtful = {
            (m.asked.key, m.asked.id, m.attempt, m.deadline) for m in self.naive.messages if m.doubtful
        }
        assert {
            (f"{found.phone_number_id}:{found.user}", found.request_id, found.attempt, look)
            for member, look in self.world.uncertain.items()
            for found in [of_member(member.encode())]
        } == doubtful
        held = self.places()
        users = set(held.pop("tier:P", {}))
        assert users == self.naive.tier_users(self.now)
        limits = [value for _, _, _, name, value in self.naive.facts if name == "messaging_limit"]
        assert -1 in limits or len(users) <= max(limits)
        for scope, members in held.items():
            kind, owner, *rest = scope.split(":")
            if kind == "free":
                assert len(members) == len(self.naive.free_holders(owner, rest[0])), scope
                assert len(members) <= self.setting.free_units, scope
            else:
                category = None if rest[0] == "all" else rest[0]
                assert sum(members.values()) == self.naive.spent(owner, rest[1], category), scope

    def agree(self) -> None:
        """Once nothing waits any more: each request has one final answer, and the steps and charges of every message are the model's."""
        self.pass_(2 * DAY)
        self._compare()
        for ask in self.naive.asks:
            outcomes = [telling.outcome for telling in ask.tellings]
            over = [t.outcome for t, then in pairwise(ask.tellings) if then.reason != "refused_for_now"]
            assert ask.dry or ("defer" not in outcomes[-1:] and set(over) <= {"defer"}), ask
        events = self._said_since(0)
        for message in self.naive.messages:
            ask = message.asked
            mine = {
                e.event_id: e for e in events
                if e.request_id == ask.id and f"{e.phone_number_id}:{_user_of(e)}" == ask.key
            }  # fmt: skip
            steps = [e.event for e in mine.values() if e.event != "decided"]
            assert steps == message.steps, ask
            charges = [charge_of(e.charge) for e in mine.values() if e.charge is not None]
            assert charges == ask.charges, ask
            seqs = [e.seq for e in mine.values() if "!" not in e.event_id]
            assert sorted(set(seqs)) == seqs, ask


def charge_of(said: ChargePredicted) -> Charge:
    """A charge in the model's words."""
    price = Price(said.regime, said.rate_card, said.market, said.type, said.amount_micros)
    return Charge(said.counted, said.category, said.month, price)


def places_of(world: World, now: int) -> dict[str, dict[str, int]]:
    """Member and weight of what is held of each limit in use."""
    held = {
        name: {member: place.weight for member, place in scope.places.items() if place.until > now}
        for name, scope in world.claims.scopes.items()
    }
    return {name: members for name, members in held.items() if members}


def tally(charges: Iterable[Charge]) -> dict[tuple[str, bool], tuple[int, int]]:
    """Count and millionths by category, and free or paid."""
    counted: Counter[tuple[str, bool]] = Counter()
    micros: Counter[tuple[str, bool]] = Counter()
    for charge in charges:
        row = charge.category, charge.price.type != "regular"
        counted[row] += charge.counted
        micros[row] += charge.price.micros or 0
    return {row: (counted[row], micros[row]) for row in counted}


def _named(template: str) -> dict[str, str]:
    return {"message_template_name": template, "message_template_language": "en"}


def decision(event: SendEvent) -> Decision:
    assert event.decision is not None
    return event.decision


def _final(event: SendEvent) -> bool:
    return decision(event).final


def _user_of(event: SendEvent) -> str:
    return "" if event.user is None else event.user.user_id or event.user.bsuid or ""


def _in_short(value: bytes) -> tuple[Any, ...]:
    event = decode_send_event(value)
    if event.decision is None:
        return (value,)
    return (event.event_id, event.decision.outcome, event.decision.reason)


def told(event: SendEvent) -> Telling:
    """An answer in the model's words."""
    said = decision(event)
    price = said.price
    return Telling(
        at=ms(event.at),
        outcome=said.outcome,
        reason=said.reason,
        category=said.category,
        action=None if said.conversation is None else said.conversation.action,
        price=None
        if price is None
        else Price(price.regime, price.rate_card, price.market, price.type, price.amount_micros),
        tier_used=None if said.tier is None else said.tier.used,
        free_left=said.free_left,
        not_before=None if said.not_before_at is None else ms(said.not_before_at),
    )
