"""PromQL in; what is wrong with its names, held against a registry of metrics, out."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import promql_parser as promql
from prometheus_client import CollectorRegistry

_TARGET: Final = frozenset({"job", "instance"})
"""Labels that Prometheus adds to whatever it scrapes."""


@dataclass(frozen=True)
class Series:
    """The labels of a sample's name; a label with an empty set of values takes any."""

    labels: Mapping[str, frozenset[str]] = field(default_factory=dict)


def samples(registry: CollectorRegistry) -> dict[str, Series]:
    """Every name that a registry exposes, `_total`, `_bucket` and the like included, with the values that its labels have now."""
    found: dict[str, dict[str, set[str]]] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return {
        name: Series({label: frozenset(values) for label, values in labels.items()})
        for name, labels in found.items()
    }


def problems(
    text: str, known: Mapping[str, Series], jobs: Collection[str]
) -> tuple[list[str], frozenset[str]]:
    """What is wrong with a PromQL expression's names, and the labels that its result has.

    Grafana's `$__…` intervals are taken as five minutes.
    """
    text = text.replace("$__rate_interval", "5m").replace("$__range", "5m").replace("$__interval", "5m")
    try:
        expression = promql.parse(text)
    except ValueError as error:
        return [f"not PromQL: {error}"], frozenset()
    reading = _Reading(known, jobs)
    return reading.wrong, reading.labels(expression)


class _Reading:
    """One walk over an expression: each node gives the labels of its result, what is wrong gathers in `wrong`."""

    def __init__(self, known: Mapping[str, Series], jobs: Collection[str]) -> None:
        self.wrong: list[str] = []
        self._known = known
        self._jobs = frozenset(jobs)

    def labels(self, node: promql.Expr) -> frozenset[str]:
        match node:
            case promql.VectorSelector():
                return self._selected(node)
            case promql.MatrixSelector():
                return self._selected(node.vector_selector)
            case promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr():
                return self.labels(node.expr)
            case promql.AggregateExpr():
                return self._aggregated(node)
            case promql.Call():
                return self._called(node)
            case promql.BinaryExpr():
                return self._combined(node)
            case _:
                return frozenset()

    def _selected(self, node: promql.VectorSelector) -> frozenset[str]:
        series = self._known.get(node.name or "")
        if series is None:
            self.wrong.append(f"no such metric: {node.name}")
            return frozenset()
        values = {"instance": frozenset[str](), "job": self._jobs, **series.labels}
        for matcher in node.matchers.matchers:
            if matcher.name not in values:
                self.wrong.append(f"{node.name} has no label {matcher.name}")
            elif allowed := values[matcher.name]:
                # A regular expression here is a choice of words: nothing else can be checked.
                regular = matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe)
                words = matcher.value.split("|") if regular else [matcher.value]
                self.wrong += [
                    f"{node.name}: {matcher.name} is never {word!r}" for word in words if word not in allowed
                ]
        return frozenset(values)

    def _aggregated(self, node: promql.AggregateExpr) -> frozenset[str]:
        inner = self.labels(node.expr)
        modifier = node.modifier
        if modifier is None:
            return frozenset()
        named = frozenset(modifier.labels)
        self._require(named, inner, node)
        return named if modifier.type == promql.AggModifierType.By else inner - named

    def _called(self, node: promql.Call) -> frozenset[str]:
        inner = frozenset[str]().union(*map(self.labels, node.args))
        if node.func.name != "histogram_quantile":
            return inner
        self._require(frozenset({"le"}), inner, node)
        return inner - {"le"}

    def _combined(self, node: promql.BinaryExpr) -> frozenset[str]:
        left, right = self.labels(node.lhs), self.labels(node.rhs)
        matching = node.modifier.matching if node.modifier is not None else None
        if matching is not None:
            self._require(frozenset(matching.labels), left & right, node)
        return left or right

    def _require(self, named: Iterable[str], there: frozenset[str], node: promql.Expr) -> None:
        self.wrong += [f"no label {name} in {node.prettify()}" for name in named if name not in there]
