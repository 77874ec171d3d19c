"""
The time from a patch at the API server to the new value of a flag: ``python -m tests.benchmarks.kubernetes``.

In the same run, a bare HTTP watch, which only records when each event arrives, serves as the baseline.
The benchmark needs a cluster, which ``DFLAG_TEST_KUBECONFIG`` names, so ``python -m tests.benchmarks`` leaves it out.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import dflag
from dflag.sources import KubernetesSource
from tests.kubernetes._cluster import KUBECONFIG, Cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

PATCHES: Final = 200
IDLE_SECONDS: Final = 10.0
IMPORTS: Final = 7
PROBE: Final = """
import time, dflag, dflag.sources
def mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20
before, began = mib(), time.perf_counter()
import dflag.sources._reflector
print((time.perf_counter() - began) * 1e3, mib() - before)
"""


class BareWatch:
    """
    The baseline: read lines, and record when each one arrives.
    """

    def __init__(self, name: str) -> None:
        self._cluster = Cluster()
        self._name = name
        self.seen: dict[str, float] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        path = f"{self._cluster.path}/configmaps"
        only = {"fieldSelector": f"metadata.name={self._name}"}
        version = self._cluster.client.get(path, params=only).json()["metadata"]["resourceVersion"]
        asked = {**only, "watch": "1", "resourceVersion": version, "timeoutSeconds": "600"}
        with self._cluster.client.stream("GET", path, params=asked, timeout=600) as answer:
            self._ready.set()
            for line in answer.iter_lines():
                self.seen[json.loads(line)["object"]["data"]["rate_limit"]] = time.perf_counter()


def main() -> int:
    """
    Measure and print; return 1 if a limit is exceeded, and 2 if there is no cluster.
    """
    if not KUBECONFIG:
        print("DFLAG_TEST_KUBECONFIG names no cluster", file=sys.stderr)
        return 2
    cluster = Cluster()
    try:
        kept = [_latency(cluster), _idle(cluster), _imports()]
    finally:
        cluster.close()
    return 0 if all(kept) else 1


def _latency(cluster: Cluster) -> bool:
    name = cluster.create({"rate_limit": "0"})
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate_limit", 0, "Requests per second")
    bare = BareWatch(name)
    ours: list[float] = []
    sent: dict[str, float] = {}
    with dflag.Updater.setup(flags, KubernetesSource(name, kubeconfig=KUBECONFIG)) as updater:
        for value in range(1, PATCHES + 1):
            sent[str(value)] = time.perf_counter()
            sender = threading.Thread(target=cluster.patch, args=(name, {"rate_limit": str(value)}))
            sender.start()
            assert updater.wait_for(lambda snapshot, value=value: snapshot[rate] == value, 10)
            ours.append(time.perf_counter() - sent[str(value)])
            sender.join()
    theirs = [bare.seen[value] - began for value, began in sent.items() if value in bare.seen]
    _print("patch sent until the flag has it", ours)
    _print("the same, until a bare watch has it", theirs)
    return statistics.median(ours) < 0.010


def _idle(cluster: Cluster) -> bool:
    name = cluster.create({"rate_limit": "0"})
    flags = dflag.FlagRegistry()
    flags.dyn_int("rate_limit", 0, "Requests per second")
    source = KubernetesSource(name, kubeconfig=KUBECONFIG)
    source.read()
    watch = source.watch(lambda: None)
    while watch.last_contact is None:
        time.sleep(0.01)
    before = _busy()
    time.sleep(IDLE_SECONDS)
    used = _busy() - before
    watch.close()
    print(f"processor time of an idle watch in {IDLE_SECONDS:.0f} s: {used * 1e3:.2f} ms")
    return used < 0.001 * IDLE_SECONDS


def _imports() -> bool:
    runs = [
        subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(IMPORTS)
    ]
    milliseconds, mib = (statistics.median(float(run[index]) for run in runs) for index in range(2))
    print(f"imports over dflag: {milliseconds:.0f} ms, {mib:.1f} MiB (median of {IMPORTS})")
    return milliseconds < 150 and mib < 25


def _busy() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _print(what: str, seconds: Sequence[float]) -> None:
    ordered = sorted(seconds)
    p50, p99 = statistics.median(ordered), ordered[int(0.99 * (len(ordered) - 1))]
    print(f"{what}: p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms ({len(ordered)} patches, {os.cpu_count()} cores)")


if __name__ == "__main__":
    sys.exit(main())
