"""Meta's error codes: `config/errors.yaml` in, one verdict per failed call out. Pure after `load`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Action = Literal["retry", "defer", "park", "stop", "final", "uncertain"]
"""What becomes of the request: see the head of `config/errors.yaml`."""

Scope = Literal["request", "recipient", "pair", "phone_number", "waba", "template", "app", "platform"]
"""What the trouble concerns, and what a park or a stop holds back."""

Label = Literal[
    "account", "auth", "capped", "feature", "management", "media", "number", "opted_out", "parameter", "payment",
    "permission", "platform", "quality", "rate_app", "rate_number", "rate_pair", "rate_waba", "recipient",
    "template", "uncertain", "unknown", "window",
]  # fmt: skip
"""The closed set of metric labels."""

Case = Literal["unknown_throttled", "unknown_refused", "unknown_failed", "unknown_answer"]
"""The default rows, for an answer whose code has no row."""

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
    `retryable`: the same request, unchanged, may pass later. `reason` is public, `label` is for metrics,
    `hint` tells the operator what to do.
    """

    action: Action
    delay_s: float | None
    scope: Scope
    reason: str
    label: Label
    hint: str
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
    max_attempts: int | None = Field(default=None, ge=2)
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
        exhausted = self.max_attempts is not None and attempt >= self.max_attempts
        action: Action = self.exhausted if exhausted else self.action
        return Verdict(
            action=action,
            delay_s=None if action in ("final", "uncertain") else self._delay_s(attempt),
            scope=self.scope,
            reason=self.reason,
            label=self.label,
            hint=self.hint,
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


class _DefaultRow(_Row):
    case: Case


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    codes: tuple[_CodeRow, ...]
    defaults: tuple[_DefaultRow, ...]


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """One row per code, and a default row per class of answers whose code has none."""

    by_code: dict[int, _CodeRow]
    by_case: dict[Case, _DefaultRow]

    @classmethod
    def load(cls, path: Path) -> "ErrorTable":
        """Read and check the table.

        Raises:
            ErrorTableError: a row of another form or at odds with itself, a code or case twice, a case
                without a row.
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
        by_case = {row.case: row for row in file.defaults}
        if len(by_case) != len(file.defaults) or set(by_case) != set(get_args(Case)):
            raise ErrorTableError(f"{path}: each default case needs exactly one row")
        return cls(by_code, by_case)

    def verdict(self, code: int | None, http_status: int | None, attempt: int) -> Verdict:
        """Judge a failed call.

        Args:
            code: `error.code` of Meta's answer, None if there was none. A code of the table decides, whatever
                the HTTP status; but an ambiguous one only where the status says that the request was refused.
            http_status: None if no status line came. It chooses the default row for all other answers.
            attempt: the number of the attempt that failed, from 1.

        Raises:
            ValueError: `attempt` is below 1.
        """
        if attempt < 1:
            raise ValueError("attempts count from 1")
        case = _case(http_status)
        row: _Row | None = self.by_code.get(code) if code is not None else None
        if row is None or (row.retry == "ambiguous" and case in _UNSURE):
            row = self.by_case[case]
        return row.verdict(attempt)

    def name_of(self, code: int) -> str:
        """The short name of a code, as Meta's list has it."""
        row = self.by_code.get(code)
        return row.name if row is not None else "unknown error"

    def reasons(self) -> frozenset[str]:
        """Return every reason that a verdict can give."""
        return frozenset(row.reason for row in (*self.by_code.values(), *self.by_case.values()))


def _case(http_status: int | None) -> Case:
    """Meta has no idempotency key: only an answer that surely refused the request may be read as refused."""
    if http_status == 429:
        return "unknown_throttled"
    if http_status is not None and http_status >= 500:
        return "unknown_failed"
    if http_status is not None and 400 <= http_status < 500 and http_status != 408:
        return "unknown_refused"
    return "unknown_answer"
