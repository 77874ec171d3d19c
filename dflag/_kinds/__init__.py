"""
The kinds of values that flags have: text to value and back.
"""

from dflag._kinds._base import Kind, Problem
from dflag._kinds.collections import STRING_LIST, STRING_SET
from dflag._kinds.duration import DURATION
from dflag._kinds.enums import enum_kind
from dflag._kinds.json import json_kind
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
    "Kind",
    "Problem",
    "enum_kind",
    "json_kind",
]
