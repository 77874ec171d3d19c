"""
``dflag docs``: print a reference of all flags in Markdown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TextIO

from dflag._flags import text_of_value
from dflag.cli._registry import load
from dflag.cli._texts import describe, remarks
from dflag.errors import one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from dflag._flags import Flag

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#+!|~<>&$])")
_TICKS: Final = re.compile("`+")


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the reference: dynamic flags, then static ones.
    """
    registry = load(options.registry)
    out.write(f"# {_prose('Flags of ' + registry.name if registry.name else 'Flags')}\n")
    for title, dynamic in (
        ("Dynamic flags, which change while the program runs", True),
        ("Static flags, which are fixed when it starts", False),
    ):
        flags = [flag for flag in registry if flag.dynamic is dynamic]
        if flags:
            out.write(f"\n## {title}\n\n{_table(flags)}")
    return 0


def _table(flags: Iterable[Flag[Any]]) -> str:
    rows = ["| name | type | default | description |", "|---|---|---|---|"]
    rows += ["| " + " | ".join(_cells(flag)) + " |" for flag in flags]
    return "\n".join(rows) + "\n"


def _cells(flag: Flag[Any]) -> tuple[str, str, str, str]:
    takes = describe(flag).removeprefix("dynamic ").removeprefix("static ")
    about = [" ".join(flag.help.split()), *remarks(flag)]
    default = text_of_value(flag, flag.default)
    return _code(flag.name), _prose(takes), _code(default), "<br>".join(_prose(line) for line in about if line)


def _prose(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", one_line(text))


def _code(text: str) -> str:
    """
    Return a text as a code span, such that the text can end neither the span nor the cell of the table.
    """
    text = one_line(text).replace("|", "\\|")
    if not text.strip():
        return ""
    ticks = "`" * (max((len(found) for found in _TICKS.findall(text)), default=0) + 1)
    pad = " " if "`" in (text[0], text[-1]) else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"
