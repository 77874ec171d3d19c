"""
``dflag check``: check the values of inputs against the flags of a program.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Final, TextIO

from dflag._formats.nodes import START
from dflag.cli._checking import check_objects
from dflag.cli._embedded import is_flag, keys_of, opened
from dflag.cli._findings import IGNORED, Finding
from dflag.cli._inputs import read_all
from dflag.cli._registry import load
from dflag.cli._reports import FORMATS, is_ok
from dflag.errors import one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from dflag._registry import FlagRegistry
    from dflag.cli._inputs import Input
    from dflag.cli._items import Object


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the findings, and return 1 if one of them is an error.
    """
    registry = load(options.registry)
    inputs = [_Checked(registry, path, options) for path in options.inputs]
    findings = [finding for each in inputs for finding in each.findings]
    opened_keys = {key for each in inputs for key in each.keys}
    for key in dict.fromkeys(options.key):
        if key not in opened_keys:
            findings += _note(inputs[0].name, f"no key {key!r} to check as a document", "", strict=options.strict)
    out.write(FORMATS[options.format](findings))
    return 0 if is_ok(findings) else 1


class _Checked:
    """
    An INPUT that was read and checked against the flags.

    Attributes:
        name: The name that messages show.
        keys: The keys in it that may hold a document.
        findings: The findings about it.
    """

    def __init__(self, registry: FlagRegistry, path: str, options: argparse.Namespace) -> None:
        self.name: Final = "<stdin>" if path == "-" else path
        self.keys: Final[set[str]] = set()
        self.findings: Final[list[Finding]] = []
        inputs = read_all(path, partial(is_flag, registry))
        holds = False
        for each in inputs:
            self.keys.update(keys_of(each.objects))
            objects = opened(partial(is_flag, registry), each.objects, options.key)
            holds = holds or any(map(_holds_anything, objects))
            self.findings.extend(check_objects(registry, objects, strict=options.strict, replicas=options.replicas))
        if not holds:
            # If the command before a pipe fails, the input is empty, and an empty input has no errors.
            where = " in standard input" if path == "-" else f" in {path}"
            self.findings.extend(_note(self.name, "no values to check", where, _why(inputs), strict=options.strict))


def _holds_anything(given: Object) -> bool:
    return bool(given.faults) or any(key not in IGNORED for key in given.items)


def _why(inputs: Sequence[Input]) -> str:
    """
    Return the likely reason why there are no values in an INPUT.
    """
    if len(inputs) > 1:
        return f": no ConfigMap or Secret in its {len(inputs)} files holds keys"
    ignored = sorted({key for given in inputs[0].objects for key in given.items})
    return f": an updater ignores {', '.join(ignored)}" if ignored else f": {inputs[0].lacks}"


def _note(name: str, problem: str, where: str, why: str = "", *, strict: bool) -> Iterator[Finding]:
    """
    Report a possible mistake: as an error with ``--strict``, else as a line on standard error.
    """
    if strict:
        yield Finding(name, START, "nothing-to-check", "error", None, one_line(problem + why))
    else:
        print(f"dflag: {one_line(problem + where + why)}", file=sys.stderr)
