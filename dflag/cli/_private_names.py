"""
The names that Python gives to the private attributes of a class: ``__rate`` in ``class Limits`` is ``_Limits__rate``.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_PRIVATE: Final = re.compile(r"\b__(?!\w*__\b)\w")

_AS_WRITTEN: Final = (ast.Constant, ast.MatchClass, ast.alias, ast.keyword)
"""The nodes whose names Python looks up as they are written, or that hold no names."""


def with_private_names(tree: ast.Module, text: str) -> ast.Module:
    """
    Rename the private names of classes in the tree of a module to their names at run time, and return the tree.
    """
    if _PRIVATE.search(text):  # few modules have any, and a search takes less time than visiting each node
        _rename(tree.body, "")
    return tree


def _rename(nodes: Iterable[ast.AST], before: str) -> None:
    pending = list(nodes)
    while pending:
        node = pending.pop()
        within: Iterable[ast.AST] = ast.iter_child_nodes(node)
        if isinstance(node, ast.ClassDef):
            class_name = node.name.lstrip("_")
            _rename(node.body, class_name and f"_{class_name}")
            within = [*node.decorator_list, *node.bases, *node.keywords]
        if before and not isinstance(node, _AS_WRITTEN):
            _rename_one(node, before)
        pending += within


def _rename_one(node: ast.AST, before: str) -> None:
    for field, value in ast.iter_fields(node):
        if isinstance(value, str):
            setattr(node, field, _renamed(value, before))
        elif isinstance(value, list):  # the names in ``global`` and ``nonlocal`` are texts
            setattr(node, field, [_renamed(each, before) if isinstance(each, str) else each for each in value])


def _renamed(name: str, before: str) -> str:
    return before + name if _PRIVATE.match(name) else name
