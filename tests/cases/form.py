"""The form of a file of cases: YAML in, checked cases out, or an error that names the case and the step. Pure but for `load`.

What a case may say is told in docs/cases.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, TypeGuard

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from services.router.announce import LONGEST_WAIT_MS
from services.router.requests import LOOK_AGAIN_MS
from services.simulator.template_parameters import definition_fault
from shared.template_definition import Shape
from shared.template_definition import read as read_definition
from shared.times import HOUR_MS, to_ms
from shared.uncertain import LOOK_AGAIN_MS as LOST_LOOK_AGAIN_MS
from shared.uncertain import WAIT_MS
from tests.cases.actions import ACTIONS, Asking, CategoryName, Happening, Send, Strict, moment_ms
from tests.cases.expectations import Ends, Expect, Later, Tally, Word

START: Final = "2026-11-02T12:00:00+00:00"
"""Where a case begins that does not say: well inside a month, after the last regime has begun."""
LETTERS: Final = "ABCDEFGH"
"""Users that every case has: real numbers of one market."""
UNRATED: Final = "unrated"
"""A user that every case has: a satellite telephone, of no country, so of no market."""
WATCHED_MS: Final = 4 * HOUR_MS
"""In a wait as short as this the clock stands at each look; in longer ones only at what the steps name, for each stand costs time."""
LANGUAGE: Final = "en"
"""Of all templates."""
TEMPLATES: Final = {"promo": "marketing", "order_update": "utility", "login_code": "authentication"}
"""Templates that every account has, approved, in English."""


class FormError(ValueError):
    """A file is not of the form; the text names the case and the step."""


class NumberSpec(Strict):
    """A number beside N1 and N2. `known` false: nobody ever set it up."""

    registered: bool = True
    status: str = "CONNECTED"
    paused: bool = False
    known: bool = True


class TemplateSpec(Strict):
    """A template beside those that every account has, or one of them in another form.

    Its definition is `components`, as Meta has them, or a `body` alone; without either nobody knows which parameters it needs.
    """

    category: str
    status: str = "APPROVED"
    paused: bool = False
    body: str | None = None
    components: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def definition(self) -> list[dict[str, Any]]:
        """Its components; empty where it is not known."""
        return ([] if self.body is None else [{"type": "BODY", "text": self.body}]) + self.components

    @property
    def shape(self) -> Shape | None:
        """What its messages must have."""
        return read_definition(self.definition) if self.definition else None

    @model_validator(mode="after")
    def _defined(self) -> "TemplateSpec":
        fault = definition_fault(self.definition)
        if fault is not None:
            raise ValueError(fault)
        _ = self.shape
        return self


class BudgetSpec(Strict):
    """The most that may be spent in a month, on one category or on all."""

    amount_micros: int
    category: CategoryName | None = None


class AccountSpec(Strict):
    """An account as the case begins. `…_used`: places that others took before, in the month and in the moving day."""

    payment_method: str = "valid"
    limit: int = 1000
    timezone: str = "UTC"
    currency: str = "USD"
    paused: bool = False
    status: str = "active"
    numbers: dict[str, NumberSpec] = Field(default_factory=dict)
    templates: dict[str, TemplateSpec] = Field(default_factory=dict)
    verified_receivers: list[str] = Field(default_factory=list)
    opted_out: list[str] = Field(default_factory=list)
    budgets: list[BudgetSpec] = Field(default_factory=list)
    marketing_reserve_percent: int = Field(0, ge=0, le=100)
    stop_words: dict[str, Literal["stop", "start", "ignore"]] = Field(default_factory=dict)
    paused_categories: list[CategoryName] = Field(default_factory=list)
    marketing_messages_api: bool = False
    marketing_on_cloud_api_disabled: bool = False
    free_used: int = 0
    free_used_by_number: dict[str, int] = Field(default_factory=dict)
    limit_used_by_others: int = 0


class _CaseBody(Strict):
    """A case as written, the file's defaults filled in; the account's fields may stand at the case itself."""

    name: str
    guide: str | None = None
    regime: str = "guide"
    waba: str = "W1"
    payment_method: str = "valid"
    limit: int = 1000
    timezone: str = "UTC"
    start: datetime = Field(default_factory=lambda: datetime.fromisoformat(START))
    account: dict[str, Any] = Field(default_factory=dict)
    accounts: dict[str, AccountSpec] = Field(default_factory=dict)
    users: dict[str, str] = Field(default_factory=dict)
    steps: list[dict[str, Any]] = Field(min_length=1)
    tally: Tally | None = None
    calls: int | None = None
    marks: int | None = None
    received: int | None = None
    preferences: dict[str, list[dict[str, Any]]] | None = None
    told: dict[str, list[str]] | None = None

    @field_validator("regime", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return str(value)

    @field_validator("start")
    @classmethod
    def _aware(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("a time needs an offset")
        return value


@dataclass(frozen=True)
class Step:
    """One step: when (epoch ms, and as written), what happens, and what must come of it: at once, and later of a request that waits."""

    at_ms: int
    at: str
    action: Happening
    expect: Expect | None
    later: Later | None = None

    @property
    def looks(self) -> Sequence[int]:
        """When the request that waits is decided, and before, where the wait is not long, looked at again, and a message whose call or answer was lost: the times in epoch ms."""
        if isinstance(self.action, Send) and self.action.lost is not None:
            first_ms = self.at_ms + WAIT_MS
            return (
                *range(first_ms, self.at_ms + LONGEST_WAIT_MS, LOST_LOOK_AGAIN_MS),
                self.at_ms + LONGEST_WAIT_MS,
            )
        if self.later is None:
            return ()
        near = (
            range(self.at_ms, self.later.at, LOOK_AGAIN_MS)
            if self.later.at - self.at_ms <= WATCHED_MS
            else ()
        )
        return (*near, self.later.at)


@dataclass(frozen=True)
class Case:
    """One case, checked. `accounts`: all of them, the first one's own numbers are N1 and N2; `numbers`: each with its account."""

    name: str
    guide: str | None
    regime: str
    start_ms: int
    accounts: Mapping[str, AccountSpec]
    numbers: Mapping[str, str]
    users: Mapping[str, str]
    steps: Sequence[Step]
    ends: Ends

    @property
    def account(self) -> AccountSpec:
        """The first account."""
        return next(iter(self.accounts.values()))

    @property
    def instants(self) -> frozenset[int]:
        """When something happens: the times (epoch ms) at which a clock must stand."""
        told = (step.at_ms + step.action.delivered_after_ms for step in self.steps if _fails(step.action))
        looks = (at_ms for step in self.steps for at_ms in step.looks)
        return frozenset((self.start_ms, *(step.at_ms for step in self.steps), *told, *looks))

    @property
    def answers(self) -> frozenset[tuple[str, str]]:
        """The outcomes that its steps expect, each with its reason; those of a request that had waited apart."""
        now = [answer for step in self.steps if step.expect is not None for answer in step.expect.answers]
        later = [answer for step in self.steps if step.later is not None for answer in step.later.answers]
        return frozenset((*now, *((f"later {outcome}", reason) for outcome, reason in later)))

    @property
    def reasons(self) -> frozenset[str]:
        """The reasons that its steps expect."""
        found = [
            expect.reasons
            for step in self.steps
            for expect in (step.expect, step.later)
            if expect is not None
        ]
        return frozenset().union(*found)


@cache
def load(path: Path) -> list[Case]:
    """Read a file of cases, once.

    Raises:
        FormError: it is not of the form.
        OSError: it can't be read.
    """
    return read(path.read_text("utf-8"))


def read(text: str) -> list[Case]:
    """Read cases from YAML. Raises FormError."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FormError(f"not YAML: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("cases"), list):
        raise FormError("a file of cases has `cases`, a list, and perhaps `defaults`")
    if unknown := set(document) - {"defaults", "cases"}:
        raise FormError(f"unknown: {', '.join(sorted(unknown))}; a file has `defaults` and `cases`")
    defaults = document.get("defaults") or {}
    cases = [_case(defaults, written, place) for place, written in enumerate(document["cases"], 1)]
    names = [case.name for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise FormError(f"two cases have the name {twice[0]!r}")
    return cases


def _case(defaults: dict[str, Any], written: object, place: int) -> Case:
    if not isinstance(written, dict):
        raise FormError(f"case {place} is no mapping")
    where = f"case {written.get('name', place)!r}"
    body = _checked(_CaseBody, {**defaults, **written}, where)
    inherited = {name: getattr(body, name) for name in ("payment_method", "limit", "timezone")}
    first = _checked(AccountSpec, {**inherited, **body.account}, f"{where}, account")
    accounts = {body.waba: first, **body.accounts}
    numbers = {"N1": body.waba, "N2": body.waba}
    numbers |= {number: waba for waba, account in accounts.items() for number in account.numbers}
    users = {**dict.fromkeys(LETTERS, ""), UNRATED: "", **body.users}
    start_ms = to_ms(body.start)
    context = {"start_ms": start_ms, "users": users, "numbers": numbers, "accounts": accounts}
    for waba, account in accounts.items():
        for name in (*account.verified_receivers, *account.opted_out):
            if name not in users:
                raise FormError(f"{where}, account {waba}: unknown user {name!r}")
    steps = [_step(step, f"{where}, step {nth}", context, start_ms) for nth, step in enumerate(body.steps, 1)]
    for nth, (before, after) in enumerate(pairwise(steps), 2):
        if after.at_ms < before.at_ms:
            raise FormError(f"{where}, step {nth}: at {after.at} is before the step above")
    if steps[0].at_ms < start_ms:
        raise FormError(f"{where}, step 1: at {steps[0].at} is before the start")
    ends = Ends(
        body.tally, body.calls, body.received, _preferences(body, where, context), body.marks, body.told
    )
    return Case(body.name, body.guide, body.regime, start_ms, accounts, numbers, body.users, steps, ends)


def _preferences(body: _CaseBody, where: str, context: dict[str, Any]) -> dict[str, list[Word]] | None:
    if body.preferences is None:
        return None
    if unknown := set(body.preferences) - set(context["users"]):
        raise FormError(f"{where}, preferences: unknown user {min(unknown)!r}")
    return {
        user: [_checked(Word, word, f"{where}, preferences: {user}", context) for word in words]
        for user, words in body.preferences.items()
    }


def _fails(action: Happening) -> TypeGuard[Send]:
    return isinstance(action, Send) and action.delivery == "failed"


def _step(written: dict[str, Any], where: str, context: dict[str, Any], start_ms: int) -> Step:
    at = str(written.get("at"))
    where = f"{where} (at {at})"
    try:
        at_ms = moment_ms(written.get("at"), start_ms)
    except ValueError as error:
        raise FormError(f"{where}: at: {error}") from error
    kinds = [key for key in written if key not in ("at", "expect", "later")]
    if len(kinds) != 1 or kinds[0] not in ACTIONS:
        raise FormError(
            f"{where}: one of {', '.join(ACTIONS)} is needed, not {', '.join(map(str, kinds)) or 'nothing'}"
        )
    action = _checked(ACTIONS[kinds[0]], written[kinds[0]], f"{where}, {kinds[0]}", context)
    expect = later = None
    if "expect" in written:
        if not isinstance(action, Asking):
            raise FormError(
                f"{where}: only a send or a cancel is answered, so only they can expect something"
            )
        expect = _checked(Expect, written["expect"], f"{where}, expect", context)
    if "later" in written:
        if not isinstance(action, Send):
            raise FormError(f"{where}: only a send waits, so only a send is decided later")
        later = _checked(Later, written["later"], f"{where}, later", context)
        if later.at <= at_ms:
            raise FormError(f"{where}, later: its time is not after the step's")
    return Step(at_ms, at, action, expect, later)


def _checked(model: Any, value: object, where: str, context: dict[str, Any] | None = None) -> Any:
    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")
            for fault in error.errors()
        ]
        raise FormError(f"{where}: {'; '.join(faults)}") from error
