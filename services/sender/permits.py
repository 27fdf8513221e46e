"""Whether a call may start, and what its answer means for the next ones: breakers, congestion and usage, with the account's facts and its token.

The dispatch asks `held` and `waits_until` before it claims a command, `room` for how many it may claim, and `admit` in the very moment of the call; after every admitted
call it says what came of it (`heard`). All of it is memory; nothing waits.
"""

from collections.abc import Callable
from typing import Any, Literal, Protocol

import structlog
from msgspec.structs import replace

from services.sender import request
from services.sender.answers import Accepted, Answer, NotSent, Refused
from services.sender.breakers import (
    PROBE_FIRST_MS,
    Breakers,
    BreakerScope,
    Part,
    Reason,
    SilenceReason,
)
from services.sender.congestion import Congestion
from services.sender.judge import Again, End, Opens
from services.sender.standing import Standing, Standings, Told, account_of
from services.sender.usage import UsageBook, UsageScope
from shared.accounts import Account, AccountFacts, Number
from shared.error_table import ErrorTable
from shared.events import SendMessage
from shared.graph_answers import Usage
from shared.tokens import Credentials

log = structlog.get_logger(__name__)


class TokensPort(Protocol):
    """Where access tokens are found by reference."""

    def get(self, reference: str) -> Credentials | None: ...


LOOK_AGAIN_MS, EACH_MS = 60_000, 5
"""What waits for its template is looked at again after so long, and after so long for each that waits: the pause may have been lifted."""


class Permits:
    """Of one sender process."""

    def __init__(
        self,
        facts: Callable[[], AccountFacts],
        tokens: TokensPort,
        table: ErrorTable,
        now_ms: Callable[[], int],
    ) -> None:
        self._facts = facts
        self._tokens = tokens
        self._table = table
        self._now_ms = now_ms
        self._standings = Standings(facts, now_ms)
        self._heeded: dict[tuple[str, str], Told] = {}
        """The last that was told of an account with its token, or of a number."""
        self._tried: dict[str, list[Part]] = {}
        """Command id → its call's way as it was when it left: while there are circuits."""
        self._breakers = Breakers()
        self._congestion = Congestion()
        self._usage = UsageBook()

    # --- before a call

    def held(self, command: SendMessage) -> Literal["number", "category"] | None:
        """What of the command may not be claimed now, if anything: all that its number sends, or what is of its category."""
        standing = self._standings.of(command)
        if standing.told:
            self._heed(command, standing)
        if standing.stopped:
            return "number"
        if _in_held_category(command, standing):
            return "category"
        if self._usage.any:
            reference = self.reference(command.phone_number_id)
            if not self._usage.may_go(
                account_of(command, self._facts()), reference, command.priority, self._now_ms()
            ):
                return "category"
        open_ = self._breakers.any and self._breakers.hold(self._way(command), self._now_ms())
        return "number" if open_ else None

    def category_held(self, command: SendMessage) -> bool:
        """Whether the facts hold back what is of the command's category, and other messages of its number may go."""
        return _in_held_category(command, self._standings.of(command))

    def waits_until(self, command: SendMessage, waiting: int = 0) -> int | None:
        """When a command whose template is paused is to be looked at again, in epoch ms, where so many wait like it; None when it may go."""
        paused = self._standings.paused_templates
        template = request.template_of(command) if paused or self._breakers.any else None
        if template is None:
            return None
        now_ms = self._now_ms()
        again_ms = self.look_again_ms(waiting)
        ends_ms = self._breakers.ends_ms(self._template(command, template), now_ms) or 0
        if template in paused:
            until_ms = paused[template]
            ends_ms = max(ends_ms, again_ms if until_ms is None else until_ms)
        return min(ends_ms, again_ms) if ends_ms > now_ms else None

    def look_again_ms(self, waiting: int) -> int:
        """When what is set aside is looked at again, in epoch ms, where so many are."""
        return self._now_ms() + max(LOOK_AGAIN_MS, EACH_MS * waiting)

    def room(self, phone_number_id: str) -> int:
        """How many calls of the number may start now."""
        return self._congestion.room(phone_number_id)

    def admit(self, command: SendMessage) -> bool:
        """Let the call start, at once; False when something holds it after all. Every admitted call ends with `heard`."""
        if self.room(command.phone_number_id) < 1:
            return False
        if self._breakers.any:
            way = self._way(command)
            if not self._breakers.admit(way, self._now_ms(), command.command_id):
                return False
            self._tried[command.command_id] = way
        self._congestion.begin(command.phone_number_id)
        return True

    # --- after it

    def heard(
        self, command: SendMessage, answer: Answer, judgement: End | Again, credentials: Credentials | None
    ) -> None:
        """Open and close circuits, widen and narrow windows, note the usage.

        A circuit is about the credentials that the call was made with: others may have come while it was on its way.
        """
        number, id = command.phone_number_id, command.command_id
        way = self._tried.pop(id, None)
        if isinstance(answer, NotSent):
            self._congestion.returned(number)
            way = way or self._way(command)
            if answer.reached:
                self._breakers.untried(way, id)
                return
            for part in self._breakers.unreachable(way, self._now_ms(), id):
                _tell(part, "unreachable", command)
            return
        if judgement.silent:
            self._congestion.silent(number)
            reason: SilenceReason = "unreachable" if judgement.label == "unreachable" else "no_answer"
            for part in self._breakers.silent(way or self._way(command), self._now_ms(), id, reason):
                _tell(part, reason, command)
            return
        self._congestion.answered(number)
        if judgement.opens is not None:
            self._open(command, judgement.opens, credentials)
        if self._breakers.any:
            self._breakers.answered(way or self._way(command), self._now_ms(), id)
        if isinstance(answer, (Accepted, Refused)) and answer.usage is not None:
            self._note(command, answer.usage, credentials)

    def _open(
        self, command: SendMessage, opens: Opens, credentials: Credentials | None, *, told: bool = False
    ) -> None:
        way = self._way_with(command, credentials)
        template = request.template_of(command) if opens.scope == "template" else None
        if template is not None:
            part = self._template(command, template)
        else:
            part = next((part for part in way if part.scope == opens.scope), way[-1])
        self._breakers.open(part, opens.reason, self._now_ms(), opens.wait_ms, told=told)
        _tell(part, opens.reason, command)

    def _heed(self, command: SendMessage, standing: Standing) -> None:
        """Hold back what Meta's statuses have told of as its answers would, unless that is over."""
        now_ms = self._now_ms()
        for one in standing.told:
            waba = f"{account_of(command, self._facts())}/{standing.token}"
            key = (one.scope, waba if one.scope == "waba" else command.phone_number_id)
            if self._heeded.get(key) == one:
                continue
            self._heeded[key] = one
            verdict = self._table.verdict(one.code, None, 1)
            wait_ms = PROBE_FIRST_MS if verdict.delay_s is None else round(verdict.delay_s * 1000)
            left_ms = one.at_ms + wait_ms - now_ms
            if left_ms > 0:
                known_end = verdict.delay_s is not None
                opens = Opens(one.scope, verdict.label, left_ms if known_end else None)
                self._open(command, opens, self._tokens.get(standing.token), told=True)

    def _note(self, command: SendMessage, usage: Usage, credentials: Credentials | None) -> None:
        now_ms = self._now_ms()
        if usage.app_percent is not None:
            self._usage.note("app", self.reference(command.phone_number_id), usage.app_percent, now_ms)
        if usage.account_percent is not None:
            self._usage.note("waba", account_of(command, self._facts()), usage.account_percent, now_ms)
        if usage.regain_s is not None:
            self._open(command, Opens("waba", "rate_waba", round(usage.regain_s * 1000)), credentials)

    # --- for people

    def open_circuits(self, scope: BreakerScope, reason: str) -> int:
        """How many circuits hold calls back."""
        return self._breakers.count(scope, reason, self._now_ms())

    def usage(self, scope: UsageScope) -> float:
        """The highest usage of an app or account, in percent."""
        return self._usage.worst(scope, self._now_ms())

    # --- what a call concerns

    def reference(self, phone_number_id: str) -> str:
        """Which token the number sends with."""
        number = self._facts().number(phone_number_id)
        return number.token if number is not None else "default"

    def _template(self, command: SendMessage, template: str) -> Part:
        _, name, language = template.split("/", 2)
        return Part("template", template, self._facts().template(command.waba_id, name, language))

    def _way(self, command: SendMessage) -> list[Part]:
        """The parts of a call that is made now."""
        return self._way_with(command, self._tokens.get(self.reference(command.phone_number_id)))

    def _way_with(self, command: SendMessage, credentials: Credentials | None) -> list[Part]:
        """The parts of a call, from the widest to the narrowest. An account is held back together with its token: with another one it may do."""
        facts, number = self._facts(), command.phone_number_id
        waba = account_of(command, facts)
        reference = self.reference(number)
        return [
            Part("platform", ""),
            Part("app", reference, (credentials,)),
            Part("waba", f"{waba}/{reference}", (_but_refused(facts.account(waba)), credentials)),
            Part("phone_number", number, (_but_refused(facts.number(number)), credentials)),
        ]


def _but_refused(known: Account | Number | None) -> Any:
    """The facts as far as a change of them may end a trouble: a refusal told once more does not, only that it is told no more."""
    return None if known is None else (replace(known, refused=None), known.refused is None)


def _in_held_category(command: SendMessage, standing: Standing) -> bool:
    return command.category in standing.categories and command.marks is None


def _tell(part: Part, reason: Reason, command: SendMessage) -> None:
    log.warning(
        "circuit_opened",
        scope=part.scope,
        reason=reason,
        phone_number_id=command.phone_number_id,
        waba_id=command.waba_id,
    )
