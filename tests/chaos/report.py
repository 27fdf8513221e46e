"""What a chaos run found. Pure."""

import statistics
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """Counts of one run; `clean` only if every promise held."""

    seed: int
    minutes: float
    faults: Counter[str] = field(default_factory=Counter)
    events: int = 0
    acknowledged: int = 0
    lost: int = 0
    duplicated_effects: int = 0
    duplicate_sends: Counter[str] = field(default_factory=Counter)
    wrong_charges: int = 0
    differing_states: int = 0
    differing_events: int = 0
    wrong_tallies: int = 0
    uncertain: int = 0
    takeovers_s: list[float] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled or miscounted."""
        wrong = (
            self.lost,
            self.duplicated_effects,
            self.duplicate_sends.total(),
            self.wrong_charges,
            self.differing_states,
            self.differing_events,
            self.wrong_tallies,
        )
        return not any(wrong) and self.acknowledged > 0

    def as_json(self) -> dict[str, object]:
        """The report's file."""
        return {
            "seed": self.seed,
            "minutes": round(self.minutes, 2),
            "faults": dict(self.faults),
            "events": self.events,
            "acknowledged": self.acknowledged,
            "lost": self.lost,
            "duplicated_effects": self.duplicated_effects,
            "duplicate_sends": dict(self.duplicate_sends),
            "wrong_charges": self.wrong_charges,
            "differing_states": self.differing_states,
            "differing_events": self.differing_events,
            "wrong_tallies": self.wrong_tallies,
            "uncertain": self.uncertain,
            "takeover_s": {
                "median": round(statistics.median(self.takeovers_s), 2) if self.takeovers_s else None,
                "worst": round(max(self.takeovers_s), 2) if self.takeovers_s else None,
            },
        }

    def verdict(self) -> str:
        """One line for a person."""
        what = "nothing lost, doubled or miscounted" if self.clean else "PROMISES BROKEN"
        return (
            f"{what}: {self.events:,} events, {self.acknowledged:,} requests, {self.faults.total()} faults"
            f" in {self.minutes:.1f} min (seed {self.seed})"
        )
