"""
The part of PromQL that the alerts and the dashboard of the examples use. It is parsed with Prometheus' own grammar and
evaluated by this module.
"""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import promql_parser as promql
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry

_AGGREGATIONS: Final[dict[str, Callable[[list[float]], float]]] = {"count": len, "max": max, "min": min, "sum": sum}
_ARITHMETIC: Final = {"-": operator.sub, "*": operator.mul}
_COMPARISONS: Final = {">": operator.gt, "==": operator.eq}
_MATCHES: Final[dict[str, Callable[[str, str], object]]] = {"MatchOp.Equal": operator.eq, "MatchOp.Re": re.fullmatch}


class Sample(NamedTuple):
    """
    One sample; the label ``__name__`` is the name of the metric.
    """

    labels: dict[str, str]
    value: float


class World(NamedTuple):
    """
    The state of Prometheus: the current samples, the samples at the start of every range, and the time.
    """

    now: list[Sample]
    before: list[Sample]
    time: float


def scrape(metrics: CollectorRegistry, instance: str) -> list[Sample]:
    """
    Return the samples of one target, with the labels that Prometheus adds.
    """
    target = {"namespace": "default", "job": "shop", "instance": instance}
    families = text_string_to_metric_families(generate_latest(metrics).decode())
    return [
        Sample({"__name__": sample.name, **target, **sample.labels}, sample.value)
        for family in families
        for sample in family.samples
    ]


def query(expression: str, world: World) -> list[Sample]:
    """
    Evaluate an expression whose result is a vector.
    """
    result = _evaluate(promql.parse(expression), world)
    assert isinstance(result, list), f"{expression} gives a number"
    return result


def metrics_of(expression: str) -> set[str]:
    """
    Return the names of the metrics in an expression.
    """
    return {node.name for node in _nodes(promql.parse(expression)) if isinstance(node, promql.VectorSelector)}


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    below = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for child in [*below, *getattr(node, "args", [])]:
        if child is not None:
            yield from _nodes(child)


def _evaluate(node: Any, world: World) -> list[Sample] | float:
    match node:
        case promql.NumberLiteral():
            return float(node.val)
        case promql.ParenExpr():
            return _evaluate(node.expr, world)
        case promql.VectorSelector():
            return _select(node, world.now)
        case promql.Call():
            return _call(node, world)
        case promql.AggregateExpr():
            return _aggregate(node, world)
        case promql.BinaryExpr():
            return _operate(node, world)
    raise NotImplementedError(type(node).__name__)


def _select(node: Any, samples: list[Sample]) -> list[Sample]:
    return [
        sample
        for sample in samples
        if sample.labels["__name__"] == node.name
        and all(_MATCHES[str(test.op)](test.value, sample.labels.get(test.name, "")) for test in node.matchers.matchers)
    ]


def _call(node: Any, world: World) -> list[Sample] | float:
    match node.func.name:
        case "time":
            return world.time
        case "increase":
            selector = node.args[0].vector_selector
            before = {_key(sample): sample.value for sample in _select(selector, world.before)}
            # As in Prometheus, a series with only one sample in the range has no increase.
            return [
                Sample(_unnamed(sample), sample.value - before[_key(sample)])
                for sample in _select(selector, world.now)
                if _key(sample) in before
            ]
    raise NotImplementedError(node.func.name)


def _aggregate(node: Any, world: World) -> list[Sample]:
    samples = _evaluate(node.expr, world)
    assert isinstance(samples, list)
    groups: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for sample in samples:
        by = node.modifier.labels if node.modifier is not None else []
        key = tuple((label, sample.labels[label]) for label in by if label in sample.labels)
        groups.setdefault(key, []).append(sample.value)
    return [Sample(dict(key), _AGGREGATIONS[str(node.op)](values)) for key, values in groups.items()]


def _operate(node: Any, world: World) -> list[Sample] | float:
    left, right = _evaluate(node.lhs, world), _evaluate(node.rhs, world)
    name = str(node.op)
    if name in _COMPARISONS:
        assert isinstance(left, list)
        assert isinstance(right, float)
        return [sample for sample in left if _COMPARISONS[name](sample.value, right)]
    operate = _ARITHMETIC[name]
    if isinstance(left, float) and isinstance(right, list):
        return [Sample(_unnamed(sample), operate(left, sample.value)) for sample in right]
    raise NotImplementedError(f"{name} between {type(left).__name__} and {type(right).__name__}")


def _unnamed(sample: Sample) -> dict[str, str]:
    return {name: value for name, value in sample.labels.items() if name != "__name__"}


def _key(sample: Sample) -> frozenset[tuple[str, str]]:
    return frozenset(sample.labels.items())
