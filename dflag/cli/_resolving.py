"""
Finds what the names of a program stand for. A name leads from module to module, by imports, assignments and the results
of functions.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from dflag.cli._module_records import CALLED, GIVEN
from dflag.cli._scopes import is_local

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dflag.cli._flag_usages import FlagUsage
    from dflag.cli._module_records import Module
    from dflag.cli._scopes import Name


_MOST_TIMES: Final = 2
"""How often an assignment is followed for one name, which ``node = node.parent`` would make grow for ever."""

_MOST_STEPS: Final = 50
"""How many names may be resolved within each other. Each takes up to twelve nested calls."""

_MOST_PENDING: Final = 1_000
"""How many names that stand for each other in circles may be resolved for one name."""


class Entity(NamedTuple):
    """
    A thing that a name may stand for.

    Attributes:
        sort: ``"module"``, ``"dflag"``, ``"type"``, ``"registry"``, ``"snapshot"``, ``"class"``, ``"instance"``,
            ``"method"``, ``"function"``, ``"flag"``, ``"value"`` of a flag, or ``"other"`` for what is known to be none
            of them.
        flags: The flag; several if each branch of a condition declares one, or if the name may stand for any of them.
        is_own: Whether the program itself has made it, and the name stands for nothing else.
        origin: The first name of a registry, or its class; for a snapshot that of its registry. None if it has none or
            comes from elsewhere.
        others: The other entities that the name may stand for, if it is assigned several times.
    """

    sort: str
    name: Name = ()
    module: Module | None = None
    flags: tuple[FlagUsage, ...] = ()
    is_own: bool = True
    origin: tuple[Module, Name] | None = None
    others: tuple[Entity, ...] = ()

    @property
    def alternatives(self) -> tuple[Entity, ...]:
        """
        All entities that the name may stand for.
        """
        return (self._replace(others=()), *self.others) if self.others else (self,)


class Lineage(NamedTuple):
    """
    The bases of a class, direct or not.

    Attributes:
        classes: The class, and the classes of the program among its bases.
        is_of_flags: Whether `dflag.Flags` is among its bases.
        is_registry: Whether `dflag.FlagRegistry` is among its bases.
        is_known: Whether all of its bases are known.
    """

    classes: list[tuple[Module, str]]
    is_of_flags: bool
    is_registry: bool
    is_known: bool


class Resolver:
    """
    Finds what the names in the modules of a program stand for.
    """

    def __init__(self, modules: list[Module]) -> None:
        self._by_last: Final[dict[str, list[Module]]] = defaultdict(list)
        for module in modules:
            if module.source.names:
                self._by_last[module.source.names[-1]].append(module)
        self._variables: Final[dict[tuple[int, Name], list[FlagUsage]]] = defaultdict(list)
        self._members: Final[dict[tuple[Module, str, str], list[FlagUsage]]] = defaultdict(list)
        self._of_subclasses: Final[dict[tuple[int, Name], list[FlagUsage]]] = defaultdict(list)
        self._resolved: Final[dict[tuple[int, Name], Entity | None]] = {}
        self._pending: Final[set[tuple[int, Name]]] = set()  # names that are being resolved, or depend on such a name
        self._is_cut = False  # whether the current result depends on a pending name, or on a name beyond the limits
        self._following: Counter[tuple[int, Name]] = Counter()  # names whose assignments are being followed
        self._steps = 0

    def add(self, module: Module, target: Name, flag: FlagUsage) -> None:
        """
        Record that a variable or an attribute of a class, in this module or another, holds a flag.
        """
        if len(target) == 1:
            self._variables[id(module), target].append(flag)
        elif (holder := self.resolve(module, target[:-1])) is not None and holder.module is not None:
            if holder.sort != "module":
                self._members[holder.module, holder.name[0], target[-1]].append(flag)
            elif (home := self.find(holder.module, holder.name)) is not None:
                self._variables[id(home), target[-1:]].append(flag)

    def has_variable(self, module: Module, name: Name) -> bool:
        """
        Return whether a name is that of a variable that holds a flag.
        """
        return (id(module), name) in self._variables

    def forget(self) -> None:
        """
        Discard all results, now that all flags are known, and record for each class the flags of its subclasses.
        """
        self._resolved.clear()
        for (module, class_name, name), flags in self._members.items():
            for where, key in self.lineage(module, class_name).classes[1:]:
                self._of_subclasses[id(where), (key, name)] += flags

    def resolve(self, module: Module, name: Name) -> Entity | None:
        """
        Return what a name of a module stands for; None if that is not known.
        """
        key = (id(module), name)
        if key in self._resolved:
            self._is_cut = self._is_cut or key in self._pending
        elif self._steps == _MOST_STEPS or len(self._pending) == _MOST_PENDING:
            self._is_cut = True
            return None
        else:
            self._resolve(module, key)
        return self._resolved[key]

    def _resolve(self, module: Module, key: tuple[int, Name]) -> None:
        """
        Resolve a name that is not resolved yet, and the names that it depends on.

        In a circle each name is looked up once. The result of the first name is then complete. The others may lack what
        they get from names above them, so their results are discarded, and they are resolved again when needed. Such a
        result is kept only if neither the first name nor its own name stands for anything.
        """
        was_cut, self._is_cut = self._is_cut, False
        self._resolved[key] = None
        self._pending.add(key)
        self._steps += 1
        found = self._look_up(module, key[1])
        self._steps -= 1
        if found is not None and module.bindings.get(key[1][0], 0) > 1:
            found = found._replace(is_own=False)
        self._resolved[key] = found
        if not self._is_cut:
            self._pending.remove(key)
        self._is_cut = self._is_cut or was_cut
        if self._steps == 0:
            self._pending.discard(key)
            for each in self._pending:
                if found is not None or self._resolved[each] is not None:
                    del self._resolved[each]
            self._pending.clear()
            self._is_cut = False

    def _look_up(self, module: Module, name: Name) -> Entity | None:
        for length in range(len(name), 0, -1):
            flags = self._variables.get((id(module), name[:length]))
            if flags is not None:
                return self.follow(Entity("flag", flags=tuple(flags)), name[length:])
            found = self._resolve_assigned(module, name[:length], name[length:])
            if found is not None:
                return found
        return self.follow(self._head(module, name[0]), name[1:])

    def _resolve_assigned(self, module: Module, name: Name, rest: Name) -> Entity | None:
        """
        Return what *name* followed by *rest* stands for, according to the assignments to *name*.
        """
        step = (id(module), name)
        if name not in module.assigned or step in self._of_subclasses:  # `_attribute` adds the flags of subclasses
            return None
        if self._following[step] == _MOST_TIMES:
            self._is_cut = True
            return None
        self._following[step] += 1
        try:
            found = _joined(self.resolve(module, (*said, *rest)) for said in module.assigned[name])
        finally:
            self._following -= Counter((step,))  # removes a count that falls to zero
        return None if found is None else _made_under(found, module, name)

    def _head(self, module: Module, name: str) -> Entity | None:
        if name == "?dflag":
            return Entity("dflag")
        if name in module.classes:
            return self._class(module, name)
        if (name,) in module.functions:
            return Entity("function", (name,), module)
        if name in module.imported:
            origin, original = module.imported[name]
            return self.member_of(module, origin, original)
        if name in module.modules:
            path = module.modules[name]
            return Entity("dflag") if path == ("dflag",) else Entity("module", path, module)
        found = (self.member_of(module, origin, name) for origin in module.stars)
        return next((each for each in found if each is not None and each.sort != "module"), None)

    def _class(self, module: Module, name: str) -> Entity:
        if self.lineage(module, name).is_registry:
            return Entity("registry", (name,), module, origin=(module, (name,)))
        return Entity("class", (name,), module)

    def member_of(self, module: Module, origin: Name, name: str) -> Entity | None:
        """
        Return what a name that *module* imports from another module stands for.
        """
        if origin == ("dflag",):
            return Entity("type", (name,))
        other = self.find(module, origin)
        if other is not None and other is not module:
            found = self.resolve(other, (name,))
            if found is not None:
                return found
        path = (*origin, name)
        return Entity("module", path, module) if self.find(module, path) is not None else None

    def imported_by(self, module: Module) -> Iterator[tuple[Module, str]]:
        """
        Yield each name that a module imports, with the module to look it up in.
        """
        aliases = (local for local, path in module.modules.items() if len(path) > 1)
        yield from ((module, local) for local in (*module.imported, *aliases) if not is_local(local))
        pending = [module]
        for each in pending:  # grows during the loop
            for origin in each.stars:
                other = self.find(each, origin)
                if other is not None and other not in pending:
                    pending.append(other)
                    yield from ((other, name) for name in _public(other))

    def find(self, near: Module, path: Name) -> Module | None:
        """
        Find the module of a dotted path; of several, the one whose path has most in common with that of *near*.
        """
        size = len(path)
        fitting = [
            each for each in self._by_last.get(path[-1] if path else "", ()) if each.source.names[-size:] == path
        ]
        return max(fitting, key=lambda each: _shared(each.source.names, near.source.names), default=None)

    def follow(self, entity: Entity | None, rest: Name) -> Entity | None:
        """
        Return what the attributes of an entity, and calls of them, lead to.
        """
        return None if entity is None else _joined(self._follow(each, rest) for each in entity.alternatives)

    def _follow(self, entity: Entity | None, rest: Name) -> Entity | None:
        for number, part in enumerate(rest):
            if entity is None:
                return None
            if entity.others:
                return self.follow(entity, rest[number:])
            if entity.sort == "module" and entity.module is not None:
                return self._in_module(entity.module, entity.name, rest[number:])
            entity = self._step(entity, part)
        return entity

    def _in_module(self, near: Module, path: Name, rest: Name) -> Entity | None:
        deeper = (*path, rest[0])
        if self.find(near, deeper) is not None:
            return self.follow(Entity("module", deeper, near), rest[1:])
        other = self.find(near, path)
        return None if other is None else self.resolve(other, rest)

    def _step(self, entity: Entity, part: str) -> Entity | None:
        sort = entity.sort
        if sort in ("class", "instance"):
            return self._member(entity, part)
        if sort == "registry":
            return self._part_of_registry(entity, part)
        if sort == "function" and entity.module is not None:
            return self.resolve(entity.module, (*entity.name, part))
        if sort == "dflag":
            return Entity("type", (part,))
        return self._made(entity, part) if part in (CALLED, GIVEN) else None

    def _made(self, entity: Entity, part: str) -> Entity | None:
        """
        Return what a call of a method or type returns, or what an instance of a type is.
        """
        sort = entity.sort
        if sort == "method":
            return entity._replace(sort=entity.name[0], name=entity.name[1:])
        made = {"FlagRegistry": "registry", "Snapshot": "snapshot"}.get(entity.name[0]) if sort == "type" else None
        return None if made is None else Entity(made, is_own=part == CALLED)

    def _part_of_registry(self, entity: Entity, part: str) -> Entity | None:
        if part in ("snapshot", "pinned"):
            return entity._replace(sort="method", name=("snapshot",))
        if entity.module is None:  # it is not a class of the program
            return None
        if part in (CALLED, GIVEN):
            return entity._replace(is_own=entity.is_own and part == CALLED)
        return self._attribute(entity.module, entity.name[0], part)

    def _member(self, entity: Entity, part: str) -> Entity | None:
        if part in (CALLED, GIVEN):
            return entity._replace(sort="instance")
        if part in ("current", "from_snapshot"):
            return entity._replace(sort="method", name=("instance", entity.name[0]))
        if entity.module is None:
            return None
        found = self._attribute(entity.module, entity.name[0], part)
        is_of_flags = self.lineage(entity.module, entity.name[0]).is_of_flags
        if found is None and part == "registry" and is_of_flags:
            return self.registry_of(entity.module, entity.name[0])
        if found is not None and found.flags and is_of_flags and entity.sort == "instance":
            return found._replace(sort="value")
        return found

    def _attribute(self, module: Module, class_name: str, name: str) -> Entity | None:
        """
        Return what an attribute of a class or its instances stands for, instances of subclasses included.
        """
        found = self._inherited(module, class_name, name)
        flags = self._of_subclasses.get((id(module), (class_name, name)))
        return found if found is None or flags is None else _joined((found, Entity("flag", flags=tuple(flags))))

    def _inherited(self, module: Module, class_name: str, name: str) -> Entity | None:
        """
        Return what an attribute stands for in a class, or in the first of its bases that has it.
        """
        lineage = self.lineage(module, class_name)
        for where, key in lineage.classes:
            if any(base[-1] == "Protocol" for base in where.classes[key].bases):
                break  # a class that fits a protocol need not derive from it
            found = self._own(where, key, name)
            if found is not None:
                return found
            if (key, name) in where.stored and lineage.is_known:
                return Entity("other")
        return None

    def _own(self, module: Module, class_name: str, name: str) -> Entity | None:
        """
        Return what an attribute stands for in a class, without its bases.
        """
        flags = self._members.get((module, class_name, name))
        if flags is not None:
            return Entity("flag", flags=tuple(flags))
        found = _joined(self.resolve(module, said) for said in module.assigned.get((class_name, name), ()))
        if found is not None:
            return _made_under(found, module, (class_name, name))
        if (inner := f"{class_name}.{name}") in module.classes:
            return self._class(module, inner)
        is_function = (class_name, name) in module.functions
        return Entity("function", (class_name, name), module) if is_function else None

    def lineage(self, module: Module, class_name: str) -> Lineage:
        """
        Return a class and the classes that it derives from, each once.
        """
        classes, types, is_known = [(module, class_name)], set(), True
        for where, name in classes:  # grows during the loop
            for base in where.classes[name].bases if name in where.classes else ():
                entity = self.resolve(where, base)
                if entity is not None and entity.sort == "type":
                    types.add(entity.name[0])
                elif entity is not None and entity.sort in ("class", "registry") and entity.module is not None:
                    if (entity.module, entity.name[0]) not in classes:
                        classes.append((entity.module, entity.name[0]))
                else:
                    is_known = is_known and base[-1] in ("object", "Generic")
        return Lineage(classes, "Flags" in types, "FlagRegistry" in types, is_known)

    def registry_of(self, module: Module, class_name: str) -> Entity:
        """
        Return the registry of a class of flags: the one that it or a base names, else that of its topmost base.
        """
        classes = self.lineage(module, class_name).classes
        for where, key in classes:
            name = where.classes[key].registry
            if name is not None:
                found = self.resolve(where, name)
                if found is not None and found.sort == "class":
                    found = self.resolve(where, (*name, "registry"))
                return Entity("registry", is_own=False) if found is None else found
        where, key = next(each for each in reversed(classes) if self.lineage(*each).is_of_flags)
        return Entity("registry", origin=(where, (key, "registry")))

    def is_of_python(self, entity: Entity) -> bool:
        """
        Return whether an entity is a module of the standard library, and not one of the program with the same name.
        """
        if entity.sort != "module" or entity.module is None or entity.name[0] not in sys.stdlib_module_names:
            return False
        return self.find(entity.module, entity.name) is None

    def is_known(self, entity: Entity) -> bool:
        """
        Return whether all bases of a class, or of the class of an instance, are known; True for other entities.
        """
        if entity.sort not in ("class", "instance") or entity.module is None:
            return True
        return self.lineage(entity.module, entity.name[0]).is_known


def _joined(found: Iterable[Entity | None]) -> Entity | None:
    """
    Return several entities as one: the first one, if possible of a flag, with the flags of all; None if there is none.

    If one of them is None, the name may stand for something else too.
    """
    several = list(found)
    known = list(dict.fromkeys(one for each in several if each is not None for one in each.alternatives))
    if None in several:
        known = [each._replace(is_own=False) for each in known]
    if len(known) < 2:
        return known[0] if known else None
    first, *others = sorted(known, key=lambda each: not each.flags)
    flags = dict.fromkeys(flag for each in known for flag in each.flags)
    return first._replace(flags=tuple(flags), others=tuple(others))


def _made_under(entity: Entity, module: Module, name: Name) -> Entity:
    """
    Return an entity that is assigned to a name. The first name of a new registry or snapshot identifies it.
    """
    is_new = entity.sort in ("registry", "snapshot") and entity.is_own and entity.origin is None
    return entity._replace(origin=(module, name)) if is_new else entity


def _public(module: Module) -> Iterable[str]:
    """
    Return the names that ``import *`` takes from a module.
    """
    return module.exported or [name for name in module.bindings if not is_local(name) and not name.startswith("_")]


def _shared(one: Name, other: Name) -> int:
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
