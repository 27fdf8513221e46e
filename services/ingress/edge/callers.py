"""Who is calling: a request's bearer token in, the business system and what it may use out, from a file that may change at any time."""

from collections.abc import Callable
from pathlib import Path

import structlog
from aiohttp import web

from services.ingress.edge.errors import NO_SCOPE, NO_TOKEN, NOT_YOURS, Refusal
from services.ingress.edge.token_file import EVERY, Entry, InvalidTokens, Scope, holder, read
from shared.accounts import AccountFacts

log = structlog.get_logger(__name__)


class Caller:
    """A business system, as the file describes it."""

    __slots__ = ("_entry", "_facts")

    def __init__(self, entry: Entry, facts: Callable[[], AccountFacts]) -> None:
        self._entry = entry
        self._facts = facts

    @property
    def name(self) -> str:
        """Its name, for logs; never the token."""
        return self._entry.name

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self._entry.rate

    @property
    def burst(self) -> int:
        """Calls at once, in advance."""
        return self._entry.burst

    def may_use(self, phone_number_id: str) -> bool:
        """Whether the number is its own, by itself or by its account."""
        if phone_number_id in self._entry.numbers or EVERY in self._entry.accounts:
            return True
        waba_id = self._facts().waba_of(phone_number_id)
        return waba_id is not None and self.may_use_account(waba_id)

    def may_use_account(self, waba_id: str) -> bool:
        """Whether the whole account is its own."""
        return waba_id in self._entry.accounts or EVERY in self._entry.accounts

    def default_number(self) -> str | None:
        """The number of a request that names none: its only one, else the default number if it may use that."""
        entry = self._entry
        if len(entry.numbers) == 1 and not entry.accounts:
            return entry.numbers[0]
        number = self._facts().default_number()
        return number if number is not None and self.may_use(number) else None

    def require(self, scope: Scope) -> None:
        """Raises Refusal without the scope (Meta, error 200)."""
        if scope not in self._entry.scopes:
            raise Refusal(NO_SCOPE, "permission_missing", f"the token has no scope `{scope}`")

    def require_number(self, phone_number_id: str) -> None:
        """Raises Refusal for a number of others, and for one that nobody has (Meta, error 10)."""
        if not self.may_use(phone_number_id):
            raise _not_yours("phone number")

    def require_account(self, waba_id: str) -> None:
        """Raises Refusal for an account of others, and for one that nobody has (Meta, error 10)."""
        if not self.may_use_account(waba_id):
            raise _not_yours("account")


_CALLER = web.RequestKey("caller", Caller)
"""Where a request remembers who calls."""


def _not_yours(what: str) -> Refusal:
    return Refusal(NOT_YOURS, "permission_missing", f"the token may not use this {what}")


class Callers:
    """The business systems of the tokens file."""

    def __init__(self, file: Path, facts: Callable[[], AccountFacts]) -> None:
        """Read the file; raises OSError or InvalidTokens, for without it nobody could call."""
        self._file = file
        self._facts = facts
        self._state = self._stat()
        self._entries = read(file.read_text("utf-8"))

    def caller(self, request: web.BaseRequest) -> Caller:
        """Whose token the request bears; raises Refusal (401, Meta's error 190) if nobody's. Asked again of the same request it gives the same."""
        known: Caller | None = request.get(_CALLER)
        if known is not None:
            return known
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _unauthorised("no `Authorization: Bearer …` with the request")
        entry = holder(token.strip(), self._current())
        if entry is None:
            raise _unauthorised("the token is not valid here")
        request[_CALLER] = caller = Caller(entry, self._facts)
        return caller

    def _current(self) -> tuple[Entry, ...]:
        """The entries of the file as it is now; while it can't be read those of before stay in force, and the log says so."""
        try:
            state = self._stat()
            if state != self._state:
                self._state = state
                self._entries = read(self._file.read_text("utf-8"))
                log.info("tokens_read", tokens=len(self._entries))
        except (OSError, UnicodeDecodeError, InvalidTokens) as error:
            log.error("tokens_not_read", file=str(self._file), error=str(error))
        return self._entries

    def _stat(self) -> tuple[int, ...]:
        """Differs when the file was replaced, by a rename or by a link on the way to it as Kubernetes mounts secrets."""
        found = self._file.stat()
        return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _unauthorised(text: str) -> Refusal:
    return Refusal(NO_TOKEN, "token_invalid", text)
