"""
Texts in a syntax tree: literals, and patterns of the texts that expressions build.
"""

from __future__ import annotations

import ast
import re
from typing import Final

ANYTHING: Final = ".*"

_FIELD: Final = re.compile(
    r"%(?:\([^)]*\))?[-#0 +]*(?:\d+|\*)?(?:\.(?:\d+|\*))?[hlL]?[a-zA-Z%]"
    r"|\{(?:[^{}]|\{[^{}]*\})*\}"  # a width may be a field of its own
)
"""Matches the parts of a text that ``%`` or ``format`` replaces."""


def text_of(node: ast.expr | None) -> str | None:
    """
    Return the text of a string literal; None for any other expression.
    """
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def pattern_of(node: ast.expr) -> str | None:
    """
    Return a regular expression for the texts that an expression may build; None if it builds no text.
    """
    match node:
        case ast.Constant(value=value):
            return re.escape(value) if isinstance(value, str) else None
        case ast.JoinedStr(values=parts):
            return "".join(pattern_of(part) or ANYTHING for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (pattern_of(left) or ANYTHING) + (pattern_of(right) or ANYTHING)
        case (
            ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod())
            | ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format"))
        ):
            return ANYTHING.join(map(re.escape, _FIELD.split(text)))
        case ast.Slice() | ast.Tuple() | ast.Lambda() | ast.UnaryOp():
            return None
    return ANYTHING
