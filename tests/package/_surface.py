"""
The names that users may import, as a tree for griffe: only the names in the ``__all__`` of each public module.

A tree that this module has written represents a version without a tag::

    python -m tests.package._surface CHECKOUT > tests/package/surface-VERSION.json
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DECLARATORS = "_unbound"
"""The module whose functions `dflag` offers but omits from ``__all__``, so that a star import shadows no built-in."""

UNCOMPARED = {"analysis", "docstring", "exports", "imports", "members", "runtime"}
"""The properties of an object that griffe writes but does not compare."""


def text(checkout: Path | str) -> str:
    """
    Return the surface of the package in a checkout, without importing it, as JSON for `griffe.Module.from_json`.
    """
    # Without try_relative_path, because otherwise griffe would load the package in the working directory.
    options = {"try_relative_path": False, "resolve_aliases": True, "resolve_external": False}
    return _text(griffe.load("dflag", search_paths=[checkout], **options))


def tagged(checkout: Path, tag: str) -> griffe.Module:
    """
    Return the surface of the package at a tag.
    """
    package = griffe.load_git("dflag", ref=tag, repo=checkout, resolve_aliases=True, resolve_external=False)
    return griffe.Module.from_json(_text(package))


def written(path: Path) -> griffe.Module:
    """
    Return the surface from a file.
    """
    return griffe.Module.from_json(path.read_text(encoding="utf-8"))


def _text(package: griffe.Object | griffe.Alias) -> str:
    return json.dumps(_module(package), sort_keys=True, separators=(",", ":"))


def _module(module: griffe.Object | griffe.Alias) -> dict[str, Any]:
    """
    Describe a module with the target of each of its names, so that no alias is left.
    """
    return {
        **_described(module),
        "filepath": f"{module.path}.py",  # the path of the checkout is not part of the surface
        "members": {name: _member(module.members[name]) for name in _names(module)}
        | {each.name: _module(each) for each in _modules(module)},
    }


def _names(module: griffe.Object | griffe.Alias) -> Iterator[str]:
    yield from (str(name) for name in module.exports or ())
    if module.is_package and DECLARATORS in module.members:
        for name, member in module.members[DECLARATORS].members.items():
            if not member.is_alias and name.islower() and not name.startswith("_"):
                yield name


def _modules(module: griffe.Object | griffe.Alias) -> Iterator[griffe.Object | griffe.Alias]:
    for name, member in module.members.items():
        if not member.is_alias and member.is_module and not name.startswith("_"):
            yield member


def _member(member: griffe.Object | griffe.Alias) -> dict[str, Any]:
    """
    Describe the target of a name; for a class, include the public members of its bases.
    """
    target = member.final_target if isinstance(member, griffe.Alias) else member
    if member.name.startswith("dyn_") and target.is_attribute:  # made from the static function, with its parameters
        return {**_member(target.parent.members[member.name.removeprefix("dyn_")]), "name": member.name}
    described = {**_described(target), "name": member.name}
    if target.is_class:
        inside = target.all_members.items()
        described["members"] = {name: _member(each) for name, each in inside if not name.startswith("_")}
    return described


def _described(target: griffe.Object | griffe.Alias) -> dict[str, Any]:
    described = {name: value for name, value in json.loads(target.as_json()).items() if name not in UNCOMPARED}
    if "decorators" in described:
        described["decorators"] = []
    return {**described, "lineno": None, "endlineno": None}


if __name__ == "__main__":
    sys.stdout.write(text(sys.argv[1]) + "\n")
