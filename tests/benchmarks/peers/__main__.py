"""
Expose dflag and its peers to the same faults: ``python -m tests.benchmarks.peers [--json FILE] [--into PAGE]``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks._pages import put

from .faults import FAULTS, load
from .table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

DRIVERS = (
    "dflag_",
    "flagd",
    "launchdarkly",
    "launchdarkly_watchdog",
    "sentry_options_",
    "dynamic_config_",
    "dynaconf_",
    "pydantic_settings_",
)
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
CHECKOUT = Path(__file__).parents[3]
# Longer than ten missed swaps at the longest time to settle.
TIMEOUT_SECONDS = 120.0


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run every fault on every library and print the table.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="also write the results there")
    parser.add_argument("--into", metavar="PAGE", help="also put the table between the markers of this page")
    parser.add_argument("--venv", metavar="DIR", help="keep the peers' environment there; else it is a temporary one")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=DRIVERS, default=DRIVERS, metavar="DRIVER", help="these alone")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        python, missing = install(Path(options.venv or directory))
        document = measure(python, options.only, options.jobs, missing)
    text = table(document)
    print(text)
    if options.json:
        Path(options.json).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if options.into:
        page = Path(options.into)
        page.write_text(put(page.read_text(encoding="utf-8"), "peers", text), encoding="utf-8")
    return 0


def install(directory: Path) -> tuple[str, dict[str, str]]:
    """
    Make the environment, and return its Python, and an error for each requirement that could not be installed.
    """
    python = str(directory / "bin" / "python")
    if not os.path.exists(python):
        venv.create(directory, with_pip=True)
    missing = {}
    for line in REQUIREMENTS.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            # One by one, so that a library that cannot be installed does not prevent the others.
            command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", line]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode:
                missing[line.split(">=")[0]] = (done.stdout.strip().splitlines() or ["pip failed"])[-1]
    return python, missing


def measure(python: str, drivers: Sequence[str], jobs: int, missing: dict[str, str]) -> dict[str, Any]:
    """
    Run all faults for *drivers*, *jobs* at a time, and return the document of results.
    """
    with ThreadPoolExecutor(jobs) as pool:
        pending = {
            (name, fault): pool.submit(run_one, python, name, fault)
            for name in drivers
            if load(name).package not in missing
            for fault in FAULTS
        }
    libraries = []
    for name in drivers:
        driver = load(name)
        absent = {"outcome": "not installed", "reason": missing.get(driver.package, "")}
        results = {fault: pending[name, fault].result() if (name, fault) in pending else absent for fault in FAULTS}
        version = next((result["version"] for result in results.values() if "version" in result), "not installed")
        libraries.append({"title": driver.title, "by_hand": driver.by_hand, "version": version, "results": results})
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "libraries": libraries,
    }


def run_one(python: str, driver: str, fault: str, timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """
    Run one fault in a separate process; a hang or a crash of the process is the result of the fault.
    """
    command = [python, "-m", f"{__package__}.faults", driver, fault]
    # Errors go to a file, because its size shows the fault whether a library wrote there; a pipe has no size.
    # The process has its own session, so that the children that it forks end with it.
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            output, _ = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return {"outcome": "hung"}
        errors.seek(0)
        return outcome(process.returncode, output, errors.read())


def outcome(status: int, output: str, errors: str) -> dict[str, Any]:
    """
    Return the result in the last line of a process's output, or the result of a crash.
    """
    try:
        result: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        reason = (errors.strip().splitlines() or [f"status {status}"])[-1]
        return {"outcome": "crashed", "reason": reason[:120]}
    return result


if __name__ == "__main__":
    sys.exit(main())
