"""
How long the command ``dflag`` takes to print its output, including the start of the interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from ._measure import Report, Result, interleaved

ROUNDS = 21
STANDARD = 'python -c "import argparse"'
LIMITS = {"dflag --version": 2.0, "dflag --help": 2.0, "dflag check --help": 2.0, "dflag check": None}
"""The last command has no limit, because most of its time is the import of the core and of PyYAML."""

PROGRAM = """
import dflag

flags = dflag.FlagRegistry()
flags.dyn_int("rate_limit", 50)
"""

MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: app}
data:
  rate_limit: "60"
"""


def run() -> Report:
    """
    Measure the command in fresh interpreters, called in the same way as by the installed script.
    """
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "app.py").write_text(PROGRAM, encoding="utf-8")
        Path(directory, "app.yaml").write_text(MANIFEST, encoding="utf-8")
        (base, *values) = interleaved(
            partial(_run, directory, "import argparse"),
            *(partial(_run, directory, _script(name), *_arguments(name)) for name in LIMITS),
            rounds=ROUNDS,
        )
    return Report(
        [
            Result(name=name, value=value, base=base, against=STANDARD, limit=limit)
            for (name, limit), value in zip(LIMITS.items(), values, strict=True)
        ]
    )


def _script(name: str) -> str:
    return f"import sys; from dflag.cli import main; sys.argv[0] = {name.split(maxsplit=1)[0]!r}; sys.exit(main())"


def _arguments(name: str) -> list[str]:
    arguments = name.split()[1:]
    return [*arguments, "app:flags", "app.yaml"] if arguments == ["check"] else arguments


def _run(directory: str, program: str, *arguments: str) -> None:
    """
    Run a program to its end, with a cache of compiled modules for this run, which is filled from the second time on.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": os.path.join(directory, "cache")}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", program, *arguments]
    subprocess.run(command, cwd=directory, env=environment, stdout=subprocess.DEVNULL, check=True)
