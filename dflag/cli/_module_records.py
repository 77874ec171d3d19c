"""
What is noted of one module: its declarations, its reads, and what its names may stand for.

A name is a dotted one, as a tuple of its parts: ``("settings", "rate")`` for ``settings.rate``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from dflag.cli._scopes import plain

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping

    from dflag.cli._modules import ModuleSource
    from dflag.cli._scopes import Name

CALLED: Final = "()"
"""The part of a dotted name that stands for a call."""

GIVEN: Final = "(given)"
"""The part that stands for an instance which comes from elsewhere, as the annotation of a parameter says."""

SET: Final = "="
"""The place of what is set as an attribute, which no keyword is called."""


class Position(NamedTuple):
    """
    A place in a module, counted from 1.
    """

    line: int
    column: int


@dataclass(slots=True)
class Declared:
    """
    A call that makes a flag.

    Attributes:
        receiver: What the method is called on; None for a function of dflag, which makes an unbound flag.
        method: Which kind.
        lines: Those of the statement, of the call where the statement declares several flags.
        name: The flag's name where it is a text; for an unbound flag that of *name=*.
        pattern: A regular expression of the names that it may have, where that is built.
        targets: What the flag is assigned to.
        escapes: Whether the flag is handed on at once, so that no name tells what becomes of it.
        class_name: The class in whose body it stands.
        keys: The pattern of the keys of a map; None where it is built.
        is_secret: Whether its value may be a secret, or hold one, as far as its options tell.
    """

    receiver: Name | None
    method: str
    position: Position
    lines: range
    name: str | None
    pattern: str | None
    targets: list[Name]
    escapes: bool
    class_name: str | None = None
    expires: datetime.date | None = None
    keys: str | None = None
    is_secret: bool = False

    @property
    def may_have_any_key(self) -> bool:
        """
        Whether it is a map whose keys are not known.
        """
        return self.method.endswith("map") and self.keys is None

    @property
    def labels(self) -> list[str]:
        """
        The names of the variables and attributes that hold the flag.
        """
        return [plain(target[-1]) for target in self.targets]


class Load(NamedTuple):
    """
    A name that is looked up: of a variable or of attributes.
    """

    name: Name
    position: Position
    is_neutral: bool


class Mention(NamedTuple):
    """
    A name of a flag that stands as a text, or that is built.

    Attributes:
        receiver: What it is asked of, where that is a name.
        text: The text; None where it is built.
        pattern: What it may be then.
        how: ``"read"``, ``"write"``, ``"attribute"`` for ``getattr`` and its like, or ``"perhaps"`` where a text may
            mean anything.
        name: The name that stands in its place, which may be that of a flag.
        is_neutral: Whether a flag that comes of it is set or validated, and not read.
    """

    receiver: Name | None
    text: str | None
    pattern: str | None
    position: Position
    how: str
    name: Name | None = None
    is_neutral: bool = False


class Taken(NamedTuple):
    """
    A method, or a function of dflag, that is used as a value instead of being called.
    """

    receiver: Name
    method: str
    position: Position


class Parameters(NamedTuple):
    """
    The parameters of a function.

    Attributes:
        names: What each is called in it.
        positional: How many of them are no more than a place.
    """

    names: list[str]
    positional: int

    def taking(self, place: int | str | None, *, is_method: bool) -> list[str]:
        """
        Return those that may take the argument at a place, or of a name; any but ``self`` for None.
        """
        if isinstance(place, int) and place + is_method < self.positional:
            return [self.names[place + is_method]]
        named = [name for name in self.names if plain(name) == place]
        return named or self.names[is_method:]


class Passed(NamedTuple):
    """
    A name that is an argument of a call, is set as an attribute, or stands in a list or a mapping.

    Attributes:
        called: What is called, or whose attribute is set, if that is a name.
        place: The number or the keyword of the argument; None where it is unpacked; `SET` for an attribute.
        is_within: Whether it is not the argument itself, but stands in one, or in something that has no name.
    """

    name: Name
    called: Name | None
    place: int | str | None
    position: Position
    is_within: bool


class ClassHead(NamedTuple):
    """
    What stands in the first line of a class.

    Attributes:
        prefix: That of the names of its flags, where it is a text.
        pattern: What the prefix may be where it is built.
        registry: Where its flags are bound.
    """

    bases: list[Name]
    prefix: str | None
    pattern: str | None
    registry: Name | None


@dataclass(slots=True, eq=False)
class Module:
    """
    What one module says.

    Attributes:
        bound: The name, or its pattern, under which a flag of a library is bound, that flag, where, and what it is
            assigned to there.
        modules: The modules that local names stand for.
        imported: The module and the name in it that local names stand for.
        shared: What is imported under a local name that something else has as well.
        stars: The modules of which all names are imported.
        exported: The names in ``__all__``.
        assigned: What names may stand for by assignment, annotation or ``with``, and calls by what functions return.
        bindings: How often each name is bound.
        stored: The attributes of classes that are bound.
        classes: What each class derives from, and how it is set up.
        functions: The parameters of each function.
        passed: The names that are handed to something.
        taken: The methods that are no more than looked up there.
        retired: The names that are marked as retired, each with its date where that is written out.
        fields: The annotated fields of classes.
        fills_fields: Whether it imports what reads the flags which are named as such fields.
    """

    source: ModuleSource
    declared: list[Declared] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    texts: list[Mention] = field(default_factory=list)
    bound: list[tuple[str | None, str | None, Name, Position, list[Name]]] = field(default_factory=list)
    modules: dict[str, Name] = field(default_factory=dict)
    imported: dict[str, tuple[Name, str]] = field(default_factory=dict)
    shared: list[tuple[tuple[Name, str], Position]] = field(default_factory=list)
    stars: list[Name] = field(default_factory=list)
    exported: set[str] = field(default_factory=set)
    assigned: dict[Name, list[Name]] = field(default_factory=dict)
    bindings: Mapping[str, int] = field(default_factory=dict)
    stored: set[Name] = field(default_factory=set)
    classes: dict[str, ClassHead] = field(default_factory=dict)
    functions: dict[Name, Parameters] = field(default_factory=dict)
    passed: list[Passed] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    retired: dict[str, datetime.date | None] = field(default_factory=dict)
    fields: list[Mention] = field(default_factory=list)
    fills_fields: bool = False
