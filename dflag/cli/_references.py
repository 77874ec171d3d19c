"""
Finds the flags that the modules of a program declare, and where each flag is read.

A read is certain if its name leads to the declaration. A name that may belong to something else, or that is built, is a
possible read. So a flag does not count as certainly unused if code that cannot be followed may read it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from dflag.cli._built_texts import ANYTHING
from dflag.cli._flag_usages import FlagUsage, Program, Reference
from dflag.cli._handovers import Handovers
from dflag.cli._holders import Holders
from dflag.cli._resolving import Resolver
from dflag.cli._scan import DECLARATORS, scan
from dflag.cli._scopes import is_local

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dflag.cli._flag_usages import How
    from dflag.cli._module_records import Declared, Mention, Module, Taken
    from dflag.cli._modules import ModuleSource
    from dflag.cli._resolving import Entity
    from dflag.cli._scopes import Name

_DYNAMIC: Final = "dyn_"

_SOURCES: Final = frozenset({"registry", "snapshot"})
"""The sorts of entities from which a program gets a flag or a value by the flag's name."""

_HAVE_ATTRIBUTES: Final = frozenset({"class", "instance", "module"})
"""The sorts of entities from which ``getattr`` gets an attribute."""

_HOLDERS: Final = frozenset({"class", "module", "registry"})
"""The sorts of entities that hold flags, and not their values."""

_SEPARATOR: Final = re.compile("[.:]")
"""Separates the parts of a dotted name; ``pkgutil.resolve_name`` takes a colon after the module."""


def read_program(sources: Iterable[ModuleSource]) -> Program:
    """
    Find the flags of all modules, and the references to them.
    """
    modules = [scan(source) for source in sources]
    program = _Index(modules).program
    program.problems = [module.source for module in modules if module.source.problem is not None]
    return program


class _Index:
    """
    Makes the `Program` of all modules.
    """

    def __init__(self, modules: list[Module]) -> None:
        self._modules: Final = modules
        self._names: Final = Resolver(modules)
        self._by_attribute: Final[dict[str, list[FlagUsage]]] = defaultdict(list)
        self._by_variable: Final[dict[str, list[FlagUsage]]] = defaultdict(list)
        self.program: Final = Program()
        for module in modules:
            self.program.retired.update(module.retired)
            for declared in module.declared:
                self._add(module, declared)
        self._names.forget()  # what was resolved before all flags were known
        self._bind_all()
        self._holders: Final = Holders(self._names, self.program.flags)
        self._export_all()
        self._built: Final = [flag for flag in self.program.flags if flag.name is None]
        self._by_pattern: Final[dict[tuple[str, bool], list[FlagUsage]]] = {}
        self._by_name: Final[dict[str, list[FlagUsage]]] = defaultdict(list)
        for flag in self.program.flags:
            if flag.name is not None:
                self._by_name[flag.name].append(flag)
        self._handovers: Final = Handovers(self._names, modules)
        self._hand_over_all()
        if any(self._declares_any(module) for module in modules if not module.source.is_test):
            self.program.is_open = True
        fills_fields = any(module.fills_fields for module in modules)
        for module in modules:
            self._read_names(module)
            self._read_taken(module)
            self._read_texts(module, [*module.texts, *(module.fields if fills_fields else ())])

    # --- declarations

    def _add(self, module: Module, declared: Declared) -> None:
        if not self._is_declaration(module, declared):
            return
        name = declared.name
        flag = FlagUsage(module, declared, name, "", not module.source.kept.isdisjoint(declared.lines))
        for target in declared.targets:
            self._names.add(module, target, flag)
            self._take_target(module, flag, target)
        if declared.escapes:
            flag.references.append(Reference(module, declared.position, "read"))
        last = declared.labels[0] if declared.targets else f"{declared.method} in line {declared.position.line}"
        flag.label = flag.name or last
        self.program.flags.append(flag)

    def _take_target(self, module: Module, flag: FlagUsage, target: Name) -> None:
        first, *rest = target
        if rest:
            self._by_attribute[rest[-1]].append(flag)
        elif not is_local(first):
            self._by_variable[first].append(flag)
        if len(rest) == 1 and flag.is_of_class and flag.declared.class_name == first:
            self._name_by_class(module, flag, first, rest[0])

    def _name_by_class(self, module: Module, flag: FlagUsage, class_name: str, attribute: str) -> None:
        prefix = self._prefix(module, class_name)
        if prefix is None:
            return
        text, pattern = prefix
        if flag.declared.keys is not None:
            flag.declared.keys = None if text is None else text + flag.declared.keys
        if text is None:
            flag.declared.pattern = f"{pattern or ANYTHING}{re.escape(flag.declared.name or attribute)}"
        else:
            flag.name = text + (flag.declared.name or attribute)

    def _is_declaration(self, module: Module, declared: Declared) -> bool:
        if declared.receiver is None:
            return True
        if declared.name is None and declared.pattern is None:
            return False
        entity = self._names.resolve(module, declared.receiver)
        if entity is not None and entity.sort != "other" and self._names.is_known(entity):
            return entity.sort == "registry"
        if declared.method.startswith(_DYNAMIC):
            return True
        # ``pool.map("a", ...)`` declares nothing. If the receiver cannot be followed, its name is a hint.
        beside = (each for each in module.declared if each.receiver == declared.receiver)
        hinted = re.search("flag|regist", declared.receiver[-1], re.IGNORECASE) is not None
        return hinted or any(each.method.startswith(_DYNAMIC) for each in beside)

    def _prefix(self, module: Module, class_name: str) -> tuple[str | None, str | None] | None:
        """
        Return the prefix of a class of flags, and its pattern; None for any other class.
        """
        lineage = self._names.lineage(module, class_name)
        prefixes = (where.classes[name][1:3] for where, name in lineage.classes if name in where.classes)
        return next((each for each in prefixes if each != (None, None)), ("", None)) if lineage.is_of_flags else None

    def _bind_all(self) -> None:
        for module in self._modules:
            for name, pattern, target, position, holders in module.bound:
                entity = self._names.resolve(module, target)
                flags = () if entity is None else entity.flags
                if not flags:
                    self.program.bound.append((name, pattern))
                for flag in flags:
                    flag.references.append(Reference(module, position, "other"))
                    flag.name, flag.declared.pattern = name, pattern
                    flag.label = name or flag.label
                    flag.declared.targets = [*flag.declared.targets, *holders]
                    for holder in holders:
                        self._take_target(module, flag, holder)

    def _export_all(self) -> None:
        for module in self._modules:
            for name in module.exported:
                self._export(module, name)
            if module.source.is_package:
                for where, name in self._names.imported_by(module):
                    self._export(where, name)

    def _export(self, module: Module, name: str) -> None:
        entity = self._names.resolve(module, (name,))
        for each in () if entity is None else entity.alternatives:
            for flag in (*each.flags, *self._holders.flags_of(each)):
                flag.is_exported = True

    # --- code that is not here

    def _hand_over_all(self) -> None:
        """
        Record which flags may be read by code that is not here, and whether it may declare flags.
        """
        seen = set()
        for entity, reference in self._handovers.away():
            if entity not in seen:
                seen.add(entity)
                self.program.is_open = self.program.is_open or entity.sort == "registry"
                for flag in self._holders.flags_of(entity):
                    flag.handed = flag.handed or reference

    def _declares_any(self, module: Module) -> bool:
        """
        Return whether a module uses a declaring method in a way that cannot be followed.
        """
        return any(self._may_declare(module, taken) for taken in module.taken) or any(
            text.how == "attribute"
            and (text.text is None or text.text in DECLARATORS)
            and self._sort_of(module, text.receiver) == "registry"
            for text in module.texts
        )

    def _may_declare(self, module: Module, taken: Taken) -> bool:
        if taken.method not in DECLARATORS:
            return False
        sort = self._sort_of(module, taken.receiver)
        return taken.method.startswith(_DYNAMIC) if sort is None else sort in ("dflag", "registry")

    def _sort_of(self, module: Module, name: Name | None) -> str | None:
        found = [] if name is None else self._handovers.entities(module, name)
        return found[0].sort if found else None

    # --- reads

    def _read_names(self, module: Module) -> None:
        for (origin, name), position in module.shared:
            entity = self._names.member_of(module, origin, name)
            for flag in () if entity is None else entity.flags:
                flag.references.append(Reference(module, position, "read"))
        for load in module.loads:
            if not self._may_be_flag(module, load.name):
                continue
            entity = self._names.resolve(module, load.name)
            if entity is not None:
                how: How = "other" if load.is_neutral and entity.sort != "value" else "read"
                for flag in entity.flags:
                    flag.references.append(Reference(module, load.position, how))
            elif len(load.name) > 1:
                last = load.name[-1]
                for flag in (*self._by_attribute.get(last, ()), *self._by_variable.get(last, ())):
                    # An attribute of an instance is a value, which may have methods of the same names as a flag's.
                    how = "other" if load.is_neutral and not flag.is_of_class else "perhaps"
                    flag.references.append(Reference(module, load.position, how))

    def _may_be_flag(self, module: Module, name: Name) -> bool:
        last = name[-1]
        return (
            last in self._by_attribute
            or last in self._by_variable
            or last in module.imported
            or name in module.assigned
            or self._names.has_variable(module, name)
        )

    def _read_taken(self, module: Module) -> None:
        for taken in module.taken:
            if taken.method not in DECLARATORS and self._sort_of(module, taken.receiver) in _SOURCES:
                self.program.of_any.append(Reference(module, taken.position, "perhaps"))

    def _read_texts(self, module: Module, texts: Iterable[Mention]) -> None:
        for text in texts:
            entity = None if text.receiver is None else self._names.resolve(module, text.receiver)
            sort = None if entity is None else entity.sort
            if text.text is None:
                self._read_built(module, text, entity)
                continue
            if text.how == "read" and sort is not None and sort not in _SOURCES:
                continue  # the receiver is known, and is no registry or snapshot
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

    def _read_built(self, module: Module, text: Mention, entity: Entity | None) -> None:
        sort = self._sort_of(module, text.receiver)
        if sort is not None and sort not in (_HAVE_ATTRIBUTES if text.how == "attribute" else _SOURCES):
            return
        if entity is not None and self._names.is_of_python(entity):
            return
        pattern, how = text.pattern or ANYTHING, _how(text, sort)
        reference = Reference(module, text.position, how)
        if pattern.replace(ANYTHING, ""):
            for flag in self._fitting(pattern, by_holder=text.how == "attribute" or entity is None):
                flag.references.append(reference)
        elif sort is not None and how == "perhaps" and not self._is_flag(module, text.name):
            # With an unknown receiver this does not count: it may be an item of any mapping.
            self.program.of_any.append(reference)

    def _is_flag(self, module: Module, name: Name | None) -> bool:
        entity = None if name is None else self._names.resolve(module, name)
        return entity is not None and bool(entity.flags)

    def _fitting(self, pattern: str, *, by_holder: bool) -> list[FlagUsage]:
        key = (pattern, by_holder)
        if key not in self._by_pattern:
            self._by_pattern[key] = [each for each in self.program.flags if _fits(each, pattern, by_holder=by_holder)]
        return self._by_pattern[key]

    def _note_undeclared(self, module: Module, text: Mention, entity: Entity) -> None:
        known = self.program.has_key(text.text or "")
        if known is not True:
            self.program.undeclared.append((module, text, entity.is_own and known is False))


def _how(text: Mention, sort: str | None) -> How:
    """
    Return how a text uses the flag that it names, if its receiver is an entity of the given sort.
    """
    # An item of a snapshot is a value, which may have methods of the same names as a flag's.
    if text.how == "write" or (text.is_neutral and sort in _HOLDERS):
        return "other"
    return "read" if text.how == "read" and text.text is not None and sort in _SOURCES else "perhaps"


def _names_in(text: str) -> list[str]:
    """
    Return the parts of a dotted name, such as ``operator.attrgetter`` takes; none for any other text.
    """
    parts = _SEPARATOR.split(text)
    return parts if all(map(str.isidentifier, parts)) else []


def _fits(flag: FlagUsage, pattern: str, *, by_holder: bool) -> bool:
    names = set() if flag.name is None else {flag.name}
    if by_holder:
        names.update(flag.declared.labels)
    return flag.name is None or any(re.fullmatch(pattern, name) for name in names)
