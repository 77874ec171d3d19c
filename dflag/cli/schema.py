"""
``dflag schema``: print a JSON Schema of a document that holds flags, or of a whole ConfigMap.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TextIO

from dflag._kinds.json_schema import escaped
from dflag._layers import RULES_KEYS
from dflag.cli._embedded import SUFFIXES
from dflag.cli._registry import load
from dflag.cli._rules_schema import of_rules
from dflag.cli._schemas import of_flags, of_members, or_null

if TYPE_CHECKING:
    import argparse

    from dflag._registry import FlagRegistry

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_DOCUMENT: Final = rf"\.(?:{'|'.join(suffix[1:] for suffix in SUFFIXES)})$"
"""Matches the keys that hold documents of flags, whose contents the schema of a manifest cannot check."""

_RULES: Final = f"^(?:{'|'.join(map(escaped, RULES_KEYS))})$"

_BASE64: Final = or_null({"type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/=\\s]*$"})


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the schema.
    """
    registry = load(options.registry)
    if options.rules:
        schema = {"$schema": _DRAFT, "title": f"Rules of {registry.name or 'flags'}", **of_rules(registry)}
    else:
        schema = of_manifest(registry) if options.manifest else of_document(registry)
    out.write(json.dumps(schema, indent=2) + "\n")
    return 0


def of_document(registry: FlagRegistry) -> dict[str, Any]:
    """
    Return the schema of a document whose top-level keys are flags.
    """
    keys = _keys(registry, only_text=False)
    keys["patternProperties"][_RULES] = {"anyOf": [of_rules(registry), {"type": "string"}]}
    return {"$schema": _DRAFT, "title": registry.name or "Flags", **keys}


def of_manifest(registry: FlagRegistry) -> dict[str, Any]:
    """
    Return the schema of a ConfigMap whose keys are flags.
    """
    names = {"pattern": "^(?!\\.\\.)(?!\\.$)[-._a-zA-Z0-9]{1,253}$"}
    return {
        "$schema": _DRAFT,
        "title": f"ConfigMap of {registry.name or 'flags'}",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {
            "apiVersion": {"const": "v1"},
            "kind": {"const": "ConfigMap"},
            "metadata": or_null({"type": "object"}),
            "immutable": or_null({"type": "boolean"}),
            "data": or_null(_with_texts(_keys(registry, only_text=True))) | {"propertyNames": names},
            "binaryData": or_null({"type": "object", "propertyNames": names, "additionalProperties": _BASE64}),
        },
        "additionalProperties": False,
    }


def _with_texts(keys: dict[str, Any]) -> dict[str, Any]:
    """
    Also allow the keys whose texts are documents of flags, or rules.
    """
    text = or_null({"type": "string"})
    return {
        **keys,
        "patternProperties": {**keys["patternProperties"], _DOCUMENT: text, _RULES: text},
    }


def _keys(registry: FlagRegistry, *, only_text: bool) -> dict[str, Any]:
    members = of_members(registry, ("_example", *RULES_KEYS), only_text=only_text)
    return {
        "type": "object",
        "properties": of_flags(registry, only_text=only_text),
        "patternProperties": {"^\\.": True, "^_example$": True, **members},
        "additionalProperties": False,
    }
