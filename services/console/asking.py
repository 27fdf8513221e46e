"""Asks Meta about one account: three questions, one after the other, until one is not answered."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from services.console.graph import Reply
from services.console.meta_facts import ACCOUNT_FIELDS, NUMBER_FIELDS, TEMPLATE_FIELDS
from services.console.polled import Asked, Snapshot
from shared.account_tokens import credentials_of
from shared.accounts import AccountFacts
from shared.clock import Clock
from shared.graph_calls import GraphFailure
from shared.tokens import Credentials, Tokens


class Meta(Protocol):
    """Who answers about accounts; every call raises GraphFailure where it gives nothing."""

    async def account(self, waba_id: str, fields: Iterable[str], credentials: Credentials) -> Reply: ...
    async def numbers(self, waba_id: str, fields: Iterable[str], credentials: Credentials) -> Reply: ...
    async def templates(self, waba_id: str, fields: Iterable[str], credentials: Credentials) -> Reply: ...


@dataclass(frozen=True, slots=True)
class Answers:
    """What Meta said, why it said no more, and how much of the account's hourly allowance is used."""

    snapshot: Snapshot
    failure: GraphFailure | None
    used_percent: float
    regain_s: float | None


async def ask(meta: Meta, tokens: Tokens, facts: AccountFacts, waba_id: str, clock: Clock) -> Answers:
    """Ask about account, numbers and templates; what was answered before a failure counts. Raises NoToken."""
    reference, credentials = credentials_of(facts, waba_id, tokens)
    questions: tuple[
        tuple[Callable[[str, Iterable[str], Credentials], Awaitable[Reply]], tuple[str, ...]], ...
    ] = (
        (meta.account, ACCOUNT_FIELDS),
        (meta.numbers, NUMBER_FIELDS),
        (meta.templates, TEMPLATE_FIELDS),
    )
    asked: list[Asked | None] = []
    failure, used, regain_s = None, 0.0, None
    for question, fields in questions:
        at_ms = int(clock.time() * 1000)
        try:
            reply = await question(waba_id, fields, credentials)
        except GraphFailure as error:
            failure = error
            break
        asked.append(Asked(at_ms, reply.nodes))
        used, regain_s = max(used, reply.used_percent), reply.regain_s or regain_s
    asked += [None] * (len(questions) - len(asked))
    return Answers(Snapshot(waba_id, reference, *asked), failure, used, regain_s)
