"""
JSON Schemas of the native values and of the texts that a kind accepts.

A schema never refuses a valid value.
"""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from dflag._formats.base import NotJSON
from dflag._formats.json import loads
from dflag._kinds._declared import WHITE_SPACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dflag._kinds._base import Kind
    from dflag._kinds._declared import Limits, Schema, SchemaOptions

_SPACE: Final = "[" + "".join(f"\\u{ord(character):04x}" for character in WHITE_SPACE) + "]*"

_BEYOND_FLOATS: Final[Schema] = {
    "type": "number",
    "anyOf": [{"exclusiveMinimum": sys.float_info.max}, {"exclusiveMaximum": -sys.float_info.max}],
}
"""The schema of infinite numbers, such as ``.inf`` and ``1e400`` in YAML. JSON cannot write one in an enum."""


def of_value(kind: Kind[Any], options: SchemaOptions) -> Schema:
    """
    Return the schema of a value in a document.
    """
    natives = kind.native_schemas(options)
    return {} if {} in natives else {"anyOf": [*natives, of_text(kind, options)]}


def of_text(kind: Kind[Any], options: SchemaOptions) -> Schema:
    """
    Return the schema of a text.
    """
    if kind.is_json:
        return {"type": "string", "contentMediaType": "application/json"}
    grammar = kind.pattern(options.limits)
    if grammar is None:
        return {"type": "string"}
    space = _SPACE if options.strip else ""
    return {"type": "string", "pattern": f"^\\ufeff?{space}(?:{grammar}){space}$"}


def number(schema: Schema, limits: Limits) -> Schema:
    """
    Return *schema*, that of any number, narrowed to the limits.
    """
    edges = {"minimum": limits.minimum, "maximum": limits.maximum}
    found = {**schema, **{key: edge for key, edge in edges.items() if edge is not None and abs(edge) != float("inf")}}
    if limits.choices is not None:
        found["enum"] = [choice for choice in limits.choices if abs(choice) != float("inf")] or [None]
    return found


def arrays_of(choices: Sequence[str] | None) -> list[Schema]:
    """
    Return the schemas of a list of texts in a document. A value that is no array counts as a text that lists items.
    """
    if choices is None:
        return [{"type": "array", "items": {"type": "string"}}, {"type": ["boolean", "null", "number", "object"]}]
    items = {"type": "string", "enum": list(choices)}
    return [{"type": "array", "items": items}, {"type": ["null", "object"]}, *only_like(choices)]


def only_like(texts: Iterable[str]) -> list[Schema]:
    """
    Return the schemas of the native values that are written like one of the texts, such as ``true`` or ``1``.
    """
    from dflag._formats.yaml import plain_value  # imports PyYAML, which most programs do not need

    given = [*texts]
    natives = {repr(native): native for native in map(plain_value, given) if not isinstance(native, str)}
    enum = [native for native in natives.values() if not isinstance(native, float) or math.isfinite(native)]
    infinite = [_BEYOND_FLOATS] if len(enum) < len(natives) else []
    return [*([{"enum": enum}] if enum else []), *infinite, *_collections_like(given)]


def _collections_like(texts: Iterable[str]) -> list[Schema]:
    """
    Return the schema of any array or object if one of the texts is one, because its spaces and case may differ.
    """
    types = sorted({found for text in texts if (found := _collection(text))})
    return [{"type": types}] if types else []


def _collection(text: str) -> str:
    """
    Return ``"array"`` or ``"object"`` if a text is one of them in JSON, and the empty text otherwise.
    """
    try:
        native = loads(text) if text.startswith(("[", "{")) else None
    except NotJSON:
        return ""
    return "" if native is None else "array" if isinstance(native, list) else "object"


def any_case(text: str) -> str:
    """
    Return a pattern of a text whose ASCII letters may be in either case.
    """
    return "".join(
        f"[{char.lower()}{char.upper()}]" if char.isascii() and char.isalpha() else escaped(char) for char in text
    )


BEYOND_ASCII: Final = r"[\s\S]*[^\x00-\x7f][\s\S]*"
"""A pattern of every text with a character beyond ASCII. Many of these fold to one ASCII character, and some to two."""


def escaped(text: str) -> str:
    """
    Return a text escaped for both Python and ECMA-262, which accept different escapes of punctuation.
    """
    return re.sub(r"[\\^$.*+?()\[\]{}|/]", r"\\\g<0>", text)


def of_keys(pattern: str) -> str:
    """
    Return a pattern of `fnmatch` as a regular expression of ECMA-262.
    """
    found, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        end = pattern.find("]", at + 2 + pattern.startswith("!", at + 1)) if character == "[" else -1
        if end > 0:
            inner = pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
            negated = inner.startswith("!")
            found += f"[{'^' * negated}{inner[negated:].replace('^', chr(92) + '^')}]"
        else:
            found += {"*": "[\\s\\S]*", "?": "[\\s\\S]"}.get(character, escaped(character))
        at = max(at, end) + 1
    return found
