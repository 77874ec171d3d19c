"""
Follows registries, snapshots, classes of flags and their instances that are passed as arguments.

They go to functions of the program, whose parameters then stand for them, or to code that is not here: code outside of
the modules that are read.
"""

from __future__ import annotations

import builtins
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from dflag.cli._flag_usages import Reference
from dflag.cli._module_records import SET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dflag.cli._module_records import Module, Passed
    from dflag.cli._resolving import Entity, Resolver
    from dflag.cli._scopes import Name

_COPYING: Final = frozenset({"dict", "vars"})
"""The builtin functions that return all values of their argument. Other builtin functions keep nothing of it."""

_HARMLESS: Final = (("dflag",), ("typing",))
"""The packages whose functions read no flag for the program."""


class Handovers:
    """
    Records where the objects that hold flags are passed to.
    """

    def __init__(self, names: Resolver, modules: Sequence[Module]) -> None:
        self._names: Final = names
        self._given: Final[dict[int, dict[Name, list[Entity]]]] = {}  # by module; most have none
        self._passed: Final = [
            (module, each) for module in modules if not module.source.is_test for each in module.passed
        ]
        self._follow(with_vague=False)
        self._follow(with_vague=True)

    def entities(self, module: Module, name: Name, *, with_vague: bool = True) -> list[Entity]:
        """
        Return what a name stands for. A parameter stands for the given arguments, or else for its annotation.
        """
        found = self._names.resolve(module, name)
        if found is not None and not all(map(_is_vague, found.alternatives)):
            return list(found.alternatives)
        given = list(self._given_to(module, name, set()))
        return given or ([found] if found is not None and with_vague else [])

    def away(self) -> Iterator[tuple[Entity, Reference]]:
        """
        Yield each entity that is passed to code that is not here, with each place at which it is.
        """
        for module, passed in self._passed:
            for entity in self._holders(module, passed, with_vague=True):
                if self._parameters(module, passed) is None:
                    yield entity, Reference(module, passed.position, "perhaps")

    def _follow(self, *, with_vague: bool) -> None:
        """
        Pass what arguments stand for on to parameters, until nothing new is found.
        """
        is_new = True
        while is_new:
            is_new = False
            for module, passed in self._passed:
                for entity in self._holders(module, passed, with_vague=with_vague):
                    for where, parameter in self._parameters(module, passed) or ():
                        before = self._given.setdefault(id(where), defaultdict(list))[parameter]
                        if entity not in before:
                            before.append(entity)
                            is_new = True

    def _holders(self, module: Module, passed: Passed, *, with_vague: bool) -> list[Entity]:
        """
        Return the entities that an argument stands for, if they hold flags.
        """
        is_list_of_types = passed.is_within and passed.called is None  # or a table of classes; neither has values
        found = self.entities(module, passed.name, with_vague=with_vague)
        return [each for each in found if self._is_holder(each) and not (is_list_of_types and each.sort == "class")]

    def _given_to(self, module: Module, name: Name, seen: set[Name]) -> Iterator[Entity]:
        given = self._given.get(id(module))
        if given is None:
            return
        for length in range(len(name), 0, -1):
            for entity in given.get(name[:length], ()):
                found = self._names.follow(entity, name[length:])
                if found is not None:
                    yield found
            if name[:length] not in seen:  # or ``node = node.parent`` would grow for ever
                seen.add(name[:length])
                for said in module.assigned.get(name[:length], ()):
                    yield from self._given_to(module, (*said, *name[length:]), seen)

    def _is_holder(self, entity: Entity) -> bool:
        return entity.sort in ("registry", "snapshot") or self._is_of_flags(entity)

    def _is_of_flags(self, entity: Entity) -> bool:
        return (
            entity.sort in ("class", "instance")
            and entity.module is not None
            and self._names.lineage(entity.module, entity.name[0]).is_of_flags
        )

    def _parameters(self, module: Module, passed: Passed) -> list[tuple[Module, Name]] | None:
        """
        Return the parameters that take an argument; None if the code of the function, or of the object, is not here.
        """
        called = passed.called
        if called is None:
            return None
        if passed.place == SET:
            return [] if self.entities(module, called, with_vague=False) else None  # [] for an object of the program
        if self._is_harmless(module, called):
            return []
        function = self._function(module, called)
        if function is None or function.module is None or passed.is_within:
            return None
        parameters = function.module.functions[function.name]
        taking = parameters.taking(passed.place, is_method=parameters.names[:1] == [function.name[0]])
        return [(function.module, (name,)) for name in taking]

    def _function(self, module: Module, called: Name) -> Entity | None:
        """
        Return the function of the program that a call runs; None if it runs no known one.
        """
        entity = self._names.resolve(module, called)
        if entity is not None and entity.sort in ("class", "registry"):
            entity = self._names.resolve(module, (*called, "__init__"))
        return entity if entity is not None and entity.sort == "function" else None

    def _is_harmless(self, module: Module, called: Name) -> bool:
        """
        Return whether a call runs code of dflag or typing, or a builtin function that keeps nothing of its argument.
        """
        first = called[0]
        if len(called) == 1 and hasattr(builtins, first) and not module.bindings.get(first):
            return first not in _COPYING
        origin = module.modules.get(first) or module.imported.get(first, ((), ""))[0]
        if origin[:1] in _HARMLESS:
            return True
        entity = self._names.resolve(module, called)
        if entity is not None:
            return entity.sort in ("dflag", "method", "type")
        receiver = self._names.resolve(module, called[:-1]) if len(called) > 1 else None
        return receiver is not None and (receiver.sort == "flag" or self._is_holder(receiver))


def _is_vague(entity: Entity) -> bool:
    """
    Return whether an entity is an unknown registry or snapshot, as an annotation gives it, or one that holds no flags.
    """
    is_any = entity.sort in ("registry", "snapshot") and entity.origin is None and not entity.is_own
    return is_any or entity.sort == "other"
