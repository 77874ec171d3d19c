"""
JSON Schemas of flags, in a document and in a ConfigMap.

A schema never refuses what the flag accepts, except a value that pydantic converts from another form to its ``type=``.
It leaves to ``dflag check`` what no schema can express: validators and mutators, limits of numbers that are written as
text, and the contents of JSON in a text. It also leaves out the choices and members of a secret, one of which is the
value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dflag._flags import pipeline_of
from dflag._kinds import NO_LIMITS, Limits, SchemaOptions
from dflag._kinds.json_schema import escaped, of_keys, of_text, of_value
from dflag._registry import store_of_registry
from dflag.cli._texts import default_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dflag._flags import Flag
    from dflag._kinds import Kind
    from dflag._registry import FlagRegistry


def of_flags(registry: FlagRegistry, *, only_text: bool = False) -> dict[str, Any]:
    """
    Return the schemas of the keys that a registry knows: its flags, and retired names, whose values are not read.
    """
    retired = {"deprecated": True} | (or_null({"type": "string"}) if only_text else {})
    known = dict.fromkeys(store_of_registry(registry).retired, retired)
    return known | {flag.name: of_flag(flag, only_text=only_text) for flag in registry}


def of_flag(flag: Flag[Any], *, only_text: bool = False) -> dict[str, Any]:
    """
    Return the schema of a flag's value in a document, or of its text in a ConfigMap.
    """
    pipeline = pipeline_of(flag)
    schema: dict[str, Any] = {"title": flag.name, "description": flag.help} if flag.help else {"title": flag.name}
    if flag.deprecated is not None:
        schema["deprecated"] = True
    printed = None if flag.secret else default_text(flag)
    if printed is not None:
        schema["default"] = printed if only_text else pipeline.kind.native(flag.default)
        schema["examples"] = [printed]
    limits = pipeline.limits if pipeline.mutator is None else NO_LIMITS
    if flag.secret:
        limits = Limits(limits.minimum, limits.maximum)
    return schema | _schema(flag, pipeline.input_kind, limits, only_text=only_text)


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """
    Return the schema of a field of a manifest that may be null, which counts as a missing field or an empty text.

    The schema of a text that must not be empty stays as it is.
    """
    nullable = re.search(schema.get("pattern", ""), "") is not None
    return {**schema, "type": [schema["type"], "null"]} if nullable else schema


def of_members(registry: FlagRegistry, others: Iterable[str] = (), *, only_text: bool = False) -> dict[str, Any]:
    """
    Return the schemas of the keys of maps, by their patterns, which exclude the flags, retired names and *others*.
    """
    store = store_of_registry(registry)
    taken = "|".join(map(escaped, (*(flag.name for flag in registry), *store.retired, *others)))
    patterns: dict[str, Any] = {}
    for flag, kind in sorted(store.maps.items(), key=lambda pair: pair[0].name):
        pattern = f"^(?!(?:{taken})$)(?!\\.){of_keys(kind.keys)}$"
        schema = _schema(flag, kind.item, NO_LIMITS, only_text=only_text)
        patterns[pattern] = {"allOf": [patterns.get(pattern, True), schema]}
    return patterns


def _schema(flag: Flag[Any], kind: Kind[Any], limits: Limits, *, only_text: bool) -> dict[str, Any]:
    pipeline = pipeline_of(flag)
    if pipeline.input_mutator is not None or (flag.secret and kind.members()):
        return or_null({"type": "string"}) if only_text else {}
    options = SchemaOptions(flag.name, limits, strip=pipeline.strip, secret=flag.secret)
    return or_null(of_text(kind, options)) if only_text else of_value(kind, options)
