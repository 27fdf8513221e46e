"""From what was predicted to what is billed: why a message costs something else, by Meta's own word of it. Pure."""

from services.billing.reconciliation.cells import Cell, Group
from services.billing.reconciliation.differences import Difference, Effect, Kind, Named


def kind_of(
    predicted: Cell | None, predicted_micros: int, billed: Cell, micros: int, *, ours: bool
) -> Kind | None:
    """Why a message's place or price is not the predicted one; None where both are as predicted."""
    if predicted is None:
        return "unpredicted" if ours else "unattributed"
    if predicted.type != billed.type:
        if billed.type == "regular":
            return "paid_instead_of_free"
        return "free_instead_of_paid" if predicted.type == "regular" else "free_otherwise"
    if predicted.category != billed.category:
        return "recategorised"
    return "rate_differs" if micros != predicted_micros else None


def moved(
    group: Group,
    predicted: Cell | None,
    billed: Cell,
    *,
    units: int,
    predicted_micros: int,
    micros: int,
    ours: bool,
    named: tuple[Named, ...],
) -> Difference | None:
    """The difference of all messages that were predicted in one cell and billed in another (or the same, at another price)."""
    kind = kind_of(predicted, predicted_micros, billed, micros, ours=ours)
    if kind is None:
        return None
    added = Effect(billed, units, micros)
    if predicted is None:
        effects: tuple[Effect, ...] = (added,)
    elif predicted == billed:
        effects = (Effect(billed, 0, micros - predicted_micros),)
    else:
        effects = (Effect(predicted, -units, -predicted_micros), added)
    return Difference(kind, "predicted_billed", group, effects, named, units, certain=True)
