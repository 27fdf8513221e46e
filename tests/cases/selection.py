"""Which cases to play where playing all would take too long: greedily, so that each reason is met at least once with each outcome. Pure."""

from collections.abc import Sequence

from tests.cases.form import Case


def one_per_answer(cases: Sequence[Case]) -> list[Case]:
    """A small selection, in the order of the cases, whose steps expect every outcome with every reason that the steps of all cases expect.

    Each round takes the case with the most answers that are still wanting, of several the one with the fewest steps.
    """
    wanting = answers_of(cases)
    chosen: list[Case] = []
    while wanting:
        best = max(cases, key=lambda case: (len(case.answers & wanting), -len(case.steps)))
        wanting -= best.answers
        chosen.append(best)
    return [case for case in cases if case in chosen]


def answers_of(cases: Sequence[Case]) -> frozenset[tuple[str, str]]:
    """The outcomes, each with its reason, that the steps of these cases expect."""
    return frozenset().union(*(case.answers for case in cases))


def reasons_of(cases: Sequence[Case]) -> frozenset[str]:
    """The reasons that the steps of these cases expect."""
    return frozenset().union(*(case.reasons for case in cases))
