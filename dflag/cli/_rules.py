"""
Checks the rules of an input against the flags of a program. Each finding has the place of the token that it is about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dflag._flags import pipeline_of
from dflag._formats import json_nodes
from dflag._formats.base import NotJSON, Place
from dflag._formats.nodes import Lines
from dflag._formats.texts import json_or_yaml
from dflag._layers import RULE_PREFIX, RULES_KEYS
from dflag._raw import Excerpt
from dflag._registry import store_of_registry
from dflag._rule_layers import why_not
from dflag._rules_text import parse_rules, percentage
from dflag.cli._findings import Finding, flags_of, hygiene, kind_of, place_of, retired_words
from dflag.cli._items import Item
from dflag.errors import FlagValueError, named_rule, one_line, unknown_flag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._formats.nodes import Node, Step
    from dflag._registry import FlagRegistry
    from dflag._rules_text import Rule, RuleFault
    from dflag.cli._items import Object

_EVERYBODY: Final = 2**32
"""The threshold of a step that reaches everybody."""


def findings_of(
    registry: FlagRegistry, given: Object, rejected: Mapping[str, FlagValueError], replicas: int | None
) -> Iterator[Finding]:
    """
    Yield the findings about the rules of an object, which must have rules.

    Args:
        registry: The flags.
        given: What a source gives.
        rejected: The errors of the values and rules in it, by key.
        replicas: As in `check_objects`.
    """
    first, *others = [key for key in RULES_KEYS if key in given.items]
    yield from _Rules(registry, given, given.items[first], first).findings(rejected, replicas)
    for key in others:
        message = f"{key}: expected rules under one key, found some also under {first!r}"
        yield Finding(given.items[key].file, given.items[key].key_place(), "invalid-rule", "error", key, message)


def items_set(given: Object) -> dict[str, Item]:
    """
    Return the values that the rules of an object set, by name; the first rule that sets a name wins.
    """
    found: dict[str, Item] = {}
    for key in RULES_KEYS:
        if key in given.items:
            for name, item in _Listed(given, given.items[key], key).items_set():
                found.setdefault(name, item)
    return found


class _Listed:
    """
    The rules under one key, with the place of each.
    """

    def __init__(self, given: Object, item: Item, key: str) -> None:
        self._given: Final = given
        self._item: Final = item
        self._key: Final = key
        self._read: Final = parse_rules(item.raw)
        self._text: Final = _text_of(item)
        self._lines: Final = Lines(self._text)
        self._place: Final = item.locator()
        self._first_line: Final = item.raw.line if isinstance(item.raw, Excerpt) else 1
        self._nodes: list[Node] | None = None

    def items_set(self) -> Iterator[tuple[str, Item]]:
        """
        Yield each name that a rule sets, with its value.
        """
        for rule in self._read.rules:
            for name in rule.values:
                yield name, self._value(rule, name) or self._item

    def _at(self, rule: Rule, path: list[Step], key: str | None = None) -> Place:
        """
        Return the place of a part of a rule, or of a key in that part; if it is not known, the place of all rules.
        """
        node = self._node(rule)
        if node is None:
            return self._item.value_place()
        node = node.walk(path)
        if key is not None and node.members is not None and key in node.members:
            node = node.members[key][0]
        return self._place_of_offset(node.start)

    def _value(self, rule: Rule, name: str) -> Item | None:
        """
        Return the value that a rule sets for a name, with its place; None if the place is not known.
        """
        node = self._node(rule)
        values = None if node is None else node.get("set")
        members = None if values is None else values.members
        if members is None or name not in members:
            return None
        return Item(rule.values[name], self._item.file, self._text, self._place_of_offset, members[name])

    def _node(self, rule: Rule) -> Node | None:
        if self._nodes is None:
            self._nodes = _nodes(self._text)
        return self._nodes[rule.number - 1] if rule.number <= len(self._nodes) else None

    def _place_of_offset(self, offset: int) -> Place:
        place = self._lines.place(offset)
        return self._place(Place(place.line + self._first_line - 1, place.column))


class _Rules(_Listed):
    """
    The rules under one key, checked against the flags.
    """

    def __init__(self, registry: FlagRegistry, given: Object, item: Item, key: str) -> None:
        super().__init__(given, item, key)
        self._registry: Final = registry

    def findings(self, rejected: Mapping[str, FlagValueError], replicas: int | None) -> Iterator[Finding]:
        yield from map(self._of_fault, self._read.faults)
        reported = {fault.number for fault in self._read.faults}
        for rule in self._read.rules:
            wrong = [finding for name in rule.values for finding in self._of_value(rule, name)]
            yield from wrong
            if replicas is not None:
                yield from self._of_shares(rule, replicas)
            refusal = rejected.get(RULE_PREFIX + rule.name)
            known = rule.number in reported or any(finding.level == "error" for finding in wrong)
            if refusal is not None and not known and rule.name not in {fault.rule for fault in self._read.faults}:
                yield self._finding(self._at(rule, []), "invalid-rule", "error", rule.name, str(refusal))

    def _of_fault(self, fault: RuleFault) -> Finding:
        message = fault.expected if self._given.secret else fault.message
        place = self._place(Place(fault.line, fault.column))
        if fault.rule is None:
            return Finding(self._item.file, place, "invalid-rule", "error", self._key, f"{self._key}: {message}")
        return self._finding(place, "invalid-rule", "error", fault.rule, f"{named_rule(fault.rule)}: {message}")

    def _of_value(self, rule: Rule, name: str) -> Iterator[Finding]:
        key_place = self._at(rule, ["set"], key=name)
        flags = flags_of(self._registry, name)
        since = store_of_registry(self._registry).retired.get(name)
        if not flags and since is not None:
            message = f"{named_rule(rule.name)}: flag {name!r} {retired_words(since)}: remove it"
            yield Finding(self._item.file, key_place, "retired-flag", "warning", name, one_line(message))
        elif not flags:
            names = [flag.name for flag in self._registry]
            message = f"{named_rule(rule.name)}: {unknown_flag(name, names)}"
            yield Finding(self._item.file, key_place, "unknown-flag", "error", name, one_line(message))
        for flag in flags:
            problem = why_not(rule, flag, secret=self._given.secret)
            if problem is not None:
                yield Finding(self._item.file, key_place, "invalid-rule", "error", flag.name, one_line(problem))
            if self._given.in_config_map and pipeline_of(flag).is_secret_by_declaration:
                message = f"flag {flag.name!r} is secret, and a ConfigMap is not: put the rule into a Secret"
                yield Finding(self._item.file, key_place, "secret-in-rule", "warning", flag.name, message)
            yield from self._refused(rule, name, flag)
            if flag.name == name:
                yield from hygiene(flag, self._value(rule, name) or self._item)

    def _refused(self, rule: Rule, name: str, flag: Flag[Any]) -> Iterator[Finding]:
        pipeline, kind, raw = pipeline_of(flag), kind_of(self._registry, name, flag.name), rule.values[name]
        try:
            if flag.name == name:
                pipeline.read(name, raw, "")
            else:
                pipeline.parse(flag.name, raw, "", kind, key=name)
        except FlagValueError as error:
            item = self._value(rule, name)
            place = self._item.value_place() if item is None else place_of(item, flag, kind, error)
            yield Finding(self._item.file, place, "invalid-value", "error", flag.name, str(error))

    def _of_shares(self, rule: Rule, replicas: int) -> Iterator[Finding]:
        """
        Warn of each step that reaches less than one of all processes on average.
        """
        for number, threshold in enumerate(() if rule.by is not None else rule.steps):
            if 0 < threshold * replicas < _EVERYBODY:
                chance = round(100 * (1 - threshold / _EVERYBODY) ** replicas)
                message = (
                    f"{named_rule(rule.name)}: {percentage(threshold)} of {replicas} processes is nobody in {chance} "
                    "of 100 cases"
                )
                place = self._at(rule, ["steps", number])
                yield self._finding(place, "empty-share", "warning", rule.name, message)

    def _finding(self, place: Place, sort: str, level: Any, rule: str, message: str) -> Finding:
        return Finding(self._item.file, place, sort, level, RULE_PREFIX + rule, one_line(message))


def _text_of(item: Item) -> str:
    raw = item.raw
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else raw if isinstance(raw, str) else ""
    return text.removeprefix("\ufeff")


def _nodes(text: str) -> list[Node]:
    """
    Return the nodes of the rules; none if the text cannot be parsed as a whole, even though some rules could be read.
    """

    def as_yaml() -> Sequence[Node]:
        from dflag._formats.yaml_nodes import read_stream

        return read_stream(text, repeats=True)

    try:
        found = json_or_yaml(lambda: json_nodes.read_stream(text, repeats=True), as_yaml)
    except NotJSON:
        return []
    return (found[0].items if found else None) or []
