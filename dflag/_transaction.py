"""
Transactions: the result of edits of layers, worked out before anything has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from dflag._faults import is_interrupt
from dflag._flags import Flag, keyed_of, layers_of, pipeline_of
from dflag._keyed import Table, finders_of_map
from dflag._layers import DEFAULT, OVERRIDE, OWN_LAYERS, Entry
from dflag._log import logger
from dflag._snapshot import Snapshot, flags_of, table_of, tables_of, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from dflag._history import Record
    from dflag._keyed import Keyed, KeyedValue

Edit: TypeAlias = tuple[Flag[Any], str, Entry | None]
"""A flag, a layer, and the new entry of the layer; None to remove the entry."""

KeyedEdit: TypeAlias = "tuple[Flag[Any], str, tuple[KeyedValue, ...]]"
"""A keyed flag, a source, and the new values of the source for keys; empty to remove them."""

Plan: TypeAlias = "Callable[[Iterable[Edit]], Transaction]"
"""A function that works out the transaction for some edits."""


_COMPARABLE: Final = frozenset({bool, bytes, int, str})
"""The types for which every kind treats equal values as the same value."""


Difference: TypeAlias = tuple[Flag[Any], Any, Any, str, str | None]
"""A flag whose effective value a transaction changes, with the old value, the new value, its layer and the reason."""


class KeyedState:
    """
    The values for keys that a keyed flag has after a transaction.

    Attributes:
        keyed: The values that each source holds.
        table: The table that results from them.
    """

    __slots__ = ("keyed", "table")

    def __init__(self, keyed: Mapping[str, Sequence[KeyedValue]], table: Table) -> None:
        self.keyed: Final = keyed
        self.table: Final = table


class Token:
    """
    Identifies the state of the store that a transaction is based on. Every change gives the store a new token.

    Attributes:
        epoch: An object that stays the same if flags are declared and nothing else changes.
    """

    __slots__ = ("epoch",)

    def __init__(self, epoch: object) -> None:
        self.epoch: Final = epoch


class Base(NamedTuple):
    """
    The state of a registry at one moment, from which a transaction is worked out.

    Attributes:
        token: Identifies this state.
        snapshot: The values.
        ranking: The layers except the default, the highest first.
        maps: The map flags: the value of a map consists of all keys that match its pattern.
        timed: The flags that have an override with a time limit.
        read_layers: Returns the layers of a flag.
        read_keyed: Returns the values that each source holds for the keys of a flag.
    """

    token: Token
    snapshot: Snapshot
    ranking: Sequence[str]
    maps: Collection[Flag[Any]]
    timed: frozenset[Flag[Any]]
    read_layers: Callable[[Flag[Any]], Mapping[str, Entry]] = layers_of
    read_keyed: Callable[[Flag[Any]], Keyed] = keyed_of


def trial_of(base: Base, ranking: Sequence[str]) -> Base:
    """
    Return the base for transactions that are never committed: the defaults of all flags, and no entry in any layer.
    """
    snapshot = base.snapshot
    defaults = {flag: flag.default for flag in values_of(snapshot)}
    tables = {flag: table.of(flag.default) for flag, table in tables_of(snapshot).items()}
    view = Snapshot(flags_of(snapshot), defaults, snapshot.revision, tables)
    return Base(base.token, view, ranking, base.maps, base.timed, lambda _: {}, lambda _: {})


class Transaction:
    """
    The result of edits, worked out from the values that were current at the time. Nothing has changed yet.

    It keeps the objects that it replaces alive, so that no ``__del__`` of a user runs in the middle of the commit.

    Args:
        base: The state in force.
        edits: The changes of layers.
        keyed: The changes of values for keys.
        reason: The reason for the history; None for the reason of the winning layer.

    Attributes:
        base: The state that this transaction is based on.
        token: Identifies the state after the commit.
        snapshot: The values after the commit. Registry validators check this snapshot, and the commit puts it in force.
        layers: The new layers of each edited flag.
        differences: The flags whose effective value changes.
        equal_values: The flags that get another object for the same value, such as -0.0 for 0.0.
        timed: The flags that have an override with a time limit after the commit.
        records: The last differences, for the history; empty before the commit.
        replaced: The old layers of each edited flag.
        kept_alive: The old values for keys, and the old tables.
        tables: The new values for keys of each edited keyed flag.

    Thread safety: any thread. It is made without a lock, because comparing values may run code of a user.
    """

    __slots__ = (
        "base",
        "differences",
        "equal_values",
        "kept_alive",
        "layers",
        "records",
        "replaced",
        "snapshot",
        "tables",
        "timed",
        "token",
    )

    def __init__(
        self, base: Base, edits: Iterable[Edit], *, keyed: Iterable[KeyedEdit] = (), reason: str | None = None
    ) -> None:
        self.base: Final = base
        self.token: Final = Token(object())
        self.replaced, self.layers = _edit(base, edits)
        self.differences, self.equal_values = _compare(base, self.layers, reason)
        has_keyed = tables_of(base.snapshot)  # most registries have no keyed flag
        self.tables: Final = _tables(base, self.layers, keyed) if has_keyed else {}
        self.snapshot: Final = self._snapshot_after()
        self.timed: Final = _timed(base, self.layers)
        self.records: list[Record] = []
        self.kept_alive: Final = [*map(keyed_of, self.tables), *map(table_of, self.tables)]

    def _snapshot_after(self) -> Snapshot:
        before = self.base.snapshot
        values = {**values_of(before)}
        values.update(self.equal_values)
        values.update({flag: new for flag, _, new, _, _ in self.differences})
        tables = tables_of(before)
        if self.tables:
            tables = {**tables, **{flag: each.table for flag, each in self.tables.items()}}
        return Snapshot(flags_of(before), values, before.revision + 1, tables)

    def merged(self) -> list[Difference]:
        """
        Return the differences whose value is merged from several sources. These values are not validated yet.
        """
        maps, layers = self.base.maps, self.layers
        return [each for each in self.differences if each[0] in maps and len(layers[each[0]].keys() - OWN_LAYERS) > 1]

    @property
    def changed(self) -> tuple[str, ...]:
        """
        The names of the flags whose value changes, in order.
        """
        return tuple(flag.name for flag, _, _, _, _ in self.differences)

    @property
    def changed_keyed(self) -> frozenset[Flag[Any]]:
        """
        The flags whose values for keys change.
        """
        tables = tables_of(self.base.snapshot)
        edited = self.tables.items()
        return frozenset(flag for flag, each in edited if flag not in tables or not each.table.is_like(tables[flag]))

    @property
    def is_secret(self) -> bool:
        """
        Whether any of the edited flags is secret.
        """
        return any(pipeline_of(flag).secret for flag in (*self.layers, *self.tables))


def _edit(
    base: Base, edits: Iterable[Edit]
) -> tuple[dict[Flag[Any], Mapping[str, Entry]], dict[Flag[Any], dict[str, Entry]]]:
    """
    Return the layers of each edited flag: the old ones, and the new ones.
    """
    replaced: dict[Flag[Any], Mapping[str, Entry]] = {}
    layers: dict[Flag[Any], dict[str, Entry]] = {}
    read_layers = base.read_layers  # outside of the loop, because reading a field takes as long as a dict lookup
    for flag, layer, entry in edits:
        edited = layers.get(flag)
        if edited is None:
            before = replaced[flag] = read_layers(flag)
            edited = layers[flag] = {**before}
        if entry is None:
            edited.pop(layer, None)
        else:
            edited[layer] = entry
    return replaced, layers


def _compare(
    base: Base, layers: Mapping[Flag[Any], Mapping[str, Entry]], reason: str | None
) -> tuple[list[Difference], list[tuple[Flag[Any], Any]]]:
    """
    Return the flags whose value the new layers change, and the flags that get another object for the same value.
    """
    differences: list[Difference] = []
    equal_values = []
    before, ranking, maps = values_of(base.snapshot), base.ranking, base.maps
    for flag, held in layers.items():
        value, origin = winner(flag, held, ranking, maps)
        old = before.get(flag, flag.default)
        if value is old:
            continue
        # Most values are of these types. Calling the kind of each flag would take a tenth of initialize().
        if old == value if type(old) is type(value) and type(value) in _COMPARABLE else same(flag, old, value):
            # The two may print differently, as -0.0 and 0.0 do, and every process must show the same text.
            equal_values.append((flag, value))
        else:
            entry = held.get(origin)
            why = reason or (entry.reason or entry.rule if entry else None)
            differences.append((flag, old, value, origin, why))
    return differences, equal_values


def _tables(
    base: Base, layers: Mapping[Flag[Any], Mapping[str, Entry]], edits: Iterable[KeyedEdit]
) -> dict[Flag[Any], KeyedState]:
    """
    Return the new values for keys of each edited keyed flag. A layer with a value hides all layers below it.
    """
    edited = {flag: dict(base.read_keyed(flag)) for flag in layers if pipeline_of(flag).by is not None}
    for flag, source, values in edits:
        held = edited.setdefault(flag, dict(base.read_keyed(flag)))
        if values:
            held[source] = values
        else:
            held.pop(source, None)
    return {flag: _table(base, flag, layers.get(flag), keyed) for flag, keyed in edited.items()}


def _table(base: Base, flag: Flag[Any], layers: Mapping[str, Entry] | None, keyed: Keyed) -> KeyedState:
    unkeyed = base.read_layers(flag) if layers is None else layers
    value, _ = winner(flag, unkeyed, base.ranking, base.maps)
    return KeyedState(keyed, table_from(flag, unkeyed, keyed, base.ranking, value, table_of(flag)))


def table_from(
    flag: Flag[Any],
    unkeyed: Mapping[str, Entry],
    keyed: Keyed,
    ranking: Iterable[str],
    value: Any,
    like: Table | None = None,
) -> Table:
    """
    Return the table of a keyed flag.

    Args:
        flag: The flag.
        unkeyed: The entry of each layer that has a value without a key.
        keyed: The values that each source holds for keys.
        ranking: The layers, the highest first.
        value: The value without a key.
        like: The previous table.
    """
    kind = pipeline_of(flag).kind
    sources = [origin for origin in visible_layers(flag, unkeyed, ranking) if origin not in OWN_LAYERS]
    layers = [keyed[origin] for origin in sources if keyed.get(origin)]
    if not kind.is_map or not layers:
        return Table(layers, value, like)
    held = [(unkeyed[origin].value if origin in unkeyed else None, keyed.get(origin, ())) for origin in sources]
    below = [value, *(unkeyed for unkeyed, _ in held)]
    return Table(layers, value, finders=finders_of_map(held, value, kind.merge), below=below)


def visible_layers(flag: Flag[Any], unkeyed: Mapping[str, Entry], ranking: Iterable[str]) -> Iterator[str]:
    """
    Yield the layers whose values for keys count, the highest first.

    A layer with a value without a key hides all layers below it. For a map only dflag's own layers hide others.
    """
    is_map = pipeline_of(flag).kind.is_map
    for origin in ranking:
        yield origin
        if origin in unkeyed and (not is_map or origin in OWN_LAYERS):
            return


def _timed(base: Base, layers: Mapping[Flag[Any], Mapping[str, Entry]]) -> frozenset[Flag[Any]]:
    timed = set()
    for flag, held in layers.items():
        if OVERRIDE in held and held[OVERRIDE].deadline is not None:
            timed.add(flag)
    return base.timed.difference(layers).union(timed) if base.timed or timed else base.timed


def winner(
    flag: Flag[Any], layers: Mapping[str, Entry], ranking: Iterable[str], maps: Collection[Flag[Any]]
) -> tuple[Any, str]:
    """
    Return the effective value that *layers* give a flag, and the layer that it comes from.

    Args:
        flag: The flag.
        layers: The entry of each layer that has one for the flag.
        ranking: The layers except the default, the highest first.
        maps: The flags whose value is merged from several sources.
    """
    if len(layers) == 1:  # the usual case, for which this saves 0.3 microseconds per flag
        for origin, entry in layers.items():
            return entry.value, origin
    origin = highest_layer(layers, ranking)
    if origin == DEFAULT:
        return flag.default, DEFAULT
    if flag in maps and origin not in OWN_LAYERS:
        return merged_value(flag, layers, ranking), origin
    return layers[origin].value, origin


def highest_layer(layers: Mapping[str, Entry], ranking: Iterable[str]) -> str:
    return next((origin for origin in ranking if origin in layers), DEFAULT)


def merged_value(flag: Flag[Any], layers: Mapping[str, Entry], ranking: Iterable[str]) -> Any:
    """
    Return the merged values of the sources for a map, from the highest source down to the first of dflag's own layers.
    """
    values = []
    for origin in ranking:
        if origin in layers:
            if origin in OWN_LAYERS:
                break  # the command line or the environment hides the sources below it
            values.append(layers[origin].value)
    return pipeline_of(flag).kind.merge(values[::-1])


def same(flag: Flag[Any], one: Any, other: Any) -> bool:
    """
    Return whether two values are the same. For enumerations and models this calls a user's ``__eq__``.
    """
    try:
        return pipeline_of(flag).kind.same(one, other)
    except BaseException as error:
        if is_interrupt(error):
            raise
        _report_incomparable(flag, error)
        return False


def _report_incomparable(flag: Flag[Any], error: BaseException) -> None:
    """
    Log that a comparison raises, only once: it is repeated at each reading and at each request for the status.
    """
    if pipeline_of(flag).is_news(("comparison", type(error))):
        logger.error(
            "flag %r: cannot compare its values, which raises %s; treating them as different",
            flag.name,
            type(error).__name__,
            exc_info=None if pipeline_of(flag).secret else error,
        )
