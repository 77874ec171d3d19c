"""
A fleet of clients on one API server: ``python -m tests.benchmarks.fleet [--clients N] [--into PAGE]``.

Each client is a watching `KubernetesSource` with its own connection and thread. Several hundred clients share a
process, so that they fit on a small machine. The benchmark needs a cluster, which ``DFLAG_TEST_KUBECONFIG`` names. It
restarts the API server if ``DFLAG_TEST_APISERVER`` contains a command for that.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dflag.sources import KubernetesSource, _link, _reflector
from tests.benchmarks._pages import put
from tests.kubernetes._cluster import CONTROL, KUBECONFIG, Cluster, control

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES: Final = 4
CHANGES: Final = 10
VALUE_BYTES: Final = 4096
QUIET_SECONDS: Final = 30.0
WATCH_SECONDS: Final = 20.0
"""Short, so that each client reopens its watch within half a minute; the default is 300 s."""
DEADLINE_SECONDS: Final = 120.0


class Clients:
    """
    The clients of one process, with the values that they have seen and the bytes that they have received.
    """

    def __init__(self, name: str, count: int) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, list[float]] = collections.defaultdict(list)
        self.received_bytes = 0
        self.opened: list[float] = []
        self._count()
        self._watches = [self._start(name) for _ in range(count)]

    def _start(self, name: str) -> object:
        source = KubernetesSource(name, "default", kubeconfig=KUBECONFIG, watch_seconds=WATCH_SECONDS)

        def wake() -> None:
            moment = time.monotonic()
            trouble = source._newest.look().trouble
            if trouble is None:
                generation = str(source.read()["generation"])
                with self._lock:
                    self._seen[generation].append(moment)

        return source.watch(wake)

    def seen(self, generation: str) -> list[float]:
        """
        Return when each client first saw a generation, by the clock that all processes share.
        """
        with self._lock:
            return list(self._seen[generation])

    def _count(self) -> None:
        """
        Count the bytes that all connections read, and record when each connection is made.
        """
        read, hold = _link._Stream.read, _link.Link.hold

        def reading(stream: Any, max_bytes: int, timeout: float | None = None) -> bytes:
            data = read(stream, max_bytes, timeout)
            with self._lock:
                self.received_bytes += len(data)
            return data

        def holding(link: Any, held: Any) -> None:
            hold(link, held)
            with self._lock:
                self.opened.append(time.monotonic())

        _link._Stream.read, _link.Link.hold = reading, holding  # type: ignore[method-assign]  # to measure it


def serve(name: str, count: int) -> None:
    """
    Run clients, and answer each line of standard input with one line about them.
    """
    clients = Clients(name, count)
    for line in sys.stdin:
        generation = line.strip()
        answer = {"seen": clients.seen(generation), "bytes": clients.received_bytes, "opened": clients.opened}
        print(json.dumps(answer), flush=True)


class Fleet:
    """
    All clients, spread over several processes.
    """

    def __init__(self, name: str, count: int) -> None:
        command = [sys.executable, "-m", __spec__.name, "--serve", name, "--clients", str(count // PROCESSES)]
        self.count = count // PROCESSES * PROCESSES
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]

    def ask(self, generation: str = "") -> dict[str, Any]:
        """
        Ask all processes at once, and combine their answers.
        """
        for process in self._processes:
            assert process.stdin is not None
            print(generation, file=process.stdin, flush=True)
        answers = [json.loads(process.stdout.readline()) for process in self._processes if process.stdout]
        return {
            "seen": sorted(moment for answer in answers for moment in answer["seen"]),
            "bytes": sum(answer["bytes"] for answer in answers),
            "opened": sorted(moment for answer in answers for moment in answer["opened"]),
        }

    def follow(self, generation: str) -> list[float]:
        """
        Wait until every client has seen a generation; return when each client saw it.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(seen := self.ask(generation)["seen"]) < self.count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(seen)} of {self.count} clients have generation {generation}")
            time.sleep(0.05)
        return seen

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def measure(count: int) -> Iterator[tuple[str, str]]:
    """
    Yield the measurements, each as a name and a text.
    """
    cluster = Cluster()
    name = cluster.create({"generation": "0", "padding": "x" * VALUE_BYTES})
    began = time.monotonic()
    fleet = Fleet(name, count)
    try:
        seen = fleet.follow("0")
        yield f"{fleet.count} clients begin at once: until all have the first value", f"{seen[-1] - began:.1f} s"
        firsts, middles, lasts = [], [], []
        before = fleet.ask()["bytes"]
        for number in range(1, CHANGES + 1):
            began = time.monotonic()
            cluster.patch(name, {"generation": str(number)})
            seen = [moment - began for moment in fleet.follow(str(number))]
            firsts.append(seen[0])
            middles.append(statistics.median(seen))
            lasts.append(seen[-1])
        grown = (fleet.ask()["bytes"] - before) / CHANGES / fleet.count
        yield (
            f"a change of a {VALUE_BYTES // 1024} KiB object, until the first, the median and the last client have it",
            f"{_ms(firsts)}, {_ms(middles)}, {_ms(lasts)} (medians of {CHANGES} changes)",
        )
        yield "bytes to each client for a change", f"{grown:,.0f}"
        answer = fleet.ask()
        began = time.monotonic()
        threading.Event().wait(QUIET_SECONDS)
        quiet = fleet.ask()
        yield (
            f"bytes to each client a minute while nothing changes, watches of {WATCH_SECONDS:.0f} s",
            f"{(quiet['bytes'] - answer['bytes']) / fleet.count / QUIET_SECONDS * 60:,.0f}",
        )
        yield "connections made meanwhile", f"{len(quiet['opened']) - len(answer['opened'])}"
        if CONTROL:
            yield from _restart(cluster, fleet, name)
    finally:
        fleet.close()
        cluster.close()


def _restart(cluster: Cluster, fleet: Fleet, name: str) -> Iterator[tuple[str, str]]:
    before = len(fleet.ask()["opened"])
    began = time.monotonic()
    control("restart")
    ready = time.monotonic()
    last = str(CHANGES + 1)
    cluster.patch(name, {"generation": last})
    seen = fleet.follow(last)
    opened = fleet.ask()["opened"][before:]
    slots = collections.Counter(int((moment - began) * 10) for moment in opened)
    yield "the API server restarts: from its being ready until every client follows", f"{seen[-1] - ready:.1f} s"
    yield (
        "attempts to connect meanwhile, and most in a tenth of a second",
        f"{len(opened)}, {max(slots.values(), default=0)}",
    )


def _ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.0f} ms"


def main() -> int:
    """
    Measure, print the table, and put it into a page if ``--into`` is given.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fleet", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--into", metavar="PAGE", type=Path, help="put the table between the markers of this page")
    parser.add_argument("--serve", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    if options.serve:
        serve(options.serve, options.clients)
        return 0
    if not KUBECONFIG:
        print("DFLAG_TEST_KUBECONFIG names no cluster", file=sys.stderr)
        return 2
    rows = [f"| {what} | {result} |" for what, result in measure(options.clients)]
    lines = ["| what | measured |", "|---|---|", *rows]
    lines += ["", f"{PROCESSES} processes and the API server on one machine of {os.cpu_count()} cores; the pause after"]
    lines += [f"a failure is at random, {_reflector.FIRST_SECONDS} to {_reflector.LAST_SECONDS:.0f} s."]
    text = "\n".join(lines)
    print(text)
    if options.into:
        options.into.write_text(put(options.into.read_text(encoding="utf-8"), "fleet", text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
