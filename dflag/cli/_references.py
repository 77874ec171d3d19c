"""
Which flags the modules of a program declare, and where each is read.

A read counts for certain where its name leads to the declaration. A name that may belong to something else, or that is
built, counts as a possible read: no flag is called unused for certain because of what cannot be followed.
"""

from __future__ import annotations

import builtins
import re
from collections import defaultdict
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from dflag.cli._built_texts import ANYTHING
from dflag.cli._scan import CALLED, GIVEN, Declared, Mention, Module, Position, scan
from dflag.cli._scopes import Name, is_local

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Iterator

    from dflag.cli._modules import ModuleSource

How: TypeAlias = Literal["read", "perhaps", "other"]
"""A read, what may be one, or another use of the flag: binding, setting, a validator."""

_DYNAMIC: Final = "dyn_"

_SOURCES: Final = frozenset({"registry", "snapshot"})
"""The sorts of what is asked for the name of a flag."""

_HAVE_ATTRIBUTES: Final = frozenset({"class", "instance", "module"})
"""The sorts of what ``getattr`` asks for an attribute."""

_HOLDERS: Final = frozenset({"class", "module", "registry"})
"""The sorts of what holds flags, and not their values."""

_SEPARATOR: Final = re.compile("[.:]")
"""What stands between the parts of a dotted name; ``pkgutil.resolve_name`` has a colon behind the module."""

_MAX_PARTS: Final = 20
"""The longest dotted name to follow: one that stands for a longer one of itself would grow for ever."""


class Reference(NamedTuple):
    """
    A place at which a flag is used.
    """

    module: Module
    position: Position
    how: How

    @property
    def is_test(self) -> bool:
        return self.module.source.is_test


@dataclass(slots=True, eq=False)
class FlagUsage:
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

    def reads(self, how: How = "read", *, in_tests: bool = False) -> list[Reference]:
        """
        Return the reads of one sort, of the program or of its tests.
        """
        return [each for each in self.references if each.how == how and each.is_test is in_tests]

    @property
    def is_of_class(self) -> bool:
        """
        Whether it stands in the body of a class without a registry, so that instances may have its value.
        """
        return self.declared.class_name is not None and self.declared.receiver is None

    def may_be(self, name: str) -> bool:
        """
        Return whether the flag has the name, or may have it where its own is built.
        """
        pattern = self.declared.pattern
        return self.name == name or (self.name is None and pattern is not None and bool(re.fullmatch(pattern, name)))


@dataclass(slots=True)
class Program:
    """
    All of a program's flags.

    Attributes:
        flags: In the order of the modules.
        of_any: Reads by a name of which nothing is known, each of which may mean any flag.
        undeclared: Names that are read and that no declaration has, each with whether that is certain.
        problems: The modules that cannot be read.
        bound: The names, or their patterns, under which flags of libraries are bound that are not here.
        is_open: Whether code that is not here gets a registry, and may declare any flag.
        retired: The names of flags that are gone on purpose, each with the day since when, if it is known.
    """

    flags: list[FlagUsage] = field(default_factory=list)
    of_any: list[Reference] = field(default_factory=list)
    undeclared: list[tuple[Module, Mention, bool]] = field(default_factory=list)
    problems: list[ModuleSource] = field(default_factory=list)
    bound: list[tuple[str | None, str | None]] = field(default_factory=list)
    is_open: bool = False
    retired: dict[str, datetime.date | None] = field(default_factory=dict)

    def is_secret(self, name: str) -> bool:
        """
        Return whether a declaration makes the flag of that name secret, one of several included.
        """
        return any(flag.declared.is_secret and flag.may_be(name) for flag in self.flags)

    def has_key(self, key: str) -> bool | None:
        """
        Return whether a declaration has the name, or a map its keys; None where one with a built name may.
        """
        if any(
            key == flag.name or (flag.declared.keys and fnmatchcase(key, flag.declared.keys)) for flag in self.flags
        ) or any(key == name for name, _ in self.bound):
            return True
        patterns = [flag.declared.pattern for flag in self.flags if flag.name is None]
        patterns += [pattern for name, pattern in self.bound if name is None]
        return None if any(pattern is None or re.fullmatch(pattern, key) for pattern in patterns) else False


class _Entity(NamedTuple):
    """
    What a name stands for.

    Attributes:
        sort: ``"module"``, ``"dflag"``, ``"type"``, ``"registry"``, ``"snapshot"``, ``"class"``, ``"instance"``,
            ``"method"``, ``"function"``, ``"flag"``, ``"value"`` of a flag, or ``"other"`` for what is known to be none
            of them.
        flags: The flag; several where each branch of a condition declares one.
        is_own: Whether the program has made it itself, and the name stands for nothing else.
    """

    sort: str
    name: Name = ()
    module: Module | None = None
    flags: tuple[FlagUsage, ...] = ()
    is_own: bool = True


def read_program(sources: Iterable[ModuleSource]) -> Program:
    """
    Find the flags of all modules, and what refers to them.
    """
    modules = [scan(source) for source in sources]
    program = _Index(modules).program
    program.problems = [module.source for module in modules if module.source.problem is not None]
    return program


class _Lineage(NamedTuple):
    """
    What a class derives from.

    Attributes:
        classes: The class, and those of the program that it derives from.
        is_of_flags: Whether `dflag.Flags` is among its bases.
        is_registry: Whether `dflag.FlagRegistry` is among them.
        is_known: Whether all of them are here.
    """

    classes: list[tuple[Module, str]]
    is_of_flags: bool
    is_registry: bool
    is_known: bool


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
        self._variables: Final[dict[tuple[int, Name], list[FlagUsage]]] = defaultdict(list)
        self._members: Final[dict[tuple[int, str, str], list[FlagUsage]]] = defaultdict(list)
        self._resolved: Final[dict[tuple[int, Name], _Entity | None]] = {}
        self._by_attribute: Final[dict[str, list[FlagUsage]]] = defaultdict(list)
        self._by_variable: Final[dict[str, list[FlagUsage]]] = defaultdict(list)
        self.program: Final = Program()
        for module in modules:
            self.program.retired.update(module.retired)
            for declared in module.declared:
                self._add(module, declared)
        self._resolved.clear()  # what was asked for before all were known
        self._bind_all()
        self._export_all()
        self._built: Final = [flag for flag in self.program.flags if flag.name is None]
        self._by_pattern: Final[dict[tuple[str, bool], list[FlagUsage]]] = {}
        self._by_name: Final[dict[str, list[FlagUsage]]] = defaultdict(list)
        for flag in self.program.flags:
            if flag.name is not None:
                self._by_name[flag.name].append(flag)
        self.program.is_open = any(self._hands_out(module) for module in modules if not module.source.is_test)
        fills_fields = any(module.fills_fields for module in modules)
        for module in modules:
            self._read_names(module)
            self._read_texts(module, [*module.texts, *(module.fields if fills_fields else ())])

    # --- declarations

    def _add(self, module: Module, declared: Declared) -> None:
        if not self._is_declaration(module, declared):
            return
        name = declared.name
        flag = FlagUsage(module, declared, name, "", not module.source.kept.isdisjoint(declared.lines))
        for target in declared.targets:
            self._take_target(module, flag, target)
        if declared.escapes:
            flag.references.append(Reference(module, declared.position, "read"))
        last = declared.labels[0] if declared.targets else f"{declared.method} in line {declared.position.line}"
        flag.label = flag.name or last
        self.program.flags.append(flag)

    def _take_target(self, module: Module, flag: FlagUsage, target: Name) -> None:
        if len(target) == 1:
            self._variables[id(module), target].append(flag)
            if not is_local(target[0]):
                self._by_variable[target[0]].append(flag)
            return
        self._by_attribute[target[-1]].append(flag)
        if len(target) == 2 and target[0] in module.classes:
            self._members[id(module), target[0], target[1]].append(flag)
            if flag.declared.class_name == target[0] and flag.declared.receiver is None:
                self._name_by_class(module, flag, *target)

    def _name_by_class(self, module: Module, flag: FlagUsage, class_name: str, attribute: str) -> None:
        prefix = self._prefix(module, class_name)
        if prefix is None:
            return
        text, pattern = prefix
        if text is None:
            flag.declared.pattern = f"{pattern or ANYTHING}{re.escape(flag.declared.name or attribute)}"
        else:
            flag.name = text + (flag.declared.name or attribute)

    def _is_declaration(self, module: Module, declared: Declared) -> bool:
        if declared.receiver is None:
            return True
        if declared.name is None and declared.pattern is None:
            return False
        if (entity := self._resolve(module, declared.receiver)) is not None and self._is_known(entity):
            return entity.sort == "registry"
        if declared.method.startswith(_DYNAMIC):
            return True
        # ``pool.map("a", ...)`` declares nothing. Of what cannot be followed, the name is a hint.
        beside = (each for each in module.declared if each.receiver == declared.receiver)
        hinted = re.search("flag|regist", declared.receiver[-1], re.IGNORECASE) is not None
        return hinted or any(each.method.startswith(_DYNAMIC) for each in beside)

    def _prefix(self, module: Module, class_name: str) -> tuple[str | None, str | None] | None:
        """
        Return the prefix of a class of flags, or its pattern; None for any other class.
        """
        lineage = self._lineage(module, class_name)
        prefixes = (where.classes[name][1:] for where, name in lineage.classes if name in where.classes)
        return next((each for each in prefixes if each != (None, None)), ("", None)) if lineage.is_of_flags else None

    def _lineage(self, module: Module, class_name: str) -> _Lineage:
        """
        Return a class and those it derives from, each once.
        """
        classes, types, is_known = [(module, class_name)], set(), True
        for where, name in classes:  # grows meanwhile
            for base in where.classes.get(name, ([], None, None))[0]:
                entity = self._resolve(where, base)
                if entity is not None and entity.sort == "registry":
                    types.add("FlagRegistry")
                elif entity is not None and entity.sort == "type":
                    types.add(entity.name[0])
                elif entity is not None and entity.sort == "class" and entity.module is not None:
                    if (entity.module, entity.name[0]) not in classes:
                        classes.append((entity.module, entity.name[0]))
                else:
                    is_known = is_known and base == ("object",)
        return _Lineage(classes, "Flags" in types, "FlagRegistry" in types, is_known)

    def _is_known(self, entity: _Entity) -> bool:
        """
        Return whether all that a class or an instance derives from is here.
        """
        if entity.sort not in ("class", "instance") or entity.module is None:
            return True
        return self._lineage(entity.module, entity.name[0]).is_known

    def _bind_all(self) -> None:
        for module in self._modules:
            for name, pattern, target, position in module.bound:
                entity = self._resolve(module, target)
                flags = () if entity is None else entity.flags
                if not flags:
                    self.program.bound.append((name, pattern))
                for flag in flags:
                    flag.references.append(Reference(module, position, "other"))
                    flag.name, flag.declared.pattern = name, pattern
                    flag.label = name or flag.label

    def _export_all(self) -> None:
        for module in self._modules:
            for name in module.exported:
                self._export(module, name)
            if module.source.is_package:
                for local in module.imported:
                    if not is_local(local):
                        self._export(module, local)

    def _export(self, module: Module, name: str) -> None:
        entity = self._resolve(module, (name,))
        for flag in () if entity is None else entity.flags:
            flag.is_exported = True

    # --- what names stand for

    def _resolve(self, module: Module, name: Name) -> _Entity | None:
        key = (id(module), name)
        if key not in self._resolved:
            self._resolved[key] = None  # until it is known: names may stand for each other in a circle
            found = self._look_up(module, name)
            if found is not None and module.bindings.get(name[0], 0) > 1:
                found = found._replace(is_own=False)
            self._resolved[key] = found
        return self._resolved[key]

    def _look_up(self, module: Module, name: Name) -> _Entity | None:
        for length in range(len(name), 0, -1):
            flags = self._variables.get((id(module), name[:length]))
            if flags is not None:
                return self._follow(_Entity("flag", flags=tuple(flags)), name[length:])
            for said in module.assigned.get(name[:length], ()):
                if len(said) + len(name) - length <= _MAX_PARTS:
                    found = self._resolve(module, (*said, *name[length:]))
                    if found is not None:
                        return found
        return self._follow(self._head(module, name[0]), name[1:])

    def _head(self, module: Module, name: str) -> _Entity | None:
        if name == "?dflag":
            return _Entity("dflag")
        if name in module.classes:
            return self._class(module, name)
        if (name,) in module.functions:
            return _Entity("function", (name,), module)
        if name in module.imported:
            origin, original = module.imported[name]
            return self._member_of(module, origin, original)
        if name in module.modules:
            path = module.modules[name]
            return _Entity("dflag") if path == ("dflag",) else _Entity("module", path, module)
        found = (self._member_of(module, origin, name) for origin in module.stars)
        return next((each for each in found if each is not None and each.sort != "module"), None)

    def _class(self, module: Module, name: str) -> _Entity:
        is_registry = self._lineage(module, name).is_registry
        return _Entity("registry" if is_registry else "class", (name,), module)

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
        sort = entity.sort
        if sort in ("class", "instance"):
            return self._member(entity, part)
        if sort == "registry":
            return self._part_of_registry(entity, part)
        if sort == "function" and entity.module is not None:
            return self._resolve(entity.module, (*entity.name, part))
        if sort == "dflag":
            return _Entity("type", (part,))
        return self._made(entity, part) if part in (CALLED, GIVEN) else None

    def _made(self, entity: _Entity, part: str) -> _Entity | None:
        """
        Return what a call returns, or an instance is.
        """
        sort = entity.sort
        if sort == "method":
            return entity._replace(sort=entity.name[0], name=entity.name[1:])
        made = {"FlagRegistry": "registry", "Snapshot": "snapshot"}.get(entity.name[0]) if sort == "type" else None
        return None if made is None else _Entity(made, is_own=part == CALLED)

    def _part_of_registry(self, entity: _Entity, part: str) -> _Entity | None:
        if part in ("snapshot", "pinned"):
            return entity._replace(sort="method", name=("snapshot",))
        if entity.module is None:  # it is no class of the program's
            return None
        if part in (CALLED, GIVEN):
            return entity._replace(is_own=entity.is_own and part == CALLED)
        return self._attribute(entity.module, entity.name[0], part)

    def _member(self, entity: _Entity, part: str) -> _Entity | None:
        if part in (CALLED, GIVEN):
            return entity._replace(sort="instance")
        if part in ("current", "from_snapshot"):
            return entity._replace(sort="method", name=("instance", entity.name[0]))
        if entity.module is None:
            return None
        found = self._attribute(entity.module, entity.name[0], part)
        is_of_flags = self._lineage(entity.module, entity.name[0]).is_of_flags
        if found is None and part == "registry" and is_of_flags:
            return _Entity("registry")
        if found is not None and found.flags and is_of_flags and entity.sort == "instance":
            return found._replace(sort="value")
        return found

    def _attribute(self, module: Module, class_name: str, name: str) -> _Entity | None:
        """
        Return what an attribute of a class or its instances stands for.
        """
        lineage = self._lineage(module, class_name)
        for where, key in lineage.classes:
            flags = self._members.get((id(where), key, name))
            if flags is not None:
                return _Entity("flag", flags=tuple(flags))
            found = (self._resolve(where, said) for said in where.assigned.get((key, name), ()))
            if (known := next((each for each in found if each is not None), None)) is not None:
                return known
            if (inner := f"{key}.{name}") in where.classes:
                return self._class(where, inner)
            if (key, name) in where.functions:
                return _Entity("function", (key, name), where)
            if (key, name) in where.stored and lineage.is_known:
                return _Entity("other")
        return None

    # --- registries in other hands

    def _hands_out(self, module: Module) -> bool:
        """
        Return whether a module hands a registry to code that may declare flags in it, and that is not here.
        """
        for name, called in module.passed:
            if self._is_registry(module, name) and not self._keeps(module, called):
                return True
        return any(
            text.how == "attribute"
            and text.text is None
            and text.receiver is not None
            and self._is_registry(module, text.receiver)
            for text in module.texts
        )

    def _is_registry(self, module: Module, name: Name) -> bool:
        entity = self._resolve(module, name)
        return entity is not None and entity.sort == "registry"

    def _keeps(self, module: Module, called: Name | None) -> bool:
        """
        Return whether all that is done with the arguments of a call is known: a function of the program keeps them.
        """
        if called is None:
            return False
        if self._is_harmless(module, called):
            return True
        entity = self._resolve(module, called)
        if entity is None or entity.module is None:
            return False
        function = entity.name if entity.sort == "function" else (*entity.name[:1], "__init__")
        if entity.sort not in ("function", "class") or function not in entity.module.functions:
            return False
        own = entity.module.functions[function]
        return not any(
            name[0] in own and not self._is_harmless(entity.module, handed_to)
            for name, handed_to in entity.module.passed
        )

    def _is_harmless(self, module: Module, called: Name | None) -> bool:
        """
        Return whether a call is one of dflag's own, of a method of a registry, or of a builtin function.
        """
        if called is None:
            return False
        first = called[0]
        origin = module.modules.get(first) or module.imported.get(first, ((), ""))[0]
        if len(called) == 1 and hasattr(builtins, first) and not module.bindings.get(first):
            return True
        return origin[:1] == ("dflag",) or (len(called) > 1 and self._is_registry(module, called[:-1]))

    # --- reads

    def _read_names(self, module: Module) -> None:
        for (origin, name), position in module.shared:
            entity = self._member_of(module, origin, name)
            for flag in () if entity is None else entity.flags:
                flag.references.append(Reference(module, position, "read"))
        for load in module.loads:
            if not self._may_be_flag(module, load.name):
                continue
            entity = self._resolve(module, load.name)
            if entity is not None:
                how: How = "other" if load.is_neutral and entity.sort != "value" else "read"
                for flag in entity.flags:
                    flag.references.append(Reference(module, load.position, how))
            elif len(load.name) > 1:
                last = load.name[-1]
                for flag in (*self._by_attribute.get(last, ()), *self._by_variable.get(last, ())):
                    # Of an instance it is a value, whose own methods may be called as those of a flag.
                    how = "other" if load.is_neutral and not flag.is_of_class else "perhaps"
                    flag.references.append(Reference(module, load.position, how))

    def _may_be_flag(self, module: Module, name: Name) -> bool:
        last = name[-1]
        return (
            last in self._by_attribute
            or last in self._by_variable
            or last in module.imported
            or name in module.assigned
            or (id(module), name) in self._variables
        )

    def _read_texts(self, module: Module, texts: Iterable[Mention]) -> None:
        for text in texts:
            entity = None if text.receiver is None else self._resolve(module, text.receiver)
            sort = None if entity is None else entity.sort
            if text.text is None:
                if sort is None or sort in (_HAVE_ATTRIBUTES if text.how == "attribute" else _SOURCES):
                    self._read_built(module, text, sort)
                continue
            if text.how == "read" and sort is not None and sort not in _SOURCES:
                continue  # of something that is known, and no registry
            how = _how(text, sort)
            for flag in self._named(text, by_holder=how == "perhaps" or text.how == "attribute"):
                flag.references.append(Reference(module, text.position, how))
            if entity is not None and sort in _SOURCES and text.how in ("read", "write"):
                self._note_undeclared(module, text, entity)

    def _named(self, text: Mention, *, by_holder: bool) -> Iterator[FlagUsage]:
        if text.text is None:
            return
        yield from self._by_name.get(text.text, ())
        for part in _names_in(text.text) if by_holder else ():
            yield from self._by_attribute.get(part, ())
            yield from self._by_variable.get(part, ())
        for flag in self._built if text.how != "perhaps" else ():
            if flag.declared.pattern and re.fullmatch(flag.declared.pattern, text.text):
                yield flag

    def _read_built(self, module: Module, text: Mention, sort: str | None) -> None:
        pattern, how = text.pattern or ANYTHING, _how(text, sort)
        reference = Reference(module, text.position, how)
        if pattern.replace(ANYTHING, ""):
            for flag in self._fitting(pattern, by_holder=text.how == "attribute" or sort is None):
                flag.references.append(reference)
        elif sort is not None and how == "perhaps" and not self._is_flag(module, text.name):
            # Where it is not followed, it is any item of any mapping.
            self.program.of_any.append(reference)

    def _is_flag(self, module: Module, name: Name | None) -> bool:
        entity = None if name is None else self._resolve(module, name)
        return entity is not None and bool(entity.flags)

    def _fitting(self, pattern: str, *, by_holder: bool) -> list[FlagUsage]:
        key = (pattern, by_holder)
        if key not in self._by_pattern:
            self._by_pattern[key] = [each for each in self.program.flags if _fits(each, pattern, by_holder=by_holder)]
        return self._by_pattern[key]

    def _note_undeclared(self, module: Module, text: Mention, entity: _Entity) -> None:
        known = self.program.has_key(text.text or "")
        if known is not True:
            is_certain = entity.is_own and known is False and not self.program.is_open
            self.program.undeclared.append((module, text, is_certain))


def _how(text: Mention, sort: str | None) -> How:
    """
    Return what a text that is asked of something of that sort does with the flag that it names.
    """
    # An item of a snapshot is a value, whose own methods may be called as those of a flag.
    if text.how == "write" or (text.is_neutral and sort in _HOLDERS):
        return "other"
    return "read" if text.how == "read" and text.text is not None and sort in _SOURCES else "perhaps"


def _names_in(text: str) -> list[str]:
    """
    Return the parts of a dotted name, such as ``operator.attrgetter`` takes; none of any other text.
    """
    parts = _SEPARATOR.split(text)
    return parts if all(map(str.isidentifier, parts)) else []


def _fits(flag: FlagUsage, pattern: str, *, by_holder: bool) -> bool:
    names = set() if flag.name is None else {flag.name}
    if by_holder:
        names.update(flag.declared.labels)
    return flag.name is None or any(re.fullmatch(pattern, name) for name in names)


def _shared(one: Name, other: Name) -> int:
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
