"""
Checks what sources give, rules included, against the flags of a program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dflag._layers import RULES_KEYS
from dflag.cli._findings import validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dflag._registry import FlagRegistry
    from dflag._rule_layers import RuleContext
    from dflag.cli._findings import Finding
    from dflag.cli._items import Object
    from dflag.errors import FlagValueError


def check_objects(
    registry: FlagRegistry, objects: Sequence[Object], *, strict: bool = False, replicas: int | None = None
) -> list[Finding]:
    """
    Return the findings about the objects of one input and their rules, in the order of the input.

    Args:
        registry: The flags.
        objects: What each source gives.
        strict: Whether unknown names are errors. In a rule they always are.
        replicas: The number of processes, to warn of shares that may reach none of them; None for no such warning.
    """
    verdict = validate(registry, objects, strict=strict, context=_context(objects))
    found = [
        finding
        for given, state in zip(objects, verdict.states, strict=True)
        for finding in _rule_findings(registry, given, state.rejected, replicas)
    ]
    if not found:
        return list(verdict.findings)
    return sorted([*verdict.findings, *found], key=lambda finding: (finding.file, finding.place))


def _context(objects: Sequence[Object]) -> RuleContext | None:
    if not any(map(_has_rules, objects)):
        return None
    from dflag._rule_layers import Unconditional  # most inputs have no rules

    return Unconditional()


def _has_rules(given: Object) -> bool:
    return not given.items.keys().isdisjoint(RULES_KEYS)


def _rule_findings(
    registry: FlagRegistry, given: Object, rejected: Mapping[str, FlagValueError], replicas: int | None
) -> Iterator[Finding]:
    if not _has_rules(given):
        return iter(())
    from dflag.cli._rules import findings_of  # takes a fifth of the time of a check without rules

    return findings_of(registry, given, rejected, replicas)
