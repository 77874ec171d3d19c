"""
Overrides for tests, for one registry or several, and `isolated`, which restores a registry after a test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, final

from dflag._checkpoint import Checkpoint
from dflag._faults import code_flags
from dflag._flags import Flag, FlagValues, pipeline_of
from dflag._registry import FlagRegistry, registry_of, sources_of, store_of_registry
from dflag._snapshot import store_of
from dflag._updater import Updater

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dflag._registry import RegistryLike
    from dflag._source_layers import SourceLayers
    from dflag._store import Store

_FLUSH_SECONDS: Final = 5.0
"""How long `isolated` waits at its end for callbacks, even if one hangs: the default timeout of `Updater.stop`."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def override(
    target: RegistryLike | Mapping[Flag[Any], Any], values: Mapping[str, Any] | None = None, /, **more: Any
) -> Block:
    """
    Override flags for the whole process within a ``with`` block, or around each call of a decorated function,
    which may be ``async``.

    Like `FlagRegistry.override`, it also overrides static and frozen flags. Unlike it, it takes flags of several
    registries.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> with override({rate: 5}), override(flags, rate_limit=7):
        ...     rate.get()
        7

    Args:
        target: A mapping of flags to values; the flags may belong to any registries, or to none yet. Or a
            registry, for values by name. Or a `dflag.Flags` class, for values by attribute or name.
        values: If *target* is a registry or a class: values by name.
        **more: The same as *values*, for names that can be written as keywords.

    Raises:
        FlagValueError: A value is refused; nothing stays overridden. If a registry validator of one of several
            registries refuses the values, flags of the others may have been overridden for a moment.
        UnknownFlagError: No flag has one of the names.
        TypeError: The arguments have none of these forms, or the decorated object is a class or a generator function.

    Thread safety: any thread; every thread of the process sees the values.
    """
    return Block(partial(_overridden, target, {**(values or {}), **more}))


def isolated(registry: RegistryLike) -> Block:
    """
    Restore a registry at the end of a ``with`` block, or after each call of a decorated function.

    Use it for a module-level registry, which outlives a test. It restores layers, callbacks, validators and the freeze.
    The time limits of overrides keep running inside the block. Flags that are declared inside stay declared, but lose
    the values that were set for them. An updater that was started inside is stopped. An updater that ran before keeps
    running, and then applies the current content of its sources.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> with isolated(flags):
        ...     flags.apply({"rate_limit": "60"}, source="config")  # doctest: +ELLIPSIS
        ...     flags.freeze()
        Revision(...)
        >>> rate.get(), rate.origin
        (50, 'default')

    Args:
        registry: The registry, or a `dflag.Flags` class.

    Raises:
        TypeError: *registry* is neither a registry nor a `dflag.Flags` class, or the decorated object is a class or a
            generator function.

    Thread safety: any thread; every thread of the process sees the values.
    """
    return Block(partial(_isolated, registry_of(registry)))


@contextlib.contextmanager
def _isolated(registry: FlagRegistry) -> Iterator[None]:
    sources = sources_of(registry)
    before = Checkpoint(store_of_registry(registry), sources)
    known = set(sources.owners())
    running = _running(sources)
    try:
        yield
    finally:
        for owner in _running(sources) - running | (set(sources.owners()) - known):
            if isinstance(owner, Updater):
                owner.stop()
        before.restore()
        registry.flush(_FLUSH_SECONDS)


def _running(sources: SourceLayers) -> set[object]:
    return {owner for owner in sources.owners() if isinstance(owner, Updater) and owner._session is not None}


_CO_GENERATOR: Final = 0x20 | 0x200
"""The code flags `inspect.CO_GENERATOR` and `inspect.CO_ASYNC_GENERATOR`."""

_CO_COROUTINE: Final = 0x80
"""The code flag `inspect.CO_COROUTINE`."""


@final
class Block(contextlib.AbstractContextManager[None]):
    """
    The result of `override` and `isolated`: a context manager, and a decorator for functions, which may be ``async``.

    It does not use `contextlib.ContextDecorator`, for two reasons. That class would end the block before an ``async``
    function runs, because it does not await the coroutine inside the block. It would also turn a class into a function,
    which no test runner finds.

    Thread safety: one thread at a time; every thread of the process sees the values.
    """

    def __init__(self, make: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._make: Final = make
        self._entered: Final[list[contextlib.AbstractContextManager[None]]] = []

    def __enter__(self) -> None:
        """
        Begin the block; raises what `override` or `isolated` documents.
        """
        made = self._make()
        made.__enter__()
        self._entered.append(made)

    def __exit__(self, *_: object) -> None:
        """
        End the block and restore the previous state.
        """
        self._entered.pop().__exit__(None, None, None)

    def __call__(self, function: _Function) -> _Function:
        """
        Decorate a function; raises TypeError for a class, a generator, a static or a class method.
        """
        import inspect  # slow to import

        flags = code_flags(function)  # also looks at the __call__ of an object, which inspect ignores
        if isinstance(function, (type, staticmethod, classmethod)) or flags & _CO_GENERATOR:
            raise TypeError(
                "expected a function to decorate, and no class, generator, staticmethod or classmethod, "
                f"got {function!r}; decorate what is in it, or use a with block inside it"
            )
        if flags & _CO_COROUTINE or inspect.iscoroutinefunction(function):  # inspect knows the marked functions

            async def awaited(*args: Any, **options: Any) -> Any:
                with self._make():
                    return await function(*args, **options)

            return cast("_Function", wraps(function)(awaited))

        def called(*args: Any, **options: Any) -> Any:
            with self._make():
                return function(*args, **options)

        return cast("_Function", wraps(function)(called))


@contextlib.contextmanager
def _overridden(target: object, named: Mapping[str, Any]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for store, taken in _take(target, named).items():
            stack.enter_context(store.override(taken))
        yield


def _take(target: object, named: Mapping[str, Any]) -> dict[Store, dict[Flag[Any], Any]]:
    """
    Validate all values before any is set, and group them by the store of their flag.
    """
    taken: dict[Store, dict[Flag[Any], Any]] = {}
    for flag, given in _by_flag(target, named).items():
        value = pipeline_of(flag).take(flag.name, given, "override")
        taken.setdefault(store_of(flag).store_for(flag), {})[flag] = value
    return taken


def _by_flag(target: object, named: Mapping[str, Any]) -> Mapping[Flag[Any], Any]:
    if isinstance(target, FlagRegistry):
        return {target.lookup(name): value for name, value in named.items()}
    if isinstance(target, type) and issubclass(target, FlagValues):
        return {_flag_of(target, name): value for name, value in named.items()}
    if isinstance(target, Mapping) and not named and all(isinstance(flag, Flag) for flag in target):
        return target
    raise TypeError(f"expected {{flag: value}}, or a registry and values by name, got {target!r}")


def _flag_of(cls: type[FlagValues], name: str) -> Flag[Any]:
    """
    Return the flag that is the attribute *name* of a `dflag.Flags` class, or that has this name in its registry.
    """
    flag = getattr(cls, name, None)
    return flag if isinstance(flag, Flag) else registry_of(cls).lookup(name)


@final
class Overrides:
    """
    The value of the fixture ``dflag_override``. Call it like `override`; `undo` reverts all overrides together.

    Thread safety: one thread at a time; every thread of the process sees the values.
    """

    def __init__(self) -> None:
        self._stack: Final = contextlib.ExitStack()

    def __call__(
        self, target: RegistryLike | Mapping[Flag[Any], Any], values: Mapping[str, Any] | None = None, /, **more: Any
    ) -> None:
        """
        Override flags until `undo`; takes and raises the same as `override`.
        """
        self._stack.enter_context(override(target, values, **more))

    def undo(self) -> None:
        """
        Undo all overrides, the last one first. The fixture calls this at the end of the test.
        """
        self._stack.close()
