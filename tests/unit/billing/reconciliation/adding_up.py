"""The rule that every reconciliation keeps: the differences lead from each side to the next, cell by cell."""

from collections import Counter

from services.billing.reconciliation.cells import Amount, Cell, Counted, Group
from services.billing.reconciliation.differences import Reconciled

Sums = dict[tuple[Group, Cell], Amount]


def flat(cells: object) -> Sums:
    return {(g, c): Amount(a.volume, a.micros) for g, of in cells.items() for c, a in of.items()}  # type: ignore[attr-defined]


def adds_up(found: Reconciled) -> None:
    """Predicted + told by webhooks = billed, exactly; billed + seen in the analytics = Meta, to the tolerance."""
    assert with_effects(flat(found.predicted), found, "predicted_billed") == flat(found.billed)
    assert found.meta is not None
    reached, meta = with_effects(flat(found.billed), found, "billed_meta"), flat(found.meta)
    for key in reached.keys() | meta.keys():
        ours, theirs = reached.get(key, Amount()), meta.get(key, Amount())
        counted = found.meta.get(key[0], {}).get(key[1], Counted())
        assert ours.volume == theirs.volume, key
        moved = sum(
            abs(effect.volume)
            for difference in found.differences
            if difference.between == "billed_meta" and difference.group == key[0]
            for effect in difference.effects
            if effect.cell == key[1]
        )
        assert abs(ours.micros - theirs.micros) <= counted.tolerance_micros + moved, key


def named_once(found: Reconciled) -> None:
    """No message is the certain explanation of two differences between the same sides."""
    for between in ("predicted_billed", "billed_meta"):
        named = Counter(
            message.wamid
            for difference in found.differences
            if difference.between == between and difference.certain and difference.units
            for message in difference.messages
        )
        assert all(times == 1 for times in named.values()), named


def with_effects(start: Sums, found: Reconciled, between: str) -> Sums:
    sums = dict(start)
    first, last = f"{found.month}-01", f"{found.month}-31"
    for difference in found.differences:
        if difference.between == between:
            for effect in difference.effects:
                if first <= effect.cell.day <= last:
                    key = (difference.group, effect.cell)
                    sums[key] = sums.get(key, Amount()).plus(effect.volume, effect.micros)
    return {key: amount for key, amount in sums.items() if any(amount)}
