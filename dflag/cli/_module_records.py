"""
The records of one module: its declarations, its reads, and what its names may stand for.

A `Name` is a dotted name as a tuple of its parts: ``("settings", "rate")`` for ``settings.rate``.
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
"""The part that stands for an instance from elsewhere, such as one that the annotation of a parameter describes."""

SET: Final = "="
"""The place of a value that is set as an attribute. No keyword can have this name."""


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
        receiver: The object whose method is called; None for a function of dflag, which makes an unbound flag.
        method: The name of the method or function, which says the kind.
        lines: The lines of the statement; those of the call if the statement declares several flags.
        name: The flag's name if it is a literal; for an unbound flag that of *name=*.
        pattern: A regular expression for the names that the flag may have; None if the call gives none.
        targets: The names that the flag is assigned to.
        escapes: Whether the flag is passed on without a name or has a callback, so that it counts as read.
        class_name: The class whose body contains the call.
        keys: The pattern of the keys of a map; None if it is built.
        is_secret: Whether its options may make its value secret, or give it a type that can hold a secret.
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
    A lookup of a variable or of attributes. It is neutral if it serves to set or validate a flag, and not to read it.
    """

    name: Name
    position: Position
    is_neutral: bool


class Mention(NamedTuple):
    """
    A text that may be the name of a flag, either a literal or built.

    Attributes:
        receiver: The object that is asked for the flag, if it has a name.
        text: The literal; None if the text is built.
        pattern: A regular expression for a text that is built.
        how: ``"read"``, ``"write"``, ``"attribute"`` for ``getattr`` and similar functions, or ``"perhaps"`` for a text
            that may mean anything.
        name: The variable or attribute that stands in place of the text, and which may hold a flag.
        is_neutral: Whether the flag of that name is set or validated, and not read.
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
        names: The name of each inside of the function.
        positional: How many of them can be given by position.
    """

    names: list[str]
    positional: int

    def taking(self, place: int | str | None, *, is_method: bool) -> list[str]:
        """
        Return the parameters that may take the argument of a position or keyword; all but ``self`` if none fits.
        """
        if isinstance(place, int) and place + is_method < self.positional:
            return [self.names[place + is_method]]
        named = [name for name in self.names if plain(name) == place]
        return named or self.names[is_method:]


class Passed(NamedTuple):
    """
    A name that is an argument of a call, is set as an attribute, or stands in a list or a mapping.

    Attributes:
        called: The function that is called, or the object whose attribute is set, if that has a name.
        place: The number or the keyword of the argument; None if it is unpacked; `SET` for an attribute.
        is_within: Whether the name is only a part of the argument, or of something that has no name.
    """

    name: Name
    called: Name | None
    place: int | str | None
    position: Position
    is_within: bool


class ClassHead(NamedTuple):
    """
    The first line of a class.

    Attributes:
        prefix: The prefix of the names of its flags, if it is a literal.
        pattern: A regular expression for the prefix; None if there is none.
        registry: The name of the registry in which its flags are bound; None if the class names none.
    """

    bases: list[Name]
    prefix: str | None
    pattern: str | None
    registry: Name | None


@dataclass(slots=True, eq=False)
class Module:
    """
    The records of one module.

    Attributes:
        bound: The flags of libraries that are bound: the name, its pattern, the flag, the position, and the names that
            the flag is assigned to there.
        modules: The modules that local names stand for.
        imported: The module and the name in it that local names stand for.
        shared: The imports whose local name something else has as well.
        stars: The modules from which all names are imported.
        exported: The names in ``__all__``.
        assigned: What names may stand for by assignment, annotation or ``with``, and calls by what functions return.
        bindings: How often each name is bound.
        stored: The attributes of classes that are assigned.
        classes: The first line of each class.
        functions: The parameters of each function.
        passed: The names that are passed to something.
        taken: The methods that are looked up, but not called.
        retired: The names that are marked as retired, each with its date if that is a literal.
        fields: The annotated fields of classes.
        fills_fields: Whether it imports the module that reads the flags which have the names of such fields.
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
