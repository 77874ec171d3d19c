"""
Findings about code, with the place and the confidence of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dflag._formats.base import Place
from dflag.cli._findings import Finding
from dflag.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dflag.cli._findings import Level
    from dflag.cli._flag_usages import Program
    from dflag.cli._module_records import Module, Position


def finding_of(
    module: Module,
    position: Position,
    rule: str,
    level: Level,
    flag: str | None,
    message: str,
    confidence: Literal["certain", "likely"] | None = None,
) -> Finding:
    """
    Make a finding at a place of a module.
    """
    return Finding(module.source.file, Place(*position), rule, level, flag, printable(message), confidence)


def problems_of(program: Program, level: Level) -> Iterator[Finding]:
    """
    Yield a finding for each module that cannot be parsed.
    """
    for source in program.problems:
        if source.problem is not None:
            message, line, column = source.problem
            yield Finding(source.file, Place(line, column), "unreadable-module", level, None, message, "certain")
