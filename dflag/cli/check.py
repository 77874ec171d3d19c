"""
``dflag check``: hold the values of inputs against the flags of a program.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, TextIO

from dflag._formats.nodes import START
from dflag.cli._embedded import is_flag, opened
from dflag.cli._findings import IGNORED, Finding, judge
from dflag.cli._inputs import read_all
from dflag.cli._paths import in_repository, visible
from dflag.cli._registry import load
from dflag.errors import one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from dflag._registry import FlagRegistry
    from dflag.cli._inputs import Input
    from dflag.cli._items import Object


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the findings; status 1 when there is an error among them.
    """
    registry = load(options.registry)
    inputs = [_Checked(registry, path, options) for path in options.inputs]
    findings = [finding for each in inputs for finding in each.findings]
    opened_keys = {key for each in inputs for key in each.keys}
    for key in dict.fromkeys(options.key):
        if key not in opened_keys:
            findings += _note(inputs[0].name, f"no key {key!r} to check as a document", "", strict=options.strict)
    out.write(_FORMATS[options.format](findings))
    return 0 if _is_ok(findings) else 1


class _Checked:
    """
    An INPUT that has been read and held against the flags.

    Attributes:
        name: What it is called.
        keys: The keys in it, each of which may hold a document.
        findings: What is wrong with it.
    """

    def __init__(self, registry: FlagRegistry, path: str, options: argparse.Namespace) -> None:
        self.name: Final = "<stdin>" if path == "-" else path
        self.keys: Final[set[str]] = set()
        self.findings: Final[list[Finding]] = []
        inputs = read_all(path, partial(is_flag, registry))
        holds = False
        for each in inputs:
            self.keys.update(key for given in each.objects if given.files for key in given.items)
            objects = opened(registry, each.objects, options.key)
            holds = holds or any(map(_holds_anything, objects))
            self.findings.extend(judge(registry, objects, strict=options.strict).findings)
            if each.passed_over:
                print(f"dflag: passed over {one_line(each.name)}, which is no manifest", file=sys.stderr)
        if not holds:
            # What fails in front of a pipe leaves nothing in it, and nothing is all right.
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
    Make a finding of what may be a slip, or say so where nobody asked for more.
    """
    if strict:
        yield Finding(name, START, "nothing-to-check", "error", None, one_line(problem + why))
    else:
        print(f"dflag: {one_line(problem + where + why)}", file=sys.stderr)


def _is_ok(findings: Sequence[Finding]) -> bool:
    return all(finding.level != "error" for finding in findings)


def _as_text(findings: Sequence[Finding]) -> str:
    return "".join(
        f"{visible(finding.file)}:{finding.place.line}:{finding.place.column}: "
        f"{'warning: ' if finding.level == 'warning' else ''}{finding.message}\n"
        for finding in findings
    )


def _as_json(findings: Sequence[Finding]) -> str:
    listed = [
        {
            "file": finding.file,
            "line": finding.place.line,
            "column": finding.place.column,
            "flag": finding.flag,
            "level": finding.level,
            "message": finding.message,
        }
        for finding in findings
    ]
    return json.dumps({"ok": _is_ok(findings), "findings": listed}, indent=2) + "\n"


def _as_github(findings: Sequence[Finding]) -> str:
    """
    Print workflow commands, which GitHub shows beside the lines of a change.
    """
    return "".join(
        f"::{finding.level} file={_property(in_repository(finding.file))}"
        f",line={finding.place.line},col={finding.place.column}::{_data(finding.message)}\n"
        for finding in findings
    )


def _data(text: str) -> str:
    # GitHub has escapes for these alone; what else a terminal acts on would reach the log as it is.
    return visible(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _as_sarif(findings: Sequence[Finding]) -> str:
    from dflag.cli._sarif import report

    return json.dumps(report(findings), indent=2) + "\n"


_FORMATS: Final[dict[str, Callable[[Sequence[Finding]], str]]] = {
    "text": _as_text,
    "json": _as_json,
    "github": _as_github,
    "sarif": _as_sarif,
}
