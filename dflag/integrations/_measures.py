"""
The metrics of a registry and its updater, for every exporter.

One table of metrics serves all exporters, so that names, labels and alerts are the same for all of them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from dflag._faults import is_interrupt
from dflag._flags import listeners_of
from dflag._fork import ForkFollower, follow_forks, no_fork
from dflag._layers import OVERRIDE
from dflag._log import logger
from dflag._registry import registry_of, sources_of, store_of_registry
from dflag.errors import DefinitionError, checked_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dflag import SourceStatus, Status, Updater
    from dflag._registry import RegistryLike

Labels: TypeAlias = tuple[str, ...]
Values: TypeAlias = dict[str, dict[Labels, float]]
"""Values by the name of a metric, and then by labels: the registry's name, followed by the metric's own labels."""


_CALLBACK_ERRORS: Final = "dflag_callback_errors"


class Metric(NamedTuple):
    """
    One metric.

    Attributes:
        name: The name in Prometheus, without the ``_total`` of a counter.
        kind: Whether the value only grows (a counter) or can also fall (a gauge).
        labels: The names of the labels other than ``registry``.
        across: How the values of several processes are merged into one.
        help: A description in one sentence.
    """

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    across: Literal["sum", "min", "max"]
    help: str


METRICS: Final[tuple[Metric, ...]] = (
    Metric("dflag_running", "gauge", (), "min", "Whether the updater follows its sources."),
    Metric(
        "dflag_last_success_timestamp_seconds",
        "gauge",
        (),
        "min",
        "When all sources were last seen to be well and in force, changed or not.",
    ),
    Metric(
        "dflag_reloads",
        "counter",
        ("source", "result"),
        "sum",
        "Readings with something new in them: applied, partial (all but bad values), refused (whole) or failed.",
    ),
    Metric("dflag_errors", "counter", (), "sum", "Values, revisions and reads that failed; what lasts counts once."),
    Metric("dflag_warnings", "counter", (), "sum", "Unknown names that were seen; each counts once."),
    Metric("dflag_source_healthy", "gauge", ("source",), "min", "Whether the source could be read the last time."),
    Metric("dflag_source_refused", "gauge", ("source",), "max", "Whether what the source holds is refused whole."),
    Metric("dflag_source_degraded", "gauge", ("source",), "max", "Whether changes are noticed without events only."),
    Metric("dflag_source_live", "gauge", ("source",), "min", "Whether changes can ever show: 0 for a subPath mount."),
    Metric(
        "dflag_source_contact_timestamp_seconds",
        "gauge",
        ("source",),
        "min",
        "When the source was last seen to be there, changed or not.",
    ),
    Metric(
        "dflag_source_applied_timestamp_seconds",
        "gauge",
        ("source",),
        "min",
        "When the revision in force was applied.",
    ),
    Metric("dflag_source_info", "gauge", ("source", "checksum"), "max", "The checksum of the revision in force."),
    Metric("dflag_rejected_values", "gauge", ("flag",), "max", "Values in the sources that are refused now."),
    Metric(
        "dflag_rule_state",
        "gauge",
        ("source", "rule", "state"),
        "max",
        "What each rule is in this process: 1 for the state that holds, such as in_force, reverted or refused.",
    ),
    Metric("dflag_unknown_names", "gauge", (), "max", "Names in the sources that no flag has."),
    Metric("dflag_pending_restart_flags", "gauge", (), "max", "Static flags that a restart would change."),
    Metric("dflag_overridden_flags", "gauge", (), "max", "Flags whose value is an override."),
    Metric("dflag_revision", "gauge", (), "max", "The number of the last commit in this process."),
    Metric(
        "dflag_values_info",
        "gauge",
        ("checksum_static", "checksum_dynamic"),
        "max",
        "The checksums of the values in force, as the Go library computes them.",
    ),
    Metric(_CALLBACK_ERRORS, "counter", ("flag",), "sum", "Callbacks that have raised."),
)


class Watched(ForkFollower):
    """
    A registry and its updater, if it has one, under the name that distinguishes their metrics.

    It keeps both alive.
    Counters continue from the counters of the previous updater, because a counter that shrinks looks like a restart of
    the process. In a forked child they begin at zero, because the parent exports what it has counted.
    """

    def __init__(self, registry: RegistryLike, updater: Updater | None, name: str | None) -> None:
        registry = registry_of(registry)
        if updater is not None:
            from dflag._updater import check_updater_of  # already imported by the program

            check_updater_of(updater, registry)
        self.registry: Final = registry
        self.updater: Final = updater
        self.name: Final = registry.name if name is None else checked_text("name", name)
        self._inherited: Values = {}
        self._earlier: Values = {}
        self._checksums: tuple[int, Labels] = (-1, ())
        follow_forks(self)

    def succeeds(self, other: Watched) -> bool:
        """
        Return whether this continues *other*: the same registry with the same or a stopped updater. If so, take its
        counts.
        """
        fed_by = other.updater
        if other.registry is not self.registry or fed_by is None:
            return False
        if fed_by is self.updater:
            self._inherited, self._earlier = other._inherited, other._earlier
            return True
        if fed_by in sources_of(self.registry).owners():
            return False
        self._earlier = other._counters(fed_by._status())
        # The registry counts these errors, whichever updater feeds it.
        self._earlier[_CALLBACK_ERRORS] = other._earlier.get(_CALLBACK_ERRORS, {})
        self._inherited = {_CALLBACK_ERRORS: other._inherited.get(_CALLBACK_ERRORS, {})}
        return True

    def values(self) -> Values:
        """
        Return the current values of all metrics. Never waits for a validator or a callback.
        """
        values: Values = {metric.name: {} for metric in METRICS}

        def put(name: str, value: float, *labels: str) -> None:
            values[name][self.name, *labels] = value

        status = None if self.updater is None else self.updater.status()
        values |= self._counters(status)
        put("dflag_revision", self.registry.snapshot().revision)
        put("dflag_overridden_flags", sum(flag.origin == OVERRIDE for flag in self.registry))
        checksums = self._values_checksums()
        if checksums:
            put("dflag_values_info", 1, *checksums)
        if status is not None:
            _measure_status(status, put)
        return {metric: _encodable(by_labels) for metric, by_labels in values.items()}

    def _counters(self, status: Status | None) -> Values:
        """
        Return the counters of this process, including those of earlier updaters.
        """
        counters: Values = {name: dict(counts) for name, counts in self._earlier.items()}
        for name, counts in self._counts(status).items():
            sums, inherited = counters.setdefault(name, {}), self._inherited.get(name, {})
            for labels, count in counts.items():
                sums[labels] = sums.get(labels, 0) + count - inherited.get(labels, 0)
        return counters

    def _counts(self, status: Status | None) -> Values:
        """
        Return the counters, including what the parent process counted before a fork.
        """
        # Not from a snapshot, which may take the lock: in a forked child this code runs while the locks are renewed.
        flags = list(store_of_registry(self.registry).flags.values())
        # Flags with callbacks start at zero, because a counter that begins at 1 shows no increase.
        errors = {flag.name: 0 for flag in flags if listeners_of(flag)} | self.registry.callback_errors()
        counts: Values = {_CALLBACK_ERRORS: {(self.name, flag): count for flag, count in errors.items()}}
        if status is not None:
            counts["dflag_errors"] = {(self.name,): status.errors}
            counts["dflag_warnings"] = {(self.name,): status.warnings}
            counts["dflag_reloads"] = {
                (self.name, source.name, result): count
                for source in status.sources
                for result, count in source.reloads.items()
            }
        return counts

    def _values_checksums(self) -> Labels:
        """
        Return the checksums over all values, computed once for each revision; empty if a value cannot be printed.
        """
        number, checksums = self._checksums
        current = self.registry.snapshot().revision
        if number != current:
            checksums = self._compute_checksums()
            self._checksums = (current, checksums)
        return checksums

    def _compute_checksums(self) -> Labels:
        try:
            return self.registry.checksum(dynamic=False), self.registry.checksum(dynamic=True)
        except BaseException as error:  # from a user's class; the other metrics are still exported
            if is_interrupt(error):
                raise
            # Without the traceback, whose message may quote a secret.
            fault = type(error).__name__
            logger.error("cannot print a flag's value (%s); exporting no checksums of the values", fault)
            return ()

    # --- forking

    def after_fork_in_child(self) -> None:
        self._earlier = {}
        self._inherited = self._counts(None if self.updater is None else self.updater._status())


def encodable(text: str) -> str:
    """
    Escape what UTF-8 cannot encode, as in a path that is not UTF-8. Otherwise exporters would refuse all metrics.
    """
    return text.encode(errors="backslashreplace").decode()


def _encodable(by_labels: dict[Labels, float]) -> dict[Labels, float]:
    return {tuple(map(encodable, labels)): value for labels, value in by_labels.items()}


def _measure_status(status: Status, put: Callable[..., None]) -> None:
    now = time.time()
    put("dflag_running", status.state == "running")
    if status.seconds_since_success is not None:
        put("dflag_last_success_timestamp_seconds", now - status.seconds_since_success)
    put("dflag_unknown_names", len(status.unknown))
    put("dflag_pending_restart_flags", len(status.pending_restart))
    # By flag, whose number is limited. The number of keys of a map is not, because a source may hold any.
    refused = [error.flag_name for error in status.rejected.values()]
    for flag_name in set(refused):
        put("dflag_rejected_values", refused.count(flag_name), flag_name)
    for source in status.sources:
        _measure_source(source, now, put)
    for rule in status.rules:
        put("dflag_rule_state", 1, rule.source, rule.name, rule.state.replace(" ", "_"))


def _measure_source(source: SourceStatus, now: float, put: Callable[..., None]) -> None:
    put("dflag_source_healthy", source.healthy, source.name)
    put("dflag_source_refused", source.healthy and source.last_error is not None, source.name)
    put("dflag_source_degraded", source.degraded is not None, source.name)
    put("dflag_source_live", source.not_live is None, source.name)
    if source.seconds_since_contact is not None:
        put("dflag_source_contact_timestamp_seconds", now - source.seconds_since_contact, source.name)
    if source.applied_at is not None:
        put("dflag_source_applied_timestamp_seconds", source.applied_at.timestamp(), source.name)
        put("dflag_source_info", 1, source.name, source.checksum)


class Watchlist:
    """
    The registries that one exporter reports on.

    Thread safety: any thread.
    """

    def __init__(self) -> None:
        self._watched: tuple[Watched, ...] = ()  # replaced as a whole, so that reading takes no lock

    def add(self, registry: RegistryLike, updater: Updater | None, name: str | None) -> Watched:
        """
        Report on a registry from now on. It can be added again with the same updater, or once its updater is stopped.

        Raises:
            ArgumentError: *name* is not a text.
            DefinitionError: The name is already used, or the updater feeds another registry.
        """
        added = Watched(registry, updater, name)
        with no_fork():  # used as a lock that no fork leaves held
            earlier = next((each for each in self._watched if each.name == added.name), None)
            if earlier is not None and not added.succeeds(earlier):
                raise DefinitionError(
                    f"metrics of a registry named {added.name!r} are already exported: pass name=, "
                    "or first close that export or stop its updater"
                )
            self._watched = (*(each for each in self._watched if each is not earlier), added)
        return added

    def remove(self, gone: Watched | RegistryLike) -> None:
        """
        Stop reporting on one entry, or on a registry under all of its names. Idempotent.
        """
        registry = None if isinstance(gone, Watched) else registry_of(gone)
        with no_fork():
            self._watched = tuple(each for each in self._watched if each is not gone and each.registry is not registry)

    def clear(self) -> None:
        """
        Stop reporting on all registries.
        """
        self._watched = ()

    def waiting(self) -> list[str]:
        """
        Return the names of the entries whose updater has not been started in this process.
        """
        updaters = ((watched.name, watched.updater) for watched in self._watched)
        return [encodable(name) for name, updater in updaters if updater is not None and _is_waiting(updater)]

    def values(self) -> Values:
        """
        Return the current values of all metrics, for all registries.
        """
        return merged(watched.values() for watched in self._watched)


def _is_waiting(updater: Updater) -> bool:
    return updater.status().state in {"new", "initialized"}


def merged(readings: Iterable[Values]) -> Values:
    """
    Merge several sets of values into one, each metric by its `across`. Metrics that are not in the table are left out.
    """
    result: Values = {metric.name: {} for metric in METRICS}
    for values in readings:
        for metric in METRICS:
            into = result[metric.name]
            for labels, value in values.get(metric.name, {}).items():
                if labels not in into:
                    into[labels] = value
                elif metric.across == "sum":
                    into[labels] += value
                else:
                    into[labels] = (min if metric.across == "min" else max)(into[labels], value)
    return result
