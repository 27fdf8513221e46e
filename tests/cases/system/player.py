"""Plays cases through a running system, all at once: one agenda by absolute time, at each instant every step that is due.

The clock stands at the instant while its steps are played and all that they cause comes to rest; so nothing depends on how fast the
machine is, and a millisecond before a window's end is a millisecond.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import assert_never

from deploy.local.demo.business import Missing
from services.router.announce import LONGEST_WAIT_MS
from shared.events import ReceivedMessage, SendEvent, UserPreference
from tests.cases import accounts, told
from tests.cases.actions import (
    Asking,
    Call,
    Cancel,
    Facts,
    Import,
    MetaHolds,
    MetaLetsGo,
    Pause,
    Pay,
    Prefer,
    Receive,
    Resume,
    Send,
    Settle,
    Telling,
    Verify,
    Webhook,
)
from tests.cases.expectations import Answer, Expect, Totals, answer_to, compare, compare_later
from tests.cases.form import Case, Step
from tests.cases.names import Names
from tests.cases.player import Played
from tests.cases.pure import error_table
from tests.cases.system.outside import Outside

Moved = Callable[[int, int, int], None]
"""Told at each instant: which one of how many, and its time in epoch ms."""


class SystemPlayer:
    """Plays cases that can't touch each other: each has accounts, numbers and users of its own."""

    def __init__(self, outside: Outside, moved: Moved = lambda *_: None) -> None:
        self._outside = outside
        self._moved = moved

    async def play(self, cases: Sequence[Case], done: Callable[[Played], None]) -> list[Played]:
        """As `Player.play`; what is counted at the end is compared once all cases are over.

        Raises:
            Missing: the system does not come to rest.
            StackError: a service has ended.
        """
        runs = [_Run(Names(case, index), self._outside) for index, case in enumerate(cases, 1)]
        instants = sorted(frozenset().union(*(case.instants for case in cases)))
        for nth, at_ms in enumerate(instants, 1):
            self._moved(nth, len(instants), at_ms)
            await self._outside.move_to(at_ms)
            await _begin([run.names for run in runs if run.names.case.start_ms == at_ms], self._outside)
            await asyncio.gather(*(run.play_at(at_ms) for run in runs))
            await self._outside.at_rest()
        while (due_ms := await self._outside.next_due_ms()) is not None:
            await self._outside.move_to(due_ms)
        await self._outside.counted()
        ledger = await self._outside.meta("GET", "/sim/ledger?commands=0")
        calls = Counter[str](call["phone_number_id"] for call in ledger["calls"])
        marks = Counter[str](mark["phone_number_id"] for mark in ledger["marks"])
        for run in runs:
            await run.end(calls, marks)
            done(run.played)
        return [run.played for run in runs]


async def _begin(starting: Sequence[Names], outside: Outside) -> None:
    """Set up the accounts of the cases that begin now, at Meta and in the system, and what was before."""
    if not starting:
        return
    wabas = [waba for names in starting for waba in accounts.meta_accounts(names)["wabas"]]
    await outside.meta("PUT", "/sim/accounts", {"wabas": wabas})
    await outside.set_facts([event for names in starting for event in accounts.facts(names)])
    await outside.take_places([claim for names in starting for claim in accounts.places_taken(names)])
    await outside.taken()
    for names in starting:
        for action in accounts.before(names.case):
            await _happen(names, action, outside)
    await outside.at_rest()


async def _happen(names: Names, action: Telling, outside: Outside) -> None:
    """Let something happen that nobody answers."""
    match action:
        case Receive():
            body = told.user_message(names, action, outside.now_ms())
            await outside.meta("POST", f"/sim/users/{names.wa_id(action.user)}/messages", body)
        case Call():
            body = {"to": names.number(action.to)}
            await outside.meta("POST", f"/sim/users/{names.wa_id(action.user)}/calls", body)
        case Prefer():
            body = {"to": names.number(action.to), "marketing": action.marketing}
            await outside.meta("POST", f"/sim/users/{names.wa_id(action.user)}/preferences", body)
        case Import():
            await outside.tell_preferences(told.words(names, action, outside.now_ms()))
        case Verify():
            await outside.verify(names.number(action.to), names.user(action.user))
        case Pay():
            waba, fields = names.account(action.account), {"payment_method": action.method}
            await outside.meta("PATCH", f"/sim/accounts/{waba}", fields)
            await outside.set_facts([accounts.paying(names, action, outside.now_ms())])
        case Facts():
            await outside.set_facts([accounts.changed(names, action, outside.now_ms())])
        case Pause() | Resume():
            await outside.pause(accounts.pausing(names, action))
        case Webhook():
            waba = names.account(action.account)
            body = {"waba_id": waba, "field": action.field, "value": action.value()}
            await outside.meta("POST", "/sim/webhooks", body)
        case Settle():
            await outside.settle(names.request(action.request_id), action.verdict, action.by)
        case MetaHolds():
            body = {"as": action.status, "waba_id": names.account(action.account)}
            await outside.meta("POST", f"/sim/templates/{action.template}/hold", body)
        case MetaLetsGo():
            body = {"drop_code": action.drop_code, "waba_id": names.account(action.account)}
            await outside.meta("POST", f"/sim/templates/{action.template}/let_go", body)
        case _:
            assert_never(action)
    await outside.taken()


class _Run:
    """One case being played."""

    def __init__(self, names: Names, outside: Outside) -> None:
        self.names = names
        self.played = Played(names.case)
        self._outside = outside
        self._next = 0

    async def play_at(self, at_ms: int) -> None:
        """Play the steps of this instant, one after the other."""
        steps = self.names.case.steps
        while self.played.error is None and self._next < len(steps) and steps[self._next].at_ms == at_ms:
            step, place = steps[self._next], self._next
            self._next += 1
            try:
                if isinstance(step.action, Asking):
                    await self._ask(place, step, step.action)
                else:
                    await _happen(self.names, step.action, self._outside)
            except Missing as missing:
                self.played.error = f"step {place + 1} (at {step.at}): {missing}"

    async def _ask(self, place: int, step: Step, action: Asking) -> None:
        names, outside = self.names, self._outside
        expect = step.expect or Expect()
        asks_default = expect.from_ is not None
        request_id = told.request_id_of(action, place)
        if isinstance(action, Cancel):
            body = told.cancellation(names, action)
        else:
            action = told.from_default(names.case, action, asks_default=asks_default)
            body = told.request(names, action, request_id)
            await self._instruct_meta(body["request_id"], step, action)
        of = request_id if expect.same_as is None else expect.same_as
        first = answer_to(outside.decisions(names.request(of)))
        if asks_default and "from" not in body:
            yes, no = (
                accounts.default_account(names, outside.now_ms(), is_default=default)
                for default in (True, False)
            )
            async with outside.default_being(yes, no):
                answer = await outside.ask(body)
        else:
            answer = await outside.ask(body)
        if not isinstance(answer.event, SendEvent):
            raise TypeError(f"no send event: {answer.event}")
        number = names.number_named(answer.event.phone_number_id)
        self.played.steps[place] = compare(expect, Answer(answer.event, answer.value, number, first))

    async def _instruct_meta(self, request_id: str, step: Step, send: Send) -> None:
        """Let Meta know how the message is to fare, whenever it goes out."""
        if (then := told.behaviour(send)) is not None:
            rule = {"match": {"command_id": request_id}, "then": then}
            await self._outside.meta("POST", "/sim/script", rule)
        if send.refused is not None and error_table().verdict(send.refused, 400, 1).action == "park":
            until_ms = step.at_ms + LONGEST_WAIT_MS
            self._outside.parked[request_id] = min(until_ms, send.expires_ms or until_ms)

    async def end(self, calls: Counter[str], marks: Counter[str]) -> None:
        """Compare what was counted."""
        if self.played.error is not None:
            return
        ends, names = self.names.case.ends, self.names
        for place, step in enumerate(names.case.steps):
            if step.later is not None and isinstance(step.action, Send):
                request_id = names.request(told.request_id_of(step.action, place))
                decided = self._outside.decisions(request_id)
                number = names.number_named(decided[0][0].phone_number_id) if decided else None
                self.played.steps.setdefault(place, []).extend(compare_later(step.later, decided, number))
        numbers = {names.number(number) for number in names.case.numbers}
        received = sum(
            isinstance(event, ReceivedMessage) and event.phone_number_id in numbers
            for event in self._outside.business.events()
        )
        tallies = {}
        if ends.tally is not None:
            tallies = {"tally of the ledger": self._ledger(), "tally over HTTP": await self._tallied()}
        words = [event for event in self._outside.business.events() if isinstance(event, UserPreference)]
        preferences = told.by_user(names, words)
        called, marked = (sum(counted[number] for number in numbers) for counted in (calls, marks))
        steps = told.steps_of(names, self._outside.business.send_events())
        totals = Totals(tallies, called, received, preferences, marked, steps)
        self.played.end = ends.compare(totals)

    def _ledger(self) -> dict[str, tuple[int, int]]:
        wabas = {self.names.account(name) for name in self.names.case.accounts}
        counted: Counter[tuple[str, bool]] = Counter()
        for entry in self._outside.business.ledger():
            if entry.waba_id in wabas:
                counted[entry.category, entry.free] += entry.counts
        categories = {category for category, _ in counted}
        return {category: (counted[category, True], counted[category, False]) for category in categories}

    async def _tallied(self) -> dict[str, tuple[int, int]]:
        free: Counter[str] = Counter()
        paid: Counter[str] = Counter()
        for waba, months in accounts.months(self.names).items():
            for month in sorted(months):
                tally = await self._outside.tallies.of_month(waba, month)
                for category, totals in tally.totals.items():
                    free[category] += totals.free
                    paid[category] += totals.paid
        return {category: (free[category], paid[category]) for category in free | paid}
