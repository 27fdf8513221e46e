"""What a run found, as a file and as lines for a person. Pure."""

import statistics
from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.sends.plan import MIX, AnswerFault, Plan
from tests.chaos.sends.verdict import Verdict


@dataclass
class Measured:
    """How long it took, in seconds, with the settings that production has; None where it was not measured."""

    takeover_s: float | None = None
    """From `kill -9` of one of two senders until the other served all of its numbers."""
    drain_s: float | None = None
    """From SIGTERM, with calls under way, to the end of the process."""
    drain_code: int | None = None
    """The exit code of that process."""


@dataclass
class Report:
    """One run. `clean` only if every promise held and every planned crash happened."""

    plan: Plan
    crashes: Counter[str] = field(default_factory=Counter)
    """Moment → processes killed there."""
    zombies: Counter[str] = field(default_factory=Counter)
    """Moment → processes stopped there past their session, and let go on."""
    answers_lost: Counter[AnswerFault] = field(default_factory=Counter)
    takeovers_s: list[float] = field(default_factory=list)
    """From the stop of a zombie until all its numbers were served by others."""
    measured: Measured = field(default_factory=Measured)
    verdict: Verdict = field(default_factory=Verdict)
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether the proof is complete and nothing speaks against it."""
        done = self.crashes.total() == self.plan.crashes and self.zombies.total() == self.plan.zombies
        return done and self.verdict.clean and self.measured.drain_code in (0, None)

    def as_json(self) -> dict[str, object]:
        """The report's file."""
        verdict = self.verdict
        return {
            "seed": self.plan.seed,
            "crashes": dict(sorted(self.crashes.items())),
            "zombies": dict(sorted(self.zombies.items())),
            "answers_lost": dict(sorted(self.answers_lost.items())),
            "requests": verdict.requests,
            "accepted": verdict.accepted,
            "sent_twice": {category: verdict.sent_twice[category] for category in sorted(set(MIX))},
            "allowed_duplicates": verdict.allowed,
            "forbidden_duplicates": verdict.forbidden,
            "repeated_commands": verdict.repeated,
            "lost": verdict.lost,
            "unresolved": verdict.unresolved,
            "untrue": verdict.untrue,
            "uncertain_resolved": dict(sorted(verdict.resolved.items())),
            "takeover_s": {
                "median": round(statistics.median(self.takeovers_s), 2) if self.takeovers_s else None,
                "worst": round(max(self.takeovers_s), 2) if self.takeovers_s else None,
            },
            "at_default_settings": {
                "takeover_s": self.measured.takeover_s,
                "drain_s": self.measured.drain_s,
                "drain_exit_code": self.measured.drain_code,
            },
            "seconds": round(self.seconds, 1),
        }

    def line(self) -> str:
        """One line for a person."""
        what = "nothing lost, nothing sent twice but as allowed" if self.clean else "PROMISES BROKEN"
        return (
            f"{what}: {self.crashes.total()} crashes, {self.zombies.total()} zombies, {self.verdict.requests:,} requests,"
            f" {len(self.verdict.allowed)} allowed duplicates, {self.seconds:.0f} s (seed {self.plan.seed})"
        )
