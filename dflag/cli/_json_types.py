"""
The types that ``kubectl`` gives to the scalars of a manifest, which it reads as YAML 1.1.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dflag._formats.nodes import Node

_BOOLS: Final = frozenset(
    "true True TRUE false False FALSE y Y yes Yes YES n N no No NO on On ON off Off OFF".split()  # noqa: SIM905
)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TAG: Final = "tag:yaml.org,2002:"

# These are compiled at their first use, because most manifests have no number without quotes.
_INT: Final = r"[-+]?(?:0[bB][01]+|0[oO]?[0-7]+|0[xX][0-9a-fA-F]+|0|[1-9][0-9]*)|0b[-+][01]+"
_DECIMAL: Final = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_NO_FINITE: Final = r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
_UNDERSCORE: Final = r"(?<=[0-9])_(?=[0-9])"
_NUMBER_BEGINS: Final = "+-.0123456789"
_SAME_KEY: Final = r"true|false|0|-?[1-9][0-9]{0,17}|-?(?:0|[1-9][0-9]{0,5})\.[0-9]{0,5}[1-9]"
"""Matches the truth values and numbers whose text ``kubectl`` keeps if they are keys without quotes."""

STRING: Final = "a string"
BOOL: Final = "a truth value"
INT: Final = "an integer"
FLOAT: Final = "a number"
NULL: Final = "nothing"
MAPPING: Final = "a mapping"
LIST: Final = "a list"
TAGGED: Final = "a value with a tag"


def type_of(node: Node) -> str:
    """
    Return the type that a value has in the JSON that ``kubectl`` makes of a manifest.
    """
    if node.text is None:
        return MAPPING if node.items is None else LIST
    if node.tag is not None and node.tag.removeprefix(_TAG) in ("binary", "bool", "float", "int", "null"):
        return TAGGED
    if node.style or node.tag is not None:
        return STRING
    if node.text in _NULLS:
        return NULL
    if node.text in _BOOLS:
        return BOOL
    return _type_of_number(node.text) if node.text[0] in _NUMBER_BEGINS else STRING


def _type_of_number(text: str) -> str:
    """
    Return the type of a text that may be a number. One with a point or an exponent is a string if no float can hold it.
    """
    plain = _without_underscores(text)
    if re.fullmatch(_INT, plain):
        return INT
    is_finite = re.fullmatch(_DECIMAL, plain) is not None and math.isfinite(float(plain))
    return FLOAT if is_finite or re.fullmatch(_NO_FINITE, text) else STRING


def _without_underscores(text: str) -> str:
    """
    Remove the underscores of a number: those after the first character or, after a leading point, those between digits.
    """
    if text.startswith("."):
        return re.sub(_UNDERSCORE, "", text)
    return text if text.startswith("_") else text.replace("_", "")


def is_changed_as_key(node: Node) -> bool:
    """
    Return whether ``kubectl`` changes the text of a key without quotes, such as ``y`` to ``true``.
    """
    return type_of(node) in (BOOL, INT, FLOAT, NULL, TAGGED) and not re.fullmatch(_SAME_KEY, node.text or "")
