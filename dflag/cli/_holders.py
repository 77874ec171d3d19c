"""
The holders of flags: modules, classes and registries, each with the flags that can be read through it.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dflag.cli._flag_usages import FlagUsage
    from dflag.cli._resolving import Entity, Resolver
    from dflag.cli._scopes import Name

_Holder: TypeAlias = "tuple[int, Name]"
"""The id of a module, and the name of the holder in it; an empty name for the module itself."""


class Holders:
    """
    The holders of all flags of a program.
    """

    def __init__(self, names: Resolver, flags: Iterable[FlagUsage]) -> None:
        self._names: Final = names
        self._all: Final = list(flags)
        self._held: Final[dict[_Holder, list[FlagUsage]]] = defaultdict(list)
        self._loose: Final[list[FlagUsage]] = []  # flags whose registry may be any
        for flag in self._all:
            self._add(flag)

    def flags_of(self, entity: Entity) -> list[FlagUsage]:
        """
        Return the flags that can be read through a module, a class, an instance, a registry or a snapshot.
        """
        if entity.sort in ("registry", "snapshot"):
            holders = self._registries(entity)
            return self._all if holders is None else [*self._loose, *self._held_by(holders)]
        if entity.module is None:
            return []
        if entity.sort == "module":
            found = self._names.find(entity.module, entity.name)
            return [] if found is None else self._held[id(found), ()]
        if entity.sort not in ("class", "instance"):
            return []
        lineage = self._names.lineage(entity.module, entity.name[0])
        flags = list(self._held_by((id(where), (key,)) for where, key in lineage.classes))
        if entity.sort == "class" and lineage.is_of_flags:
            flags += self.flags_of(self._names.registry_of(entity.module, entity.name[0]))
        return flags

    def _held_by(self, holders: Iterable[_Holder]) -> Iterator[FlagUsage]:
        for holder in holders:
            yield from self._held.get(holder, ())

    def _add(self, flag: FlagUsage) -> None:
        module, declared = flag.module, flag.declared
        holders: set[_Holder] = {(id(module), ())}
        classes = {declared.class_name or "", *(target[0] for target in declared.targets if len(target) > 1)}
        for name in classes & module.classes.keys():
            holders.update((id(module), (outer,)) for outer in accumulate(name.split("."), "{}.{}".format))
        registries = self._registries_of(flag)
        if registries is None:
            self._loose.append(flag)
        for holder in holders.union(registries or ()):
            self._held[holder].append(flag)

    def _registries_of(self, flag: FlagUsage) -> list[_Holder] | None:
        """
        Return the registry of a flag as a holder, with one more for each class that it derives from; None if unknown.
        """
        module, declared = flag.module, flag.declared
        if declared.receiver is not None:
            entity = self._names.resolve(module, declared.receiver)
        elif declared.class_name is not None and self._names.lineage(module, declared.class_name).is_of_flags:
            entity = self._names.registry_of(module, declared.class_name)
        else:
            return None
        return None if entity is None or entity.sort == "other" else self._registries(entity)

    def _registries(self, entity: Entity) -> list[_Holder] | None:
        if entity.origin is None:
            return [] if entity.is_own else None
        where, name = entity.origin
        if name[0] in where.classes and len(name) == 1:
            return [(id(each), (key,)) for each, key in self._names.lineage(where, name[0]).classes]
        return [(id(where), name)]
