"""
``dflag check``: hold the values of inputs against the flags of a program.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final, TextIO

from dflag.cli._findings import Finding, judge
from dflag.cli._inputs import read
from dflag.cli._registry import load
from dflag.errors import one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the findings; status 1 when there is an error among them.
    """
    registry = load(options.registry)
    inputs = [read(path) for path in options.inputs]
    for path, objects in zip(options.inputs, inputs, strict=True):
        if not any(each.items or each.faults for each in objects):
            # What fails in front of a pipe leaves nothing in it, and nothing is all right.
            print(
                f"dflag: no values to check in {'standard input' if path == '-' else one_line(path)}", file=sys.stderr
            )
    findings = [finding for objects in inputs for finding in judge(registry, objects, strict=options.strict).findings]
    out.write(_FORMATS[options.format](findings))
    return 0 if _is_ok(findings) else 1


def _is_ok(findings: Sequence[Finding]) -> bool:
    return all(finding.level != "error" for finding in findings)


def _as_text(findings: Sequence[Finding]) -> str:
    return "".join(
        f"{one_line(finding.file)}:{finding.place.line}:{finding.place.column}: "
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
        f"::{finding.level} file={_property(finding.file)},line={finding.place.line},col={finding.place.column}"
        f"::{_data(finding.message)}\n"
        for finding in findings
    )


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


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
