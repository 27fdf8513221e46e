"""Circuit breakers: who is held back since Meta refused or did not answer, until when, and which call tries first. Pure.

A circuit opens for a reason and a time. When the time is over, or what the circuit is about has changed (the account's facts, the number's, the token),
it is half open: one call goes alone, and its answer closes the circuit or opens it again. Calls without an answer open the narrowest scope that explains
them: a number after three in a row, an account once two of its numbers had some, an app by two of its accounts, the platform by two apps.

Nothing here outlives the process (docs/decisions/0010-troubles.md): a new owner learns of a trouble by one call, for a number begins with a single one
(congestion.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from shared.error_table import Label

BreakerScope = Literal["phone_number", "waba", "template", "app", "platform"]
SilenceReason = Literal["no_answer", "unreachable"]
"""Meta does not answer; or it is not there, as there is no connection or something else answers in its place."""
Reason = Label | SilenceReason
"""Why a circuit is open: the label of Meta's refusal, or that none came; a closed set."""

PROBE_FIRST_MS = 600_000
"""A trouble that only an operator can end is tried again after so long: someone may have ended it on Meta's side. It doubles each time."""
PROBE_LONGEST_MS = 3_600_000
STATUS_MS = 30_000
"""After the answer to a call that tries what statuses had told of, its own status is waited for so long."""
IN_A_ROW = 3
"""Calls without an answer, none answered in between, that open a circuit: one is chance, and each is an uncertain send."""
SILENT_FIRST_MS, SILENT_LONGEST_MS = 500, 15_000
"""Between tries of what does not answer, doubling: every try that fails is an uncertain send."""
UNREACHABLE_FIRST_MS, UNREACHABLE_LONGEST_MS = 250, 2_000
"""Between tries of a connection, doubling: one that fails costs nobody anything."""


class Part(NamedTuple):
    """One scope of a call's way, and what a circuit there would be about: when that changes, the trouble may be over."""

    scope: BreakerScope
    id: str
    about: Any = None

    @property
    def key(self) -> tuple[BreakerScope, str]:
        return self.scope, self.id


@dataclass(slots=True)
class _Circuit:
    reason: Reason
    until_ms: int
    about: Any
    """None: only time ends it."""
    openings: int = 1
    """How often in a row."""
    probe: str | None = None
    """The call that tries."""
    told: bool = False
    """Opened by a status of a message that had been taken: that another is taken proves nothing yet."""
    awaits_status: bool = False
    """What tried it was taken, and its status may still say otherwise."""


@dataclass(slots=True)
class _Silence:
    """Calls without an answer in a row, and whose of the next narrower scope."""

    count: int = 0
    of: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Breakers:
    """All circuits of one process. A call's way is its parts from the widest (the platform) to the narrowest (the number)."""

    _circuits: dict[tuple[BreakerScope, str], _Circuit] = field(default_factory=dict)
    _silences: dict[tuple[BreakerScope, str], _Silence] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether anything is open or half open, or was silent of late: if not, an answer changes nothing."""
        return bool(self._circuits or self._silences)

    # --- before a call

    def hold(self, way: Iterable[Part], now_ms: int) -> bool:
        """Whether no call may start this way now: a circuit is open, or half open and being tried."""
        return any(self._holds(part, now_ms) for part in way)

    def admit(self, way: Sequence[Part], now_ms: int, call: str) -> bool:
        """Let a call start if nothing holds it; what is half open is then tried by this call alone."""
        if self.hold(way, now_ms):
            return False
        for part in way:
            if part.key in self._circuits:
                self._circuits[part.key].probe = call
        return True

    def ends_ms(self, part: Part, now_ms: int) -> int | None:
        """When a circuit that nobody tries alone (a template's) is over; None when it is, or was never open."""
        circuit = self._circuits.get(part.key)
        if circuit is None:
            return None
        if circuit.until_ms <= now_ms or circuit.about != part.about:
            del self._circuits[part.key]
            return None
        return circuit.until_ms

    def _holds(self, part: Part, now_ms: int) -> bool:
        circuit = self._circuits.get(part.key)
        if circuit is None:
            return False
        if circuit.about is not None and circuit.about != part.about:
            circuit.until_ms, circuit.about = now_ms, None
        return circuit.until_ms > now_ms or circuit.probe is not None

    # --- after a call

    def open(
        self, part: Part, reason: Reason, now_ms: int, wait_ms: int | None, *, told: bool = False
    ) -> None:
        """Meta has refused: hold the part back for `wait_ms`, or (None) until what it is about changes, with a try now and then.

        `told`: by a status, which may be long ago and lifted since, so that a change of what it is about ends it in any case.
        """
        known = self._circuits.get(part.key)
        about = part.about if wait_ms is None or told or part.scope == "template" else None
        openings = 1 if known is None or known.reason != reason else known.openings
        if known is not None and known.until_ms > now_ms and not (told and known.awaits_status):
            # Refused together with others: one opening. What only a change ends is not over since something else came along that time ends.
            until_ms = max(known.until_ms, 0 if wait_ms is None else now_ms + wait_ms)
            if about is None and known.about is not None:
                self._circuits[part.key] = replace(known, until_ms=until_ms, probe=None)
                return
        else:
            openings += known is not None and known.reason == reason
            pause_ms = _doubled(PROBE_FIRST_MS, PROBE_LONGEST_MS, openings) if wait_ms is None else wait_ms
            until_ms = now_ms + pause_ms
        self._circuits[part.key] = _Circuit(reason, until_ms, about, openings, told=told)

    def answered(self, way: Iterable[Part], now_ms: int, call: str) -> None:
        """Meta has answered: what this call tried is over, unless its status may still say otherwise, and so is every silence on its way."""
        for part in way:
            self._silences.pop(part.key, None)
            circuit = self._circuits.get(part.key)
            if circuit is None:
                continue
            if circuit.probe == call and circuit.told:
                circuit.until_ms, circuit.probe = now_ms + STATUS_MS, None
                circuit.told, circuit.awaits_status = False, True
            elif circuit.probe == call or circuit.reason in ("no_answer", "unreachable"):
                del self._circuits[part.key]

    def silent(
        self, way: Sequence[Part], now_ms: int, call: str, reason: SilenceReason = "no_answer"
    ) -> list[Part]:
        """No answer, or one from which nothing follows; what it opens."""
        for circuit in self._tried(way, call):
            circuit.openings += 1
            circuit.until_ms = now_ms + _doubled(SILENT_FIRST_MS, SILENT_LONGEST_MS, circuit.openings)
        opened = []
        narrower: str | None = None
        for part in reversed(way):
            silence = self._silences.setdefault(part.key, _Silence())
            silence.count += 1
            if narrower is not None:
                silence.of.add(narrower)
            explained = narrower is None or len(silence.of) > 1
            if explained and silence.count >= IN_A_ROW and part.key not in self._circuits:
                self._circuits[part.key] = _Circuit(reason, now_ms + SILENT_FIRST_MS, None)
                opened.append(part)
            narrower = part.id
        return opened

    def unreachable(self, way: Sequence[Part], now_ms: int, call: str) -> list[Part]:
        """No connection: everything waits, and what this call tried besides is as it was. What it opens."""
        for circuit in self._tried(way, call):
            if circuit.reason == "unreachable":
                circuit.openings += 1
                pause_ms = _doubled(UNREACHABLE_FIRST_MS, UNREACHABLE_LONGEST_MS, circuit.openings)
                circuit.until_ms = now_ms + pause_ms
        platform = way[0]
        known = self._circuits.get(platform.key)
        if known is not None and (known.reason == "unreachable" or known.until_ms > now_ms):
            return []
        self._circuits[platform.key] = _Circuit("unreachable", now_ms + UNREACHABLE_FIRST_MS, None)
        return [platform]

    def untried(self, way: Iterable[Part], call: str) -> None:
        """The call was not made after all: what it was to try, another may."""
        self._tried(way, call)

    def _tried(self, way: Iterable[Part], call: str) -> list[_Circuit]:
        """The circuits that the call tried, and tries no more."""
        tried = [
            circuit
            for part in way
            if (circuit := self._circuits.get(part.key)) is not None and circuit.probe == call
        ]
        for circuit in tried:
            circuit.probe = None
        return tried

    # --- for people

    def count(self, scope: BreakerScope, reason: str, now_ms: int) -> int:
        """Circuits of a scope that hold calls back for this reason."""
        return sum(
            1
            for (of, _), circuit in self._circuits.items()
            if of == scope and circuit.reason == reason and (circuit.until_ms > now_ms or circuit.probe)
        )


def _doubled(first_ms: int, longest_ms: int, openings: int) -> int:
    return min(longest_ms, first_ms << min(openings - 1, 20))
