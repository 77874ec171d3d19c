"""
What applying a reading of one source would do: parsed and validated, and nothing changed yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._layers import Entry
from dflag.errors import FlagValueError, drop_frames
from dflag.typing import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dflag._flags import Flag
    from dflag._kinds import Kind
    from dflag._kinds.maps import MapKind
    from dflag._records import Revision
    from dflag._store import Edit, Store
    from dflag.typing import Raw


class Reading(NamedTuple):
    """
    The complete raw values of one source, how to name the place of a key, and whether all of it is secret.
    """

    values: Mapping[str, Raw]
    locate: Callable[[str], str]
    secret: bool = False


class SourceState(NamedTuple):
    """
    What a source last gave; replaced whole, never changed.
    """

    reading: Reading
    entries: Mapping[str, Entry]  # the last good value of each flag, static ones too
    rejected: Mapping[str, FlagValueError]
    unknown: frozenset[str]
    members: Mapping[Flag[Any], Mapping[str, Any]]  # the last good values of the keys that each family gathers
    deviating: frozenset[str]  # frozen static flags for which this source holds something else than is live
    revision: Revision | None


class Draft(NamedTuple):
    """
    What applying a reading would do.
    """

    base: SourceState
    state: SourceState
    edits: list[Edit]
    frozen: bool
    families: Mapping[Flag[Any], MapKind]

    def is_new(self) -> bool:
        return self.state is not self.base

    def is_outdated(self, store: Store) -> bool:
        """
        Say whether the static flags were frozen since, or a flag was declared that would take a key of this.
        """
        if self.frozen != store.frozen or self.families is not store.families:
            return True
        ownerless = (self.state.unknown, *self.state.members.values())
        return any(not store.flags.keys().isdisjoint(keys) for keys in ownerless)

    def is_bad(self, *, known_only: bool) -> bool:
        return bool(self.state.rejected or (known_only and self.state.unknown))


def make_draft(store: Store, name: str, base: SourceState, reading: Reading, fresh: Flag[Any] | None) -> Draft:
    """
    Parse what is new in a reading, and collect what it would change.

    Args:
        store: Of the flags.
        name: Of the source.
        base: What the source gave before.
        reading: What it gives now.
        fresh: A flag that was declared just now, so that the freeze does not concern it yet.
    """
    known = base.reading.values
    new = [
        key
        for key, raw in reading.values.items()
        # Bytes, which files are, are compared without a call: so a refresh() takes 1.20 bare readings, else 1.24.
        if (raw != known.get(key) if type(raw) is bytes else not _unchanged(known.get(key), raw)) and key[:1] != "."
    ]
    gone = [key for key in known if key not in reading.values]
    if not new and not gone and base.revision is not None:
        return Draft(base, base, [], store.frozen, store.families)
    return _Drafting(store, name, base, reading, fresh).draft(sorted((*gone, *new)))


class _Drafting:
    """
    The making of one draft.

    A family is a flag that gathers keys. A key that is not its own goes to every family whose pattern it fits;
    the family's own name may hold a whole mapping, which single keys go on top of.
    """

    def __init__(self, store: Store, source: str, base: SourceState, reading: Reading, fresh: Flag[Any] | None) -> None:
        self._store: Final = store
        self._frozen: Final = store.frozen
        self._families: Final = store.families
        self._base: Final = base
        self._source: Final = source
        self._reading: Final = reading
        self._values: Final = reading.values
        self._fresh: Final = fresh
        self._entries: Final = dict(base.entries)
        self._rejected: Final = dict(base.rejected)
        self._unknown: Final = set(base.unknown)
        self._deviating: Final = set(base.deviating)
        self._touched: Final[dict[Flag[Any], dict[str, Any]]] = {}  # the families concerned, with their members
        self._edits: Final[list[Edit]] = []

    def draft(self, keys: Iterable[str]) -> Draft:
        """
        Work in the *keys* that are new, changed or gone; callbacks and history come in their order.
        """
        for key in keys:
            self._rejected.pop(key, None)
            self._unknown.discard(key)
            flag = self._store.flags.get(key)
            wanted = self._give_to_families(key, flag) if self._families else False
            if flag is None:
                if not wanted and key in self._values:
                    self._unknown.add(key)
            elif not flag._spec.kind.gathers:
                self._take(flag)
        for family in self._touched:
            self._gather(family)
        if self._touched:
            self._edits.sort(key=lambda edit: edit[0].name)
        return Draft(self._base, self._state(), self._edits, self._frozen, self._families)

    def _state(self) -> SourceState:
        return SourceState(
            reading=self._reading,
            entries=self._entries,
            rejected=self._rejected,
            unknown=frozenset(self._unknown),
            members={**self._base.members, **self._touched},
            deviating=frozenset(self._deviating),
            revision=None,
        )

    def _take(self, flag: Flag[Any]) -> None:
        key = flag.name
        if key not in self._values:
            self._entries.pop(key, None)
        else:
            self._conceal(flag)
            try:
                value = flag._spec.read(key, self._values[key], self._reading.locate(key))
            except FlagValueError as error:
                drop_frames(error)
                self._rejected[key] = error
            else:
                self._entries[key] = Entry(value)
        self._edit(flag)

    def _give_to_families(self, key: str, flag: Flag[Any] | None) -> bool:
        """
        Let each family take the key in or let it go; whether any has taken it.
        """
        wanted = False
        for family, kind in self._families.items():
            belongs = flag is None and key in self._values and kind.fits(key)
            wanted = wanted or belongs
            if belongs or family is flag or key in self._base.members.get(family, ()):
                if family not in self._touched:
                    self._touched[family] = dict(self._base.members.get(family, {}))
                if belongs:
                    self._take_member(family, kind.item, key)
                else:
                    self._touched[family].pop(key, None)
        return wanted

    def _conceal(self, flag: Flag[Any]) -> None:
        """
        Make a flag a secret before anything of a secret source can stand in an error about it.
        """
        if self._reading.secret:
            flag._conceal()

    def _take_member(self, family: Flag[Any], item: Kind[Any], key: str) -> None:
        self._conceal(family)
        raw, place = self._values[key], self._reading.locate(key)
        try:
            self._touched[family][key] = family._spec.parse(family.name, raw, place, item)
        except FlagValueError as error:
            drop_frames(error)
            self._rejected[key] = error

    def _gather(self, family: Flag[Any]) -> None:
        """
        Make a family's mapping of its own text and of its members; a bad one keeps the last good mapping.
        """
        self._conceal(family)
        name, spec, members = family.name, family._spec, self._touched[family]
        self._rejected.pop(name, None)
        try:
            if name in self._values:
                own = spec.parse(name, self._values[name], self._reading.locate(name), spec.kind)
                self._entries[name] = Entry(spec.take(name, {**own, **members}, self._source))
            elif members:
                self._entries[name] = Entry(spec.take(name, members, self._source))
            else:
                self._entries.pop(name, None)
        except FlagValueError as error:
            drop_frames(error)
            self._rejected[name] = error
        self._edit(family)

    def _edit(self, flag: Flag[Any]) -> None:
        """
        Note what has to change for *flag*, or that it deviates when it is static and frozen.
        """
        entry = self._entries.get(flag.name)
        live = flag._layers.get(self._source)
        if flag.dynamic or not self._frozen or flag is self._fresh:
            if entry is not live:
                self._edits.append((flag, self._source, entry))
        elif entry is live:
            self._deviating.discard(flag.name)
        else:
            self._deviating.add(flag.name)


def _unchanged(old: Raw | None, new: Raw) -> bool:
    """
    Compare two raw values; of two documents' values with the same text, the native ones too.
    """
    if old is None or old != new:
        return False
    if not isinstance(new, Text) and not isinstance(old, Text):
        return True
    from dflag._json import same  # documents bring it with them

    return isinstance(new, Text) and isinstance(old, Text) and same(old.native, new.native)
