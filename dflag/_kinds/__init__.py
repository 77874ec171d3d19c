"""
The kinds of flag values. A kind converts text to a value and back.

Each kind is imported when its name is first used: all of them together take longer to import than the rest of dflag.
"""

from typing import TYPE_CHECKING

from dflag._kinds._base import Kind, Problem
from dflag._kinds._declared import NO_LIMITS, WHITE_SPACE, Limits, SchemaOptions
from dflag._lazy import lazily

if TYPE_CHECKING:
    from dflag._kinds.binary import BYTES
    from dflag._kinds.bools import BOOL
    from dflag._kinds.custom import CustomKind
    from dflag._kinds.duration import DURATION
    from dflag._kinds.enums import EnumKind
    from dflag._kinds.floats import FLOAT
    from dflag._kinds.ints import INT
    from dflag._kinds.json_kinds import json_kind
    from dflag._kinds.string_lists import STRING_LIST
    from dflag._kinds.string_sets import STRING_SET
    from dflag._kinds.strings import STRING

__all__ = [
    "BOOL",
    "BYTES",
    "DURATION",
    "FLOAT",
    "INT",
    "NO_LIMITS",
    "STRING",
    "STRING_LIST",
    "STRING_SET",
    "WHITE_SPACE",
    "CustomKind",
    "EnumKind",
    "Kind",
    "Limits",
    "Problem",
    "SchemaOptions",
    "json_kind",
]

if not TYPE_CHECKING:  # type checkers would otherwise accept any name
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "BOOL": "bools",
            "BYTES": "binary",
            "CustomKind": "custom",
            "DURATION": "duration",
            "EnumKind": "enums",
            "FLOAT": "floats",
            "INT": "ints",
            "STRING": "strings",
            "STRING_LIST": "string_lists",
            "STRING_SET": "string_sets",
            "json_kind": "json_kinds",
        },
    )
