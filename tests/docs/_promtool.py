"""
Alerts as Prometheus itself handles them: `promtool` checks the rules, and evaluates them over given series.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

PROMTOOL: Final = shutil.which("promtool")

TIMEOUT_SECONDS: Final = 60

TARGET: Final = {"namespace": "default", "job": "shop", "instance": "10.0.0.1:8080", "registry": "shop"}
"""The default labels of each series: the labels that Prometheus adds, and the name of the registry."""


class Case(NamedTuple):
    """
    A scenario for one alert.

    Attributes:
        series: Each metric, with labels in addition to `TARGET`, and its values in promtool's notation, one per minute
            from minute 0 on.
        quiet: The minutes at which the alert does not fire.
        firing: The minutes at which the alert fires.
        labels: The names of the labels that the expression keeps.
        value: ``$value`` as the annotations show it at the times of `firing`.
    """

    series: Mapping[str, str]
    quiet: tuple[int, ...]
    firing: tuple[int, ...]
    labels: tuple[str, ...]
    value: str = ""

    def labels_of(self) -> dict[str, str]:
        """Return the labels of the firing alert, all of which the first series has."""
        known = {**TARGET, **dict(re.findall(r'(\w+)="([^"]*)"', next(iter(self.series))))}
        return {name: known[name] for name in self.labels}


def check(rules: Mapping[str, Any], directory: Path) -> str:
    """
    Check and lint a file of rules, and return the output of promtool.
    """
    (directory / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    return _run("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", cwd=directory)


def evaluate(rules: Mapping[str, Any], cases: Mapping[str, Case], directory: Path) -> str:
    """
    Evaluate all rules for each case, and return the output of promtool.
    """
    alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}
    tests = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [_test(alerts[name], case) for name, case in cases.items()],
    }
    (directory / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    (directory / "tests.yaml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    return _run("test", "rules", "tests.yaml", cwd=directory)


def _test(rule: Mapping[str, Any], case: Case) -> dict[str, Any]:
    labels = case.labels_of()
    texts = {name: _rendered(text, labels, case.value) for name, text in rule["annotations"].items()}
    alert = {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": texts}
    return {
        "name": rule["alert"],
        "interval": "1m",
        "input_series": [{"series": _series(series), "values": values} for series, values in case.series.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": rule["alert"], "exp_alerts": [alert] if fires else []}
            for minutes, fires in ((case.quiet, False), (case.firing, True))
            for minute in minutes
        ],
    }


def _series(series: str) -> str:
    metric, _, own = series.partition("{")
    given = dict(re.findall(r'(\w+)="([^"]*)"', own))
    labels = ", ".join(f'{name}="{text}"' for name, text in {**TARGET, **given}.items())
    return f"{metric}{{{labels}}}"


def _rendered(text: str, labels: Mapping[str, str], value: str) -> str:
    text = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], text)
    return re.sub(r"{{ \$value[^}]*}}", value, text)


def _run(*arguments: str, cwd: Path) -> str:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def recording(expressions: Iterable[str]) -> dict[str, Any]:
    """
    Return recording rules with these expressions, so that promtool can check expressions that are not in rules.
    """
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions)]
    return {"groups": [{"name": "panels", "rules": rules}]}
