"""
The command as a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from dflag import cli
from dflag.cli._usage import COMMANDS

from ._waiting import DEADLINE_SECONDS

ROOT = Path(__file__).parents[2]
PACKAGES = str(Path(cli.__file__).parents[2])
"""Where the dflag under test lies: the checkout or the installed wheel."""

HELP = Path(__file__).parent / "help"
"""What ``--help`` printed when somebody last looked; DFLAG_WRITE_HELP=1 writes it anew."""

PROGRAM = """
import threading
import dflag

print("said by the program")
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate_limit", 50, "Requests per second")
text = flags.dyn_string("text", "\\u00e9", "Text")
"""

SARIF = {
    # The essential parts of the official schema of SARIF 2.1.0 (sections 3.13 to 3.30).
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "$schema": {"type": "string", "format": "uri"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "properties": {
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name", "rules"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "rules": {"type": "array", "uniqueItems": True, "items": {"required": ["id"]}},
                                },
                            }
                        },
                        "additionalProperties": False,
                    },
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
    "$defs": {
        "result": {
            "required": ["message", "ruleId", "locations"],
            "properties": {
                "ruleId": {"type": "string"},
                "level": {"enum": ["none", "note", "warning", "error"]},
                "message": {"required": ["text"], "properties": {"text": {"type": "string"}}},
                "locations": {
                    "items": {
                        "required": ["physicalLocation"],
                        "properties": {
                            "physicalLocation": {
                                "required": ["artifactLocation", "region"],
                                "properties": {
                                    "artifactLocation": {
                                        "properties": {"uri": {"type": "string", "format": "uri-reference"}}
                                    },
                                    "region": {
                                        "properties": {
                                            "startLine": {"type": "integer", "minimum": 1},
                                            "startColumn": {"type": "integer", "minimum": 1},
                                        },
                                        "additionalProperties": False,
                                    },
                                },
                                "additionalProperties": False,
                            }
                        },
                        "additionalProperties": False,
                    }
                },
            },
            "additionalProperties": False,
        }
    },
}


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    """Give a directory with a program and an input."""
    (tmp_path / "app.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "in.yaml").write_text("rate_limit: x\ntxt: \u00e9\n", encoding="utf-8")
    return tmp_path


def dflag(directory: Path, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """
    Run ``python -m dflag`` in a directory, with standard input and environment variables.
    """
    path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "dflag", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1", **environment},
        input=given,
        capture_output=True,
        encoding="utf-8",
        timeout=6 * DEADLINE_SECONDS,
        check=False,
    )


def test_result_alone_is_on_standard_output(directory: Path) -> None:
    """Findings go to standard output with status 1, what the program prints to standard error."""
    found = dflag(directory, "check", "app:flags", "in.yaml")
    assert found.returncode == 1
    assert found.stdout == (
        "in.yaml:1:13: flag 'rate_limit': expected an int, got 'x'\n"
        "in.yaml:2:1: warning: no flag named 'txt'; did you mean 'text'?\n"
    )
    assert found.stderr == "said by the program\n"


def test_standard_input_of_another_command(directory: Path) -> None:
    """What one command prints, another reads from standard input, whatever encoding the system has."""
    made = dflag(directory, "manifest", "app:flags", "--name", "app", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert made.returncode == 0
    found = dflag(directory, "check", "app:flags", "-", "--strict", given=made.stdout, LC_ALL="C")
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize(
    "arguments", [[], ["chek"], ["check"], ["check", "app:flags"], ["check", "app:flags", "no.yaml"], ["--no-such"]]
)
def test_misuse(directory: Path, arguments: list[str]) -> None:
    """Misuse and what cannot be read end with status 2, words on standard error, and no traceback."""
    found = dflag(directory, *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert "dflag" in found.stderr
    assert "Traceback" not in found.stderr


def test_reader_that_goes_away(directory: Path) -> None:
    """A closed pipe is no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH", "")]))
    found = subprocess.run(
        [sys.executable, "-m", "dflag", "docs", "app:flags"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path},
        stdout=writer,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=6 * DEADLINE_SECONDS,
        check=False,
    )
    os.close(writer)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert "Exception ignored" not in found.stderr


def test_version(directory: Path) -> None:
    """The version is one line on standard output."""
    from importlib.metadata import version

    found = dflag(directory, "--version")
    assert (found.returncode, found.stdout, found.stderr) == (0, f"dflag {version('dflag')}\n", "")


def test_no_colour(directory: Path) -> None:
    """Nothing that goes into a pipe holds colour, even where one is asked for elsewhere."""
    for arguments in (["--help"], ["check", "--help"], ["check", "app:flags", "in.yaml"], ["check"]):
        found = dflag(directory, *arguments)
        assert "\x1b" not in found.stdout + found.stderr


def test_sarif(directory: Path) -> None:
    """The SARIF log is valid, and names each finding's rule, file, line and column."""
    found = json.loads(dflag(directory, "check", "app:flags", "in.yaml", "--format", "sarif").stdout)
    jsonschema.Draft202012Validator(SARIF).validate(found)
    first, second = found["runs"][0]["results"]
    assert (first["ruleId"], first["level"]) == ("invalid-value", "error")
    assert (second["ruleId"], second["level"]) == ("unknown-flag", "warning")
    assert {first["ruleId"], second["ruleId"]} <= {rule["id"] for rule in found["runs"][0]["tool"]["driver"]["rules"]}
    place = first["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "in.yaml"}, "region": {"startLine": 1, "startColumn": 13}}


@pytest.mark.parametrize("name", ["", *(command for command in COMMANDS if (HELP / f"{command}.txt").exists())])
def test_help(directory: Path, name: str) -> None:
    """The help of each command is what it was when somebody last looked, and has an example."""
    found = dflag(directory, *filter(None, [name]), "--help")
    golden = HELP / f"{name or 'dflag'}.txt"
    if os.environ.get("DFLAG_WRITE_HELP"):
        golden.write_text(found.stdout, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == found.stdout
    assert found.returncode == 0
    assert "example: " in found.stdout


def test_help_is_light(directory: Path) -> None:
    """The help of every command is there without anything heavy, logging, or the core."""
    program = (
        "import sys; from dflag.cli import main\n"
        f"main(['--version']), [main([name, '--help']) for name in {sorted(COMMANDS)}]\n"
        "heavy = ('yaml', 'jsonschema', 'watchdog', 'dataclasses', 'importlib.metadata', 'urllib.request', 'logging')\n"
        "print([name for name in (*heavy, 'dflag._spec', 'dflag.testing') if name in sys.modules])"
    )
    path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH", "")]))
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        timeout=6 * DEADLINE_SECONDS,
        check=True,
    )
    assert found.stdout.splitlines()[-1] == "[]"


def test_action_runs_the_check(directory: Path) -> None:
    """The step of the GitHub action checks each line of its inputs, and runs nothing that stands in them."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    assert {"registry", "inputs", "strict", "working-directory"} == set(action["inputs"])
    (step,) = (step for step in action["runs"]["steps"] if step["name"] == "Check")
    command = directory / "dflag"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dflag "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    (directory / "$(touch made).yaml").write_text("rate_limit: 5\n", encoding="utf-8")
    found = subprocess.run(
        ["/bin/bash", "-e", "-o", "pipefail", "-c", step["run"]],
        cwd=directory,
        env={
            **os.environ,
            "PATH": f"{directory}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH", "")])),
            "DFLAG_REGISTRY": "app:flags",
            "DFLAG_INPUTS": "in.yaml\n\n$(touch made).yaml\n",
            "DFLAG_STRICT": "true",
        },
        capture_output=True,
        encoding="utf-8",
        timeout=6 * DEADLINE_SECONDS,
        check=False,
    )
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        "::error file=in.yaml,line=1,col=13::flag 'rate_limit': expected an int, got 'x'",
        "::error file=in.yaml,line=2,col=1::no flag named 'txt'; did you mean 'text'?",
    ]
    assert not (directory / "made").exists()


def test_hook_runs_the_check() -> None:
    """The pre-commit hook runs a command that is there, on the files that may hold flags."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    program, command = hook["entry"].split()
    assert (program, hook["language"], hook["types_or"]) == ("dflag", "python", ["yaml", "json"])
    assert command in COMMANDS
