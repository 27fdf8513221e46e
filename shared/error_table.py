"""Meta's error codes: `config/errors.yaml` in, one verdict per failed call out. Pure after `load`."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.graph_answers import Refused

Action = Literal["retry", "defer", "park", "stop", "final", "uncertain"]
"""What becomes of the request: see the head of `config/errors.yaml`."""

Scope = Literal["request", "recipient", "pair", "phone_number", "waba", "template", "app", "platform"]
"""What the trouble concerns, and what a park or a stop holds back."""

Label = Literal[
    "account", "auth", "capped", "feature", "management", "media", "number", "opted_out", "parameter", "payment",
    "permission", "platform", "quality", "rate_app", "rate_number", "rate_pair", "rate_waba", "recipient",
    "template", "uncertain", "unknown", "unreachable", "window",
]  # fmt: skip
"""The closed set of metric labels."""

Case = Literal["unknown_throttled", "unknown_refused", "foreign_refused", "unknown_failed", "unknown_answer"]
"""The default rows, for an answer whose code has no row, or that has none."""

_UNSURE: tuple[Case, ...] = ("unknown_failed", "unknown_answer")
_CODES = r"^[0-9]{1,7}-[0-9]{1,7}$"
_LONGEST_RANGE = 1000


class ErrorTableError(ValueError):
    """The error table is not what it must be; the text says where."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do after a failed call.

    `delay_s` is how long to wait, in seconds: before the next try (retry, defer), or until a park or stop ends by
    itself; None for one that an operator or a fact of the account lifts, and where nothing waits.
    `holds`: the scope is held back, also where the request itself has been tried often enough.
    `retryable`: the same request, unchanged, may pass later. `reason` is public, `label` is for metrics,
    `hint` tells the operator what to do.
    """

    action: Action
    delay_s: float | None
    scope: Scope
    reason: str
    label: Label
    hint: str
    holds: bool
    retryable: bool
    name: str


class _Backoff(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    base_s: float = Field(gt=0)
    factor: float = Field(ge=1)
    max_s: float = Field(gt=0)


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(min_length=1)
    retry: Literal["yes", "delay", "no", "ambiguous"]
    delay_s: float | None = Field(default=None, gt=0)
    backoff: _Backoff | None = None
    max_attempts: Annotated[int, Field(ge=2)] | Literal["unlimited"] | None = None
    scope: Scope
    action: Action
    exhausted: Literal["final", "defer", "park"] = "final"
    reason: str = Field(pattern=r"^[a-z]+(_[a-z]+)*$")
    label: Label
    hint: str = Field(min_length=1)

    @property
    def waits(self) -> bool:
        """Whether the row names a time after which things may be better."""
        return self.delay_s is not None or self.backoff is not None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.delay_s is not None and self.backoff is not None:
            raise ValueError("either delay_s or backoff")
        if self.action in ("retry", "defer") and not self.waits:
            raise ValueError(f"{self.action} needs a wait")
        if self.action in ("final", "uncertain") and self.waits:
            raise ValueError(f"{self.action} has nothing to wait for")
        if self.max_attempts is not None and self.action == "stop":
            raise ValueError("a stop has no second attempt")
        if self.action != "stop" and self.waits != (self.max_attempts is not None):
            raise ValueError("max_attempts goes with a wait")
        if self.action == "uncertain" and self.retry != "ambiguous":
            raise ValueError("an uncertain outcome is ambiguous")
        return self

    def verdict(self, attempt: int) -> Verdict:
        exhausted = isinstance(self.max_attempts, int) and attempt >= self.max_attempts
        action: Action = self.exhausted if exhausted else self.action
        holds = not {"park", "stop"}.isdisjoint((self.action, action))
        return Verdict(
            action=action,
            delay_s=self._delay_s(attempt) if holds or action in ("retry", "defer") else None,
            scope=self.scope,
            reason=self.reason,
            label=self.label,
            hint=self.hint,
            holds=holds,
            retryable=self.retry in ("yes", "delay"),
            name=self.name,
        )

    def _delay_s(self, attempt: int) -> float | None:
        if self.backoff is None:
            return self.delay_s
        delay_s = self.backoff.base_s
        for _ in range(attempt - 1):
            if delay_s >= self.backoff.max_s or self.backoff.factor == 1:
                break
            delay_s *= self.backoff.factor
        return min(delay_s, self.backoff.max_s)


class _CodeRow(_Row):
    code: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=_CODES)]

    def codes(self) -> range:
        """The codes of the row: one, or an inclusive range written `first-last`."""
        if isinstance(self.code, int):
            return range(self.code, self.code + 1)
        first, last = (int(part) for part in self.code.split("-"))
        return range(first, last + 1)


class _RefinedRow(_Row):
    code: int
    subcode: int | None = None
    says: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @model_validator(mode="after")
    def _has_a_mark(self) -> Self:
        if self.subcode is None and not self.says:
            raise ValueError("what refines a code is a subcode or what Meta says")
        return self

    def applies(self, subcode: int | None, said: str) -> bool:
        """Whether the answer bears one of the row's marks: Meta may leave a subcode out, and change its words."""
        return (self.subcode is not None and self.subcode == subcode) or self._says(said)

    def overlaps(self, other: "_RefinedRow") -> bool:
        """Whether one mark would do for both."""
        same = any(map(other._says, self.says)) or any(map(self._says, other.says))
        return self.code == other.code and (same or self.subcode == other.subcode is not None)

    def _says(self, said: str) -> bool:
        return any(words.casefold() in said.casefold() for words in self.says)


class _DefaultRow(_Row):
    case: Case


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    codes: tuple[_CodeRow, ...]
    refined: tuple[_RefinedRow, ...]
    defaults: tuple[_DefaultRow, ...]


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """One row per code, rows for what Meta says beside some codes, and a default row per class of answers whose code has none."""

    by_code: dict[int, _CodeRow]
    refined: dict[int, tuple[_RefinedRow, ...]]
    by_case: dict[Case, _DefaultRow]

    @classmethod
    def load(cls, path: Path) -> "ErrorTable":
        """Read and check the table.

        Raises:
            ErrorTableError: a row of another form or at odds with itself, a code or case twice, a case
                without a row, a refinement of no code or that can't be told from another one.
            OSError: the file can't be read.
        """
        try:
            file = _File.model_validate(yaml.safe_load(path.read_text("utf-8")))
        except (ValidationError, yaml.YAMLError) as error:
            raise ErrorTableError(f"{path}: {error}") from error
        by_code: dict[int, _CodeRow] = {}
        for row in file.codes:
            codes = row.codes()
            if not 0 < len(codes) <= _LONGEST_RANGE:
                raise ErrorTableError(
                    f"{path}: {row.code!r} is not a range of at most {_LONGEST_RANGE} codes"
                )
            for code in codes:
                if code in by_code:
                    raise ErrorTableError(f"{path}: code {code} has two rows")
                by_code[code] = row
        for one, other in combinations(file.refined, 2):
            if one.overlaps(other):
                raise ErrorTableError(f"{path}: {one.name!r} and {other.name!r} have the same mark")
        refined: dict[int, tuple[_RefinedRow, ...]] = {}
        for one in file.refined:
            if one.code not in by_code:
                raise ErrorTableError(f"{path}: code {one.code} is refined and has no row")
            refined[one.code] = (*refined.get(one.code, ()), one)
        by_case = {row.case: row for row in file.defaults}
        if len(by_case) != len(file.defaults) or set(by_case) != set(get_args(Case)):
            raise ErrorTableError(f"{path}: each default case needs exactly one row")
        return cls(by_code, refined, by_case)

    def verdict_on(self, answer: Refused, attempt: int = 1) -> Verdict:
        """Judge an answer by all that it says."""
        return self.verdict(
            answer.code, answer.http_status, attempt, subcode=answer.subcode, said=answer.said
        )

    def verdict(
        self,
        code: int | None,
        http_status: int | None,
        attempt: int,
        *,
        subcode: int | None = None,
        said: str = "",
    ) -> Verdict:
        """Judge a failed call.

        Args:
            code: `error.code` of Meta's answer, None if there was none. A code of the table decides, whatever
                the HTTP status; but an ambiguous one only where the status says that the request was refused.
            http_status: None if no status line came. It chooses the default row for all other answers.
            attempt: the number of the attempt that failed, from 1.
            subcode: `error.error_subcode`, None if there was none. It refines some codes, as does
            said: all of Meta's words.

        Raises:
            ValueError: `attempt` is below 1.
        """
        if attempt < 1:
            raise ValueError("attempts count from 1")
        case = _case(http_status)
        row: _Row | None = None
        if code is not None:
            refined = (row for row in self.refined.get(code, ()) if row.applies(subcode, said))
            row = next(refined, self.by_code.get(code))
        elif case == "unknown_refused":
            case = "foreign_refused"
        if row is None or (row.retry == "ambiguous" and case in _UNSURE):
            row = self.by_case[case]
        return row.verdict(attempt)

    def name_of(self, code: int) -> str:
        """The short name of a code, as Meta's list has it."""
        row = self.by_code.get(code)
        return row.name if row is not None else "unknown error"

    @property
    def rows(self) -> Iterator[_Row]:
        """All rows; one of a range comes with each of its codes."""
        return chain(self.by_code.values(), *self.refined.values(), self.by_case.values())

    def reasons(self) -> frozenset[str]:
        """Return every reason that a verdict can give."""
        return frozenset(row.reason for row in self.rows)


def _case(http_status: int | None) -> Case:
    """Meta has no idempotency key: only an answer that surely refused the request may be read as refused."""
    if http_status == 429:
        return "unknown_throttled"
    if http_status is not None and http_status >= 500:
        return "unknown_failed"
    if http_status is not None and 400 <= http_status < 500 and http_status != 408:
        return "unknown_refused"
    return "unknown_answer"
