"""
The flags at the moment of an error, added to every event that goes to Sentry.

Needs the extra ``dflag[sentry]``.
"""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import sentry_sdk

from dflag._faults import is_interrupt
from dflag._log import logger
from dflag._registry import checksum_of, registry_of

if TYPE_CHECKING:
    from dflag._registry import FlagRegistry, RegistryLike

__all__ = ["add_context"]


def __dir__() -> list[str]:
    return __all__


_added: Final[weakref.WeakSet[FlagRegistry]] = weakref.WeakSet()

_is_adding: Final[ContextVar[bool]] = ContextVar("dflag_sentry_is_adding", default=False)
"""Whether this context is adding flags. Sentry makes an event of what is logged meanwhile; it gets no flags."""


def add_context(registry: RegistryLike) -> None:
    """
    Add a registry's bool flags and checksums to every event of this process.

    Bool flags that are not secret become the event's feature flags. The context ``dflag``, followed by the registry's
    name if it has one, has ``revision``, ``checksum_static`` and ``checksum_dynamic``. All of them are the values that
    the code of the event reads: inside of a pin, the pinned values. Reading a flag does not become slower.

    This function may be called several times, before or after ``sentry_sdk.init``. It does not keep the registry alive.

    Args:
        registry: The registry, or a `dflag.Flags` class.

    Raises:
        ArgumentError: *registry* is neither.

    Thread safety: any thread.

    >>> import dflag
    >>> flags = dflag.FlagRegistry("shop")
    >>> new_path = flags.dyn_bool("new_path", False)
    >>> add_context(flags)
    """
    flags = registry_of(registry)
    if flags in _added:
        return
    _added.add(flags)
    reference = weakref.ref(flags)

    def add(event: Any, _: Any) -> Any:
        flags = reference()
        if flags is not None and not _is_adding.get():
            token = _is_adding.set(True)
            try:
                _add(event, flags)
            except BaseException as error:
                # The event must not be lost because a value cannot be printed.
                if is_interrupt(error):
                    raise
                logger.exception("cannot add the flags to an event for Sentry")
            finally:
                _is_adding.reset(token)
        return event

    sentry_sdk.get_global_scope().add_event_processor(add)


def _add(event: dict[str, Any], flags: FlagRegistry) -> None:
    contexts = event.setdefault("contexts", {})
    with flags.pinned() as snapshot:  # the snapshot of the surrounding pin, if there is one
        contexts[f"dflag {flags.name}" if flags.name else "dflag"] = {
            "revision": snapshot.revision,
            "checksum_static": checksum_of(snapshot, dynamic=False),
            "checksum_dynamic": checksum_of(snapshot, dynamic=True),
        }
    read = {flag.name: value for flag in flags if not flag.secret and isinstance(value := flag.get(), bool)}
    others = [each for each in contexts.get("flags", {}).get("values", ()) if each.get("flag") not in read]
    values = [{"flag": name, "result": value} for name, value in read.items()]
    contexts["flags"] = {"values": [*others, *values]}
