"""
A rollout that goes bad, in a small fleet of processes on one machine.

Six processes follow one volume. Within some seconds, a rule brings a new limit to one process after the other. The
limit is bad: each process that has switched finds itself unhealthy and reverts the rule. After two processes have
reverted it, the operator removes the rule, and the rest never switch. The output shows which process had which value,
and when.

Run it with: python examples/rollout.py
"""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dflag
from dflag.testing import ConfigMapVolume

PODS = [f"web-{number}" for number in range(6)]
GOOD, BAD = 50, 120
RULE = """
- name: more-requests
  from: {start}
  over: {seconds}s
  bake: 1m
  set: {{rate_limit: {value}}}
"""
PATIENCE_SECONDS = 30.0


def work(pod: str, directory: str) -> None:
    """
    Run as one process of the fleet, until the end of standard input.
    """
    logging.basicConfig(level=logging.ERROR)  # hides the warning about the reverted rule, which the output shows anyway
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate_limit", GOOD, "Requests per second")

    @rate.on_change
    def tell(old: int, new: int) -> None:
        say(pod, f"{old} -> {new}", [rule.state for rule in updater.status().rules])

    updater = dflag.Updater(flags, directory, facts={"pod": pod}, healthy=lambda: rate.get() < BAD)
    updater.initialize()
    updater.start()
    say(pod, "ready")
    sys.stdin.read()
    updater.refresh()
    flags.flush(PATIENCE_SECONDS)
    say(pod, f"ends with {rate.get()}", [rule.state for rule in updater.status().rules])
    updater.stop()


def say(pod: str, what: str, states: list[str] | None = None) -> None:
    """
    Report to the parent.
    """
    print(json.dumps({"pod": pod, "at": time.time(), "what": what, "states": states or []}), flush=True)


def operate() -> None:
    """
    Start the fleet, begin the rollout, and stop it when it goes bad.
    """
    with tempfile.TemporaryDirectory() as directory:
        volume = ConfigMapVolume(Path(directory, "config"))
        volume.write({"rate_limit": str(GOOD)})
        fleet = [start_process(pod, str(volume.path)) for pod in PODS]
        reports: queue.SimpleQueue[dict] = queue.SimpleQueue()
        readers = [threading.Thread(target=collect, args=(each, reports)) for each in fleet]
        for reader in readers:
            reader.start()
        try:
            for _ in fleet:
                reports.get(timeout=PATIENCE_SECONDS)  # "ready"
            start = datetime.now(UTC) + timedelta(seconds=0.5)
            rule = RULE.format(start=start.isoformat(), seconds=6, value=BAD)
            volume.write({"rate_limit": str(GOOD), "_rules.yaml": rule})
            reverted = 0
            while reverted < 2:
                reverted += show(reports.get(timeout=PATIENCE_SECONDS), start)
            volume.write({"rate_limit": str(GOOD)})
            print(f"{elapsed(time.time(), start)}  operator  takes the rule out")
        finally:
            for each in fleet:
                each.stdin.close()
            for reader in readers:
                reader.join(PATIENCE_SECONDS)
            for each in fleet:
                each.wait(PATIENCE_SECONDS)
                each.stdout.close()
        while not reports.empty():
            show(reports.get(), start)


def start_process(pod: str, directory: str) -> subprocess.Popen:
    """
    Start one process of the fleet.
    """
    command = [sys.executable, __file__, "--pod", pod, directory]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - itself


def collect(process: subprocess.Popen, reports: queue.SimpleQueue[dict]) -> None:
    """
    Put the reports of a process into a queue.
    """
    for line in process.stdout:
        reports.put(json.loads(line))


def show(report: dict, start: datetime) -> bool:
    """
    Print a report, and return whether the process has reverted the rule.
    """
    states = f"  (rule: {', '.join(report['states'])})" if report["states"] else ""
    print(f"{elapsed(report['at'], start)}  {report['pod']:8}  {report['what']}{states}")
    return report["what"] == f"{BAD} -> {GOOD}"


def elapsed(at: float, start: datetime) -> str:
    """
    Return, as text, how long after the start something happened.
    """
    return f"{at - start.timestamp():6.2f} s"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--pod"]:
        work(*sys.argv[2:])
    else:
        operate()
