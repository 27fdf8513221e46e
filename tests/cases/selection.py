"""Which cases to play where playing all would take too long: greedily by reason, so that each reason is met at least once. Pure."""

from collections.abc import Sequence

from tests.cases.form import Case


def one_per_reason(cases: Sequence[Case]) -> list[Case]:
    """A small selection, in the order of the cases, whose steps expect every reason that the steps of all cases expect.

    Each round takes the case with the most reasons that are still wanting, of several the one with the fewest steps.
    """
    wanting = reasons_of(cases)
    chosen: list[Case] = []
    while wanting:
        best = max(cases, key=lambda case: (len(case.reasons & wanting), -len(case.steps)))
        wanting -= best.reasons
        chosen.append(best)
    return [case for case in cases if case in chosen]


def reasons_of(cases: Sequence[Case]) -> frozenset[str]:
    """The reasons that the steps of these cases expect."""
    return frozenset().union(*(case.reasons for case in cases))
