"""
Findings as SARIF 2.1.0, which code scanning services read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from dflag._version import __version__
from dflag.cli._paths import in_repository

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dflag.cli._findings import Finding

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"

_RULES: Final = {
    "invalid-value": "A flag refuses its value.",
    "rule": "A validator over several flags refuses the values.",
    "limits": "The API server refuses the ConfigMap or Secret.",
    "invalid-rule": "A rule is refused.",
    "empty-share": "The step of a rule may reach no process.",
    "secret-in-configmap": "A ConfigMap sets a secret.",
    "secret-in-rule": "The rule of a ConfigMap sets a secret.",
    "unknown-flag": "No flag has the name of a key.",
    "deprecated-flag": "A deprecated flag is set.",
    "expired-flag": "A flag is there that was to be gone by now.",
    "retired-flag": "A key is left of a flag that is gone on purpose.",
    "nothing-to-check": "There is nothing to check.",
    "unused-flag": "A flag is declared and never read.",
    "test-only-flag": "A flag is read only in tests.",
    "undeclared-flag": "A flag is read that no declaration has.",
    "undeclared-key": "A key of an input has no declaration.",
    "constant-flag": "A flag has the same value in every input.",
    "unreadable-module": "A Python file cannot be parsed.",
    "reference": "A flag is declared, read or used.",
}


def report(findings: Iterable[Finding]) -> dict[str, Any]:
    """
    Return the log of one run.
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
    place = {"artifactLocation": _location(in_repository(finding.file)), "region": region}
    return {
        "ruleId": finding.rule,
        "level": finding.level,
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": place}],
    }


def _location(file: str) -> dict[str, str]:
    uri = quote(os.fsencode(file.replace(os.sep, "/")))
    return {"uri": f"file://{uri}"} if os.path.isabs(file) else {"uri": uri, "uriBaseId": "%SRCROOT%"}
