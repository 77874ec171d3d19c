"""
JSON Schemas of what each kind of flag takes, natively and as text.

A schema never refuses what the flag accepts, save what pydantic turns into a ``type=`` though it is written otherwise.
What no schema can say, it leaves to the check: validators and mutators, limits of numbers that are written as text,
what JSON in a text holds.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, cast

from dflag._flags import pipeline_of
from dflag._kinds.enums import EnumKind
from dflag._kinds.json import JSONKind
from dflag._pipeline import WHITE_SPACE
from dflag.cli._texts import default_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dflag._flags import Flag
    from dflag._kinds import Kind
    from dflag._kinds.maps import MapKind
    from dflag._pipeline import Pipeline

_SPACE: Final = "[" + "".join(f"\\u{ord(character):04x}" for character in WHITE_SPACE) + "]*"
_DECIMAL: Final = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_DIGITS: Final = "[0-9](?:_?[0-9])*"
_FLOAT: Final = rf"(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})"
_UNIT: Final = "(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h|d|w)"

_TEXTS: Final = {
    "int": r"[+-]?(?:0|[1-9](?:_?[0-9])*|0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+)",
    "float": rf"[+-]?(?:{_FLOAT}(?:[eE][+-]?{_DIGITS})?|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)",
    "bool": "|".join(
        "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in word)
        for word in ("true", "t", "yes", "y", "on", "1", "false", "f", "no", "n", "off", "0")
    ),
    "duration": rf"[+-]?(?:(?:[ \t]*{_DECIMAL}[ \t]*{_UNIT})+|0+(?:\.0*)?|\.0+)",
}
"""The grammars of texts, in what both Python and ECMA-262 take for a pattern."""

_INT: Final = {"minimum": -(2**63), "maximum": 2**63 - 1}


def of_flag(flag: Flag[Any], *, only_text: bool = False) -> dict[str, Any]:
    """
    Give the schema of a flag's value in a document, or of its text in a ConfigMap.
    """
    pipeline = pipeline_of(flag)
    schema: dict[str, Any] = {"title": flag.name, "description": flag.help} if flag.help else {"title": flag.name}
    if flag.deprecated is not None:
        schema["deprecated"] = True
    printed = None if flag.secret else default_text(flag)
    if printed is not None:
        schema["default"] = printed if only_text else _native(flag, printed)
        schema["examples"] = [printed]
    return schema | of_value(pipeline, pipeline.kind, flag.name, only_text=only_text)


def of_member(flag: Flag[Any], *, only_text: bool = False) -> dict[str, Any]:
    """
    Give the schema of one key that a family gathers.
    """
    item = cast("MapKind", pipeline_of(flag).kind).item
    return of_value(pipeline_of(flag), item, flag.name, only_text=only_text)


def family_pattern(flag: Flag[Any], names: Iterable[str]) -> str:
    """
    Give the pattern of a family's keys, those that are flags of their own left out.
    """
    taken = "|".join(_escaped(name) for name in names)
    return f"^(?!(?:{taken})$)(?!\\.){_translate(cast('MapKind', pipeline_of(flag).kind).keys)}$"


def of_value(pipeline: Pipeline[Any], kind: Kind[Any], name: str, *, only_text: bool) -> dict[str, Any]:
    """
    Give the schema of a value that *kind* reads.
    """
    if pipeline.input_mutator is not None:
        return {"type": "string"} if only_text else {}
    text = {"type": "string", **_text(pipeline, kind)}
    if only_text:
        return text
    make: Callable[[Any, Any, str], list[dict[str, Any]]] = _NATIVES.get(kind.name, _any)
    natives = make(pipeline, kind, name)
    return {} if {} in natives else {"anyOf": [*natives, text]}


def _text(pipeline: Pipeline[Any], kind: Kind[Any]) -> dict[str, Any]:
    grammar = _TEXTS.get(kind.name)
    if isinstance(kind, EnumKind):
        grammar = "|".join(map(_any_case, sorted({*kind._by_name, *kind._by_value, *kind._by_fold})))
    elif kind.name == "string" and pipeline.choices is not None and pipeline.mutator is None:
        grammar = "|".join(map(_escaped, pipeline.choices))
    elif kind.name in ("json", "map"):
        return {"contentMediaType": "application/json"}
    if grammar is None:
        return {}
    space = _SPACE if pipeline.strip else ""
    return {"pattern": f"^\\ufeff?{space}(?:{grammar}){space}$"}


def _numbers(pipeline: Pipeline[Any], kind: Kind[Any], name: str) -> list[dict[str, Any]]:  # noqa: ARG001 - as all
    limits = (
        {"minimum": pipeline.min, "maximum": pipeline.max} if kind is pipeline.kind and pipeline.mutator is None else {}
    )
    finite = {key: limit for key, limit in limits.items() if limit is not None and abs(limit) != float("inf")}
    found: dict[str, Any] = {"type": "integer", **_INT} if kind.name == "int" else {"type": "number"}
    found |= finite
    if pipeline.choices is not None and kind is pipeline.kind and pipeline.mutator is None:
        found["enum"] = [choice for choice in pipeline.choices if abs(choice) != float("inf")] or [None]
    return [found]


def _bools(pipeline: Pipeline[Any], kind: Kind[Any], name: str) -> list[dict[str, Any]]:  # noqa: ARG001 - as all
    return [{"type": "boolean"}, {"enum": [0, 1]}]


def _durations(pipeline: Pipeline[Any], kind: Kind[Any], name: str) -> list[dict[str, Any]]:  # noqa: ARG001 - as all
    return [{"const": 0}]


def _lists(pipeline: Pipeline[Any], kind: Kind[Any], name: str) -> list[dict[str, Any]]:  # noqa: ARG001 - as all
    # What is no array is text to such a flag, and any text a list.
    if pipeline.choices is None or kind is not pipeline.kind or pipeline.mutator is not None:
        return [{"type": "array", "items": {"type": "string"}}, {"type": ["boolean", "null", "number", "object"]}]
    natives = [native for choice in pipeline.choices for native in _scalars(choice)]
    items = {"type": "string", "enum": list(pipeline.choices)}
    return [{"type": "array", "items": items}, {"type": "object"}, *([{"enum": natives}] if natives else [])]


def _enums(pipeline: Pipeline[Any], kind: Kind[Any], name: str) -> list[dict[str, Any]]:  # noqa: ARG001 - as all
    members = cast("EnumKind[Any]", kind)
    natives = [native for text in (*members._by_name, *members._by_value) for native in _scalars(text)]
    return [{"enum": natives}] if natives else []


def _strings(pipeline: Pipeline[Any], kind: Kind[Any], name: str) -> list[dict[str, Any]]:  # noqa: ARG001 - as all
    if pipeline.choices is None or pipeline.mutator is not None:
        return [{}]
    natives = [native for choice in pipeline.choices for native in _scalars(choice)]
    return [{"enum": natives}] if natives else []


def _jsons(pipeline: Pipeline[Any], kind: Kind[Any], name: str) -> list[dict[str, Any]]:  # noqa: ARG001 - as all
    schema: Any = kind.json_schema() if isinstance(kind, JSONKind) else None
    if schema is None or schema is True:
        return [{}]
    if schema is False:
        return [{"not": {}}]
    plain = json.loads(json.dumps(schema))
    # References begin at the schema's own root, which an $id makes of it here too.
    return [plain if "$id" in plain else {"$id": f"urn:dflag:{name}", **plain}]


def _maps(pipeline: Pipeline[Any], kind: Kind[Any], name: str) -> list[dict[str, Any]]:
    family = cast("MapKind", kind)
    item = of_value(pipeline, family.item, name, only_text=False)
    return [
        {"type": "object", "propertyNames": {"pattern": f"^{_translate(family.keys)}$"}, "additionalProperties": item}
    ]


def _any(pipeline: Pipeline[Any], kind: Kind[Any], name: str) -> list[dict[str, Any]]:  # noqa: ARG001 - as all
    return [{}]


_NATIVES: Final[dict[str, Callable[[Any, Any, str], list[dict[str, Any]]]]] = {
    "bool": _bools,
    "bytes": _any,
    "duration": _durations,
    "enum": _enums,
    "float": _numbers,
    "int": _numbers,
    "json": _jsons,
    "map": _maps,
    "string": _strings,
    "string_list": _lists,
    "string_set": _lists,
}


def _scalars(text: str) -> list[Any]:
    """
    Give the native value that is written like a text, if there is one.
    """
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [] if isinstance(found, (dict, list, str)) else [found]


def _native(flag: Flag[Any], printed: str) -> Any:
    """
    Give a flag's default as a document would best hold it.
    """
    if flag.type_name in ("int", "bool"):
        return flag.default
    if flag.type_name in ("json", "map"):
        return json.loads(printed)
    if pipeline_of(flag).kind.itemised:
        return sorted(flag.default) if flag.type_name == "string_set" else list(flag.default)
    number = flag.type_name == "float" and abs(cast("float", flag.default)) != float("inf")
    return flag.default if number else printed


def _any_case(text: str) -> str:
    return "".join(map(_either_case, text))


def _either_case(character: str) -> str:
    cases = character.lower(), character.upper()
    return f"[{''.join(cases)}]" if cases[0] != cases[1] and len("".join(cases)) == 2 else _escaped(character)


def _escaped(text: str) -> str:
    """
    Escape as both Python and ECMA-262 want it, which know different escapes of punctuation.
    """
    return re.sub(r"[\\^$.*+?()\[\]{}|/]", r"\\\g<0>", text)


def _translate(pattern: str) -> str:
    """
    Write a pattern of `fnmatch` as a regular expression of ECMA-262.
    """
    found, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        end = pattern.find("]", at + 2 + pattern.startswith("!", at + 1)) if character == "[" else -1
        if end > 0:
            inner = pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
            negated = inner.startswith("!")
            found += f"[{'^' * negated}{inner[negated:].replace('^', chr(92) + '^')}]"
            at = end
        else:
            found += {"*": "[\\s\\S]*", "?": "[\\s\\S]"}.get(character, _escaped(character))
        at += 1
    return found
