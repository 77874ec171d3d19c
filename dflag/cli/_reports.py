"""
Formats findings for people, for programs, for GitHub and for code scanning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dflag.cli._paths import in_repository
from dflag.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dflag.cli._findings import Finding


def is_ok(findings: Sequence[Finding]) -> bool:
    """
    Return whether there is no error among the findings.
    """
    return all(finding.level != "error" for finding in findings)


def _as_text(findings: Sequence[Finding]) -> str:
    return "".join(
        f"{printable(finding.file)}:{finding.place.line}:{finding.place.column}: "
        f"{_PREFIXES[finding.level]}{finding.message}\n"
        for finding in findings
    )


def _as_json(findings: Sequence[Finding]) -> str:
    import json  # needed for some formats only, as below

    return json.dumps({"ok": is_ok(findings), "findings": list(map(_entry, findings))}, indent=2) + "\n"


def _entry(finding: Finding) -> dict[str, str | int | None]:
    """
    Return a finding as the JSON report lists it.
    """
    return {
        "file": finding.file,
        "line": finding.place.line,
        "column": finding.place.column,
        "flag": finding.flag,
        "level": finding.level,
        "message": finding.message,
        **({} if finding.confidence is None else {"confidence": finding.confidence}),
    }


def _as_github(findings: Sequence[Finding]) -> str:
    """
    Return workflow commands, which GitHub shows next to the lines of a change.
    """
    return "".join(
        f"::{_COMMANDS[finding.level]} file={_property(in_repository(finding.file))}"
        f",line={finding.place.line},col={finding.place.column}::{_data(finding.message)}\n"
        for finding in findings
    )


def _data(text: str) -> str:
    # GitHub has escapes for these characters only. Other control characters would reach the log as they are.
    return printable(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _as_sarif(findings: Sequence[Finding]) -> str:
    import json

    from dflag.cli._sarif import report

    return json.dumps(report(findings), indent=2) + "\n"


_PREFIXES: Final = {"error": "", "warning": "warning: ", "note": ""}

_COMMANDS: Final = {"error": "error", "warning": "warning", "note": "notice"}
"""The workflow commands of GitHub by level; SARIF uses the levels as they are."""

FORMATS: Final[dict[str, Callable[[Sequence[Finding]], str]]] = {
    "text": _as_text,
    "json": _as_json,
    "github": _as_github,
    "sarif": _as_sarif,
}
