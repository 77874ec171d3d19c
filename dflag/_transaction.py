"""
What some edits of layers lead to, before anything has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from dflag._flags import Flag, pipeline_of
from dflag._layers import DEFAULT, OVERRIDE, OWN_LAYERS, Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dflag._history import Record
    from dflag._keyed import KeyedValue, Table
    from dflag._snapshot import Snapshot

Edit: TypeAlias = tuple[Flag[Any], str, Entry | None]
"""A flag, a layer, and what the layer shall hold: None for nothing."""

KeyedEdit: TypeAlias = "tuple[Flag[Any], str, tuple[KeyedValue, ...]]"
"""A keyed flag, a source, and what the source shall hold for keys: empty for nothing."""


class Tables(NamedTuple):
    """
    What a keyed flag would have for its keys.

    Attributes:
        keyed: What each source holds.
        table: What comes of it.
    """

    keyed: Mapping[str, Sequence[KeyedValue]]
    table: Table


class Difference(NamedTuple):
    """
    A flag whose effective value a transaction changes.
    """

    flag: Flag[Any]
    old: Any
    new: Any
    origin: str
    reason: str | None


class Transaction(NamedTuple):
    """
    What some edits lead to, worked out from what was current at the time. Nothing has changed yet.

    It keeps what it replaces alive, so that no ``__del__`` of a user runs in the middle of the commit.

    Attributes:
        token: What this is based on.
        base: The snapshot that this is based on.
        snapshot: The values as they would be: what registry validators are given, and what the commit puts in force.
        layers: The new layers of each flag that is edited.
        differences: The flags whose effective value changes.
        adopted: The flags that get another object for the same value, such as -0.0 for 0.0.
        merged: Those of the differences whose value several sources make up together, which nothing has validated yet.
        timed: The flags that would have an override with a time limit.
        records: The last of the differences, for the history.
        replaced: The layers before, and the values for keys.
        tables: The values for keys of each keyed flag that is edited.
    """

    token: Token
    base: Snapshot
    snapshot: Snapshot
    layers: Mapping[Flag[Any], Mapping[str, Entry]]
    differences: Sequence[Difference]
    adopted: Sequence[tuple[Flag[Any], Any]]
    merged: Sequence[Difference]
    timed: frozenset[Flag[Any]]
    records: Sequence[Record]
    replaced: Sequence[object]
    tables: Mapping[Flag[Any], Tables]

    @property
    def changed(self) -> tuple[str, ...]:
        """
        The names of the flags whose value changes, in order.
        """
        return tuple(difference.flag.name for difference in self.differences)


class Token:
    """
    Stands for the state that a transaction is based on; the store has another one after each change.

    Attributes:
        values: The same object for as long as nothing but the declaration of flags has changed.
    """

    __slots__ = ("values",)

    def __init__(self, values: object) -> None:
        self.values: Final = values


class Trial(NamedTuple):
    """
    What a transaction that is never committed works on: the defaults, with layers of its own.

    Attributes:
        ranking: The layers, the highest first.
    """

    ranking: Sequence[str]


def highest_layer(layers: Mapping[str, Entry], ranking: Iterable[str]) -> str:
    return next((origin for origin in ranking if origin in layers), DEFAULT)


def merged_value(flag: Flag[Any], layers: Mapping[str, Entry], ranking: Iterable[str]) -> Any:
    """
    Merge what the sources hold for a map: from the highest one down to the first layer of dflag's own.
    """
    values = []
    for origin in ranking:
        if origin in layers:
            if origin in OWN_LAYERS:
                break  # the command line or the environment hides the sources beneath it
            values.append(layers[origin].value)
    return pipeline_of(flag).kind.merge(values[::-1])


def deadline_of(layers: Mapping[str, Entry]) -> float | None:
    entry = layers.get(OVERRIDE)
    return None if entry is None else entry.deadline
