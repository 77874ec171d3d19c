"""
Overrides for a test, of one registry or of several.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, final

from dflag._flags import Flag
from dflag._registry import FlagRegistry

if TYPE_CHECKING:
    from dflag._store import Store

_Function = TypeVar("_Function", bound=Callable[..., Any])


def override(
    target: FlagRegistry | Mapping[Flag[Any], Any], values: Mapping[str, Any] | None = None, /, **more: Any
) -> Override:
    """
    Override flags for the whole process within a ``with`` block, or around each call of a decorated function,
    which may be ``async``.

    As `FlagRegistry.override`, which knows one registry, and takes static and frozen flags too.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> with override({rate: 5}), override(flags, rate_limit=7):
        ...     rate.get()
        7

    Args:
        target: Values by flag, of any registries, or bound to none yet; or a registry, for values by name.
        values: With a registry: values by name.
        **more: The same, for names that can be written as keywords.

    Raises:
        FlagValueError: A value is refused; nothing is overridden.
        UnknownFlagError: There is no such name.
        TypeError: The arguments are neither of the two forms, or it decorates a class or a generator.

    Thread safety: any thread; every thread of the process sees the values.
    """
    return Override(target, {**(values or {}), **more})


@final
class Override(contextlib.AbstractContextManager[None]):
    """
    What `override` gives: a block, or a decorator of functions.

    The decorators of contextlib would call what is ``async`` without awaiting it inside of the block, and make a
    function of a class, which no test runner finds.

    Thread safety: one thread at a time; every thread of the process sees the values.
    """

    def __init__(self, target: object, named: Mapping[str, Any]) -> None:
        self._target: Final = target
        self._named: Final = named
        self._entered: Final[list[contextlib.ExitStack]] = []

    def __enter__(self) -> None:
        """
        Override the flags; raises what `override` does.
        """
        with contextlib.ExitStack() as stack:
            for store, taken in _take(self._target, self._named).items():
                stack.enter_context(store.override(taken))
            self._entered.append(stack.pop_all())

    def __exit__(self, *_: object) -> None:
        """
        Put back what was there before.
        """
        self._entered.pop().close()

    def __call__(self, function: _Function) -> _Function:
        """
        Decorate a function; raises TypeError for a class or a generator.
        """
        import inspect  # slow to import

        if isinstance(function, type) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"expected a function to decorate, got {function!r}: enter the override within it")
        again = partial(Override, self._target, self._named)
        if inspect.iscoroutinefunction(function):

            async def awaited(*args: Any, **options: Any) -> Any:
                with again():
                    return await function(*args, **options)

            return cast("_Function", wraps(function)(awaited))

        def called(*args: Any, **options: Any) -> Any:
            with again():
                return function(*args, **options)

        return cast("_Function", wraps(function)(called))


def _take(target: object, named: Mapping[str, Any]) -> dict[Store, dict[Flag[Any], Any]]:
    """
    Validate all values before any is set, and sort them by the store of their flag.
    """
    if isinstance(target, FlagRegistry):
        given: Mapping[Any, Any] = {target.lookup(name): value for name, value in named.items()}
    elif isinstance(target, Mapping) and not named and all(isinstance(flag, Flag) for flag in target):
        given = target
    else:
        raise TypeError(f"expected {{flag: value}}, or a registry and values by name, got {target!r}")
    taken: dict[Store, dict[Flag[Any], Any]] = {}
    for flag, value in given.items():
        taken.setdefault(flag._store, {})[flag] = flag._spec.take(flag.name, value, "override")
    return taken


@final
class Overrides:
    """
    What the fixture ``dflag_override`` gives: call it like `override`, and what it sets is undone together.

    Thread safety: one thread at a time; every thread of the process sees the values.
    """

    def __init__(self) -> None:
        self._stack: Final = contextlib.ExitStack()

    def __call__(
        self, target: FlagRegistry | Mapping[Flag[Any], Any], values: Mapping[str, Any] | None = None, /, **more: Any
    ) -> None:
        """
        Override flags from now on; takes and raises what `override` does.
        """
        self._stack.enter_context(override(target, values, **more))

    def undo(self) -> None:
        """
        Undo all of it, the last first; the fixture does at the end of the test.
        """
        self._stack.close()
