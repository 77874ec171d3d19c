"""
``dflag references``: list where flags are declared and read.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from dflag.cli._code_findings import finding_of, problems_of
from dflag.cli._errors import CommandError
from dflag.cli._modules import read_sources
from dflag.cli._references import read_program
from dflag.cli._reports import FORMATS
from dflag.errors import did_you_mean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from dflag.cli._findings import Finding
    from dflag.cli._flag_usages import FlagUsage, Program

_WORDS = {"read": "read", "perhaps": "perhaps read", "other": "used"}


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print every declaration and use, and return 1 if a name is given that nothing refers to.
    """
    name, paths = _split(options.words)
    program = read_program(read_sources(paths))
    flags = [flag for flag in program.flags if name is None or name in _names(flag)]
    findings = [finding for flag in flags for finding in _references(flag)]
    findings += _undeclared(program, name)
    out.write(FORMATS[options.format]([*problems_of(program, "warning"), *findings]))
    if name is None or findings:
        return 0
    hint = did_you_mean(name, [known for flag in program.flags for known in _names(flag)], "; {}")
    print(f"dflag: no reference to a flag {name!r}{hint}", file=sys.stderr)
    return 1


def _undeclared(program: Program, name: str | None) -> Iterator[Finding]:
    """
    Yield the reads of the name that lead to no declaration; for None those of all names.
    """
    for module, text, _ in program.undeclared:
        if name is None or text.text == name:
            message = f"{text.text}: read, undeclared"
            yield finding_of(module, text.position, "reference", "note", text.text, message)


def _split(words: list[str]) -> tuple[str | None, list[str]]:
    """
    Separate the name from the paths: the first word is a name unless a file or directory has that name.
    """
    if not words or os.path.lexists(words[0]):
        return None, words or ["."]
    if os.sep in words[0]:
        raise CommandError(f"no file or directory at {words[0]!r}")
    return words[0], words[1:] or ["."]


def _names(flag: FlagUsage) -> list[str]:
    """
    Return the names by which a user can ask for a flag: its own, and those of variables and attributes that hold it.
    """
    return [flag.label, *flag.declared.labels]


def _references(flag: FlagUsage) -> Iterator[Finding]:
    declared = f"{flag.label}: declared, {flag.declared.method}"
    yield finding_of(flag.module, flag.declared.position, "reference", "note", flag.label, declared)
    seen = set()
    for each in sorted(flag.references, key=lambda each: (each.module.source.file, each.position)):
        if (key := (each.module.source.file, each.position)) not in seen:
            seen.add(key)
            where = " in a test" if each.is_test else ""
            words = f"{flag.label}: {_WORDS[each.how]}{where}"
            yield finding_of(each.module, each.position, "reference", "note", flag.label, words)
