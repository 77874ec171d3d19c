"""
A flag and its ``get()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NoReturn, TypeVar, overload

from dflag._faults import is_interrupt
from dflag._fork import no_fork
from dflag._log import logger
from dflag._notifier import Listener
from dflag._snapshot import current_pin, open_pins
from dflag._spec import Spec, as_tuple
from dflag.errors import ArgumentError, DefinitionError, FlagValueError, check_argument

if TYPE_CHECKING:
    import datetime
    from collections.abc import AsyncIterator, Callable, Mapping

    from dflag._layers import Entry
    from dflag._snapshot import Pin
    from dflag._store import Store
    from dflag.typing import Callback, Validator

T = TypeVar("T")
R = TypeVar("R")
V = TypeVar("V", bound="Validator[object]")
C = TypeVar("C", bound="Callback[object]")

MYPY = False
"""For mypy alone this is true, by its name."""

UNBOUND: Final = "(unbound)"
"""The name of a flag that a library has made and no program has bound yet."""


_pinning = False
"""
Whether any pin is open in any context: a test that keeps pins free for those who use none.

Here, as a bool, it costs a read of 30 ns about 4; a set to be tested for emptiness 7, the context variable alone 12.
"""


def open_pin(pin: Pin) -> None:
    """
    Count a pin in, before any ``get()`` is to see it.
    """
    global _pinning  # noqa: PLW0603 - the fastest thing a read can test
    with no_fork():  # a lock that a forked child finds whole
        open_pins.add(pin)
        _pinning = True


def close_pin(pin: Pin) -> None:
    """
    Close a pin and count it out.
    """
    global _pinning  # noqa: PLW0603 - as above
    with no_fork():
        pin.close()
        _pinning = bool(open_pins)


class Cell:
    """
    Something whose value is set in the same step as those of others: a flag, or a registry's current snapshot.
    """

    __slots__ = ("_value",)

    _value: Any


class Flag(Cell, Generic[T]):
    """
    A named, typed value that layers may change: `StaticFlag` or `DynamicFlag`.

    Made by the methods of `FlagRegistry`, or unbound by ``dflag.dyn_int`` and its siblings.

    Attributes:
        name: The name in its registry; ``"(unbound)"`` before it has one.
        help: What the flag is for, in one sentence.
        default: The value when no layer holds one.

    Thread safety: `get` is lock-free, from any thread; the rest takes the registry lock, from any thread.
    """

    __slots__ = ("_declared_at", "_layers", "_listeners", "_origin", "_spec", "_store", "default", "help", "name")

    dynamic: ClassVar[bool]
    """Whether the flag may change after the registry was frozen."""

    def __init__(
        self,
        store: Store,
        spec: Spec[T],
        name: str,
        default: Any,
        help: str,
        declared_at: tuple[str, int],
    ) -> None:
        check_argument("help", help, str, "a text", subject=f"flag {name!r}: ")
        self.name: str = name
        self.help: Final = help
        self._spec = spec
        self._store = store
        self._declared_at: Final = declared_at
        self._layers: Mapping[str, Entry] = _NO_LAYERS
        self._listeners: tuple[Listener, ...] = ()
        self._origin = "default"
        self.default: Final[T] = self._check_default(spec, default)
        self._value: T = self.default

    def get(self) -> T:
        """
        Return the value now, or that of the innermost ``pinned()`` block.

        Thread safety: any thread, lock-free.
        """
        raise NotImplementedError

    @property
    def secret(self) -> bool:
        """
        Whether the value is masked wherever people or logs could read it.

        A flag that was declared neither way becomes one, for good, when a secret source holds a value for it.
        """
        return self._spec.secret

    @property
    def type_name(self) -> str:
        """The name of the kind, as in the method that declares it: ``"int"``, ``"string_list"``."""
        return self._spec.kind.name

    @property
    def deprecated(self) -> str | None:
        """What to use instead, or None."""
        return self._spec.deprecated

    @property
    def owner(self) -> str | None:
        """Who answers for the flag, or None."""
        return self._spec.owner

    @property
    def expires(self) -> datetime.date | None:
        """The day by which the flag should be gone, or None. Nothing happens on that day but a finding in reports."""
        return self._spec.expires

    @property
    def origin(self) -> str:
        """Which layer the value comes from: ``"default"``, ``"environment"``, a source's name, ``"override"``."""
        return self._origin

    def set(self, value: T, *, ttl_seconds: float | None = None, reason: str | None = None) -> None:
        """
        Override the value from now on, above all other layers.

        Args:
            value: The new value; it takes the same pipeline as any other, without the parser.
            ttl_seconds: After how many seconds, above 0 and finite, the override drops by itself; None for never.
            reason: For ``history()`` and the log.

        Raises:
            ValidationError: The value is refused; the flag keeps the one it has.
            StaticFlagError: The flag is static, and the registry is frozen or *ttl_seconds* was given.
            ValueError: *ttl_seconds* is out of range.

        Thread safety: any thread, takes the registry lock; validators run in this thread.
        """
        self._store.set(self, self._spec.take(self.name, value, "override"), ttl_seconds=ttl_seconds, reason=reason)

    def set_text(self, text: str, *, ttl_seconds: float | None = None, reason: str | None = None) -> None:
        """
        Override the value by its text; as `set` otherwise. The text of a bytes flag is base64.

        Raises:
            FlagValueError: The text is refused; the flag keeps the value it has.
            StaticFlagError: As for `set`.
        """
        if not isinstance(text, str):  # without its repr, for it may be a secret
            raise ArgumentError(f"flag {self.name!r}: expected a text, got a value of type {type(text).__name__}")
        value = self._spec.read(self.name, text, "override", encoded=True)
        self._store.set(self, value, ttl_seconds=ttl_seconds, reason=reason)

    def reset(self) -> None:
        """
        Drop the override, if there is one, so that the layer below shows.

        Raises:
            StaticFlagError: The flag is static, overridden, and the registry is frozen.
        """
        self._store.reset(self)

    # A type for "this very function, if it takes a T" does not exist. So a function for any value keeps its type, and
    # can stand on flags of several kinds; one for this flag's values keeps its result and its positional arguments.
    @overload
    def validator(self, function: V) -> V: ...
    @overload
    def validator(self, function: Callable[[T], R]) -> Callable[[T], R]: ...
    def validator(self, function: Callable[[T], R]) -> Callable[[T], R]:
        """
        Add a validator: called with each value, it refuses by raising `ValueError`. Works as a decorator.

        Raises:
            DefinitionError: The default does not pass it.
        """
        try:
            self._respecify(lambda spec: spec.with_validator(function, self.name, self.default))
        except FlagValueError as error:
            raise DefinitionError(str(error)) from error
        return function

    @overload
    def on_change(self, function: C) -> C: ...
    @overload
    def on_change(self, function: Callable[[T, T], R]) -> Callable[[T, T], R]: ...
    def on_change(self, function: Callable[[T, T], R]) -> Callable[[T, T], R]:
        """
        Add a callback ``(old, new)`` for every change of the effective value. Works as a decorator.

        It runs on the notifier thread, after the whole revision is visible, in order;
        a coroutine function runs on the event loop that is running now.

        Raises:
            DefinitionError: It is a coroutine function and no event loop is running.
        """
        self._listen(Listener(function, self.name))
        return function

    def changes(self) -> AsyncIterator[tuple[T, T]]:
        """
        Iterate over the changes from now on as ``(old, new)``, in the running event loop.

        Raises:
            DefinitionError: No event loop is running.
        """
        from dflag._changes import Changes

        return Changes(self)

    def _conceal(self) -> None:
        """
        Count as a secret from now on, unless the declaration says otherwise.
        """
        self._respecify(Spec.concealed)

    def _respecify(self, change: Callable[[Spec[T]], Spec[T]]) -> None:
        while True:
            spec = self._spec
            changed = change(spec)  # may call validators, which do not run under the lock
            with self._store.lock:
                if self._spec is spec:
                    self._spec = changed
                    if changed.secret is not spec.secret:
                        self._store.outdate_snapshot()
                    return

    def _listen(self, listener: Listener) -> None:
        with self._store.lock:
            self._listeners = (*self._listeners, listener)

    def _unlisten(self, listener: Listener) -> None:
        with self._store.lock:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

    def _check_default(self, spec: Spec[T], default: Any) -> T:
        try:
            return spec.take(self.name, default, "default")
        except FlagValueError as error:
            raise DefinitionError(str(error)) from error

    def _text(self, value: T) -> str:
        """
        Print a value as it is; whoever shows it masks a secret's.
        """
        return self._spec.kind.format(value)

    if not MYPY:
        # pyright reports a __bool__ that returns no bool. mypy reports a class without the method (truthy-bool); with
        # this one it would report nothing, and not check the code that follows.
        def __bool__(self) -> NoReturn:
            raise TypeError(f"the truth of flag {self.name!r} itself is not its value: write .get()")

    def __repr__(self) -> str:
        kind = f"{'dynamic' if self.dynamic else 'static'} {self.type_name}"
        return f"<{type(self).__name__} {self.name!r}: {kind} from {self._origin}>"


# Not @final: mypy takes an instance of a final class without __bool__ for true, and would not check the code after
# "if flag: return".
class StaticFlag(Flag[T]):
    """
    A flag that is settled at start-up and stays as it is once the registry is frozen.
    """

    __slots__ = ()
    dynamic = False

    # The interpreter notes in a function's code for which class it is fast: read by turns, flags of both classes cost
    # 1.38 plain methods with one code for both, and 1.11 with one for each.
    def get(self) -> T:
        if _pinning:
            try:
                return current_pin().values[self]  # type: ignore[no-any-return]  # the values of all flags in one mapping
            except KeyError:
                return current_pin().beyond(self)
        return self._value


class DynamicFlag(Flag[T]):
    """
    A flag that follows its sources while the program runs.
    """

    __slots__ = ()
    dynamic = True

    def get(self) -> T:  # as above
        if _pinning:
            try:
                return current_pin().values[self]  # type: ignore[no-any-return]  # the values of all flags in one mapping
            except KeyError:
                return current_pin().beyond(self)
        return self._value


_NO_LAYERS: Final[Mapping[str, Any]] = {}
"""Shared by all flags that only have their default."""


def listeners_of(options: dict[str, Any], flag_name: str) -> tuple[Listener, ...]:
    """
    Take the callbacks out of a flag's options.
    """
    try:
        functions = as_tuple(options.pop("on_change", ()), "on_change")
    except DefinitionError as error:
        raise DefinitionError(f"flag {flag_name!r}: {error}") from None
    return tuple(Listener(function, flag_name) for function in functions)


def same(flag: Flag[Any], one: Any, other: Any) -> bool:
    """
    Compare two values, which for enumerations and models is a user's ``__eq__``.
    """
    try:
        return flag._spec.kind.same(one, other)
    except BaseException as error:
        if is_interrupt(error):
            raise
        logger.exception("flag %r: its values cannot be compared; they count as different", flag.name)
        return False
