"""
A flag and its ``get()``.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from operator import attrgetter, methodcaller
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NoReturn, Self, TypeVar, overload

from dflag._cells import Cell, NeverCopied, Step, has_gil
from dflag._fork import settle
from dflag._keyed import Table, checked_key
from dflag._notifier import Listener
from dflag._pipeline import Pipeline
from dflag._snapshot import NO_PIN, current_pin, open_pins, unkeyed
from dflag.errors import MASK, ArgumentError, DefinitionError, FlagValueError, checked_text

if TYPE_CHECKING:
    import datetime
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from types import CellType
    from typing import Protocol

    from dflag._keyed import Keyed
    from dflag._layers import Entry
    from dflag._snapshot import Pin
    from dflag.typing import Callback, Validator

    V = TypeVar("V", bound=Validator[object])
    C = TypeVar("C", bound=Callback[object])

    class Instances(Protocol):
        """
        The factory of the instances of one `dflag.Flags` class.
        """

        def in_force(self) -> Any: ...

        def pinned(self, pin: Pin) -> Any: ...

    class Owner(Protocol):
        """
        The part of a store that its flags use.
        """

        frozen: bool

        @property
        def lock(self) -> threading.RLock: ...

        def set(
            self, flag: Flag[Any], value: Any, *, ttl_seconds: float | None = None, reason: str | None = None
        ) -> None: ...

        def check_settable(self, flag: Flag[Any], ttl_seconds: float | None) -> None: ...

        def reset(self, flag: Flag[Any], *, reason: str | None = None) -> None: ...

        def origin_of(self, flag: Flag[Any]) -> str: ...

        def value_in_force(self, flag: Flag[Any]) -> Any: ...

        def table_in_force(self, flag: Flag[Any]) -> Table | None: ...

        def outdate(self) -> None: ...

        def store_for(self, flag: Flag[Any]) -> Owner:
            """
            Return the store that the flag belongs to; make one if the flag has none.
            """
            ...


T = TypeVar("T")
R = TypeVar("R")

MYPY = False
"""False, but mypy takes a constant of this name as True."""

UNBOUND: Final = "(unbound)"
"""The name of a flag that a library has made and that no program has bound yet."""


_slow = False
"""
Whether a read must look at more than the flag: while a pin is open in any context and, without the GIL, while values
are being set. One bool stands for both cases, so the usual read makes only one test.

Testing this bool takes about 4 of the 30 ns of a read. Testing a set for emptiness would take 7 ns, and reading the
context variable 12 ns.
"""

_steps: set[Step] = set()
"""The steps that are running now; only used without the GIL."""

_slow_lock = threading.RLock()
"""
Held for a few instructions, while the two variables above are set. No other lock is taken under it.

A commit without the GIL takes this lock while it holds the lock of its store. A fork holds the lock of forks and then
takes the lock of the store. If this were the lock of forks, the commit and the fork would wait for each other.
"""


def renew_slow_reads() -> None:
    """
    Reset the lock and the state of slow reads in a forked child, because another thread may have held the lock.

    Every store calls this.
    """
    global _slow_lock, _slow  # noqa: PLW0603 - the state of the process
    _slow_lock = threading.RLock()
    _steps.clear()  # a fork waits until the steps of all stores have run
    _slow = bool(open_pins)


def open_pin(pin: Pin) -> None:
    """
    Register an open pin, before any ``get()`` can see it.
    """
    global _slow  # noqa: PLW0603 - a global bool is the fastest test for a read
    settle()
    with _slow_lock:
        open_pins.add(pin)
        _slow = True


def close_pin(pin: Pin) -> None:
    """
    Close a pin and unregister it.
    """
    global _slow  # noqa: PLW0603 - as above
    settle()
    with _slow_lock:
        pin.close()
        _slow = bool(open_pins or _steps)


def _run_without_gil(step: Step) -> None:
    """
    Run a step. Meanwhile reads return values from the snapshots of their registries; a step sets the snapshot first.

    So a thread that has read a new value either finds `_slow` set at its next read, or finds every flag set.
    """
    global _slow  # noqa: PLW0603 - as above
    try:
        with _slow_lock:
            _steps.add(step)
            _slow = True
        step.run()
    finally:
        with _slow_lock:
            _steps.discard(step)
            _slow = bool(open_pins or _steps)


run_step: Final[Callable[[Step], object]] = methodcaller("run") if has_gil() else _run_without_gil
"""
Run the step of a commit. A thread that has read one new value of the commit reads no older value of another flag.

With the GIL the step alone ensures this, because no other thread runs during it.
"""


class FlagValues:
    """
    The base of `dflag.Flags`. An attribute that is a flag on the class is a value on an instance.
    """

    __slots__ = ()


class Flag(Cell, NeverCopied, Generic[T]):
    """
    A named, typed value: the base of `StaticFlag` and `DynamicFlag`.

    The methods of `FlagRegistry` make flags. ``dflag.dyn_int`` and its siblings make flags without a name, for a
    library or a class. A flag has no truth value: ``if flag:`` raises `TypeError`, because ``flag.get()`` was meant.

    Attributes:
        name: The name in the registry; ``"(unbound)"`` for a flag without a registry.
        help: What the flag is for, in one sentence.
        default: The value when no layer holds one.

    Thread safety: any thread. `get` and `for_` are lock-free; the other methods take the registry lock.
    """

    __slots__ = (
        "_bind_name",
        "_declared_at",
        "_keyed",
        "_layers",
        "_listeners",
        "_pipeline",
        "_store",
        "_table",
        "default",
        "help",
        "name",
    )

    dynamic: ClassVar[bool]
    """Whether the flag may change after the registry is frozen."""

    _to_pickle = "pickle its name, or the value that get() returns"

    def __init__(
        self,
        store: Owner,
        pipeline: Pipeline[T],
        name: str,
        default: Any,
        help: str,
        declared_at: tuple[str, int],
    ) -> None:
        self.name: str = name
        self.help: Final = checked_text("help", help, subject=f"flag {name!r}: ")
        self._pipeline = pipeline
        self._store = store
        self._declared_at: Final = declared_at
        self._bind_name: str | None = None
        self._layers: Mapping[str, Entry] = _NO_LAYERS
        self._listeners: tuple[Listener, ...] = ()
        self.default: Final[T] = self._check_default(pipeline, default)
        self._keyed: Keyed = _NO_LAYERS
        self._table = None if pipeline.by is None else Table((), self.default)
        super().__init__(self.default)

    def get(self) -> T:
        """
        Return the current value, or within a ``pinned()`` block the value of the innermost block.

        Call it each time where the value is used: a stored result does not follow changes. It never raises.

        Returns:
            The value of the highest layer that holds one. Tuples, frozensets and JSON values cannot be changed.

        Thread safety: any thread, lock-free.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50, "Requests per second", min=1)
        >>> rate.get()
        50
        """
        raise NotImplementedError

    def for_(self, key: str) -> T:  # noqa: ARG002 - dynamic flags use it
        """
        Return the value for one key, such as a tenant, of a flag declared with ``by=``.

        A rule of a source can give a value to keys that it names, or to a share of all keys. All other keys have the
        value that `get` returns. Within a ``pinned()`` block this is the value of that block.

        Args:
            key: The key as a text, such as the name of a tenant or the id of a user.

        Raises:
            DflagError: The flag was declared without ``by=``.
            ArgumentError: *key* is not a text.

        Thread safety: any thread, lock-free.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50, by="tenant")
        >>> rate.for_("acme")
        50
        """
        raise unkeyed(self.name)

    def _for_pinned(self, key: str) -> T:
        table = current_pin().table_of(self)
        if table is None:
            raise unkeyed(self.name)
        return table.value_for(key)  # type: ignore[no-any-return]  # the values of all flags in one class

    @property
    def by(self) -> str | None:
        """What the keys of `for_` are, such as ``"tenant"``; None for a flag with one value."""
        return self._pipeline.by

    if TYPE_CHECKING:  # a flag on a `dflag.Flags` class, a value on its instance; neither method exists at run time

        @overload
        def __get__(self, instance: None, owner: type, /) -> Self: ...
        @overload
        def __get__(self, instance: FlagValues, owner: type, /) -> T: ...
        @overload
        def __get__(self, instance: object, owner: type, /) -> Self: ...
        def __get__(self, instance: object, owner: type, /) -> Self | T: ...

        # With Never instead of Self, a flag could not be an attribute of a dataclass.
        def __set__(self, instance: object, value: Self, /) -> None: ...

    @property
    def secret(self) -> bool:
        """
        Whether the value is masked wherever people or logs could read it.

        A flag that is declared without ``secret=`` becomes secret for good when a secret source holds a value for it.
        """
        return self._pipeline.secret

    @property
    def type_name(self) -> str:
        """The name of the kind and of the method that declares the flag, such as ``"int"`` or ``"string_list"``."""
        return self._pipeline.kind.name

    @property
    def deprecated(self) -> str | None:
        """What to use instead, or None."""
        return self._pipeline.deprecated

    @property
    def owner(self) -> str | None:
        """Who is responsible for the flag, or None."""
        return self._pipeline.owner

    @property
    def expires(self) -> datetime.date | None:
        """The day by which the flag should be removed, or None. Afterwards reports list the flag; it still works."""
        return self._pipeline.expires

    @property
    def origin(self) -> str:
        """The name of the layer that holds the value, such as ``"default"``, a source's name or ``"override"``."""
        return self._store.origin_of(self)

    def set(self, value: T, *, ttl_seconds: float | None = None, reason: str | None = None) -> None:
        """
        Override the value in this process, above all other layers.

        The sources are still followed below the override. Their value takes effect again after `reset` or the time
        limit.

        Args:
            value: The new value, of the flag's type. It is mutated and validated like any other, but not parsed.
            ttl_seconds: The seconds after which the override is dropped, above 0 and finite; None for never.
            reason: The reason, for `FlagRegistry.history` and the log; None if there is none.

        Raises:
            ValidationError: The value is refused; the flag keeps its value.
            StaticFlagError: The flag is static, and the registry is frozen or *ttl_seconds* was given.
            DefinitionError: *ttl_seconds* is out of range, or an argument has the wrong type.

        Thread safety: any thread, takes the registry lock; validators run in this thread, callbacks on the notifier
        thread.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50, min=1)
        >>> rate.set(60, ttl_seconds=600, reason="load test")
        >>> rate.get(), rate.origin
        (60, 'override')
        >>> rate.set(0)
        Traceback (most recent call last):
        dflag.errors.ValidationError: flag 'rate_limit': expected an int of at least 1, got 0 (override)
        >>> rate.reset()
        """
        if not self.dynamic:  # before the value is checked
            self._store.check_settable(self, ttl_seconds)
        self._store.set(self, self._pipeline.take(self.name, value, "override"), ttl_seconds=ttl_seconds, reason=reason)

    def set_text(self, text: str, *, ttl_seconds: float | None = None, reason: str | None = None) -> None:
        """
        Override the value, given as a text in the form that a source or the command line would use.

        Args:
            text: The text, in the grammar of the flag's kind; base64 for a bytes flag.
            ttl_seconds: As for `set`.
            reason: As for `set`.

        Raises:
            ParseError: The text does not match the grammar; the flag keeps its value.
            ValidationError: The value is refused; the flag keeps its value.
            StaticFlagError: As for `set`.
            DefinitionError: As for `set`, or *text* is not a str.

        Thread safety: as for `set`.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> hosts = flags.dyn_string_list("hosts", [])
        >>> hosts.set_text("a, b")
        >>> hosts.get()
        ('a', 'b')
        """
        if not isinstance(text, str):  # no repr in the message: the value may be a secret
            raise ArgumentError(f"flag {self.name!r}: expected a text, got a value of type {type(text).__name__}")
        if not self.dynamic:  # as in `set`
            self._store.check_settable(self, ttl_seconds)
        value = self._pipeline.read(self.name, text, "override", encoded=True)
        self._store.set(self, value, ttl_seconds=ttl_seconds, reason=reason)

    def reset(self) -> None:
        """
        Drop the override, if there is one, so that the value of the layer below takes effect.

        No validator can refuse this. If the remaining values do not pass a registry validator, that is logged.

        Raises:
            StaticFlagError: The flag is static and overridden, and the registry is frozen.

        Thread safety: any thread, takes the registry lock.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> rate.set(60)
        >>> rate.reset()
        >>> rate.get(), rate.origin
        (50, 'default')
        """
        self._store.reset(self)

    # There is no type for "the same function, if it accepts a T". So a function that accepts any value keeps its type,
    # and can be used for flags of several kinds. One that accepts a T keeps its result and its positional arguments.
    @overload
    def validator(self, function: V) -> V: ...
    @overload
    def validator(self, function: Callable[[T], R]) -> Callable[[T], R]: ...
    def validator(self, function: Callable[[T], R]) -> Callable[[T], R]:
        """
        Add a validator, which is called with each value before the value takes effect. Works as a decorator.

        Args:
            function: Called with the value. It raises `ValueError` to refuse the value, with the reason as the message.
                Any other exception and a result of False also refuse the value, and are logged as faults of the
                function.

        Returns:
            The function.

        Raises:
            DefinitionError: The default does not pass the validator.

        Thread safety: any thread, takes the registry lock. The function runs on the thread that provides the value:
        the updater's thread, or the thread that calls `set`.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> size = flags.dyn_int("batch_size", 64)
        >>> @size.validator
        ... def is_power_of_two(value):
        ...     if value & (value - 1):
        ...         raise ValueError("expected a power of two")
        >>> size.set(100)
        Traceback (most recent call last):
        dflag.errors.ValidationError: flag 'batch_size': expected a power of two, got 100 (override)
        """
        try:
            self._exchange_pipeline(lambda pipeline: pipeline.with_validator(function, self.name, self.default))
        except FlagValueError as error:
            raise DefinitionError(str(error)) from error
        return function

    @overload
    def on_change(self, function: C) -> C: ...
    @overload
    def on_change(self, function: Callable[[T, T], R]) -> Callable[[T, T], R]: ...
    def on_change(self, function: Callable[[T, T], R]) -> Callable[[T, T], R]:
        """
        Add a callback for every change of the effective value. Works as a decorator.

        Use a callback when a change requires an action, such as resizing a pool. Callbacks run in the order of the
        changes, after the whole revision is visible. `FlagRegistry.flush` waits for them.

        Args:
            function: Called with ``(old, new)``. Its exceptions are logged and counted. A coroutine function runs on
                the event loop that is running when it is registered.

        Returns:
            The function.

        Raises:
            DefinitionError: The function is not callable or is a generator function; or it is a coroutine function and
                no event loop is running.

        Thread safety: any thread, takes the registry lock. Callbacks run one at a time on the notifier thread of the
        registry. A callback that hangs delays the other callbacks, but never a value.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> sizes = []
        >>> @rate.on_change
        ... def resize(old, new):
        ...     sizes.append(new)
        >>> rate.set(60)
        >>> flags.flush(), sizes
        (True, [60])
        """
        self._listen(Listener(function, self.name))
        return function

    def changes(self) -> AsyncIterator[tuple[T, T]]:
        """
        Iterate over the changes from now on, in the running event loop.

        The subscription begins with this call, not with the first step of the iteration, and ends when the iterator is
        closed or no longer referenced.

        Returns:
            An asynchronous iterator of ``(old, new)``. It never ends by itself and drops no change.

        Raises:
            DefinitionError: No event loop is running.

        Thread safety: the thread of the event loop.

        >>> import asyncio, dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> async def follow():
        ...     changes = rate.changes()
        ...     rate.set(60)
        ...     async for old, new in changes:
        ...         return old, new
        >>> asyncio.run(follow())
        (50, 60)
        """
        from dflag._changes import Changes  # imports asyncio, which a program that calls this has loaded

        return Changes(self.name, self._listen, self._unlisten)

    def _exchange_pipeline(self, change: Callable[[Pipeline[T]], Pipeline[T]]) -> None:
        while True:
            pipeline = self._pipeline
            changed = change(pipeline)  # without the lock: this may call validators
            with self._home() as store:
                if self._pipeline is pipeline:
                    self._pipeline = changed
                    if changed.secret is not pipeline.secret:
                        store.outdate()
                    return

    def _listen(self, listener: Listener) -> None:
        with self._home():
            self._listeners = (*(other for other in self._listeners if not other.is_dropped), listener)

    def _unlisten(self, listener: Listener) -> None:
        with self._home():
            self._listeners = tuple(other for other in self._listeners if other is not listener)

    @contextmanager
    def _home(self) -> Iterator[Owner]:
        """
        Hold the lock of the store that the flag belongs to; if the flag is bound meanwhile, that of its new store.
        """
        while True:
            store = self._store.store_for(self)
            with store.lock:
                if self._store is store:
                    yield store
                    return

    def _check_default(self, pipeline: Pipeline[T], default: Any) -> T:
        try:
            return pipeline.take(self.name, default, "default")
        except FlagValueError as error:
            raise DefinitionError(str(error)) from error

    if not MYPY:
        # Hidden from mypy: it reports "if flag:" (truthy-bool) only for a class without __bool__. With this method it
        # would report nothing, and not check the code that follows. pyright reports a __bool__ that returns no bool.
        def __bool__(self) -> NoReturn:
            raise TypeError(f"flag {self.name!r} has no truth value of its own: write .get()")

    def __repr__(self) -> str:
        kind = f"{'dynamic' if self.dynamic else 'static'} {self.type_name}"
        return f"<{type(self).__name__} {self.name!r}: {kind} from {self.origin}>"


# Not @final: mypy treats an instance of a final class without __bool__ as true, and would not check the code after
# "if flag: return".
class StaticFlag(Flag[T]):
    """
    A flag whose value is fixed once the registry is frozen, for example by `Updater.start`.
    """

    __slots__ = ()
    dynamic = False

    # The interpreter specialises the code of a function for one class. When a program alternates between flags of both
    # classes, a read costs 1.38 plain methods with shared code, and 1.11 with a function for each class.
    def get(self) -> T:
        if _slow:
            try:
                return current_pin().values[self]  # type: ignore[no-any-return]  # the values of all flags in one mapping
            except KeyError:
                return current_pin().beyond(self)
        return self._value  # type: ignore[no-any-return]  # a cell may hold anything


class DynamicFlag(Flag[T]):
    """
    A flag that follows its sources while the program runs.
    """

    __slots__ = ()
    dynamic = True

    def get(self) -> T:  # as above
        if _slow:
            try:
                return current_pin().values[self]  # type: ignore[no-any-return]  # the values of all flags in one mapping
            except KeyError:
                return current_pin().beyond(self)
        return self._value  # type: ignore[no-any-return]  # a cell may hold anything

    def for_(self, key: str) -> T:
        if _slow:
            return self._for_pinned(key)
        try:
            find, value = self._table.lookup  # type: ignore[union-attr]  # None without by=: handled below
            # The addition raises TypeError if the key is no text. It costs a third of a comparison of types.
            return find("" + key, value)  # type: ignore[no-any-return]  # the values of all flags in one class
        except (AttributeError, TypeError):
            if self._table is None:
                raise unkeyed(self.name) from None
            checked_key(key)
            raise

    for_.__doc__ = Flag.for_.__doc__


class _Docstring(str):
    """
    The docstring of a flag class. For an instance it is ``help``, as a flag may be an attribute of another class.
    """

    __slots__ = ()

    def __get__(self, flag: Flag[Any] | None, _owner: type) -> str:
        return str(self) if flag is None else flag.help


for _cls in (StaticFlag, DynamicFlag):
    _cls.__doc__ = _Docstring(_cls.__doc__ or "")  # None with python -OO


def make_current(instances: Instances) -> tuple[Callable[[], Any], CellType]:
    """
    Make the function that returns the instance of a class for the calling context.

    Returns:
        The function, and the cell with the instance in force. While the cell is empty, the next call makes an instance.
    """
    instance: Any = None

    # A closure variable that raises when it is empty is faster than a slot that is compared with None: 1.2 plain
    # methods instead of 1.5 on CPython 3.11, and 1.4 instead of 1.9 on 3.13.
    def current() -> Any:
        if _slow:
            pin = current_pin()
            if pin is not NO_PIN:
                try:
                    pinned = pin.instances[instances]
                except KeyError:
                    pinned = instances.pinned(pin)
                if pinned is not None:
                    return pinned
        try:
            return instance
        except NameError:
            return instances.in_force()

    names = current.__code__.co_freevars
    cell = (current.__closure__ or ())[names.index("instance")]
    del cell.cell_contents
    return current, cell


_NO_LAYERS: Final[Mapping[str, Any]] = {}
"""Shared by all flags that have no layer but the default."""

# The parts of a flag for the store and the modules above it. Users must not touch them.
layers_of: Final[Callable[[Flag[Any]], Mapping[str, Entry]]] = attrgetter("_layers")
keyed_of: Final[Callable[[Flag[Any]], Keyed]] = attrgetter("_keyed")
pipeline_of: Final[Callable[[Flag[Any]], Pipeline[Any]]] = attrgetter("_pipeline")
listeners_of: Final[Callable[[Flag[Any]], tuple[Listener, ...]]] = attrgetter("_listeners")
set_listeners: Final[Callable[[Flag[Any], tuple[Listener, ...]], None]] = Flag.__dict__["_listeners"].__set__
declared_at: Final[Callable[[Flag[Any]], tuple[str, int]]] = attrgetter("_declared_at")
bind_name_of: Final[Callable[[Flag[Any]], str | None]] = attrgetter("_bind_name")
"""
Return the ``name=`` of an unbound flag: the name, without the prefix, under which a class of flags binds it. None means
the name of the attribute. ``FlagRegistry.bind`` ignores it.
"""
set_pipeline: Final[Callable[[Flag[Any], Pipeline[Any]], None]] = Flag.__dict__["_pipeline"].__set__
set_store: Final[Callable[[Flag[Any], Owner], None]] = Flag.__dict__["_store"].__set__
set_bind_name: Final[Callable[[Flag[Any], str | None], None]] = Flag.__dict__["_bind_name"].__set__


def text_of_value(flag: Flag[Any], value: Any) -> str:
    """
    Return the complete text of a value, or the mask if the flag is secret.
    """
    pipeline = pipeline_of(flag)
    return MASK if pipeline.secret else pipeline.kind.format(value)


def conceal(flag: Flag[Any]) -> None:
    """
    Make a flag secret from now on, unless its declaration has ``secret=``.
    """
    flag._exchange_pipeline(Pipeline.concealed)


def specification_of(flag: Flag[Any]) -> tuple[tuple[Listener, ...], Pipeline[Any]]:
    """
    Return the callbacks and validators of a flag, for `restore_flag`.
    """
    return listeners_of(flag), pipeline_of(flag)


def restore_flag(flag: Flag[Any], specification: tuple[tuple[Listener, ...], Pipeline[Any]]) -> None:
    """
    Restore the callbacks and validators of a flag. A flag that has become secret since stays secret.
    """
    listeners, pipeline = specification
    set_listeners(flag, listeners)
    set_pipeline(flag, pipeline.concealed() if flag.secret else pipeline)


STORE: Final = "_store"
PIPELINE: Final = "_pipeline"
LAYERS: Final = "_layers"
KEYED: Final = "_keyed"
TABLE: Final = "_table"
"""
The attributes of a flag that a `Step` sets in addition to its value. A commit sets the last three. The first two change
when flags move to another store; the caller then holds the locks of both stores.
"""


# --- counting reads: the code that _read_counts puts in place of that of the reading methods

_reads: dict[Flag[Any], int] = {}


def _get_counted(self: Flag[Any]) -> Any:
    _reads[self] = _reads.get(self, 0) + 1
    if _slow:
        try:
            return current_pin().values[self]
        except KeyError:
            return current_pin().beyond(self)
    return self._value


def _for_counted(self: DynamicFlag[Any], key: str) -> Any:
    _reads[self] = _reads.get(self, 0) + 1
    return self._for_pinned(key)  # also correct without a pin


_COUNTED: Final = {StaticFlag.get: _get_counted, DynamicFlag.get: _get_counted, DynamicFlag.for_: _for_counted}

_PLAIN: Final = {method: method.__code__ for method in _COUNTED}


def exchange_reads(reads: dict[Flag[Any], int] | None) -> None:
    """
    Count each read in a mapping from now on; None stops the counting.

    This replaces the code of the methods, not the methods, because a program may have stored ``get = rate.get``.
    """
    global _reads  # noqa: PLW0603 - the mapping that the code above updates
    if reads is not None:
        _reads = reads
    for method, counted in _COUNTED.items():
        method.__code__ = _PLAIN[method] if reads is None else counted.__code__.replace()
