"""
Checks inputs against the flags of a program, with the flags' own pipelines.

An input goes through the same steps as in an updater, but is never committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from dflag._flags import pipeline_of
from dflag._formats import nodes
from dflag._formats.base import NotJSON
from dflag._kinds import WHITE_SPACE
from dflag._layers import RULE_PREFIX, RULES_KEYS
from dflag._raw import Unreadable
from dflag._registry import store_of_registry
from dflag._source_state import Batch, Reading, SourceState
from dflag._trial import try_readings
from dflag.errors import FlagValueError, ParseError, RegistryValidationError, ValidationError, one_line, unknown_flags

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._formats.base import Place
    from dflag._kinds import Kind
    from dflag._registry import FlagRegistry
    from dflag._rule_layers import RuleContext
    from dflag.cli._items import Fault, Item, Object

Level: TypeAlias = Literal["error", "warning", "note"]

IGNORED: Final = frozenset({"_example"})
"""The keys that an updater ignores by default."""

NOTHING: Final = SourceState(Reading({}, lambda _: ""))


class Finding(NamedTuple):
    """
    One error, warning or note.

    Attributes:
        rule: The sort of finding, such as ``"invalid-value"``.
        flag: The flag or the key; None if the finding is not about a single one.
        confidence: How certain a finding about code is, ``"certain"`` or ``"likely"``; None for one about values.
    """

    file: str
    place: Place
    rule: str
    level: Level
    flag: str | None
    message: str
    confidence: Literal["certain", "likely"] | None = None


class Validation:
    """
    What an updater would do with one input.

    Attributes:
        values: The effective values by flag, if the input is applied to the defaults.
        findings: The findings, in the order of the input.
        rejected: What would be refused: the flag or key, or None if it is not about a single one, and the message.
        refused: The error of the registry's validators; None if they accept the values.
        unknown: The names that no flag has.
        states: The state of each object after the input is applied, as the base of a later reading.
    """

    __slots__ = ("findings", "refused", "rejected", "states", "unknown", "values")

    def __init__(
        self,
        values: Mapping[Flag[Any], Any],
        findings: Sequence[Finding],
        rejected: Sequence[tuple[str | None, str]],
        refused: RegistryValidationError | None,
        unknown: Sequence[str],
        states: Sequence[SourceState],
    ) -> None:
        self.values: Final = values
        self.findings: Final = findings
        self.rejected: Final = rejected
        self.refused: Final = refused
        self.unknown: Final = unknown
        self.states: Final = states


def validate(
    registry: FlagRegistry,
    objects: Sequence[Object],
    *,
    strict: bool = False,
    bases: Sequence[SourceState] = (),
    context: RuleContext | None = None,
) -> Validation:
    """
    Return what applying the objects of one input would do. Each object is a source that ranks above the one before it.

    The registry does not change, except that flags with a value from a Secret count as secret from now on.

    Args:
        registry: The flags.
        objects: What each source gives.
        strict: Whether unknown names are errors.
        bases: The earlier states of the sources. Instead of a refused value, the last good one of its source stays.
        context: Resolves the rules. Without it rules are validated, but never in force.
    """
    objects = [_without_ignored(each) for each in objects]
    before = [*bases, *[NOTHING] * len(objects)]
    readings = [(each.file, base, each.reading()) for each, base in zip(objects, before, strict=False)]
    contexts = {} if context is None else {each.file: context for each in objects}
    trial = try_readings(store_of_registry(registry), readings, contexts)
    pairs = list(zip(objects, trial.batches, strict=True))
    rejected = [each for given, batch in pairs for each in _rejected(registry, given, batch)]
    findings = [finding for given, batch in pairs for finding in _findings(registry, given, batch, strict=strict)]
    findings.sort(key=lambda finding: (finding.file, finding.place))
    if trial.error is not None:
        findings.append(_validator_finding(objects, trial.error))
    unknown = sorted({name for batch in trial.batches for name in batch.state.unknown})
    states = [batch.state for batch in trial.batches]
    return Validation(trial.values, findings, rejected, trial.error, unknown, states)


def _without_ignored(given: Object) -> Object:
    return given._replace(items={key: item for key, item in given.items.items() if key not in IGNORED})


def _validator_finding(objects: Sequence[Object], refused: RegistryValidationError) -> Finding:
    """
    Make a finding for an error about several flags, at the place of the first value.
    """
    first = next((item for each in objects for item in each.items.values()), None)
    file = first.file if first is not None else objects[0].file if objects else ""
    place = first.key_place() if first is not None else nodes.START
    return Finding(file, place, "rule", "error", None, str(refused))


def _findings(registry: FlagRegistry, given: Object, batch: Batch, *, strict: bool) -> Iterator[Finding]:
    for fault in given.faults:
        yield Finding(given.file, fault.place, fault.rule, "error", fault.key or None, message_of(registry, fault))
    for key, error in _own_errors(given, batch):
        if key in RULES_KEYS or key.startswith(RULE_PREFIX):
            continue  # `dflag.cli._rules` reports rules, each at its own place
        item = given.items.get(key) or _member(registry, given, key)
        place = place_of(item, registry[error.flag_name], kind_of(registry, key, error.flag_name), error)
        yield Finding(item.file, place, "invalid-value", "error", error.flag_name, str(error))
    level: Level = "error" if strict else "warning"
    for unknown in unknown_flags(
        sorted(batch.state.unknown.intersection(given.items)), [flag.name for flag in registry]
    ):
        item = given.items[unknown.flag_name]
        yield Finding(item.file, item.key_place(), "unknown-flag", level, unknown.flag_name, str(unknown))
    retired = store_of_registry(registry).retired
    for key, item in given.items.items():
        if given.in_config_map:
            yield from _exposed(registry, key, item)
        if key in registry:
            yield from hygiene(registry[key], item)
        elif key in retired:
            yield retired_key(key, item, retired[key])


def _exposed(registry: FlagRegistry, key: str, item: Item) -> Iterator[Finding]:
    """
    Warn of secret flags that a key of a ConfigMap sets.
    """
    for flag in flags_of(registry, key):
        if pipeline_of(flag).is_secret_by_declaration:
            message = f"flag {flag.name!r} is secret, and a ConfigMap is not: put the key into a Secret"
            yield Finding(item.file, item.key_place(), "secret-in-configmap", "warning", flag.name, message)


def retired_key(key: str, item: Item, since: datetime.date | None) -> Finding:
    """
    Make a finding for a key that is left of a retired flag; *since* is None if the day is not known.
    """
    message = f"flag {key!r} {retired_words(since)}: remove the key"
    return Finding(item.file, item.key_place(), "retired-flag", "warning", key, message)


def retired_words(since: datetime.date | None) -> str:
    """
    Return words for a retired flag, with the day since when, if it is known.
    """
    return "is retired" if since is None else f"has been retired since {since}"


def message_of(registry: FlagRegistry, fault: Fault) -> str:
    """
    Return the message of a fault, without the value if the key belongs to a secret flag.
    """
    masked = fault.masked and any(flag.secret for flag in flags_of(registry, fault.key))
    return one_line(fault.masked if masked else fault.message)


def flags_of(registry: FlagRegistry, key: str) -> list[Flag[Any]]:
    """
    Return the flag of that name or, if there is none, the maps that the key belongs to.
    """
    if key in registry:
        return [registry[key]]
    return [flag for flag, kind in store_of_registry(registry).maps.items() if kind.fits(key)]


def _own_errors(given: Object, batch: Batch) -> Iterator[tuple[str, FlagValueError]]:
    """
    Yield the errors of flags, except those about unreadable values that a fault of the object already explains.
    """
    known = {fault.key for fault in given.faults}
    for key, error in batch.state.rejected.items():
        item = given.items.get(key)
        if item is None or key not in known or not isinstance(item.raw, Unreadable):
            yield key, error


def _rejected(registry: FlagRegistry, given: Object, batch: Batch) -> Iterator[tuple[str | None, str]]:
    for fault in given.faults:
        yield fault.key or None, message_of(registry, fault)
    for _, error in sorted(_own_errors(given, batch)):
        yield error.flag_name, str(error)


def _member(registry: FlagRegistry, given: Object, name: str) -> Item:
    """
    Return the first key of a map, as the place of an error about the whole map.
    """
    kind = store_of_registry(registry).maps[registry[name]]
    return next(item for key, item in given.items.items() if key not in registry and kind.fits(key))


def hygiene(flag: Flag[Any], item: Item) -> Iterator[Finding]:
    """
    Warn of a flag that is set although it is deprecated or past its date.
    """
    if flag.deprecated is not None:
        message = f"flag {flag.name!r} is deprecated: {flag.deprecated}"
        yield Finding(item.file, item.key_place(), "deprecated-flag", "warning", flag.name, one_line(message))
    if flag.expires is not None and _is_over(flag.expires):
        owner = f", ask {flag.owner}" if flag.owner else ""
        message = f"flag {flag.name!r} was to be gone by {flag.expires}{owner}"
        yield Finding(item.file, item.key_place(), "expired-flag", "warning", flag.name, one_line(message))


def _is_over(day: datetime.date) -> bool:
    import datetime  # loaded already, as the program has made a date

    return day < datetime.date.today()  # noqa: DTZ011 - the local day


def place_of(item: Item, flag: Flag[Any], kind: Kind[Any], refused: FlagValueError) -> Place:
    """
    Return the place of the faulty token if the error identifies one, else the place of the value.
    """
    pipeline = pipeline_of(flag)
    if pipeline.input_mutator is not None:
        return item.value_place()
    path = refused.json_path if isinstance(refused, ValidationError) else None
    if item.is_native() and path is not None:
        return item.place_within(nodes.steps_of(path))
    text = item.text()
    if text is None or (path is None and not isinstance(refused, ParseError)):
        return item.value_place()
    begin = len(text) - len(text.lstrip(WHITE_SPACE + "\ufeff"))
    body = text.strip(WHITE_SPACE + "\ufeff")
    try:
        tree = _tree(body, yaml=path is not None)
    except NotJSON as error:
        return item.place_of(begin + (error.offset or 0)) if kind.reads_json(body) else item.value_place()
    return item.value_place() if path is None else item.place_of(begin + tree.walk(nodes.steps_of(path)).start)


def _tree(body: str, *, yaml: bool) -> nodes.Node:
    if not yaml or body[:1] in ("{", "[", '"'):
        from dflag._formats import json_nodes  # needed for a fault only

        return json_nodes.read(body)
    from dflag._formats import yaml_nodes

    return yaml_nodes.read_stream(body)[0]


def kind_of(registry: FlagRegistry, key: str, name: str) -> Kind[Any]:
    """
    Return the kind that reads a key: that of the flag or, for a key of a map, that of the map's values.
    """
    flag = registry[name]
    return pipeline_of(flag).kind if key == name else store_of_registry(registry).maps[flag].item
