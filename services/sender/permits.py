"""Whether a call may start, and what its answer means for the next ones: breakers, congestion and usage, with the account's facts and its token.

The dispatch asks `may_go` before it claims a command, `room` for how many it may claim, and `admit` in the very moment of the call; after every admitted
call it says what came of it (`heard`). All of it is memory; nothing waits.
"""

from collections.abc import Callable
from typing import Protocol

import structlog

from services.sender import request
from services.sender.answers import Accepted, Answer, NotSent, Refused
from services.sender.breakers import Breakers, BreakerScope, Part, Reason, SilenceReason
from services.sender.congestion import Congestion
from services.sender.judge import Again, End, Opens
from services.sender.usage import UsageBook, UsageScope
from shared.accounts import AccountFacts
from shared.events import SendMessage
from shared.graph_answers import Usage
from shared.tokens import Credentials

log = structlog.get_logger(__name__)


class TokensPort(Protocol):
    """Where access tokens are found by reference."""

    def get(self, reference: str) -> Credentials | None: ...


class Permits:
    """Of one sender process."""

    def __init__(
        self, facts: Callable[[], AccountFacts], tokens: TokensPort, now_ms: Callable[[], int]
    ) -> None:
        self._facts = facts
        self._tokens = tokens
        self._now_ms = now_ms
        self._breakers = Breakers()
        self._congestion = Congestion()
        self._usage = UsageBook()

    # --- before a call

    def may_go(self, command: SendMessage) -> bool:
        """Whether a command may be claimed now: nothing that it concerns is held back, and its priority may use what is left of the allowance."""
        if self._usage.any:
            reference = self.reference(command.phone_number_id)
            if not self._usage.may_go(command.waba_id, reference, command.priority, self._now_ms()):
                return False
        return not (self._breakers.any and self._breakers.hold(self._way(command), self._now_ms()))

    def template_waits_until(self, command: SendMessage) -> int | None:
        """When the pause of the command's template is over, in epoch ms; None when it has none."""
        template = request.template_of(command) if self._breakers.any else None
        return None if template is None else self._breakers.ends_ms(("template", template), self._now_ms())

    def room(self, phone_number_id: str) -> int:
        """How many calls of the number may start now."""
        return self._congestion.room(phone_number_id)

    def admit(self, command: SendMessage) -> bool:
        """Let the call start, at once; False when something holds it after all. Every admitted call ends with `heard`."""
        if self.room(command.phone_number_id) < 1:
            return False
        if self._breakers.any and not self._breakers.admit(
            self._way(command), self._now_ms(), command.command_id
        ):
            return False
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
        if isinstance(answer, NotSent):
            self._congestion.returned(number)
            for part in self._breakers.unreachable(self._way(command), self._now_ms(), id):
                _tell(part, "unreachable", command)
            return
        if judgement.silent:
            self._congestion.silent(number)
            reason: SilenceReason = "unreachable" if judgement.label == "unreachable" else "no_answer"
            for part in self._breakers.silent(self._way(command), self._now_ms(), id, reason):
                _tell(part, reason, command)
            return
        self._congestion.answered(number)
        if judgement.opens is not None:
            self._open(command, judgement.opens, credentials)
        if self._breakers.any:
            self._breakers.answered(self._way(command), id)
        if isinstance(answer, (Accepted, Refused)) and answer.usage is not None:
            self._note(command, answer.usage, credentials)

    def _open(self, command: SendMessage, opens: Opens, credentials: Credentials | None) -> None:
        way = self._way_with(command, credentials)
        template = request.template_of(command) if opens.scope == "template" else None
        if template is not None:
            part = Part("template", template)
        else:
            part = next((part for part in way if part.scope == opens.scope), way[-1])
        self._breakers.open(part, opens.reason, self._now_ms(), opens.wait_ms)
        _tell(part, opens.reason, command)

    def _note(self, command: SendMessage, usage: Usage, credentials: Credentials | None) -> None:
        now_ms = self._now_ms()
        if usage.app_percent is not None:
            self._usage.note("app", self.reference(command.phone_number_id), usage.app_percent, now_ms)
        if usage.account_percent is not None:
            self._usage.note("waba", command.waba_id, usage.account_percent, now_ms)
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

    def _way(self, command: SendMessage) -> list[Part]:
        """The parts of a call that is made now."""
        return self._way_with(command, self._tokens.get(self.reference(command.phone_number_id)))

    def _way_with(self, command: SendMessage, credentials: Credentials | None) -> list[Part]:
        """The parts of a call, from the widest to the narrowest. An account is held back together with its token: with another one it may do."""
        facts, number, waba = self._facts(), command.phone_number_id, command.waba_id
        reference = self.reference(number)
        return [
            Part("platform", ""),
            Part("app", reference, (credentials,)),
            Part("waba", f"{waba}/{reference}", (facts.account(waba), credentials)),
            Part("phone_number", number, (facts.number(number), credentials)),
        ]


def _tell(part: Part, reason: Reason, command: SendMessage) -> None:
    log.warning(
        "circuit_opened",
        scope=part.scope,
        reason=reason,
        phone_number_id=command.phone_number_id,
        waba_id=command.waba_id,
    )
