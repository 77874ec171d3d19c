"""
The values of a keyed flag: one for each key that a rule names or draws, and one for all other keys.

A table is made when values are committed, so that ``for_()`` costs one lookup, or one hash if a share is drawn.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from dflag.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

EVERYBODY: Final = 1 << 32
"""A threshold above the draw of every text."""

_THRESHOLD_BYTES: Final = 4
_EVERY_DIGEST: Final = b"\xff" * 33
"""Bytes that are greater than every digest."""

_Given = TypeVar("_Given")


class KeyedValue:
    """
    The value that one rule gives to some keys of a flag.

    Attributes:
        rule: The name of the rule, which is also an input of the draw.
        keys: The keys that the rule names; None for every key.
        threshold: Of these keys, only those whose draw is below this number get the value.
        value: The value.
        source: The source of the rule. Another source may have a rule with the same name.
        is_share: Whether the rule draws keys and names none. The share may be all keys.
        is_part: Whether the value is only a part of a map, whose items are added to the mapping below.
    """

    __slots__ = ("is_part", "is_share", "keys", "rule", "source", "threshold", "value")

    def __init__(
        self,
        rule: str,
        keys: tuple[str, ...] | None,
        threshold: int,
        value: Any,
        source: str,
        *,
        is_share: bool = True,
        is_part: bool = False,
    ) -> None:
        self.rule: Final = rule
        self.keys: Final = keys
        self.threshold: Final = threshold
        self.value: Final = value
        self.source: Final = source
        self.is_share: Final = keys is None and is_share
        self.is_part: Final = is_part

    def is_alike(self, other: KeyedValue) -> bool:
        """
        Return whether *other*, of the same source, has the same rule name and keys. The values may differ.
        """
        mine = self.rule, self.keys, self.threshold, self.is_share, self.is_part
        return mine == (other.rule, other.keys, other.threshold, other.is_share, other.is_part)

    def is_for(self, key: str) -> bool:
        """
        Return whether the draw of a key is below the threshold. This ignores `keys`.
        """
        return self.threshold >= EVERYBODY or draw(self.rule, key) < self.threshold


Lookup: TypeAlias = "tuple[Callable[[str, Any], Any], Any]"
"""
How to find the value of a key: call the first item, such as the ``get`` of a mapping, with the key and the second item.
The second item is the value without a key.

This is a tuple because unpacking it costs less than reading two attributes.
"""

Finders: TypeAlias = "tuple[Callable[[str], KeyedValue | None], Callable[..., Any]]"
"""
Two functions. The first finds the `KeyedValue` of a key. The second finds its value, or returns its second argument.
"""


class Table:
    """
    The values of one keyed flag, by key. A table never changes.

    Args:
        layers: The `KeyedValue` objects of each layer, the highest layer first. Within a layer a later one wins.
        fallback: The value without a key.
        like: Another table, whose functions are reused if it is made of the same values.
        finders: The functions that find a key, if several rules together give its value.
        below: The values below, which *finders* combine with the values for keys.

    Attributes:
        lookup: How to find the value of a key.
        match: Finds the `KeyedValue` of a key; returns None for a key without one.
        layers: The `KeyedValue` objects of each layer, the highest layer first. Within a layer a later one wins.
        below: For a map, the values below, which are combined with the values for keys.

    Thread safety: any thread, lock-free.
    """

    __slots__ = ("below", "layers", "lookup", "match")

    def __init__(
        self,
        layers: Sequence[Sequence[KeyedValue]],
        fallback: Any,
        like: Table | None = None,
        finders: Finders | None = None,
        below: Sequence[object] = (),
    ) -> None:
        self.layers: Final = tuple(layers)
        self.below: Final = tuple(below)
        self.match: Callable[[str], KeyedValue | None]
        find: Callable[..., Any]
        if finders is not None:
            self.match, find = finders
        elif like is not None and self.is_like(like):
            self.match, find = like.match, like.lookup[0]
        else:
            named, shares, above = _compile(self.layers)
            self.match, find = _finders(named, above, [(share, share) for share in shares])
        self.lookup: Final[Lookup] = (find, fallback)

    def of(self, value: Any) -> Table:
        """
        Return a table with *value* for every key.
        """
        return Table((), value)

    def is_like(self, other: Table) -> bool:
        """
        Return whether another table is made of the same values for keys.
        """
        return _are_same(self.layers, other.layers) and _are_same(self.below, other.below)

    def value_for(self, key: str) -> Any:
        """
        Return the value of a key. `DynamicFlag.for_` does the same without this call.

        Raises:
            ArgumentError: The key is not a text.
        """
        find, fallback = self.lookup
        return find(checked_key(key), fallback)


def _are_same(one: Sequence[object], other: Sequence[object]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _compile(
    layers: Sequence[Sequence[KeyedValue]],
) -> tuple[dict[str, KeyedValue], tuple[KeyedValue, ...], dict[str, int]]:
    """
    Return the value for each named key, the shares from the highest down, and how many shares rank above each key.

    The time is proportional to the size of the rules.
    """
    named: dict[str, KeyedValue] = {}
    shares: list[KeyedValue] = []
    above: dict[str, int] = {}
    for layer in layers:
        for each in reversed(layer):
            if each.keys is None:
                shares.append(each)
                if each.threshold >= EVERYBODY:
                    return named, tuple(shares), above  # this value hides all that are below
            else:
                is_whole = each.threshold >= EVERYBODY
                for key in each.keys:
                    if key not in named and (is_whole or each.is_for(key)):
                        named[key] = each
                        if shares:
                            above[key] = len(shares)
    return named, tuple(shares), above


def _finders(
    named: Mapping[str, KeyedValue], above: Mapping[str, int], shares: Sequence[tuple[KeyedValue, KeyedValue]]
) -> Finders:
    """
    Return the finders of keys whose value comes from one `KeyedValue`. The arguments are those of `_finder`.
    """
    values = {key: each.value for key, each in named.items()}
    return _finder(named, above, shares), _finder(values, above, [(share, each.value) for share, each in shares])


def _finder(
    named: Mapping[str, Any],
    above: Mapping[str, int],
    shares: Sequence[tuple[KeyedValue, Any]],
    combined: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """
    Return a function that returns the result for a key, or its second argument if there is none.

    For a flag with shares it costs 15 times as much as ``get()``; nearly all of that is the hash.

    Args:
        named: The result for each named key.
        above: How many of the shares rank above a named key.
        shares: The shares that draw keys, the highest first, each with its result. A share of all keys comes last.
        combined: For a map, the function that returns the result for a key that is named and has a share above.
    """
    if not shares:
        return named.get
    highest, given = shares[0]
    if highest.threshold >= EVERYBODY:
        return lambda key, _=None: named.get(key, given)
    return _drawing_finder(named, above, _draws(shares), combined)


def _drawing_finder(
    named: Mapping[str, Any],
    above: Mapping[str, int],
    draws: Sequence[tuple[bytes, bytes, Any]],
    combined: Callable[..., Any] | None,
) -> Callable[..., Any]:
    hash_of = sha256()
    first_salt, first_below, first_given = draws[0]  # most flags have one: a loop would cost as much as ``get()``
    more = draws[1:]

    def find(key: str, otherwise: Any = None) -> Any:
        others = more
        if key in named:
            if key not in above:
                return named[key]
            if combined is not None:
                return combined(key, otherwise)
            otherwise, others = named[key], more[: above[key] - 1]
        try:
            text = key.encode()
        except UnicodeEncodeError:
            text = _encode(key)
        if hash_of(first_salt + text).digest() < first_below:
            return first_given
        if others:
            for salt, below, given in others:
                if below is _EVERY_DIGEST or hash_of(salt + text).digest() < below:
                    return given
        return otherwise

    return find


def _draws(shares: Iterable[tuple[KeyedValue, _Given]]) -> list[tuple[bytes, bytes, _Given]]:
    """
    Return each share as the salt that is hashed before a key, the bytes that the digest must be below, and the result.
    """
    return [(_salt(share.rule), _below(share.threshold), given) for share, given in shares]


_MOST_MADE: Final = 1000
"""How many mappings to cache: 24 shares have 16 million combinations."""


class _Parts:
    """
    The mappings that several rules together give to keys of a map flag. They are made on demand and cached.

    Args:
        held: The mapping that each layer holds without a key, the lowest layer first; None if it holds none.
        given: The values that each layer holds for keys, in the same order.
        fallback: The value without a key.
        merge: Merges several mappings into one; later mappings win.

    Attributes:
        all: All values for keys, each with the number of its layer.
    """

    def __init__(
        self,
        held: Sequence[Mapping[str, Any] | None],
        given: Sequence[Sequence[KeyedValue]],
        fallback: Mapping[str, Any],
        merge: Callable[[Sequence[Mapping[str, Any]]], Any],
    ) -> None:
        self._held: Final = held
        self._fallback: Final = fallback
        self._merge: Final = merge
        self.all: Final = [(layer, each) for layer, values in enumerate(given) for each in values]
        self._made: Final[dict[tuple[int, ...], KeyedValue]] = {}

    def together(self, places: tuple[int, ...]) -> KeyedValue | None:
        """
        Return the combined value of some items of `all`, given by their indexes in any order; None without indexes.
        """
        made = self._made.get(places)  # unsorted: sorting here would cost ten times as much as ``get()``
        if made is None and places:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            made = self._made.setdefault(places, self._make([self.all[at] for at in sorted(set(places))]))
        return made

    def split(self) -> tuple[tuple[int, ...], list[tuple[KeyedValue, int]], dict[str, list[int]]]:
        """
        Return the indexes in `all` of the values for all keys, the shares with their indexes, and the indexes by key.
        """
        always: list[int] = []
        shares: list[tuple[KeyedValue, int]] = []
        named: dict[str, list[int]] = {}
        for at, (_, each) in enumerate(self.all):
            if each.keys is not None:
                for key in filter(each.is_for, each.keys):
                    named.setdefault(key, []).append(at)
            elif each.threshold >= EVERYBODY:
                always.append(at)
            else:
                shares.append((each, at))
        return tuple(always), shares, named

    def _make(self, parts: Sequence[tuple[int, KeyedValue]]) -> KeyedValue:
        layers = list(self._held)
        for layer, each in parts:
            layers[layer] = {**(layers[layer] or {}), **each.value} if each.is_part else each.value
        # If no source holds the map, the parts add to the value of the default or the command line.
        adds = all(held is None for held in self._held) and all(each.is_part for _, each in parts)
        mappings = ([self._fallback] if adds else []) + [layer for layer in layers if layer is not None]
        _, top = parts[-1]
        value = self._merge(mappings)
        return KeyedValue(top.rule, top.keys, top.threshold, value, top.source, is_share=top.is_share)


def finders_of_map(
    layers: Sequence[tuple[Mapping[str, Any] | None, Sequence[KeyedValue]]],
    fallback: Mapping[str, Any],
    merge: Callable[[Sequence[Mapping[str, Any]]], Any],
) -> Finders:
    """
    Return the finders of a keyed map flag: all rules that match a key give its value together.

    Args:
        layers: For each layer, the highest first, the mapping that it holds without a key, or None, and its values for
            keys.
        fallback: The value without a key.
        merge: Merges several mappings into one; later mappings win.
    """
    lowest_first = layers[::-1]
    parts = _Parts([held for held, _ in lowest_first], [given for _, given in lowest_first], fallback, merge)
    always, shares, named = parts.split()
    usual = parts.together(always)
    for_all = [] if usual is None else [(usual, usual)]
    if not shares:
        found = {key: parts.together((*always, *places)) for key, places in named.items()}
        return _finders({key: each for key, each in found.items() if each is not None}, {}, for_all)
    match, find = _combining(parts, always, shares, named)
    if len(shares) > 1:
        return match, find
    above = dict.fromkeys(named, 1)
    drawn = [(share, each) for share, at in shares if (each := parts.together((*always, at))) is not None] + for_all
    return _finder(named, above, drawn, match), _finder(named, above, [(s, each.value) for s, each in drawn], find)


def _combining(
    parts: _Parts,
    always: tuple[int, ...],
    shares: Sequence[tuple[KeyedValue, int]],
    named: Mapping[str, Sequence[int]],
) -> Finders:
    """
    Return the finders for keys that several values may match: they combine all values that draw or name the key.
    """
    draws, hash_of = _draws(shares), sha256()

    def match(key: str, _: object = None) -> KeyedValue | None:
        text = _encode(key)
        drawn = [at for salt, below, at in draws if hash_of(salt + text).digest() < below]
        return parts.together((*always, *named.get(key, ()), *drawn))

    def find(key: str, otherwise: Any = None) -> Any:
        each = match(key)
        return otherwise if each is None else each.value

    return match, find


def _below(threshold: int) -> bytes:
    """
    Return bytes that are greater than a digest if, and only if, its first four bytes are below a threshold.
    """
    return _EVERY_DIGEST if threshold >= EVERYBODY else threshold.to_bytes(_THRESHOLD_BYTES, "big")


def _salt(rule: str) -> bytes:
    return _encode(rule) + b"\0"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def draw(name: str, text: str) -> int:
    """
    Return the number below 2**32 that decides whether a text is in a share.

    The number is the first four bytes, as a big-endian number, of SHA-256 over *name*, a zero byte and *text*, in
    UTF-8. The formula is published and never changes: with another formula every share would change its members.

    >>> draw("limits-november", "web-7d9f-abcde")
    2420781492
    """
    digest = sha256()(_salt(name) + _encode(text)).digest()
    return int.from_bytes(digest[:_THRESHOLD_BYTES], "big")


@cache
def sha256() -> Callable[[bytes], Any]:
    """
    Return the interpreter's own SHA-256, which takes 60 ns less than that of OpenSSL for a text of one block.
    """
    import importlib  # only needed to draw a share, not at each start

    for module in ("_sha2", "_sha256"):  # CPython 3.12 and newer, CPython 3.11
        try:
            return importlib.import_module(module).sha256  # type: ignore[no-any-return]  # a module of C
        except ImportError:
            continue
    import hashlib  # every Python has this module; some builds lack the others

    return hashlib.sha256


def checked_key(key: object) -> str:
    """
    Return *key* if it is a text.

    Raises:
        ArgumentError: The key is not a text.
    """
    if key is None:
        raise ArgumentError("expected key as a text, got None (without a key read the flag itself, as by get())")
    if not isinstance(key, str):
        raise ArgumentError(f"expected key as a text, got a value of type {type(key).__name__}")
    return key


Keyed: TypeAlias = "Mapping[str, Sequence[KeyedValue]]"
"""The values that each source holds for the keys of one flag."""
