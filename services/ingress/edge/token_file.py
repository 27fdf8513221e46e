"""The file of business systems' tokens: YAML in, who may do what out, or where it is wrong. Pure.

A token itself is never written down, only its SHA-256: it is 32 random bytes, so nobody finds it from there.
"""

import hashlib
import hmac
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

Scope = Literal["send", "read", "manage"]
"""send: messages and media out. read: what became of them, media, accounts' facts. manage: templates."""
EVERY = "*"
"""As an account: every account there is."""

Id = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,32}$")]


class InvalidTokens(ValueError):
    """The file is not what it must be; the text says where and never shows a value."""


class Entry(BaseModel):
    """One business system: the digest of its token, what it may use, how much, and for what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    numbers: tuple[Id, ...] = ()
    accounts: tuple[Id | Literal["*"], ...] = ()
    rate: float = Field(50.0, gt=0, le=100_000)
    burst: int = Field(100, ge=1, le=1_000_000)
    scopes: frozenset[Scope] = frozenset({"send", "read"})

    @model_validator(mode="after")
    def _may_use_something(self) -> "Entry":
        if not self.numbers and not self.accounts:
            raise ValueError("needs numbers or accounts")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    tokens: tuple[Entry, ...]

    @model_validator(mode="after")
    def _each_once(self) -> "_File":
        for what in ("name", "sha256"):
            values = [getattr(entry, what) for entry in self.tokens]
            twice = next((nth for nth, value in enumerate(values) if value in values[:nth]), None)
            if twice is not None:
                raise ValueError(f"tokens[{twice}] has the {what} of another one")
        return self


def read(text: str) -> tuple[Entry, ...]:
    """The entries.

    Raises:
        InvalidTokens: not YAML, or not of this form.
    """
    try:
        return _File.model_validate(yaml.safe_load(text)).tokens
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise InvalidTokens(f"not YAML{f', line {mark.line + 1}' if mark else ''}") from None
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidTokens(
            "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in found[:10])
        ) from None


def digest_of(token: str) -> str:
    """What stands in the file for a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def holder(token: str, entries: tuple[Entry, ...]) -> Entry | None:
    """Whose token it is; every entry is compared, in constant time each."""
    given = digest_of(token)
    matching = [entry for entry in entries if hmac.compare_digest(given, entry.sha256)]
    return matching[0] if matching else None
