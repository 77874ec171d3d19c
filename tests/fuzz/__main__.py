"""
Fuzz the parsers: ``python -m tests.fuzz [--seconds N] [--engine atheris|hypothesis] [TARGET ...]``.

The targets are the oracles of the property tests. An input that breaks an oracle is printed, and saved below
``.fuzz/``; ``python -m tests.fuzz TARGET --input FILE`` tries it again.

Each target runs in a separate process, because atheris never returns, and because a parser that hangs or exhausts the
memory then ends only its own target.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

FOUND = Path(".fuzz")
"""The directory for inputs that broke an oracle."""

_MAX_BYTES = 4096
"""The maximum length of an input: short inputs show the faults too, and run faster."""

_HANG_SECONDS = 10
_MEMORY_MIB = 2048


def main() -> int:
    """
    Run the targets one after the other; return 1 if an oracle broke.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[1])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="an oracle of tests/property; all without any")
    parser.add_argument("--seconds", type=int, default=60, help="how long to run each target (default: 60)")
    parser.add_argument("--engine", choices=["atheris", "hypothesis"], default="atheris")
    parser.add_argument("--input", type=Path, help="try this one input of the target")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _run(options.targets[0], options.engine, options.seconds)
        return 0
    # Imported only here, because a child must instrument dflag before it imports it.
    from tests.property.oracles import ORACLES

    targets = options.targets or list(ORACLES)
    if unknown := set(targets) - ORACLES.keys():
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(ORACLES)}")
    if options.input is not None:
        for target in targets:
            ORACLES[target](options.input.read_bytes())
        return 0
    broken = [target for target in targets if not _passes(target, options.engine, options.seconds)]
    print(f"{len(targets)} targets, " + (f"broken: {', '.join(broken)}" if broken else "none broken"))
    return 1 if broken else 0


def _passes(target: str, engine: str, seconds: int) -> bool:
    print(f"== {target}", flush=True)
    command = [sys.executable, "-m", "tests.fuzz", target, "--child", f"--engine={engine}", f"--seconds={seconds}"]
    return subprocess.run(command, check=False).returncode == 0


def _run(target: str, engine: str, seconds: int) -> None:
    found = FOUND / target
    found.mkdir(parents=True, exist_ok=True)
    if engine == "atheris":
        from ._atheris import run
    else:
        from ._hypothesis import run
    run(target, found, seconds=seconds, max_bytes=_MAX_BYTES, hang_seconds=_HANG_SECONDS, memory_mib=_MEMORY_MIB)


if __name__ == "__main__":
    sys.exit(main())
