"""
Read which names the pages of the API reference document.
"""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from types import ModuleType

PAGES = sorted((Path(__file__).parents[2] / "docs").glob("api*.md"))

_DIRECTIVE = re.compile(r"^\.\. (?:auto|py:)(\w+):: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)
_OPTION = re.compile(r"^   :([\w-]+): ?(.*)$", re.MULTILINE)


class Directive(NamedTuple):
    """
    One directive of a page: the kind and the name of the documented object, and the options.
    """

    kind: str
    target: str
    options: dict[str, str]

    @property
    def members(self) -> bool:
        """Whether the members of the target are documented with it."""
        return "no-members" not in self.options

    def excludes(self, name: str) -> bool:
        """
        Return whether the directive excludes a member by name.
        """
        return name in re.split(r",\s*", self.options.get("exclude-members", ""))


def directives() -> list[Directive]:
    """
    Return the directives of all pages, in order.
    """
    found = []
    for page in PAGES:
        for kind, target, options in _DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            named = dict(_OPTION.findall(options))
            module = named.get("module")
            found.append(Directive(kind, f"{module}.{target}" if module else target, named))
    return found


@cache
def imported(name: str) -> ModuleType:
    """
    Import a module; skip the test if a third-party package is missing.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("dflag"):
            raise
        pytest.skip(f"{error.name} is not installed")
