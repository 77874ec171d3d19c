"""
The faults, written once for all libraries: ``python -m tests.benchmarks.peers.faults DRIVER FAULT`` runs one of them.

The last line of the output is the result, as JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import select
import shutil
import statistics
import sys
import tempfile
import time
import timeit
from importlib import metadata
from typing import TYPE_CHECKING, Any

from dflag.testing import ConfigMapVolume

from .drivers._base import DEFAULT, GOOD

if TYPE_CHECKING:
    from collections.abc import Callable

    from .drivers._base import Driver

NEXT = 42
SWAPS = 10
IDLE_SECONDS = 10.0
POLL_SECONDS = 0.001
READS = 2000


class Run:
    """
    A driver that follows a volume with a good value, and the log records of its library.
    """

    def __init__(self, driver: Driver, path: str, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self.driver = driver
        self.volume = ConfigMapVolume(path)
        self.idle_seconds = idle_seconds
        self.logged: list[str] = []
        self.publish(GOOD)
        driver.start(path)
        if self.wait(GOOD) is None:
            raise RuntimeError(f"the first value was read as {self.value()}")

    def publish(self, value: object) -> float:
        """Publish the option with *value*, and return the clock just before the swap."""
        return self.publish_text(self.driver.document(value))

    def publish_text(self, text: str | None) -> float:
        """Publish the file with *text*, or a set without the file; return the clock just before the swap."""
        files = {} if text is None else {self.driver.file: text}
        swapped = time.monotonic()
        for step in self.volume.steps({**files, "unrelated": "x"}):
            if step == "make ..data_tmp":
                swapped = time.monotonic()
        return swapped

    def reload(self) -> str:
        """Reload if the library has no watcher, and return the name of the exception that this raised, if any."""
        if self.driver.by_hand:
            try:
                self.driver.reload()
            except Exception as error:
                return type(error).__name__
        return ""

    def value(self) -> str:
        """Return, in words, the value that a program reads."""
        try:
            value = self.driver.read()
        except Exception as error:
            return f"raises {type(error).__name__}"
        if type(value) is int and value in {GOOD, DEFAULT}:
            return "kept" if value == GOOD else "default"
        return repr(value)

    def wait(self, expected: int) -> float | None:
        """Wait until *expected* is read, and return how many seconds that took; None if it took too long."""
        return self._until(lambda: self.driver.read() == expected)

    def settle(self) -> str:
        """Return the value once the good value is gone, or at the end of the time to settle."""
        self._until(lambda: self.value() != "kept")
        return self.value()

    def _until(self, condition: Callable[[], bool]) -> float | None:
        began = time.monotonic()
        deadline = began + (0 if self.driver.by_hand else self.driver.settle_seconds)
        while True:
            with contextlib.suppress(Exception):
                if condition():
                    return time.monotonic() - began
            if time.monotonic() >= deadline:
                return None
            time.sleep(POLL_SECONDS)


class Recorder(logging.Handler):
    """
    Records the names of the loggers that warn.
    """

    def __init__(self, logged: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._logged = logged

    def emit(self, record: logging.LogRecord) -> None:
        self._logged.append(record.name)


def swaps(run: Run) -> dict[str, Any]:
    """Publish good values one after another, and wait for each."""
    taken = []
    for number in range(1, SWAPS + 1):
        began = run.publish(GOOD + number)
        run.reload()
        if run.wait(GOOD + number) is not None:
            taken.append(time.monotonic() - began)
    return {"seen": len(taken), "of": SWAPS, "p50": statistics.median(taken) if taken else None}


def _fault(run: Run, text: str | None) -> dict[str, Any]:
    return _outcome(run, lambda: run.publish_text(text))


def _outcome(run: Run, act: Callable[[], object]) -> dict[str, Any]:
    """Cause a fault, return the value and the reports of it, and return whether the next good value is followed."""
    handler = Recorder(run.logged)
    logging.getLogger().addHandler(handler)
    written = os.fstat(2).st_size
    act()
    raised = run.reload()
    value = run.settle()
    reports = [f"raises {raised}"] if raised else []
    with contextlib.suppress(Exception):
        reports += [text for text in [run.driver.health()] if text]
    reports += ["log"] if run.logged else ["stderr"] if os.fstat(2).st_size > written else []
    logging.getLogger().removeHandler(handler)
    run.publish(NEXT)
    run.reload()
    return {"value": value, "reports": reports, "recovers": run.wait(NEXT) is not None}


def wrong_type(run: Run) -> dict[str, Any]:
    """Publish text where an int belongs."""
    return _fault(run, run.driver.document("many"))


def bad_syntax(run: Run) -> dict[str, Any]:
    """Publish half a document."""
    return _fault(run, '{"')


def empty_file(run: Run) -> dict[str, Any]:
    """Publish an empty file."""
    return _fault(run, "")


def key_removed(run: Run) -> dict[str, Any]:
    """Publish a set without the option."""
    return _fault(run, run.driver.without())


def file_gone(run: Run) -> dict[str, Any]:
    """Publish a set without the file."""
    return _fault(run, None)


def volume_gone(run: Run) -> dict[str, Any]:
    """Delete the directory."""
    return _outcome(run, lambda: shutil.rmtree(run.volume.path))


def fork(run: Run) -> dict[str, Any]:
    """Fork, publish a good value, and return whether parent and child follow it, the child if needed after a call."""
    read_end, write_end = os.pipe()
    start_read, start_write = os.pipe()
    child = os.fork()
    if not child:
        _child(run, start_read, write_end)
    os.close(write_end)
    os.close(start_read)
    run.publish(NEXT)
    os.write(start_write, b"x")
    os.close(start_write)
    run.reload()
    parent = run.wait(NEXT) is not None
    # Twice the time to settle, for both tries. A child that hangs is killed, and its result is "hung".
    ready, _, _ = select.select([read_end], [], [], 2 * run.driver.settle_seconds + 10)
    output = os.read(read_end, 1000) if ready else b'{"child": "hung"}'
    if not ready:
        os.kill(child, 9)
    os.close(read_end)
    os.waitpid(child, 0)
    return {"parent": parent, **json.loads(output or b'{"child": "crashed"}')}


def _child(run: Run, start: int, answer: int) -> None:
    try:
        os.read(start, 1)
        run.reload()
        followed = run.wait(NEXT) is not None
        call = ""
        if not followed:
            call = run.driver.after_fork()
            followed = bool(call) and run.wait(NEXT) is not None
        os.write(answer, json.dumps({"child": followed, "call": call if followed else ""}).encode())
    finally:
        os._exit(0)


def idle(run: Run) -> dict[str, Any]:
    """Follow one swap, then measure the processor time of doing nothing."""
    run.publish(NEXT)
    run.reload()
    run.wait(NEXT)
    began, used = time.monotonic(), time.process_time()
    time.sleep(run.idle_seconds)
    return {"cpu_per_minute": (time.process_time() - used) / (time.monotonic() - began) * 60}


def read(run: Run) -> dict[str, Any]:
    """Read the option over and over."""
    times = timeit.repeat(run.driver.read, number=READS, repeat=7)
    return {"seconds": statistics.median(times) / READS}


FAULTS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "swaps": swaps,
    "wrong_type": wrong_type,
    "bad_syntax": bad_syntax,
    "empty_file": empty_file,
    "key_removed": key_removed,
    "file_gone": file_gone,
    "volume_gone": volume_gone,
    "fork": fork,
    "idle": idle,
    "read": read,
}


def load(name: str) -> Driver:
    """Return a new driver, given the name of its module."""
    driver: Driver = importlib.import_module(f"{__package__}.drivers.{name}").Peer()
    return driver


def version(driver: Driver) -> str:
    """Return the version of a driver's library."""
    return metadata.version(driver.package) if driver.package else "this checkout"


def main(driver_name: str, fault: str) -> None:
    """Run one fault and print what happened."""
    driver = load(driver_name)
    with tempfile.TemporaryDirectory() as directory:
        # sentry-options needs its volume at values/<namespace>; the others accept any path.
        run = Run(driver, f"{directory}/values/app")
        result = FAULTS[fault](run)
    print(json.dumps({"outcome": "ran", "version": version(driver), **result}), flush=True)
    # The threads of a library must not keep a finished process alive.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
