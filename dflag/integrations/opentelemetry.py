"""
Metrics and events for OpenTelemetry, through its API only; the extra ``dflag[opentelemetry]``.

The SDK of the program decides which exporter they go to, if any:

>>> import dflag
>>> flags = dflag.FlagRegistry("shop")
>>> metrics = export_metrics(flags)
>>> metrics.close()

The metrics are those of `dflag.integrations.prometheus`, with a dot in place of the first underscore of each name.
The receiver of Prometheus turns them into the same names and labels, so the same alerts work for both.
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry import metrics
from opentelemetry._logs import LogRecord, SeverityNumber, get_logger
from opentelemetry.metrics import Observation

from dflag._flags import listeners_of, pipeline_of
from dflag._fork import no_fork
from dflag._layers import DEFAULT
from dflag._notifier import Listener
from dflag._registry import registry_of
from dflag.errors import DefinitionError, check_argument
from dflag.integrations._measures import METRICS, Metric, Watchlist, encodable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry._logs import Logger, LoggerProvider
    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from opentelemetry.util.types import AnyValue

    from dflag import Flag, FlagRegistry, Updater
    from dflag._registry import RegistryLike

__all__ = ["Export", "export_events", "export_metrics"]


def __dir__() -> list[str]:
    return __all__


_SCOPE: Final = "dflag"
_SECONDS: Final = "_seconds"
_EVENT: Final = "feature_flag.evaluation"
"""The only event in the semantic conventions for feature flags. Backends know no other event."""

_watchlists: Final[weakref.WeakKeyDictionary[object, Watchlist]] = weakref.WeakKeyDictionary()
"""
The registries that are reported to each provider. Instruments are made once, because the API cannot remove any.

The key of the global provider, which may be set later, is the function that returns it.
"""

_emitting: Final[weakref.WeakKeyDictionary[FlagRegistry, dict[object, dict[Flag[Any], Listener]]]] = (
    weakref.WeakKeyDictionary()
)
"""The listeners of the flags of each registry, by provider."""


class Export:
    """
    A running export, until `close` or the end of its ``with`` block.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close: Final = close

    def close(self) -> None:
        """
        End the export. Idempotent.

        Thread safety: any thread.
        """
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def export_metrics(
    registry: RegistryLike,
    updater: Updater | None = None,
    *,
    name: str | None = None,
    meter_provider: MeterProvider | None = None,
) -> Export:
    """
    Report on a registry, and on its updater if it has one, whenever the SDK collects.

    Call this function again when the updater has been stopped and another one runs.

    Args:
        registry: The registry, or a `dflag.Flags` class.
        updater: The updater of the registry, or None. If a registry has several, export each under a different name.
        name: The value of the attribute ``registry``; None for the registry's own name.
        meter_provider: The provider to use; None for the global one, which may also be set later.

    Raises:
        ArgumentError: *name* is not a text.
        DefinitionError: The name is already used there, or the updater feeds another registry.

    Thread safety: any thread. Collecting never waits for a validator or a callback.
    """
    key = metrics.get_meter_provider if meter_provider is None else meter_provider
    with no_fork():
        watchlist = _watchlists.get(key)
        if watchlist is None:
            watchlist = _watchlists[key] = Watchlist()
            _make_instruments(meter_provider or metrics.get_meter_provider(), watchlist)
    return Export(partial(watchlist.remove, watchlist.add(registry, updater, name)))


def export_events(
    registry: RegistryLike,
    *,
    values: bool = False,
    max_value_length: int = 128,
    logger_provider: LoggerProvider | None = None,
) -> Export:
    """
    Emit the event ``feature_flag.evaluation``, as a log record, each time the effective value of a flag changes.

    The semantic conventions define one event for each evaluation. In dflag the commit that changes the value counts as
    the evaluation. A read does not, because it is far cheaper than an event.

    Args:
        registry: The registry, or a `dflag.Flags` class. Only flags that are declared before the call emit events.
        values: Whether to add the new value as ``feature_flag.result.value``. Values of secret flags are never added.
        max_value_length: The number of characters, 0 or more, after which a value is cut, unless it is a number or a
            bool.
        logger_provider: The provider to use; None for the global one.

    Raises:
        ArgumentError: An argument has the wrong type.
        DefinitionError: *max_value_length* is negative, or events of this registry are already exported to this
            provider.

    Thread safety: any thread; events are emitted on the registry's notifier thread, in order, as callbacks are.
    """
    registry = registry_of(registry)
    check_argument("values", values, bool, "True or False")
    check_argument("max_value_length", max_value_length, int, "an int of at least 0")
    if max_value_length < 0:
        raise DefinitionError(f"expected max_value_length as an int of at least 0, got {max_value_length}")
    logger = get_logger(_SCOPE, logger_provider=logger_provider)
    listened = {flag: _emitter(logger, registry, flag, max_value_length if values else None) for flag in registry}
    with no_fork():
        by_provider = _emitting.setdefault(registry, {})
        if any(listener in listeners_of(flag) for flag, listener in by_provider.get(logger_provider, {}).items()):
            raise DefinitionError(
                f"events of {registry!r} are already exported: first close() what export_events() returned"
            )
        by_provider[logger_provider] = listened
    for flag, listener in listened.items():
        flag._listen(listener)

    def close() -> None:
        for flag, listener in listened.items():
            flag._unlisten(listener)
        with no_fork():
            if by_provider.get(logger_provider) is listened:
                del by_provider[logger_provider]

    return Export(close)


def _make_instruments(provider: MeterProvider, watchlist: Watchlist) -> None:
    meter = provider.get_meter(_SCOPE)
    for metric in METRICS:
        make = meter.create_observable_counter if metric.kind == "counter" else meter.create_observable_gauge
        name = metric.name.replace("_", ".", 1)
        unit = "s" if name.endswith(_SECONDS) else ""
        make(name.removesuffix(_SECONDS), [partial(_observe, metric, watchlist)], unit=unit, description=metric.help)


def _observe(metric: Metric, watchlist: Watchlist, _: CallbackOptions) -> Iterable[Observation]:
    keys = ("registry", *metric.labels)
    return [
        Observation(value, dict(zip(keys, labels, strict=True)))
        for labels, value in sorted(watchlist.values()[metric.name].items())
    ]


def _emitter(logger: Logger, registry: FlagRegistry, flag: Flag[Any], max_value_length: int | None) -> Listener:
    """
    Return a listener that emits an event. A length of None leaves the value out.

    The listener does not refer to the registry. Otherwise `_emitting` would keep the registry alive.
    """
    set_id = encodable(registry.name)

    def emit_event(new: Any, origin: str, revision: int) -> None:
        attributes: dict[str, AnyValue] = {
            "feature_flag.key": flag.name,
            "feature_flag.provider.name": _SCOPE,
            "feature_flag.result.reason": "default" if origin == DEFAULT else "static",
            "feature_flag.version": str(revision),
            "dflag.origin": encodable(origin),
        }
        if set_id:
            attributes["feature_flag.set.id"] = set_id
        if max_value_length is not None and not flag.secret:
            kind = pipeline_of(flag).kind
            value = new if _is_number(new) else encodable(kind.format(new))[:max_value_length]
            attributes["feature_flag.result.value"] = value
        record = LogRecord(event_name=_EVENT, severity_number=SeverityNumber.INFO, attributes=attributes)
        logger.emit(record)

    return _Emitter(emit_event, flag.name)


class _Emitter(Listener):
    """
    A listener whose function takes the new value, its origin and its revision.
    """

    __slots__ = ()

    def __call__(self, _: object, new: object, origin: str, revision: int) -> None:
        self._function(new, origin, revision)


def _is_number(value: object) -> bool:
    """
    Return whether a value is a bool, or a number that OTLP can hold. An exporter loses a batch with any other number.
    """
    # The exact type counts: a member of an int enum is shown by its name, like a member of any other enum.
    return type(value) in (bool, float) or (type(value) is int and -(2**63) <= value < 2**63)
