"""What a run found, as a file and as lines for a person. Pure."""

from dataclasses import asdict, dataclass, field
from typing import Any

Rows = dict[tuple[object, ...], tuple[object, ...]]

SHOWN = 5
"""Differences of one comparison that the report holds as examples."""


@dataclass
class Comparison:
    """Two ways of knowing the same rows; `examples` are (row, here, there)."""

    name: str
    rows: int
    differences: int
    examples: list[tuple[str, str, str]]


def compared(name: str, known: Any, found: Any) -> Comparison:
    """Compare two mappings row by row."""
    differing = [key for key in known.keys() | found.keys() if known.get(key) != found.get(key)]
    examples = [
        (repr(key), repr(known.get(key)), repr(found.get(key))) for key in sorted(differing, key=repr)[:SHOWN]
    ]
    return Comparison(name, len(known), len(differing), examples)


@dataclass
class Round:
    """One run of the processes over the whole log."""

    name: str
    published: int = 0
    """Records on the ledger topic, repetitions too."""
    entries: int = 0
    contradicting: int = 0
    """Entries of which two records differ."""
    ledger_digest: str = ""
    tallies_digest: str = ""
    ledger_s: float = 0.0
    tallies_s: float = 0.0
    restart_s: float | None = None
    """From the start of killed tallies, with the full ledger counted, until they were ready and up to date."""
    killed: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    forgotten: int = 0
    """Messages that the ledger no longer remembers."""
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether all that was compared is equal."""
        return not self.contradicting and not any(one.differences for one in self.comparisons)


@dataclass
class Report:
    """A month: its log, the oracle, and the rounds; `clean` only if everything is equal and the rounds' digests are."""

    size: int
    seed: int
    kills: int
    messages: int = 0
    events: int = 0
    generated_s: float = 0.0
    oracle_s: float = 0.0
    oracle_digest: str = ""
    oracle: list[Comparison] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        digests = {(one.ledger_digest, one.tallies_digest) for one in self.rounds}
        equal = not any(one.differences for one in self.oracle)
        return equal and len(digests) == 1 and all(one.clean for one in self.rounds)

    def as_json(self) -> dict[str, object]:
        """The report's file."""
        told = asdict(self) | {"clean": self.clean}
        for one, of in zip(told["rounds"], self.rounds, strict=True):
            one["ledger_events_per_s"] = per_s(self.events, of.ledger_s)
            one["tallied_entries_per_s"] = per_s(of.published, of.tallies_s)
        return told

    def line(self) -> str:
        """One line for a person."""
        rows = sum(one.rows for of in self.rounds for one in of.comparisons)
        what = "all equal" if self.clean else "DIFFERENCES"
        faults = sum(sum(of.killed.values()) for of in self.rounds)
        return (
            f"{what}: {self.messages:,} messages, {self.events:,} events, {rows:,} rows compared, {faults} faults,"
            f" {self.seconds:.0f} s (seed {self.seed})"
        )


def per_s(count: int, seconds: float) -> int:
    """A rate; 0 where nothing was measured."""
    return round(count / seconds) if seconds else 0
