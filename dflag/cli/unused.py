"""
``dflag unused``: list the flags that can be removed.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

from dflag._flags import pipeline_of
from dflag._layers import RULES_KEYS
from dflag._raw import Unreadable
from dflag._registry import store_of_registry
from dflag.cli._code_findings import finding_of, problems_of
from dflag.cli._embedded import is_flag, opened
from dflag.cli._errors import CommandError
from dflag.cli._findings import IGNORED, Finding, retired_key, retired_words
from dflag.cli._inputs import read_all
from dflag.cli._modules import read_sources
from dflag.cli._references import read_program
from dflag.cli._registry import load
from dflag.cli._reports import FORMATS, is_ok
from dflag.errors import FlagValueError, did_you_mean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from dflag._registry import FlagRegistry
    from dflag.cli._flag_usages import FlagUsage, Program
    from dflag.cli._items import Item, Object

_MANY = 2
"""The smallest number of inputs that can be compared."""


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the findings, and return 1 if one of them is an error.

    Certain findings are errors, and with ``--strict`` likely ones too. A key of a retired flag is only a warning.
    """
    program = read_program(read_sources(options.paths))
    registry = None if options.registry is None else load(options.registry)
    findings = [*problems_of(program, "error")]
    for flag in program.flags:
        if not flag.is_kept and not flag.module.source.is_test:
            findings += _unused(program, flag, strict=options.strict)
            findings += _expired(flag, _expiry(flag, registry))
    findings += _undeclared(program, strict=options.strict)
    inputs = [_values(path, program, registry, options.key) for path in options.input]
    findings += _constant(program, registry, inputs)
    findings += _unknown_keys(program, registry, inputs, strict=options.strict)
    findings.sort(key=lambda finding: (finding.file, finding.place))
    out.write(FORMATS[options.format](findings))
    return 0 if is_ok(findings) else 1


def _graded(*, certain: bool, strict: bool) -> tuple[Literal["error", "warning"], Literal["certain", "likely"]]:
    return "error" if certain or strict else "warning", "certain" if certain else "likely"


def _unused(program: Program, flag: FlagUsage, *, strict: bool) -> Iterator[Finding]:
    """
    Yield a finding if nothing reads a flag, or only tests do.
    """
    if flag.reads():
        return
    perhaps = flag.reads("perhaps") or [*filter(None, [flag.handed])]
    perhaps = perhaps or [each for each in program.of_any if not each.is_test]
    level, confidence = _graded(certain=not perhaps and not flag.is_exported and flag.name is not None, strict=strict)
    in_tests = flag.reads(in_tests=True)
    message = f"flag {flag.label!r} is read only in tests" if in_tests else f"flag {flag.label!r} is never read"
    if perhaps:
        file, position = perhaps[0].module.source.file, perhaps[0].position
        message += f"; {file}:{position.line}:{position.column} may mean it"
    elif flag.is_exported:
        message += " here, and is exported"
    elif flag.name is None:
        message += " here, and has no name"
    rule = "test-only-flag" if in_tests else "unused-flag"
    yield finding_of(flag.module, flag.declared.position, rule, level, flag.label, message, confidence)


def _expiry(flag: FlagUsage, registry: FlagRegistry | None) -> datetime.date | None:
    if registry is not None and flag.name is not None and flag.name in registry:
        return registry[flag.name].expires
    return flag.declared.expires


def _expired(flag: FlagUsage, expires: datetime.date | None) -> Iterator[Finding]:
    if expires is not None and expires < datetime.date.today():  # noqa: DTZ011 - a day has no zone here
        message = f"flag {flag.label!r} expired on {expires}"
        yield finding_of(flag.module, flag.declared.position, "expired-flag", "error", flag.label, message, "certain")


def _undeclared(program: Program, *, strict: bool) -> Iterator[Finding]:
    known = [flag.name for flag in program.flags if flag.name is not None]
    for module, text, is_certain in program.undeclared:
        if module.source.is_test or text.position.line in module.source.kept:
            continue
        level, confidence = _graded(certain=is_certain, strict=strict)
        if text.text in program.retired:
            message = f"flag {text.text!r} is read and {retired_words(program.retired[text.text])}"
        else:
            hint = did_you_mean(text.text or "", known)
            message = f"flag {text.text!r} is read and never declared{hint}"
        yield finding_of(module, text.position, "undeclared-flag", level, text.text, message, confidence)


class _Values(NamedTuple):
    """
    The values of an INPUT.

    Attributes:
        items: The values of keys, by name, each with the object that gives it; a later object wins.
        ruled: The values that rules set, by name, each with the object of the rule; the first rule wins.
    """

    items: Mapping[str, tuple[Object, Item]]
    ruled: Mapping[str, tuple[Object, Item]]

    def has_other_values(self, flag: FlagUsage) -> bool:
        """
        Return whether a rule, or further keys of a map, may give a flag another value than its key does.
        """
        keys = flag.declared.keys
        return (
            flag.name in self.ruled
            or flag.declared.may_have_any_key
            or (
                keys is not None
                and any(fnmatchcase(name, keys) for name in (*self.items, *self.ruled) if name != flag.name)
            )
        )


def _values(path: str, program: Program, registry: FlagRegistry | None, keys: Sequence[str]) -> _Values:
    """
    Read the values of an INPUT.
    """

    def is_known(key: str) -> bool:
        return program.has_key(key) is True if registry is None else is_flag(registry, key)

    inputs = read_all(path, None if registry is None else is_known)
    objects = opened(is_known, [each for given in inputs for each in given.objects], keys)
    if all(each.items.keys() <= IGNORED for each in objects):
        raise CommandError(f"no values in {path}")
    items = {
        key: (each, item)
        for each in objects
        for key, item in each.items.items()
        if key not in IGNORED.union(RULES_KEYS)
    }
    ruled: dict[str, tuple[Object, Item]] = {}
    for each in objects:
        if not each.items.keys().isdisjoint(RULES_KEYS):
            from dflag.cli._rules import items_set  # most inputs have no rules

            ruled = {name: (each, item) for name, item in items_set(each).items()} | ruled
    return _Values(items, ruled)


def _constant(program: Program, registry: FlagRegistry | None, inputs: Sequence[_Values]) -> Iterator[Finding]:
    """
    Yield a finding for each flag that has the same value in all inputs.
    """
    if len(inputs) < _MANY:
        return
    for flag in program.flags:
        if (
            flag.name is None
            or flag.is_kept
            or flag.module.source.is_test
            or not all(flag.name in each.items for each in inputs)
            or any(each.has_other_values(flag) for each in inputs)
        ):
            continue
        items = [each.items[flag.name] for each in inputs]
        if not _are_same(flag.name, registry, [item.raw for _, item in items]):
            continue
        is_hidden = any(given.secret for given, _ in items) or _is_secret(flag.name, program, registry)
        value = "" if is_hidden else f", {_shown(items[0][1].raw)}"
        message = f"flag {flag.label!r} has the same value in all {len(inputs)} inputs{value}: make it a constant"
        yield finding_of(flag.module, flag.declared.position, "constant-flag", "error", flag.label, message, "certain")


def _are_same(name: str, registry: FlagRegistry | None, raws: Sequence[Any]) -> bool:
    if any(isinstance(raw, Unreadable) for raw in raws):
        return False
    if registry is None or name not in registry:
        return len({raw if isinstance(raw, bytes) else str(raw).encode() for raw in raws}) == 1
    flag = registry[name]
    pipeline = pipeline_of(flag)
    try:
        values = [pipeline.read(name, raw, "") for raw in raws]
    except FlagValueError:
        return False
    return all(pipeline.kind.same(values[0], value) for value in values[1:])


def _is_secret(name: str, program: Program, registry: FlagRegistry | None) -> bool:
    # The code is asked even if there is a registry, which might not be the one that declares the secret.
    return program.is_secret(name) or (registry is not None and name in registry and registry[name].secret)


def _shown(raw: object) -> str:
    text = repr(raw)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _unknown_keys(
    program: Program,
    registry: FlagRegistry | None,
    inputs: Sequence[_Values],
    *,
    strict: bool,
) -> Iterator[Finding]:
    """
    Yield a finding for each key of an input, or name in its rules, that is retired or has no declaration.
    """
    retired = program.retired if registry is None else {**program.retired, **store_of_registry(registry).retired}
    reported: dict[str, set[str]] = defaultdict(set)
    known = [flag.name for flag in program.flags if flag.name is not None]
    for each in inputs:
        for key, (given, item) in (*each.items.items(), *each.ruled.items()):
            has = program.has_key(key)
            if has is True or (registry is not None and is_flag(registry, key)) or key in reported[given.file]:
                continue
            reported[given.file].add(key)
            if key in retired:
                yield retired_key(key, item, retired[key])._replace(confidence="certain")
                continue
            level, confidence = _graded(certain=has is False, strict=strict)
            message = f"key {key!r} has no declaration{did_you_mean(key, known)}"
            yield Finding(given.file, item.key_place(), "undeclared-key", level, key, message, confidence)
