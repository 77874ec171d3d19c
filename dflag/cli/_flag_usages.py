"""
The flags of a program, and the references to them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import datetime

    from dflag.cli._module_records import Declared, Mention, Module, Position
    from dflag.cli._modules import ModuleSource

How: TypeAlias = Literal["read", "perhaps", "other"]
"""A read, a possible read, or another use of the flag: binding it, setting it, giving it a validator."""


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
    A declaration, and the references to it.

    Attributes:
        name: The flag's name; None if it is built, or if a library leaves it to the program.
        label: The name of the flag in messages.
        is_kept: Whether a comment asks to keep it.
        is_exported: Whether other programs may read it, because it is re-exported or in an ``__all__``.
        handed: The first place at which an object that holds it is passed to code that is not here.
    """

    module: Module
    declared: Declared
    name: str | None
    label: str
    is_kept: bool
    is_exported: bool = False
    handed: Reference | None = None
    references: list[Reference] = field(default_factory=list)

    def reads(self, how: How = "read", *, in_tests: bool = False) -> list[Reference]:
        """
        Return the references of one sort, either in the program or in its tests.
        """
        return [each for each in self.references if each.how == how and each.is_test is in_tests]

    @property
    def is_of_class(self) -> bool:
        """
        Whether the body of a class declares it without a registry, so that instances may have its value.
        """
        return self.declared.class_name is not None and self.declared.receiver is None

    def may_be(self, name: str) -> bool:
        """
        Return whether the flag has the name, or may have it because its own is built.
        """
        pattern = self.declared.pattern
        return self.name == name or (self.name is None and pattern is not None and bool(re.fullmatch(pattern, name)))


@dataclass(slots=True)
class Program:
    """
    All flags of a program.

    Attributes:
        flags: The flags, in the order of the modules.
        of_any: Reads by an unknown name, each of which may mean any flag.
        undeclared: The names that are read but not declared, each with its module and whether this is certain.
        problems: The modules that cannot be read.
        bound: The names, or their patterns, under which flags of libraries whose code is not here are bound.
        is_open: Whether code that cannot be followed may declare any flag: it gets a registry, or a declaring method.
        retired: The names of retired flags, each with the day since when, if it is known.
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
        Return whether any declaration that may have that name makes its flag secret.
        """
        return any(flag.declared.is_secret and flag.may_be(name) for flag in self.flags)

    def has_key(self, key: str) -> bool | None:
        """
        Return whether a flag has this name or a map has this key; None if an unknown name or declaration may match.
        """
        if any(
            key == flag.name or (flag.declared.keys and fnmatchcase(key, flag.declared.keys)) for flag in self.flags
        ) or any(key == name for name, _ in self.bound):
            return True
        patterns = [flag.declared.pattern for flag in self.flags if flag.name is None]
        patterns += [pattern for name, pattern in self.bound if name is None]
        patterns += [None for flag in self.flags if flag.declared.may_have_any_key]
        return (
            None
            if self.is_open or any(pattern is None or re.fullmatch(pattern, key) for pattern in patterns)
            else False
        )
