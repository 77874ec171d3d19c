"""
Findings as SARIF 2.1.0, which code scanning services read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from dflag._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dflag.cli._findings import Finding

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"

_RULES: Final = {
    "invalid-value": "A flag refuses its value.",
    "rule": "A validator over several flags refuses the values.",
    "limits": "A ConfigMap or Secret cannot hold this.",
    "unknown-flag": "No flag has the name of a key.",
    "deprecated-flag": "A deprecated flag is set.",
    "expired-flag": "A flag is set that was to be gone by now.",
}


def report(findings: Iterable[Finding]) -> dict[str, Any]:
    """
    Make the log of one run.
    """
    driver = {
        "name": "dflag",
        "version": __version__,
        "rules": [{"id": rule, "shortDescription": {"text": text}} for rule, text in _RULES.items()],
    }
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": [*map(_result, findings)]}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(finding: Finding) -> dict[str, Any]:
    region = {"startLine": finding.place.line, "startColumn": finding.place.column}
    place = {"artifactLocation": {"uri": _uri(finding.file)}, "region": region}
    return {
        "ruleId": finding.rule,
        "level": finding.level,
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": place}],
    }


def _uri(file: str) -> str:
    path = os.fsencode(file.replace(os.sep, "/"))
    return ("file://" if os.path.isabs(file) else "") + quote(path)
