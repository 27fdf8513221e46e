"""The form of a file of cases: YAML in, checked cases out, or an error that names the case and the step. Pure but for `load`.

What a case may say is told in docs/cases.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import Field, ValidationError, field_validator

from shared.times import to_ms
from tests.cases.actions import ACTIONS, Happening, Send, Strict, moment_ms
from tests.cases.expectations import Ends, Expect, Tally

START: Final = "2026-11-02T12:00:00+00:00"
"""Where a case begins that does not say: well inside a month, after the last regime has begun."""
LETTERS: Final = "ABCDEFGH"
"""Users that every case has: real numbers of one market."""
UNRATED: Final = "unrated"
"""A user that every case has: a satellite telephone, of no country, so of no market."""
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
    """A template beside those that every account has."""

    category: str
    status: str = "APPROVED"
    paused: bool = False


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
    received: int | None = None

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
    """One step: when (epoch ms, and as written), what happens, and what must come of it."""

    at_ms: int
    at: str
    action: Happening
    expect: Expect | None


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
        return frozenset((self.start_ms, *(step.at_ms for step in self.steps)))

    @property
    def reasons(self) -> frozenset[str]:
        """The reasons that its steps expect."""
        found = [step.expect.reasons for step in self.steps if step.expect is not None]
        return frozenset().union(*found)


def load(path: Path) -> list[Case]:
    """Read a file of cases.

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
    ends = Ends(body.tally, body.calls, body.received)
    return Case(body.name, body.guide, body.regime, start_ms, accounts, numbers, body.users, steps, ends)


def _step(written: dict[str, Any], where: str, context: dict[str, Any], start_ms: int) -> Step:
    at = str(written.get("at"))
    where = f"{where} (at {at})"
    try:
        at_ms = moment_ms(written.get("at"), start_ms)
    except ValueError as error:
        raise FormError(f"{where}: at: {error}") from error
    kinds = [key for key in written if key not in ("at", "expect")]
    if len(kinds) != 1 or kinds[0] not in ACTIONS:
        raise FormError(
            f"{where}: one of {', '.join(ACTIONS)} is needed, not {', '.join(map(str, kinds)) or 'nothing'}"
        )
    action = _checked(ACTIONS[kinds[0]], written[kinds[0]], f"{where}, {kinds[0]}", context)
    expect = None
    if "expect" in written:
        if not isinstance(action, Send):
            raise FormError(f"{where}: only a send is answered, so only a send can expect something")
        expect = _checked(Expect, written["expect"], f"{where}, expect")
    return Step(at_ms, at, action, expect)


def _checked(model: Any, value: object, where: str, context: dict[str, Any] | None = None) -> Any:
    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")
            for fault in error.errors()
        ]
        raise FormError(f"{where}: {'; '.join(faults)}") from error
