"""
The registry: declares flags, looks them up, and does everything that concerns more than one flag.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast, final

from dflag._cells import NeverCopied
from dflag._declarations import Declarations
from dflag._faults import caller
from dflag._flags import Flag, FlagValues, close_pin, open_pin, pipeline_of, set_listeners
from dflag._fork import is_half_imported
from dflag._layers import PINNED, RULES_KEYS, Entry
from dflag._notifier import Listener
from dflag._pipeline import Pipeline, as_tuple, check_plain_function
from dflag._raw import PLAIN_TYPES, plain
from dflag._snapshot import Pin, Snapshot, current_pin, innermost_pin, set_pin, store_of, values_of, with_values
from dflag._store import Store
from dflag.errors import (
    ArgumentError,
    DefinitionError,
    DflagError,
    check_argument,
    check_arguments,
    check_seconds,
    checked_text,
    checked_texts,
    foreign_flag,
    shorten,
)

if TYPE_CHECKING:
    import argparse
    import builtins
    import datetime
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from dflag import _kinds
    from dflag._cells import Call
    from dflag._flags import Owner
    from dflag._records import Change, Layer, Revision
    from dflag._source_layers import SourceLayers
    from dflag.typing import Raw

F = TypeVar("F", bound=Flag[Any])
R = TypeVar("R", bound=Callable[[Snapshot], object])

_MAX_NAME_CHARACTERS: Final = 253
_NAME_CHARACTERS: Final = frozenset("-._" + string.ascii_letters + string.digits)
"""The characters that keys of a ConfigMap can have (apimachinery's ``IsConfigMapKey``)."""


@final
class FlagRegistry(Declarations, NeverCopied):
    """
    A set of flags that belong together, usually all flags of a program.

    Args:
        name: A name for people, shown in ``repr`` and on pages.

    Thread safety: any thread; reading is lock-free, everything else takes the registry lock for a moment.
    Validators and mutators run in the calling thread, callbacks on the registry's notifier thread.

    >>> import dflag
    >>> flags = dflag.FlagRegistry()
    >>> rate = flags.dyn_int("rate_limit", 50, "Requests per second", min=1, max=10_000)
    >>> rate.get()
    50
    """

    __slots__ = ("__weakref__", "_sources", "_store", "name")

    _to_pickle = "pickle dict(flags.snapshot()) for its values, or import the module that makes it"

    def __init__(self, name: builtins.str = "") -> None:
        self.name: Final = checked_text("name", name)
        self._store = Store()
        self._sources = _LateSources(self._store)

    def _declare(
        self,
        cls: builtins.type[F],
        kind: _kinds.Kind[Any],
        name: builtins.str,
        default: Any,
        help: builtins.str,
        options: Any,
    ) -> F:
        flag = make_flag(self._store, cls, kind, checked_name(name), default, help, options, caller())
        self._store.add(flag)
        self._sources.catch_up((flag,))
        return flag

    def bind(self, name: builtins.str, flag: F) -> F:
        """
        Bind a library's unbound flag to a name in this registry.

        The flag keeps its override, its callbacks and its validators.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            flag: An unbound flag, as made by ``dflag.dyn_int`` and its siblings.

        Returns:
            The flag.

        Raises:
            DefinitionError: The flag is bound already, or the name is not valid.
            DuplicateFlagError: The name is taken.

        Thread safety: any thread, takes the registry lock.

        >>> import dflag
        >>> retries = dflag.dyn_int(3, "Attempts of each call")  # in the library
        >>> flags = dflag.FlagRegistry()
        >>> flags.bind("client.retries", retries).name
        'client.retries'
        """
        name = checked_name(name)
        check_argument("flag", flag, Flag, "a flag of a library", subject=f"flag {name!r}: ")
        bind_all(self, {name: flag})
        return flag

    def retired(self, name: builtins.str, *, since: datetime.date) -> None:
        """
        Mark a name as the name of a flag that was removed on purpose.

        If a source still has a key of this name, that is logged once, with the date. The key does not count as unknown.
        Call this method in place of the former declaration, before the sources are read.

        Args:
            name: The name that the flag had.
            since: The day since which programs no longer have the flag.

        Raises:
            DefinitionError: The name is not valid, a flag has it, it is retired already, or *since* is not a date.

        Thread safety: any thread, takes the registry lock.

        >>> import datetime, dflag
        >>> flags = dflag.FlagRegistry()
        >>> flags.retired("old_name", since=datetime.date(2026, 10, 1))
        >>> flags.apply({"old_name": "5"}, source="example").unknown
        ()
        """
        import datetime  # imported already by the caller that made the date

        name = checked_name(name)
        given: Any = since
        if not isinstance(given, datetime.date) or isinstance(given, datetime.datetime):
            raise ArgumentError(f"flag {name!r}: expected since as a datetime.date, got {shorten(since)}")
        self._store.retire(name, since)

    def lookup(self, name: builtins.str) -> Flag[Any]:
        """
        Return the flag with the given name; ``flags["name"]`` does the same.

        Args:
            name: The exact name.

        Raises:
            UnknownFlagError: No flag has this name; the message suggests the nearest one.

        Thread safety: any thread, lock-free.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> flags.lookup("rate_limit") is rate
        True
        >>> flags.lookup("rate_limits")
        Traceback (most recent call last):
        dflag.errors.UnknownFlagError: no flag named 'rate_limits'; did you mean 'rate_limit'?
        """
        return self._store.find(name)

    __getitem__ = lookup

    def __contains__(self, key: object) -> builtins.bool:
        return store_of(key) is self._store if isinstance(key, Flag) else key in self._store.flags

    def __iter__(self) -> Iterator[Flag[Any]]:
        return iter(sorted(values_of(self._store.snapshot()), key=lambda flag: flag.name))

    def __len__(self) -> builtins.int:
        return len(self._store.flags)

    def __bool__(self) -> builtins.bool:
        return True  # a registry without flags is a registry

    def __repr__(self) -> builtins.str:
        return f"<FlagRegistry {self.name!r} of {len(self)} flags>"

    def apply(
        self, values: Mapping[builtins.str, Raw], *, source: builtins.str, atomic: builtins.bool = False
    ) -> Revision:
        """
        Replace one source's whole layer in one commit.

        A bad value is listed in `Revision.rejected`, and the source's last good value for the key stays. A flag whose
        key is no longer there gets its value from the layer below. A bad value raises no exception.
        Rules are ignored, which is logged once, because only an `Updater` knows facts and time.

        Args:
            values: The texts by flag name; for a bytes flag the value itself.
            source: The layer's name. A new source ranks above the sources that were named before it.
            atomic: Apply nothing if any value is bad.

        Returns:
            The new revision, also if nothing of it was applied; the previous one if no raw value has changed.

        Raises:
            DefinitionError: *source* is the name of one of dflag's own layers, or an argument is of the wrong type.

        Thread safety: any thread; validators run in this thread, callbacks on the notifier thread.

        >>> flags = FlagRegistry()
        >>> rate = flags.dyn_int("rate", 50)
        >>> flags.apply({"rate": "60"}, source="config").changed
        ('rate',)
        >>> rate.get(), rate.origin
        (60, 'config')
        """
        check_arguments(
            ("values", values, Mapping, "a mapping of names to texts"),
            ("source", source, str, "a text"),
            ("atomic", atomic, bool, "True or False"),
        )
        given: Mapping[Any, Any] = values
        texts: dict[builtins.str, Raw] = {}
        for name, raw in given.items():
            if not isinstance(name, str) or not isinstance(raw, (str, bytes)):
                raise ArgumentError(
                    f"expected str names and str or bytes values, got {name!r} and {type(raw).__name__}"
                )
            texts[str.__str__(name)] = raw if type(raw) in PLAIN_TYPES else plain(raw)
        return self._sources.get().apply(texts, str.__str__(source), atomic=atomic)

    def validator(self, function: R) -> R:
        """
        Add a registry validator: a check of several flags that runs before a change comes into force.

        This method also works as a decorator.

        Args:
            function: It takes a `Snapshot` of the candidate, and raises `ValueError` to refuse the whole change. It
                must not change flags.

        Returns:
            The function.

        Raises:
            DefinitionError: *function* is a coroutine function, or is not callable.
            DflagError: A registry validator calls this method.

        Thread safety: any thread, takes the registry lock. The function runs on the thread that brings the change.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> low, high = flags.dyn_int("low", 1), flags.dyn_int("high", 9)
        >>> @flags.validator
        ... def ordered(candidate):
        ...     if candidate[low] > candidate[high]:
        ...         raise ValueError("low is above high")
        >>> flags.apply({"low": "10"}, source="config").error
        RegistryValidationError('refused by the registry validator ordered: low is above high')
        """
        check_plain_function(function, "a registry validator")
        self._store.add_validator(function)
        return function

    def freeze(self) -> None:
        """
        Fix the values of the static flags until the end of the process.

        `Updater.start` does it too. Call this method in a program without an updater, once the arguments are read.
        After that only `dflag.testing.isolated` and test overrides can change static flags.

        Raises:
            DflagError: A registry validator calls this method.

        Thread safety: any thread, takes the registry lock.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> port = flags.int("port", 8080)
        >>> flags.freeze()
        >>> port.set(9090)
        Traceback (most recent call last):
        dflag.errors.StaticFlagError: flag 'port' is static and cannot be set: the registry is frozen
        """
        self._store.freeze()

    def snapshot(self) -> Snapshot:
        """
        Return the current values of all flags as one consistent view.

        Use it where several values must come from one revision. It takes the same time for any number of flags.

        Returns:
            An immutable mapping of names to values, which also takes flags as keys.

        Thread safety: any thread, lock-free.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> snap = flags.snapshot()
        >>> rate.set(60)
        >>> snap[rate], snap["rate_limit"], rate.get()
        (50, 50, 60)
        """
        return self._store.snapshot()

    def pinned(self, values: Mapping[Any, Any] | None = None) -> AbstractContextManager[Snapshot]:
        """
        Make ``get()`` answer from one snapshot within a ``with`` block.

        The pin holds until the end of the block, for this thread or task, and for tasks and ``asyncio.to_thread`` calls
        that are started inside. Use it around a request whose parts read flags independently. Pins nest: an inner pin
        starts with the values of the outer one. Do not keep a pin open across the ``yield`` of a generator.

        Args:
            values: Values by flag or name that replace those of the snapshot, after validation; None for none.

        Returns:
            A context manager, which returns the snapshot on entry.

        Raises:
            FlagValueError: One of the values is refused.
            UnknownFlagError: A name or a flag does not belong to this registry.

        Thread safety: any thread, lock-free. Other threads and tasks are not affected.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> with flags.pinned({rate: 5}):
        ...     rate.set(60)  # as an updater would, meanwhile
        ...     rate.get()
        5
        >>> rate.get()
        60
        """
        return self._pinned(self._take({} if values is None else values, PINNED))

    @contextmanager
    def _pinned(self, values: Mapping[Flag[Any], Any]) -> Iterator[Snapshot]:
        pin, outer = make_pin(self._store, values), current_pin()
        try:
            set_pin(pin)  # inside the block, because a signal handler may raise right after it
            yield pin.snapshot
        finally:
            try:
                close_pin(pin)
            finally:
                set_pin(outer)

    def override(self, values: Mapping[Any, Any]) -> AbstractContextManager[None]:
        """
        Override flags for the whole process within a ``with`` block, static and frozen ones too.

        It is for tests; `dflag.testing.override` takes flags of several registries.

        Args:
            values: Values by flag or name.

        Returns:
            A context manager. At its end each flag gets its previous override back, if it had one.

        Raises:
            FlagValueError: A value is refused; nothing is overridden.
            UnknownFlagError: A name or a flag does not belong to this registry.

        Thread safety: any thread, takes the registry lock; every thread of the process sees the values.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> port = flags.int("port", 8080)
        >>> flags.freeze()
        >>> with flags.override({port: 9090}):
        ...     port.get()
        9090
        """
        return self._store.override(self._take(values, "override"))

    def explain(self, name: builtins.str) -> tuple[Layer, ...]:
        """
        Return the layers that hold a value for a flag, the winner first.

        Use it to find out why a flag has its value. The values of secret flags are masked.

        Args:
            name: The name of the flag.

        Returns:
            One record for each layer. The value of the first record is that of the flag.

        Raises:
            UnknownFlagError: No flag has this name.

        Thread safety: any thread, lock-free.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> rate.set(60, reason="load test")
        >>> [(layer.origin, layer.value, layer.reason) for layer in flags.explain("rate_limit")]
        [('override', 60, 'load test'), ('default', 50, None)]
        """
        return self._store.explain(name)

    def history(self) -> tuple[Change, ...]:
        """
        Return the last 100 changes of effective values, the oldest first.

        Texts are cut at 2,000 characters, and those of secret flags are masked.

        Thread safety: any thread, takes the registry lock.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> rate.set(60, reason="load test")
        >>> [(change.flag, change.old, change.new, change.reason) for change in flags.history()]
        [('rate_limit', '50', '60', 'load test')]
        """
        return self._store.history()

    def callback_errors(self) -> dict[builtins.str, builtins.int]:
        """
        Return how often callbacks have raised an exception, by flag name. Flags without such callbacks are left out.

        Thread safety: any thread, lock-free.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50, on_change=lambda old, new: 1 / 0)
        >>> rate.set(60)
        >>> flags.flush()
        True
        >>> flags.callback_errors()
        {'rate_limit': 1}
        """
        return dict(self._store.notifier.errors)

    def flush(self, timeout: builtins.float | None = None) -> builtins.bool:
        """
        Wait until the callbacks of all changes so far have run.

        Args:
            timeout: How many seconds to wait at most; None for no limit.

        Returns:
            True if all of them have run. Always False in a callback, which cannot wait for itself. On the thread of an
            event loop, False as soon as a coroutine function has to run on that loop: await
            ``asyncio.to_thread(flags.flush)`` there.

        Raises:
            DefinitionError: *timeout* is not a number of seconds.

        Thread safety: any thread.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flags.flush(timeout=5)
        True
        """
        return self._store.notifier.flush(check_seconds("timeout", timeout))

    def checksum(self, dynamic: builtins.bool | None = None) -> builtins.str:
        """
        Return the Go library's checksum over the names and values of all flags.

        Compare the checksums of processes, also of Go processes, to see whether they have the same values. Overrides
        count.

        Args:
            dynamic: True for only the dynamic flags, False for only the static ones; None for all.

        Returns:
            32 bits of FNV-1a, as 8 hex digits.

        Thread safety: any thread, lock-free. It prints every value, so do not call it for each request.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flag = flags.dyn_int("some_int", 1337)
        >>> flags.checksum()
        'c8197459'
        """
        if dynamic is not None:
            check_argument("dynamic", dynamic, bool, "True, False or None")
        return checksum_of(self.snapshot(), dynamic)

    def parse_args(
        self,
        argv: Sequence[builtins.str] | None = None,
        *,
        env_prefix: builtins.str | None = None,
        description: builtins.str | None = None,
    ) -> list[builtins.str]:
        """
        Read the environment and the command line.

        Call it once, before the updater reads the sources. As in `argparse`, bad input prints the error and exits with
        status 2, and ``--help`` prints the flags and exits.

        Args:
            argv: The arguments; None for ``sys.argv[1:]``.
            env_prefix: The prefix for the environment: each flag reads the variable ``PREFIX_FLAG_NAME``. None to read
                no environment.
            description: The description of the program for ``--help``; None for none.

        Returns:
            The positional arguments.

        Raises:
            StaticFlagError: The registry is frozen.
            DefinitionError: Two flags would read the same environment variable, or an argument is of the wrong type.

        Thread safety: any thread, takes the registry lock; validators run in this thread.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> port = flags.int("port", 8080)
        >>> flags.parse_args(["--port=9090", "input.txt"])
        ['input.txt']
        >>> port.get(), port.origin
        (9090, 'command line')
        """
        from dflag._argparse import frozen_error
        from dflag._arguments import parse_args

        argv = None if argv is None else checked_texts("argv", argv)
        env_prefix = None if env_prefix is None else checked_text("env_prefix", env_prefix)
        description = None if description is None else checked_text("description", description)
        if self._store.frozen:
            raise frozen_error()
        return parse_args(tuple(self), argv, env_prefix=env_prefix, description=description)

    def add_to_argparse(self, parser: argparse.ArgumentParser) -> None:
        """
        Add an option for each flag declared so far to a program's own parser.

        Parsing then sets the given flags, all in one step, if the parser finds no error.

        Args:
            parser: The program's parser, or one of a subcommand, or one for ``parents=``.

        Raises:
            ArgumentError: *parser* is not an `argparse.ArgumentParser`.
            DefinitionError: The parser already has an option with the name of a flag.

        Thread safety: one thread at a time, as for the parser.

        >>> import argparse, dflag
        >>> flags = dflag.FlagRegistry()
        >>> port = flags.int("port", 8080)
        >>> parser = argparse.ArgumentParser()
        >>> flags.add_to_argparse(parser)
        >>> _ = parser.parse_args(["--port=9090"])
        >>> port.get()
        9090
        """
        from dflag._arguments import add_to_argparse

        add_to_argparse(tuple(self), parser)

    def _take(self, values: Mapping[Any, Any], origin: builtins.str) -> dict[Flag[Any], Any]:
        """
        Return validated values by flag, from values by flag or name.
        """
        check_argument("values", values, Mapping, "a mapping of flags or names to values")
        taken = {}
        for key, value in values.items():
            check_argument("each key", key, (str, Flag), "a flag or a name")
            flag = self.lookup(key) if isinstance(key, str) else key
            if store_of(flag) is not self._store:
                raise foreign_flag(flag.name)
            taken[flag] = pipeline_of(flag).take(flag.name, value, origin)
        return taken


RegistryLike: TypeAlias = "FlagRegistry | type[FlagValues]"
"""A registry, or a `dflag.Flags` class, which is accepted instead of its registry."""


def registry_of(given: RegistryLike, name: builtins.str = "registry") -> FlagRegistry:
    """
    Return the registry that was given, or that of a `dflag.Flags` class.

    Args:
        given: The registry or the class.
        name: The name of the argument, for the error.

    Raises:
        ArgumentError: *given* is neither.
    """
    found = getattr(given, "registry", None) if isinstance(given, type) and issubclass(given, FlagValues) else given
    if not isinstance(found, FlagRegistry):
        check_argument(name, given, (), "a FlagRegistry or a Flags class")
    return cast("FlagRegistry", found)


def bind_all(
    registry: FlagRegistry,
    named: Mapping[str, Flag[Any]],
    changes: Iterable[Call] = (),
) -> None:
    """
    Bind flags under valid names: all of them, or none.

    Args:
        registry: The registry to bind them to.
        named: The flags by their new names.
        changes: More calls to make in the same step.

    Raises:
        DefinitionError: One of the flags is bound already.
        DuplicateFlagError: A name is taken.
    """
    registry._store.adopt(named, changes)
    registry._sources.catch_up(named.values())


store_of_registry: Final[Callable[[FlagRegistry], Store]] = attrgetter("_store")
"""Return the store of a registry, for higher modules. The users of a registry must not touch its store."""


def sources_of(registry: FlagRegistry) -> SourceLayers:
    """
    Return the sources of a registry, for higher modules.
    """
    return registry._sources.get()


class _LateSources:
    """
    The sources of a registry, made on first use.

    A program without sources then does not import the modules that apply them, which take a third of the import time.

    Thread safety: any thread.
    """

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._made: Final[list[SourceLayers]] = []

    def get(self) -> SourceLayers:
        """
        Return the sources.

        Raises:
            DflagError: A signal handler calls this in the middle of the import of `_source_layers`.
        """
        if not self._made:
            try:
                from dflag._source_layers import SourceLayers
            except ImportError as error:
                if not is_half_imported("dflag._source_layers"):
                    raise
                raise DflagError(
                    "a source cannot be applied by a signal handler that interrupts the first use of a source: "
                    "make the Updater, or call apply(), before the handler is installed"
                ) from error
            self._made.append(SourceLayers(self._store))
        return self._made[0]  # if two threads or a signal handler have made two, all use the first

    def catch_up(self, flags: Collection[Flag[Any]]) -> None:
        """
        Apply the values of the sources for newly declared flags.
        """
        if self._made:  # otherwise the sources have no values yet
            self._made[0].catch_up(flags)


_NO_VALUES: Final[Mapping[Flag[Any], Any]] = {}


def make_pin(store: Store, values: Mapping[Flag[Any], Any] = _NO_VALUES, *, nested: bool = True) -> Pin:
    """
    Return an open pin of the snapshot that this context sees, with some values on top.

    The context sees its innermost pin of the store, or without one the values in force. The caller sets the pin and
    closes it.
    """
    parent = innermost_pin() if nested else None
    outer = parent if parent is None or parent.owner is store else innermost_pin(store)
    base = store.snapshot() if outer is None else outer.snapshot
    if values:
        base = with_values(base, values, {flag: {PINNED: Entry(value)} for flag, value in values.items()})
        store.register_snapshot(base)
    pin = Pin(store, base, parent)
    open_pin(pin)
    return pin


_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193
"""The constants of 32-bit FNV-1a."""


def checksum_of(snapshot: Snapshot, dynamic: builtins.bool | None = None) -> builtins.str:
    """
    Return the Go library's checksum of a snapshot; `FlagRegistry.checksum` returns that of the current values.
    """
    flags = sorted(values_of(snapshot).items(), key=lambda item: item[0].name)
    return fnv_checksum(
        (flag.name, pipeline_of(flag).kind.exact(value))
        for flag, value in flags
        if dynamic is None or flag.dynamic is dynamic
    )


def fnv_checksum(printed: Iterable[tuple[str, str]]) -> str:
    """
    Return the Go library's checksum of names and printed values, which must come in name order.
    """
    digest = _FNV_OFFSET
    for name, value in printed:
        for byte in (name + value).encode("utf-8", "surrogatepass"):
            digest = ((digest ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return f"{digest:08x}"


def is_key(name: str) -> bool:
    """
    Return whether a ConfigMap can have a key of this name.
    """
    return 0 < len(name) <= _MAX_NAME_CHARACTERS and _NAME_CHARACTERS.issuperset(name)


def checked_name(name: object) -> builtins.str:
    """
    Return the name of a flag as a plain `str`.

    Raises:
        DefinitionError: A flag cannot have this name: it is no ConfigMap key, begins with a dot, or is reserved.
    """
    name = str.__str__(name) if isinstance(name, str) else name  # a subclass may print as another text
    if not isinstance(name, str) or not is_key(name) or name[0] == ".":
        raise DefinitionError(
            f"flag {shorten(name)}: expected a name of 1 to 253 characters of [-._a-zA-Z0-9] "
            "that does not begin with a dot"
        )
    if name in RULES_KEYS:
        raise DefinitionError(f"flag {name!r}: the name is reserved, as a source keeps its rules under it")
    return name


_plain_pipeline: Final[Callable[[_kinds.Kind[Any]], Pipeline[Any]]] = lru_cache(maxsize=32)(Pipeline)
"""Return the pipeline that flags of one kind without options share. Bounded, since some flags have their own kind."""


def make_flag(
    store: Owner,
    cls: builtins.type[F],
    kind: _kinds.Kind[Any],
    name: builtins.str,
    default: Any,
    help: builtins.str,
    options: Any,
    declared_at: tuple[builtins.str, builtins.int],
) -> F:
    """
    Make a flag from its options. An error in the options is raised with the name of the flag.
    """
    if not options:
        return cls(store, _plain_pipeline(kind), name, default, help, declared_at)
    remaining = dict(options)
    try:
        functions = as_tuple(remaining.pop("on_change", ()), "on_change")
    except DefinitionError as error:
        raise DefinitionError(f"flag {name!r}: {error}") from None
    listeners = tuple(Listener(function, name) for function in functions)
    try:
        pipeline = Pipeline(kind, remaining)
    except DefinitionError as error:
        raise type(error)(f"flag {name!r}: {error}") from error
    if pipeline.by is not None and not cls.dynamic:
        raise DefinitionError(f"flag {name!r} is static: by={pipeline.by!r} is for dynamic flags")
    flag = cls(store, pipeline, name, default, help, declared_at)
    set_listeners(flag, listeners)
    return flag
