"""
Consistent views: snapshots of a registry, and pins that make ``get()`` answer from a snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar, cast, final, overload

from dflag._cells import Cell, NeverCopied, has_gil, value_of
from dflag.errors import DflagError, UnknownFlagError, foreign_flag, unknown_flag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Protocol

    from dflag._keyed import KeyedValue, Table

    T_co = TypeVar("T_co", covariant=True)

    class FlagLike(Protocol[T_co]):
        """
        The part of a flag that a snapshot uses: the name, and for type checkers the type of the value.
        """

        name: str

        def get(self) -> T_co: ...


T = TypeVar("T")
D = TypeVar("D")

_NO_TABLES: Final[Mapping[Any, Any]] = {}
"""Shared by all snapshots of registries without keyed flags."""


@final
class Snapshot(NeverCopied, Mapping[str, Any]):
    """
    The values of all flags of a registry at one revision. A snapshot never changes.

    It is a mapping of names to values, in name order. Values can be looked up by name, or by flag, which keeps their
    type. Two snapshots are equal if they are the same object.

    Attributes:
        revision: The number of the revision, which can serve as a cache key. The snapshot of a pin with values of its
            own has the number of the snapshot below them.

    Thread safety: any thread, lock-free.

    >>> import dflag
    >>> flags = dflag.FlagRegistry()
    >>> rate = flags.dyn_int("rate", 50)
    >>> snap = flags.snapshot()
    >>> snap[rate], snap["rate"]
    (50, 50)
    >>> dict(snap), snap.get("burst", 10)
    ({'rate': 50}, 10)
    """

    __slots__ = ("__weakref__", "_flags", "_instances", "_replaced", "_tables", "_values", "revision")

    _to_pickle = "pickle dict(snapshot)"

    def __init__(
        self,
        flags: Mapping[str, FlagLike[Any]],
        values: Mapping[FlagLike[Any], Any],
        revision: int,
        tables: Mapping[FlagLike[Any], Table] = _NO_TABLES,
        replaced: Replaced | None = None,
    ) -> None:
        if replaced is None:
            replaced = []
        if TYPE_CHECKING:
            self._flags: Final = flags
            self._replaced: Final = replaced
            self._tables: Final = tables
            self._values: Final = values
            self._instances: Final[dict[type, Any]] = {}
            self.revision: Final = revision
        else:  # by the method of `object`, because that of this class refuses
            set_slot = object.__setattr__
            set_slot(self, "_flags", flags)
            set_slot(self, "_replaced", replaced)
            set_slot(self, "_tables", tables)
            set_slot(self, "_values", values)
            set_slot(self, "_instances", {})
            set_slot(self, "revision", revision)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a snapshot never changes: cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a snapshot never changes: cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        return self is other  # the default of a mapping compares the values and has no hash

    if TYPE_CHECKING:

        def __hash__(self) -> int: ...

    else:
        __hash__ = object.__hash__

    @overload
    def __getitem__(self, key: FlagLike[T]) -> T: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    def __getitem__(self, key: FlagLike[Any] | str) -> Any:
        flag = self._flags.get(key) if isinstance(key, str) else key
        try:
            return self._values[flag]  # type: ignore[index]  # an unknown name gives None, which is no key
        except KeyError:
            raise self._missing(key) from None

    def _missing(self, key: Any) -> UnknownFlagError:
        name = key if isinstance(key, str) else getattr(key, "name", key)
        if name in self._flags and key in (name, self._flags[name]):
            return UnknownFlagError(f"flag {name!r} was declared after {self!r} was taken", flag_name=name)
        if isinstance(key, Cell):
            return foreign_flag(name)
        return unknown_flag(key, (known.name for known in self._values))

    @overload
    def get(self, key: str, default: Any = None) -> Any: ...
    @overload
    def get(self, key: FlagLike[T]) -> T | None: ...
    @overload
    def get(self, key: FlagLike[T], default: D) -> T | D: ...
    # pyright demands every overload of the base class, and calls one of them unreachable here.
    def get(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, key: FlagLike[Any] | str, default: Any = None
    ) -> Any:
        """
        Return the value of a flag, or *default* if the snapshot does not have the flag.
        """
        flag = self._flags.get(key) if isinstance(key, str) else key
        return self._values.get(flag, default)  # type: ignore[arg-type]  # as above

    @overload
    def for_(self, flag: FlagLike[T], key: str) -> T: ...
    @overload
    def for_(self, flag: str, key: str) -> Any: ...
    def for_(self, flag: FlagLike[Any] | str, key: str) -> Any:
        """
        Return the value of a keyed flag for one key, as `Flag.for_` does.

        Args:
            flag: The flag, or its name.
            key: The key as a text, such as the name of a tenant or the id of a user.

        Raises:
            UnknownFlagError: The snapshot does not have the flag.
            DflagError: The flag was declared without ``by=``.
            ArgumentError: *key* is not a text.

        Thread safety: any thread, lock-free.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50, by="tenant")
        >>> flags.snapshot().for_(rate, "acme")
        50
        """
        return self._table(flag).value_for(key)

    def _table(self, key: FlagLike[Any] | str) -> Table:
        flag = self._flags.get(key) if isinstance(key, str) else key
        table = self._tables.get(flag)  # type: ignore[arg-type]  # None, for an unknown name, is no key
        if table is None:
            self[key]  # raises for an unknown flag
            raise unkeyed(flag.name if flag is not None else "")
        return table

    def __contains__(self, key: object) -> bool:
        flag = self._flags.get(key) if isinstance(key, str) else key
        return flag in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(flag.name for flag in self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Snapshot of {len(self)} flags at revision {self.revision}>"


values_of: Final[Callable[[Snapshot], Mapping[Any, Any]]] = attrgetter("_values")
"""Return the values of a snapshot by flag."""

tables_of: Final[Callable[[Snapshot], Mapping[Any, Table]]] = attrgetter("_tables")
"""Return the tables of a snapshot's keyed flags, by flag."""

flags_of: Final[Callable[[Snapshot], Mapping[str, Any]]] = attrgetter("_flags")
"""Return the flags of a snapshot by name. This is the same object for every snapshot of one registry."""

instances_of: Final[Callable[[Snapshot], dict[type, Any]]] = attrgetter("_instances")
"""Return the instances of `dflag.Flags` classes that hold the values of a snapshot. Each is made only once."""


Replaced: TypeAlias = "list[tuple[Mapping[Any, Any], Replaced]]"
"""
The contents that commits after a snapshot have replaced. The list is empty while the snapshot is in force. Later it has
one item: the old contents of the changed objects, and the list of a later snapshot. So a snapshot that is kept leads to
its own old contents, and they are freed together with it.
"""

replaced_of: Final[Callable[[Snapshot], Replaced]] = attrgetter("_replaced")
"""Return the contents that the commit after a snapshot has replaced."""


def as_of(snapshot: Snapshot, thing: T, read: Callable[[T], D]) -> D:
    """
    Return the result that *read* had for a thing at a snapshot, such as the layers of a flag or a source's state.
    """
    replaced = replaced_of(snapshot)
    while True:
        current = read(thing)  # first, because *replaced* then shows any commit that has changed it
        if not replaced:
            return current
        before, replaced = replaced[0]
        if thing in before:
            return cast("D", before[thing])


def forget_between(snapshots: Iterable[Snapshot]) -> None:
    """
    Link each of the given snapshots directly to the next of them, without those in between, which nobody keeps.

    Otherwise a snapshot that is kept for long would keep the contents that every later commit has replaced, and not
    only its own.

    Thread safety: any thread; two threads at once each leave a complete chain.
    """
    kept = [replaced_of(snapshot) for snapshot in snapshots]
    stops = set(map(id, kept))
    for replaced in kept:
        while replaced and (following := replaced[0][1]) and id(following) not in stops:
            later, beyond = following[0]
            replaced[0] = ({**later, **replaced[0][0]}, beyond)


def with_values(snapshot: Snapshot, values: Mapping[Any, Any], layers: Mapping[Any, object]) -> Snapshot:
    """
    Return a copy of a snapshot with other values for some flags; a keyed flag gets the value for every key.

    Args:
        snapshot: The snapshot.
        values: The other values, by flag.
        layers: The layers that `as_of` returns for these flags.
    """
    tables = {
        **tables_of(snapshot),
        **{flag: table.of(values[flag]) for flag, table in tables_of(snapshot).items() if flag in values},
    }
    replaced = [(layers, replaced_of(snapshot))]
    return Snapshot(flags_of(snapshot), {**values_of(snapshot), **values}, snapshot.revision, tables, replaced)


def matcher_of(snapshot: Snapshot, flag: FlagLike[Any] | str) -> Callable[[str], KeyedValue | None]:
    """
    Return the function that finds the `KeyedValue` for a key of a flag; it returns None for a key without one.

    Raises:
        UnknownFlagError: The snapshot does not have the flag.
        DflagError: The flag was declared without ``by=``.
    """
    return snapshot._table(flag).match


def unkeyed(name: str) -> DflagError:
    """
    Return the error for a flag that has no values by key.
    """
    return DflagError(f"flag {name!r}: for_() needs a flag that is declared with by=")


class Pin:
    """
    One ``pinned()`` block. In the contexts that see the pin, ``get()`` answers from its snapshot.

    Closing a pin empties it, so that a task that outlives the block sees live values again.

    Attributes:
        owner: The store whose values the pin holds.
        snapshot: The values.
        parent: The pin around this one, or None.
        values: The values of the snapshot, until the pin is closed.
        instances: The results of ``current()`` for `dflag.Flags` classes while this is the innermost pin. None for a
            class that no pin concerns.
    """

    __slots__ = ("_lent", "instances", "owner", "parent", "snapshot", "tables", "values")

    def __init__(self, owner: object, snapshot: Snapshot, parent: Pin | None) -> None:
        self.owner: Final = owner
        self.snapshot: Final = snapshot
        self.parent: Final = parent
        self.tables: Mapping[FlagLike[Any], Table] = snapshot._tables
        self.values: Mapping[FlagLike[Any], Any] = snapshot._values
        self.instances: dict[object, Any] = {}
        self._lent: set[Pin] = set()  # the pins that hold an instance with the values of this pin's snapshot

    def lend(self, key: object, instance: object, borrower: Pin) -> None:
        """
        Keep an instance with this pin's values in *borrower*, a context's innermost pin, until this pin closes.
        """
        self._lent.add(borrower)
        borrower.instances[key] = instance
        if self not in open_pins:  # it was closed meanwhile, perhaps before the line above
            borrower.instances = {}

    def beyond(self, flag: FlagLike[T]) -> T:
        """
        Return the value of a flag that this pin does not hold: from an outer pin, otherwise the live value.
        """
        pin = self.parent
        while pin is not None:
            if flag in pin.values:
                return pin.values[flag]  # type: ignore[no-any-return]  # one mapping has the values of all flags
            pin = pin.parent
        return _live(flag)  # type: ignore[no-any-return]  # as above

    def table_of(self, flag: FlagLike[Any]) -> Table | None:
        """
        Return the table of a keyed flag from this or an outer pin, otherwise the live one; None without ``by=``.
        """
        pin: Pin | None = self
        while pin is not None:
            if flag in pin.tables:
                return pin.tables[flag]
            pin = pin.parent
        return _live_table(flag)

    def close(self) -> None:
        open_pins.discard(self)
        self.tables = {}
        self.values = {}
        for borrower in list(self._lent):
            borrower.instances = {}
        pin = self.parent
        while pin is not None:
            pin._lent.discard(self)
            pin = pin.parent


def _in_force(flag: FlagLike[Any]) -> Any:
    """
    Return a flag's value from its registry's snapshot: without the GIL, a commit may be setting the flags one by one.
    """
    return store_of(flag).value_in_force(flag)


store_of: Final[Callable[[FlagLike[Any]], Any]] = attrgetter("_store")
_live: Final[Callable[[FlagLike[Any]], Any]] = value_of if has_gil() else _in_force


def _table_in_force(flag: FlagLike[Any]) -> Table | None:
    return store_of(flag).table_in_force(flag)  # type: ignore[no-any-return]  # a method of `Owner`


table_of: Final[Callable[[FlagLike[Any]], Table | None]] = attrgetter("_table")
_live_table: Final[Callable[[FlagLike[Any]], Table | None]] = table_of if has_gil() else _table_in_force


class _LiveValues(dict["FlagLike[Any]", Any]):
    """
    The values outside of any pin: an empty mapping that returns the live value of each flag.
    """

    __slots__ = ()
    # With the GIL this is `value_of`. It is not a function, so it is called with only the key.
    __missing__ = value_of if has_gil() else staticmethod(_in_force)


open_pins: Final[set[Pin]] = set()
"""The pins that are open in any context."""

NO_PIN: Final = Pin(None, Snapshot({}, _LiveValues(), 0), None)
"""
The pin of contexts that have none. So a read needs no test for None: a pinned read costs 1.8 plain methods, not 2.0.

A read outside of any pin costs more while another context has a pin: 2.7 instead of 1.6.
"""

_pin: Final[ContextVar[Pin]] = ContextVar("dflag_pin", default=NO_PIN)
current_pin: Final = _pin.get
set_pin: Final = _pin.set
reset_pin: Final = _pin.reset


def innermost_pin(owner: object = None) -> Pin | None:
    """
    Return the innermost open pin that this context sees: of the store *owner*, or of any store if that is None.
    """
    pin: Pin | None = current_pin()
    while pin is not None and (pin not in open_pins or (owner is not None and pin.owner is not owner)):
        pin = pin.parent
    return pin
