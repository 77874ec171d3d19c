"""
The JSON Schema of rules, for editors. ``dflag check`` finds more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dflag._rules_text import MAX_RULES, TIME_PATTERN
from dflag.cli._schemas import of_flags, of_members

if TYPE_CHECKING:
    from dflag._registry import FlagRegistry

_TEXT: Final = {"type": ["string", "number", "boolean"]}
"""Rules read the text of a scalar, whichever type an editor gives it."""

_TEXTS: Final = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_FACTS: Final = {"type": "object", "minProperties": 1, "additionalProperties": _TEXTS}
_TIME: Final = {
    "type": "string",
    "pattern": f"^{TIME_PATTERN}$",
    "examples": ["2026-11-28T10:00:00Z"],
}
_DURATION: Final = {"type": "string", "examples": ["30m", "1h30m"]}
_PERCENT: Final = {
    "type": "string",
    "pattern": r"^0*(100(\.0{1,6})?|\d{1,2}(\.\d{1,6})?)%$",
    "examples": ["10%", "2.5%"],
}

_KEYS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "name": ("Unique in its source; the share is drawn by it", {**_TEXT, "maxLength": 253, "minLength": 1}),
    "when": ("For processes of which each fact fits one of its globs", _FACTS),
    "unless": ("Not for processes of which each fact fits one of its globs", _FACTS),
    "from": ("When it begins: RFC 3339 with Z or an offset", _TIME),
    "until": ("When it ends", _TIME),
    "of": ("The fact whose text draws the share", {**_TEXT, "default": "pod"}),
    "over": ("How long it takes to reach everybody", _DURATION),
    "steps": ("The share at each step, rising", {"type": "array", "minItems": 1, "items": _PERCENT}),
    "every": ("How long a step takes", _DURATION),
    "bake": ("How long a process asks for its health after it has switched", _DURATION),
    "by": ("What the flags are keyed by", _TEXT),
    "is": ("The keys that it is for", _TEXTS),
    "share": ("The share of keys that it is for", _PERCENT),
}
"""The meaning and the schema of each key but ``set``."""

_NEEDED: Final = {
    "over": ["name", "from"],
    "steps": ["name", "from"],
    "share": ["name", "by"],
    "bake": ["name", "from"],
    "every": ["steps"],
    "is": ["by"],
}
_EXCLUSIVE: Final = (
    ("over", "steps"),
    ("over", "by"),
    ("bake", "by"),
    ("of", "by"),
    ("share", "is"),
    ("steps", "is"),
    ("share", "steps"),
)


def of_rules(registry: FlagRegistry) -> dict[str, Any]:
    """
    Return the schema of a list of rules.
    """
    return {
        "description": "Who gets which value, and when",
        "type": ["array", "null"],
        "maxItems": MAX_RULES,
        "items": _of_rule(registry),
    }


def _of_rule(registry: FlagRegistry) -> dict[str, Any]:
    properties = {key: {"description": text, **schema} for key, (text, schema) in _KEYS.items()}
    return {
        "type": "object",
        "properties": {**properties, "set": _values(registry)},
        "required": ["set"],
        "additionalProperties": False,
        "dependentRequired": _NEEDED,
        "allOf": [{"not": {"required": list(pair)}} for pair in _EXCLUSIVE],
    }


def _values(registry: FlagRegistry) -> dict[str, Any]:
    return {
        "description": "What it sets",
        "type": "object",
        "minProperties": 1,
        "properties": of_flags(registry),
        "patternProperties": of_members(registry),
        "additionalProperties": False,
    }
