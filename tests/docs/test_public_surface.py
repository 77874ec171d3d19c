"""
`dir()` of each public module and class shows exactly the documented names.

After an intended change, write the list again: ``python -m tests.docs.test_public_surface > tests/docs/public.txt``
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dflag.integrations

from ._reference import directives, imported

if TYPE_CHECKING:
    from types import ModuleType

DOCS = Path(__file__).parents[2] / "docs"
LIST = Path(__file__).with_name("public.txt").read_text(encoding="utf-8").splitlines()

INTEGRATIONS = {f"dflag.integrations.{each.name}" for each in pkgutil.iter_modules(dflag.integrations.__path__)}
MODULES = [each.target for each in directives() if each.kind == "module"]
MODULES += sorted(name for name in INTEGRATIONS.difference(MODULES) if "._" not in name)
PAGES = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md") if page.name != "changelog.md")

HOOKS = {"dflag.pytest_plugin"}
"""Modules that another program reads by `dir()`, to find what it calls."""

NAMED = [name for name in MODULES if name not in HOOKS]


def _public(module: ModuleType) -> dict[str, list[str]]:
    """
    Return the public names of a module, and those of each of our classes in it.
    """
    found = {module.__name__: [name for name in dir(module) if not name.startswith("_")]}
    for name in found[module.__name__]:
        value = getattr(module, name)
        if inspect.isclass(value) and value.__module__.startswith("dflag"):
            theirs = {own for base in value.__mro__ if not base.__module__.startswith("dflag") for own in dir(base)}
            names = [own for own in dir(value) if not own.startswith("_") and own not in theirs]
            found[f"{module.__name__}.{name}"] = names
    return found


def _lines(module: ModuleType) -> list[str]:
    return [f"{place}: {' '.join(names)}".rstrip() for place, names in _public(module).items()]


@pytest.mark.parametrize("name", NAMED)
def test_public_names_are_those_of_the_list(name: str) -> None:
    """Every public name is in the committed list, so that adding or removing one is a deliberate change."""
    assert [line for line in _lines(imported(name)) if line not in LIST] == []


def test_the_list_has_no_other_names() -> None:
    """The committed list has no module, class or name that does not exist."""
    assert [line for line in LIST if line not in {line for name in NAMED for line in _lines(imported(name))}] == []


@pytest.mark.parametrize("name", NAMED)
def test_public_names_are_explained(name: str) -> None:
    """Each public method has a docstring; each attribute has a text below it, or is named in its class or on a page."""
    module = imported(name)
    unexplained = [
        f"{place}.{own}"
        for place, names in _public(module).items()
        if place != name
        for own in names
        if not _is_explained(getattr(module, place.rpartition(".")[2]), own)
    ]
    assert unexplained == []


def _is_explained(owner: type, name: str) -> bool:
    member = inspect.getattr_static(owner, name)
    if inspect.isroutine(member) or isinstance(member, (property, classmethod, staticmethod)):
        return bool(inspect.getdoc(member) or inspect.getdoc(getattr(owner, name)))
    ours = [base for base in owner.__mro__ if base.__module__.startswith("dflag")]
    if any(re.search(rf'^    {name}\b.*\n    """', inspect.getsource(base), re.MULTILINE) for base in ours):
        return True
    return any(re.search(rf"\b{name}\b", text) for text in (PAGES, *(inspect.getdoc(base) or "" for base in ours)))


if __name__ == "__main__":
    for each in NAMED:
        sys.stdout.writelines(f"{line}\n" for line in _lines(importlib.import_module(each)))
