"""
The kinds of values that flags have: text to value and back.

Each is imported with the first flag of it: all together take longer than the rest of dflag.
"""

from typing import TYPE_CHECKING

from dflag._kinds._base import Kind, Problem, is_unawaited
from dflag._lazy import lazily

if TYPE_CHECKING:
    from dflag._kinds.collections import STRING_LIST, STRING_SET
    from dflag._kinds.custom import CustomKind
    from dflag._kinds.duration import DURATION
    from dflag._kinds.enums import enum_kind
    from dflag._kinds.json_kinds import json_kind
    from dflag._kinds.scalars import BOOL, BYTES, FLOAT, INT, STRING

__all__ = [
    "BOOL",
    "BYTES",
    "DURATION",
    "FLOAT",
    "INT",
    "STRING",
    "STRING_LIST",
    "STRING_SET",
    "CustomKind",
    "Kind",
    "Problem",
    "enum_kind",
    "is_unawaited",
    "json_kind",
]

if not TYPE_CHECKING:  # else the checkers would take any name
    __getattr__, __dir__ = lazily(
        __name__,
        {
            **dict.fromkeys(("BOOL", "BYTES", "FLOAT", "INT", "STRING"), "scalars"),
            **dict.fromkeys(("STRING_LIST", "STRING_SET"), "collections"),
            "CustomKind": "custom",
            "DURATION": "duration",
            "enum_kind": "enums",
            "json_kind": "json_kinds",
        },
    )
