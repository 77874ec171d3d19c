"""
Metrics for Prometheus, through prometheus_client; the extra ``dflag[prometheus]``.

Call `register` once in every process, where the updater is created:

>>> import dflag
>>> from prometheus_client import CollectorRegistry, generate_latest
>>> flags = dflag.FlagRegistry("shop")
>>> metrics = CollectorRegistry()
>>> _ = register(flags, prometheus_registry=metrics)
>>> b'dflag_revision{registry="shop"} 0.0' in generate_latest(metrics)
True

Where several processes serve one port, as under gunicorn, a scrape reaches one of them at random.
prometheus_client gathers its own metrics through files in ``PROMETHEUS_MULTIPROC_DIR``, but not the metrics of
collectors. So this collector does the same: if that variable is set, each process keeps a small file there, and the
process that answers a scrape merges the files.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dflag._faults import OwnThread, is_interrupt, text_of
from dflag._fork import follow_forks, no_fork, resume_soon, settle
from dflag._log import logger
from dflag.integrations._measures import METRICS, Labels, Metric, Values, Watchlist, merged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

    from dflag import Updater
    from dflag._registry import RegistryLike

__all__ = ["FlagCollector", "register"]


def __dir__() -> list[str]:
    return __all__


_FILE_NAME: Final = re.compile(r"dflag_(?P<pid>\d+)_\d+\.json")
_COUNTERS: Final = frozenset(metric.name for metric in METRICS if metric.kind == "counter")
_WAITING: Final = "_waiting"
"""An extra entry in the file of a process: the registries whose updater the process has not started."""
_numbers: Final = itertools.count()
_collectors: Final[weakref.WeakKeyDictionary[CollectorRegistry, FlagCollector]] = weakref.WeakKeyDictionary()
"""The collectors that `register` has made."""

SHARE_SECONDS: Final = 5.0
"""The greatest age of metrics from another process: well under the 15 s or more between scrapes."""


class FlagCollector(Collector):
    """
    A collector that exports registries and their updaters.

    `register` makes one collector for each ``CollectorRegistry``. It may be registered with others too, as
    multi-process mode requires. The mode is determined when the collector is made.

    Thread safety: any thread. A scrape never waits for a validator or a callback.
    """

    def __init__(self) -> None:
        self._watchlist: Final = Watchlist()
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._shared: Final = _SharedFiles(directory, self._watchlist) if directory else None

    def add(self, registry: RegistryLike, updater: Updater | None = None, *, name: str | None = None) -> None:
        """
        Export a registry, and its updater if it has one, until the registry is removed or this collector is closed.

        Args:
            registry: The registry, or a `dflag.Flags` class.
            updater: The updater of the registry, or None. If a registry has several, add each under a different name.
            name: The value of the label ``registry``; None for the registry's own name.

        Raises:
            ArgumentError: *name* is not a text.
            DefinitionError: The name is already used, or the updater feeds another registry.
        """
        self._watchlist.add(registry, updater, name)
        if self._shared is not None:
            self._shared.start()

    def remove(self, registry: RegistryLike) -> None:
        """
        Stop exporting a registry. Idempotent.
        """
        self._watchlist.remove(registry)

    def close(self) -> None:
        """
        Stop exporting, and unregister from the ``CollectorRegistry`` that was passed to `register`.

        Idempotent.
        """
        for prometheus_registry, collector in list(_collectors.items()):
            if collector is self:
                del _collectors[prometheus_registry]
                with contextlib.suppress(KeyError):  # the program has unregistered it
                    prometheus_registry.unregister(self)
        self._watchlist.clear()
        if self._shared is not None:
            self._shared.close()

    def describe(self) -> Iterable[Family]:
        """
        Return the metrics without values, so that a second collector in one ``CollectorRegistry`` is refused.
        """
        return [_family(metric, {}) for metric in METRICS]

    def collect(self) -> Iterable[Family]:
        """
        Return the metrics that have a value.
        """
        values = self._watchlist.values() if self._shared is None else self._shared.gather()
        return [_family(metric, values[metric.name]) for metric in METRICS if values[metric.name]]


class _SharedFiles:
    """
    The metrics of all processes of one program. Each process writes a file of its own, and reads all files.

    Of an ended process only the counters are kept: without them a sum would shrink, which looks like a restart.
    """

    def __init__(self, directory: str, watchlist: Watchlist) -> None:
        self._directory: Final = directory
        self._number: Final = next(_numbers)  # a process may have several collectors
        self._watchlist: Final = watchlist
        self._lock = threading.Lock()  # held while the file is written, so that no fork happens then
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._problem: str | None = None
        self._unread: Final[set[str]] = set()  # the unreadable files that are logged already
        follow_forks(self)

    def start(self) -> None:
        """
        Write the file now and every few seconds, on a separate thread, so that a hanging validator cannot prevent it.
        """
        self.write()
        problem: RuntimeError | None = None
        with no_fork():
            if self._thread is not None:
                return
            thread = OwnThread(target=_write_on, args=(weakref.ref(self), self._closing), daemon=True)
            thread.name = "dflag-metrics"
            try:
                thread.start()
            except RuntimeError as error:
                problem = error
            else:
                self._thread = thread
        if problem is not None:
            logger.warning("cannot share metrics with other processes, no thread could be started: %s", problem)

    def close(self) -> None:
        with no_fork():
            thread, self._thread = self._thread, None
            self._closing.set()
            self._closing = threading.Event()
        if thread is not None:
            thread.join()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path())

    def write(self) -> Values:
        """
        Write this process's metrics to its file and return them. A failure is logged once; the next call tries again.
        """
        values = self._measure()  # not under the lock: a fork may hold a registry's lock and wait for this one
        try:
            rows = [[name, labels, value] for name, by_labels in values.items() for labels, value in by_labels.items()]
            self._replace(json.dumps(rows))
            self._problem = None
        except BaseException as error:
            if is_interrupt(error):
                raise
            if (problem := text_of(error)) != self._problem:
                logger.warning("cannot share metrics with other processes: %s", problem)
            self._problem = problem
        return values

    def _replace(self, text: str) -> None:
        settle()
        with self._lock:
            with open(f"{self._path()}.new", "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(f"{self._path()}.new", self._path())

    def gather(self) -> Values:
        """
        Return the merged metrics of all processes.
        """
        mine = os.path.basename(self._path())
        processes: dict[int, Values] = {}
        for name in self._listing():
            match = _FILE_NAME.fullmatch(name)
            if match is not None and name != mine:
                pid = int(match["pid"])
                _add(processes.setdefault(pid, {}), self._read(name, alive=_is_alive(pid)))
        # The counts are written before they are shown: a count that a scrape has seen must outlive this process.
        known = self._measure() if self._thread is None else self.write()
        _add(processes.setdefault(os.getpid(), {}), known)
        _drop_waiting(processes.values())
        return merged(processes.values())

    def _read(self, name: str, *, alive: bool) -> Values:
        """
        Return the metrics in another process's file. An unreadable file, as after a machine crash, is logged once.
        """
        try:
            return _read(os.path.join(self._directory, name), alive=alive)
        except FileNotFoundError:  # closed since the directory was listed
            return {}
        except (OSError, ValueError, TypeError) as error:
            if name not in self._unread:
                self._unread.add(name)
                logger.warning("metrics of another process are left out: cannot read %s: %s", name, text_of(error))
            return {}

    def _measure(self) -> Values:
        # Before the values, so that an updater that starts in between is not shown as one that does not run.
        waiting: Values = {_WAITING: {(name,): 1.0 for name in self._watchlist.waiting()}}
        return self._watchlist.values() | waiting

    def _listing(self) -> list[str]:
        try:
            return os.listdir(self._directory)
        except OSError:  # `write` logs it
            return []

    def _path(self) -> str:
        return os.path.join(self._directory, f"dflag_{os.getpid()}_{self._number}.json")

    # --- forking

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def is_active(self) -> bool:
        return self._thread is not None

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._closing = threading.Event()
        if self._thread is not None:
            resume_soon(self)

    def resume_in_child(self) -> None:
        self._thread = None
        self.start()


def register(
    registry: RegistryLike,
    updater: Updater | None = None,
    *,
    name: str | None = None,
    prometheus_registry: CollectorRegistry = REGISTRY,
) -> FlagCollector:
    """
    Export a registry, and its updater if it has one. Call it again when the updater was stopped and another one runs.

    Args:
        registry: The registry, or a `dflag.Flags` class.
        updater: The updater of the registry, or None. If a registry has several, register each under a different name.
        name: The value of the label ``registry``; None for the registry's own name.
        prometheus_registry: The ``CollectorRegistry`` to register with. Several registries of flags share one collector
            there.

    Returns:
        The collector. It may be registered with other ``CollectorRegistry`` objects, and it may be closed.

    Raises:
        ArgumentError: *name* is not a text.
        DefinitionError: The name is already used there, or the updater feeds another registry.

    Thread safety: any thread.
    """
    with no_fork():
        collector = _registered_with(prometheus_registry)
    collector.add(registry, updater, name=name)
    return collector


def _registered_with(prometheus_registry: CollectorRegistry) -> FlagCollector:
    """
    Return the registered collector, or register a new one, as the program may have unregistered the earlier one.
    """
    collector = FlagCollector()
    try:
        prometheus_registry.register(collector)
    except ValueError:  # a collector with the same metrics is registered
        if prometheus_registry not in _collectors:
            raise
    else:
        _collectors[prometheus_registry] = collector
    return _collectors[prometheus_registry]


def _family(metric: Metric, values: dict[Labels, float]) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=("registry", *metric.labels))
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _write_on(shared: weakref.ref[_SharedFiles], closing: threading.Event) -> None:
    """
    Write the file every few seconds until *closing* is set, or until the collector is gone.
    """
    while not closing.wait(SHARE_SECONDS):
        files = shared()
        if files is None:
            return
        files.write()
        del files


def _read(path: str, *, alive: bool) -> Values:
    """
    Return the metrics in the file of another process; only the counters if the process has ended.

    Raises:
        OSError: The file cannot be read.
        ValueError: The contents are not what a process writes.
        TypeError: As `ValueError`.
    """
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)
    values: Values = {}
    for name, labels, value in rows:
        if alive or name in _COUNTERS:
            values.setdefault(name, {})[tuple(labels)] = float(value)
    return values


def _add(values: Values, more: Values) -> None:
    """
    Add the values of another collector of the same process. A value that both collectors have counts once.
    """
    for name, by_labels in more.items():
        values.setdefault(name, {}).update(by_labels)


def _drop_waiting(processes: Iterable[Values]) -> None:
    """
    Drop the gauges of updaters that a process has not started, if another process has started its own updater.

    The master of a server may load the app and leave the start to its workers. Its updater would seem not to run.
    """
    processes = list(processes)
    started = {
        labels for values in processes for labels in values.get("dflag_running", {}).keys() - values.get(_WAITING, {})
    }
    for values in processes:
        names = {name for (name,) in started & values.get(_WAITING, {}).keys()}
        for metric, by_labels in values.items():
            if names and metric not in _COUNTERS:
                values[metric] = {labels: value for labels, value in by_labels.items() if labels[0] not in names}


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # signal 0 is Ctrl-C there
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no process has such a number
        return False
    except PermissionError:
        return True
    return True
