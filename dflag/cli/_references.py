"""
Which flags the modules of a program declare, and where each is read.

A read counts for certain where its name leads to the declaration. A name that may belong to something else, or that is
built, counts as a possible read: no flag is called unused for certain because of what cannot be followed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from dflag.cli._scan import ANYTHING, CALLED, GIVEN, Declared, Module, Name, Spot, Text, scan

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Iterator

    from dflag.cli._modules import Source

How: TypeAlias = Literal["read", "perhaps", "other"]
"""A read, what may be one, or another use of the flag: binding, setting, a validator."""

_DYNAMIC: Final = "dyn_"

_MADE: Final = {"FlagRegistry": "registry", "Snapshot": "snapshot"}
"""The types of dflag whose instances are followed, and what those are."""

_MAX_PARTS: Final = 20
"""The longest dotted name to follow: one that stands for a longer one of itself would grow for ever."""


class Reference(NamedTuple):
    """
    A place at which a flag is used.
    """

    module: Module
    spot: Spot
    how: How

    @property
    def is_test(self) -> bool:
        return self.module.source.is_test


@dataclass(slots=True, eq=False)
class Flag:
    """
    A declaration, and what refers to it.

    Attributes:
        name: The flag's name; None where it is built, or a library leaves it to the program.
        label: What to call it in messages.
        is_kept: Whether a comment asks to keep it.
        is_exported: Whether code outside of the program may read it: it is re-exported, or in an ``__all__``.
    """

    module: Module
    declared: Declared
    name: str | None
    label: str
    is_kept: bool
    is_exported: bool = False
    references: list[Reference] = field(default_factory=list)

    @property
    def expires(self) -> datetime.date | None:
        return self.declared.expires

    def reads(self, how: How = "read", *, in_tests: bool = False) -> list[Reference]:
        """
        Return the reads of one sort, of the program or of its tests.
        """
        return [each for each in self.references if each.how == how and each.is_test is in_tests]


@dataclass(slots=True)
class Program:
    """
    All of a program's flags.

    Attributes:
        flags: In the order of the modules.
        of_any: Reads by a name of which nothing is known, each of which may mean any flag.
        undeclared: Names that are read and that no declaration has, each with whether that is certain.
        problems: The modules that cannot be read.
        retired: The names of flags that are gone on purpose, each with the day since when, if it is known.
    """

    flags: list[Flag] = field(default_factory=list)
    of_any: list[Reference] = field(default_factory=list)
    undeclared: list[tuple[Module, Text, bool]] = field(default_factory=list)
    problems: list[Source] = field(default_factory=list)
    retired: dict[str, datetime.date | None] = field(default_factory=dict)

    def has_key(self, key: str) -> bool | None:
        """
        Return whether a declaration has the name, or a map its keys; None where one with a built name may.
        """
        if any(
            key == flag.name or (flag.declared.keys and fnmatchcase(key, flag.declared.keys)) for flag in self.flags
        ):
            return True
        patterns = (flag.declared.pattern for flag in self.flags if flag.name is None)
        return None if any(pattern is None or re.fullmatch(pattern, key) for pattern in patterns) else False


class _Entity(NamedTuple):
    """
    What a name stands for.

    Attributes:
        sort: ``"module"``, ``"dflag"``, ``"type"``, ``"registry"``, ``"snapshot"``, ``"class"``, ``"instance"``,
            ``"method"``, ``"flag"``.
        is_own: Whether the program has made it itself.
    """

    sort: str
    name: Name = ()
    module: Module | None = None
    flag: Flag | None = None
    is_own: bool = True


def read_program(sources: Iterable[Source]) -> Program:
    """
    Find the flags of all modules, and what refers to them.
    """
    modules = [scan(source) for source in sources]
    program = _Index(modules).program
    program.problems = [module.source for module in modules if module.source.problem is not None]
    return program


class _Index:
    """
    All modules of a program, with what their names stand for.
    """

    def __init__(self, modules: list[Module]) -> None:
        self._modules: Final = modules
        self._by_last: Final[dict[str, list[Module]]] = defaultdict(list)
        for module in modules:
            if module.source.names:
                self._by_last[module.source.names[-1]].append(module)
        self._variables: Final[dict[tuple[int, Name], Flag]] = {}
        self._members: Final[dict[tuple[int, str, str], Flag]] = {}
        self._resolved: Final[dict[tuple[int, Name], _Entity | None]] = {}
        self._by_attribute: Final[dict[str, list[Flag]]] = defaultdict(list)
        self._by_variable: Final[dict[str, list[Flag]]] = defaultdict(list)
        self.program: Final = Program()
        for module in modules:
            self.program.retired.update(module.retired)
            for declared in module.declared:
                self._add(module, declared)
        self._resolved.clear()  # what was asked for before all were known
        self._bind_all()
        self._export_all()
        self._built: Final = [flag for flag in self.program.flags if flag.name is None]
        self._by_pattern: Final[dict[tuple[str, str], list[Flag]]] = {}
        self._by_name: Final[dict[str, list[Flag]]] = defaultdict(list)
        for flag in self.program.flags:
            if flag.name is not None:
                self._by_name[flag.name].append(flag)
        for module in modules:
            self._read_names(module)
            self._read_texts(module)

    # --- declarations

    def _add(self, module: Module, declared: Declared) -> None:
        if not self._is_declaration(module, declared):
            return
        name = declared.name
        flag = Flag(module, declared, name, "", not module.source.kept.isdisjoint(declared.lines))
        for target in declared.targets:
            self._take_target(module, flag, target)
        if declared.escapes:
            flag.references.append(Reference(module, declared.spot, "read"))
        last = declared.targets[0][-1] if declared.targets else f"{declared.method} in line {declared.spot.line}"
        flag.label = flag.name or last
        self.program.flags.append(flag)

    def _take_target(self, module: Module, flag: Flag, target: Name) -> None:
        declared = flag.declared
        if len(target) == 1 and declared.class_name is not None and declared.function == 0:
            self._members[id(module), declared.class_name, target[0]] = flag
            self._by_attribute[target[0]].append(flag)
            prefix = self._prefix(module, declared.class_name)
            if prefix is not None and declared.receiver is None:
                flag.name = prefix + (declared.name or target[0])
        elif len(target) == 1:
            self._variables[id(module), target] = flag
            self._by_variable[target[0]].append(flag)
        else:
            self._by_attribute[target[-1]].append(flag)

    def _is_declaration(self, module: Module, declared: Declared) -> bool:
        if declared.receiver is None:
            return True
        if declared.name is None and declared.pattern is None:
            return False
        if (entity := self._resolve(module, declared.receiver)) is not None:
            return entity.sort == "registry"
        if declared.method.startswith(_DYNAMIC):
            return True
        # ``pool.map("a", ...)`` declares nothing. Of what cannot be followed, the name is a hint.
        beside = (each for each in module.declared if each.receiver == declared.receiver)
        hinted = re.search("flag|regist", declared.receiver[-1], re.IGNORECASE) is not None
        return hinted or any(each.method.startswith(_DYNAMIC) for each in beside)

    def _prefix(self, module: Module, class_name: str) -> str | None:
        """
        Return the prefix of a class of flags; None for any other class.
        """
        lineage, is_of_flags = self._lineage(module, class_name)
        prefixes = (where.classes.get(name, ([], None))[1] for where, name in lineage)
        return next((prefix for prefix in prefixes if prefix is not None), "") if is_of_flags else None

    def _lineage(self, module: Module, class_name: str) -> tuple[list[tuple[Module, str]], bool]:
        """
        Return a class and those it derives from, each once, and whether `dflag.Flags` is among them.
        """
        lineage, is_of_flags = [(module, class_name)], False
        for where, name in lineage:  # grows meanwhile
            for base in where.classes.get(name, ([], None))[0]:
                entity = self._resolve(where, base)
                if entity is None:
                    continue
                is_of_flags = is_of_flags or (entity.sort == "type" and entity.name == ("Flags",))
                if entity.sort == "class" and entity.module is not None:
                    found = entity.module, entity.name[0]
                    if found not in lineage:
                        lineage.append(found)
        return lineage, is_of_flags

    def _bind_all(self) -> None:
        for module in self._modules:
            for name, pattern, target, spot in module.bound:
                entity = self._resolve(module, target)
                if entity is None or entity.flag is None:
                    continue
                flag = entity.flag
                flag.references.append(Reference(module, spot, "other"))
                flag.name, flag.declared.pattern = name, pattern
                flag.label = name or flag.label

    def _export_all(self) -> None:
        for module in self._modules:
            for name in module.exported:
                self._export(module, name)
            if module.source.is_package:
                for local in module.imported:
                    self._export(module, local)

    def _export(self, module: Module, name: str) -> None:
        entity = self._resolve(module, (name,))
        if entity is not None and entity.flag is not None:
            entity.flag.is_exported = True

    # --- what names stand for

    def _resolve(self, module: Module, name: Name) -> _Entity | None:
        key = (id(module), name)
        if key not in self._resolved:
            self._resolved[key] = None  # until it is known: names may stand for each other in a circle
            self._resolved[key] = self._look_up(module, name)
        return self._resolved[key]

    def _look_up(self, module: Module, name: Name) -> _Entity | None:
        for length in range(len(name), 0, -1):
            flag = self._variables.get((id(module), name[:length]))
            if flag is not None:
                return self._follow(_Entity("flag", flag=flag), name[length:])
            said = module.assigned.get(name[:length])
            if said is not None and len(said) + len(name) - length <= _MAX_PARTS:
                found = self._resolve(module, (*said, *name[length:]))
                if found is not None:
                    return found
        return self._follow(self._head(module, name[0]), name[1:])

    def _head(self, module: Module, name: str) -> _Entity | None:
        if name == "?dflag":
            return _Entity("dflag")
        if name in module.classes:
            return _Entity("class", (name,), module)
        if name in module.imported:
            return self._member_of(module, *module.imported[name])
        if (path := module.modules.get(name)) is not None:
            return _Entity("dflag") if path == ("dflag",) else _Entity("module", path, module)
        for origin in module.stars:
            if (found := self._member_of(module, origin, name)) is not None and found.sort != "module":
                return found
        return None

    def _member_of(self, module: Module, origin: Name, name: str) -> _Entity | None:
        if origin == ("dflag",):
            return _Entity("type", (name,))
        other = self._find(module, origin)
        if other is not None and other is not module:
            found = self._resolve(other, (name,))
            if found is not None:
                return found
        path = (*origin, name)
        return _Entity("module", path, module) if self._find(module, path) is not None else None

    def _find(self, near: Module, path: Name) -> Module | None:
        """
        Find the module of a dotted path: of several, the one that shares most of its way with the importing one.
        """
        size = len(path)
        fitting = [
            each for each in self._by_last.get(path[-1] if path else "", ()) if each.source.names[-size:] == path
        ]
        return max(fitting, key=lambda each: _shared(each.source.names, near.source.names), default=None)

    def _follow(self, entity: _Entity | None, rest: Name) -> _Entity | None:
        for number, part in enumerate(rest):
            if entity is None:
                return None
            if entity.sort == "module" and entity.module is not None:
                return self._in_module(entity.module, entity.name, rest[number:])
            entity = self._step(entity, part)
        return entity

    def _in_module(self, near: Module, path: Name, rest: Name) -> _Entity | None:
        deeper = (*path, rest[0])
        if self._find(near, deeper) is not None:
            return self._follow(_Entity("module", deeper, near), rest[1:])
        other = self._find(near, path)
        return None if other is None else self._resolve(other, rest)

    def _step(self, entity: _Entity, part: str) -> _Entity | None:
        sort, is_instance = entity.sort, part in (CALLED, GIVEN)
        if sort in ("class", "instance"):
            return self._member(entity, part)
        if sort == "dflag":
            return _Entity("type", (part,))
        if sort == "registry" and part in ("snapshot", "pinned"):
            return entity._replace(sort="method", name=("snapshot",))
        if sort == "method" and is_instance:
            return entity._replace(sort=entity.name[0], name=entity.name[1:])
        made = _MADE.get(entity.name[0]) if sort == "type" and is_instance else None
        return None if made is None else _Entity(made, is_own=part == CALLED)

    def _member(self, entity: _Entity, part: str) -> _Entity | None:
        if part in (CALLED, GIVEN):
            return entity._replace(sort="instance")
        if part in ("current", "from_snapshot"):
            return entity._replace(sort="method", name=("instance", entity.name[0]))
        if entity.module is None:
            return None
        lineage, is_of_flags = self._lineage(entity.module, entity.name[0])
        for module, name in lineage:
            flag = self._members.get((id(module), name, part))
            if flag is not None:
                return _Entity("flag", flag=flag)
        return _Entity("registry") if part == "registry" and is_of_flags else None

    # --- reads

    def _read_names(self, module: Module) -> None:
        for (origin, name), spot in module.shared:
            entity = self._member_of(module, origin, name)
            if entity is not None and entity.flag is not None:
                entity.flag.references.append(Reference(module, spot, "read"))
        for load in module.loads:
            last = load.name[-1]
            is_known = last in self._by_attribute or last in self._by_variable
            if not is_known and last not in module.imported and load.name not in module.assigned:
                continue
            how: How = "other" if load.is_neutral else "read"
            entity = self._resolve(module, load.name)
            if entity is not None:
                if entity.flag is not None:
                    entity.flag.references.append(Reference(module, load.spot, how))
                continue
            if len(load.name) == 1:
                continue
            for flag in self._by_attribute.get(last, ()):
                flag.references.append(Reference(module, load.spot, how))
            for flag in self._by_variable.get(last, ()):
                flag.references.append(Reference(module, load.spot, "perhaps"))

    def _read_texts(self, module: Module) -> None:
        for text in module.texts:
            entity = None if text.receiver is None else self._resolve(module, text.receiver)
            is_source = entity is not None and entity.sort in ("registry", "snapshot")
            if text.text is None:
                holders = ("class", "instance", "module") if text.how == "attribute" else ("registry", "snapshot")
                if entity is None or entity.sort in holders:
                    self._read_built(module, text, is_followed=entity is not None)
                continue
            how: How = "perhaps"
            if text.how == "write":
                how = "other"
            elif text.how == "read" and is_source:
                how = "read"
            elif text.how == "read" and entity is not None:
                continue  # of something that is known, and no registry
            for flag in self._named(text):
                flag.references.append(Reference(module, text.spot, how))
            if entity is not None and is_source and text.how in ("read", "write"):
                self._note_undeclared(module, text, entity)

    def _named(self, text: Text) -> Iterator[Flag]:
        if text.text is None:
            return
        yield from self._by_name.get(text.text, ())
        if text.how == "attribute":
            yield from self._by_attribute.get(text.text, ())
            yield from self._by_variable.get(text.text, ())
        for flag in self._built if text.how != "perhaps" else ():
            if flag.declared.pattern and re.fullmatch(flag.declared.pattern, text.text):
                yield flag

    def _read_built(self, module: Module, text: Text, *, is_followed: bool) -> None:
        pattern, reference = text.pattern or ANYTHING, Reference(module, text.spot, "perhaps")
        if pattern.replace(ANYTHING, ""):
            for flag in self._fitting(pattern, text.how):
                flag.references.append(reference)
        elif is_followed:  # else any item of any mapping
            self.program.of_any.append(reference)

    def _fitting(self, pattern: str, how: str) -> list[Flag]:
        if (pattern, how) not in self._by_pattern:
            self._by_pattern[pattern, how] = [flag for flag in self.program.flags if _fits(flag, pattern, how)]
        return self._by_pattern[pattern, how]

    def _note_undeclared(self, module: Module, text: Text, entity: _Entity) -> None:
        known = self.program.has_key(text.text or "")
        if known is not True:
            self.program.undeclared.append((module, text, entity.is_own and known is False))


def _fits(flag: Flag, pattern: str, how: str) -> bool:
    names = set() if flag.name is None else {flag.name}
    if how == "attribute":
        names |= {target[-1] for target in flag.declared.targets}
    return flag.name is None or any(re.fullmatch(pattern, name) for name in names)


def _shared(one: Name, other: Name) -> int:
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
