"""
What one module says of flags: declarations, reads, and the names that either may go by.

A name is a dotted one, as a tuple of its parts: ``("settings", "rate")`` for ``settings.rate``. What it stands for is
found out later, when all modules are known.
"""

from __future__ import annotations

import ast
import datetime
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from dflag._declarations import Declarations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dflag.cli._modules import Source

Name: TypeAlias = tuple[str, ...]

DECLARATORS: Final = frozenset(name for name in vars(Declarations) if not name.startswith("_"))
"""The methods of a registry, and the functions of dflag, that make a flag."""

_NEUTRAL: Final = frozenset({"reset", "set", "set_text", "validator"})
"""What a program does with a flag without asking for its value."""

_BY_NAME: Final = frozenset({"for_", "lookup"})
"""Methods that read the flag whose name is their first argument."""

_WRITERS: Final = frozenset({"override", "pinned"})
"""Methods that take a mapping of flags, or of their names, to values."""

ANYTHING: Final = ".*"

CALLED: Final = "()"
"""The part of a dotted name that stands for a call."""

GIVEN: Final = "(given)"
"""The part that stands for an instance which comes from elsewhere, as the annotation of a parameter says."""


_FIELD: Final = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?[a-zA-Z%]|\{[^{}]*\}")
"""What is replaced in a text by ``%`` or ``format``."""


class Spot(NamedTuple):
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
        class_name: The class in whose body it stands.
        function: The function in whose body it stands, by a number; 0 outside of functions.
        escapes: Whether the flag is handed on at once, so that no name tells what becomes of it.
        keys: The pattern of the keys of a map.
    """

    receiver: Name | None
    method: str
    spot: Spot
    lines: range
    name: str | None
    pattern: str | None
    targets: list[Name]
    class_name: str | None
    function: int
    escapes: bool
    expires: datetime.date | None
    keys: str | None


class Load(NamedTuple):
    """
    A name that is looked up: of a variable or of attributes.
    """

    name: Name
    spot: Spot
    is_neutral: bool
    function: int


class Text(NamedTuple):
    """
    A name of a flag that stands as a text, or that is built.

    Attributes:
        receiver: What it is asked of, where that is a name.
        text: The text; None where it is built.
        pattern: What it may be then.
        how: ``"read"``, ``"write"``, ``"attribute"`` for ``getattr``, or ``"perhaps"`` where a text may mean anything.
    """

    receiver: Name | None
    text: str | None
    pattern: str | None
    spot: Spot
    how: str


@dataclass(slots=True, eq=False)
class Module:
    """
    What one module says.

    Attributes:
        bound: The name, or its pattern, under which a flag of a library is bound, that flag, and where.
        modules: The modules that local names stand for.
        imported: The module and the name in it that local names stand for.
        shared: What is imported under a local name that something else has as well.
        stars: The modules of which all names are imported.
        exported: The names in ``__all__``.
        assigned: What names stand for by assignment, annotation or ``with``.
        classes: The bases of each class, and its prefix.
        retired: The names that are marked as retired, each with its date where that is written out.
    """

    source: Source
    declared: list[Declared] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    bound: list[tuple[str | None, str | None, Name, Spot]] = field(default_factory=list)
    modules: dict[str, Name] = field(default_factory=dict)
    imported: dict[str, tuple[Name, str]] = field(default_factory=dict)
    shared: list[tuple[tuple[Name, str], Spot]] = field(default_factory=list)
    stars: list[Name] = field(default_factory=list)
    exported: set[str] = field(default_factory=set)
    assigned: dict[Name, Name] = field(default_factory=dict)
    classes: dict[str, tuple[list[Name], str | None]] = field(default_factory=dict)
    retired: dict[str, datetime.date | None] = field(default_factory=dict)


def scan(source: Source) -> Module:
    """
    Read what a module says. A tree that is nested too deeply for the interpreter yields what stands before.
    """
    found = Module(source._replace(tree=None))  # which would take most of the memory
    if source.tree is not None:
        _Scan(found).visit(source.tree)
    return found


def name_of(node: ast.expr | None) -> Name | None:
    """
    Return the dotted name that an expression is; None for any other.
    """
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        return (node.id, *reversed(parts))
    if isinstance(node, ast.Call) and (called := name_of(node.func)) is not None:
        return (*called, CALLED, *reversed(parts))
    return None


class _Scan(ast.NodeVisitor):
    """
    One walk through a tree.
    """

    def __init__(self, found: Module) -> None:
        self._found: Final = found
        self._class: str | None = None
        self._function = 0
        self._functions = 0
        self._targets: dict[ast.Call, list[Name]] = {}
        self._kept_apart: set[ast.expr] = set()  # texts that are no reads, and calls whose flag nobody takes
        self._neutral: set[ast.expr] = set()
        self._names: dict[ast.Call, ast.expr] = {}  # what unbound flags are bound to at once

    # --- what names stand for

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            parts = tuple(alias.name.split("."))
            if alias.asname is None:
                self._found.modules[parts[0]] = parts[:1]
            else:
                self._found.modules[alias.asname] = parts

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = tuple(filter(None, (node.module or "").split(".")))
        if node.level:
            names = self._found.source.names
            package = names if self._found.source.is_package else names[:-1]
            module = (*package[: len(package) - node.level + 1], *module)
        for alias in node.names:
            if alias.name == "*":
                self._found.stars.append(module)
            else:
                self._import(alias.asname or alias.name, (module, alias.name), Spot(node.lineno, node.col_offset + 1))

    def _import(self, local: str, origin: tuple[Name, str], spot: Spot) -> None:
        before = self._found.imported.setdefault(local, origin)
        if before != origin:
            # Which of the two is meant further down is not followed.
            self._found.shared += [(before, spot), (origin, spot)]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        bases = [name for base in node.bases if (name := name_of(base)) is not None]
        prefix = next((keyword.value for keyword in node.keywords if keyword.arg == "prefix"), None)
        self._found.classes[node.name] = bases, _text_of(prefix)
        outer, self._class = self._class, node.name
        self.generic_visit(node)
        self._class = outer

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            said = _annotated_name(argument.annotation)
            if said is not None:
                self._found.assigned.setdefault((argument.arg,), (*said, GIVEN))
        validates = any(isinstance(each, ast.Attribute) and each.attr == "validator" for each in node.decorator_list)
        if validates and node.args.args:
            self._found.assigned.setdefault((node.args.args[-1].arg,), ("?dflag", "Snapshot", GIVEN))
        self._functions += 1
        outer, self._function = self._function, self._functions
        self.generic_visit(node)
        self._function = outer

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - the library's name

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            value, target = name_of(item.context_expr), name_of(item.optional_vars)
            if value is not None and target is not None:
                self._found.assigned.setdefault(target, value)
        self.generic_visit(node)

    visit_AsyncWith = visit_With  # noqa: N815 - the library's name

    def visit_Assign(self, node: ast.Assign) -> None:
        self._assign(node.targets, node.value)
        self._visit_statement(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign([node.target], node.value)
        self._visit_statement(node)

    def visit_Return(self, node: ast.Return) -> None:
        self._visit_statement(node)

    def _visit_statement(self, node: ast.stmt) -> None:
        """
        Visit what a statement holds; all of its lines are those of the flag that it declares, if there is one.
        """
        before = len(self._found.declared)
        self.generic_visit(node)
        declared = self._found.declared[before:]
        if len(declared) == 1:
            declared[0].lines = _lines(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._assign([node.target], node.value)
        if isinstance(node.value, ast.Call):
            self._targets.pop(node.value, None)  # it is a value at the same time
        self.generic_visit(node)

    def _assign(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        names = [name for target in targets if (name := name_of(target)) is not None]
        if isinstance(value, ast.Call) and len(names) == len(targets):
            self._targets[value] = names
        said = name_of(value)
        for name in names:
            if name == ("__all__",) and isinstance(value, (ast.List, ast.Tuple)):
                self._found.exported.update(filter(None, map(_text_of, value.elts)))
            if said is not None and said != name:
                self._found.assigned.setdefault(name, said)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if name_of(node.target) == ("__all__",) and isinstance(node.value, (ast.List, ast.Tuple)):
            self._found.exported.update(filter(None, map(_text_of, node.value.elts)))
        self.generic_visit(node)

    # --- what is done with flags

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring, or a remark
        self._kept_apart.add(node.value)
        self._visit_statement(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = name_of(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else None
        receiver = name_of(node.func.value) if isinstance(node.func, ast.Attribute) else None
        if called is not None and self._declares(called):
            self._declare(node, called)
        elif method == "bind" and len(node.args) == 2:
            self._bind(node, *node.args)
        elif method == "retired" and node.args:
            self._retire(node, node.args[0])
        elif method in _BY_NAME and node.args:
            self._note_text(receiver, node.args[0], "read")
        elif method in _WRITERS:
            for argument in node.args:
                self._note_written(receiver, argument)
        elif called == ("getattr",) and len(node.args) >= 2:
            self._note_text(name_of(node.args[0]), node.args[1], "attribute")
        self.generic_visit(node)

    def _retire(self, node: ast.Call, named: ast.expr) -> None:
        self._kept_apart.add(named)
        name = _text_of(named)
        since = [keyword.value for keyword in node.keywords if keyword.arg == "since"]
        if name is not None and since:
            self._found.retired[name] = _date_of(since[0])

    def _bind(self, node: ast.Call, named: ast.expr, flag: ast.expr) -> None:
        self._kept_apart.add(named)
        targets = self._targets.get(node, [])
        if isinstance(flag, ast.Call):
            self._names[flag], self._targets[flag] = named, targets
            if node in self._kept_apart:
                self._kept_apart.add(flag)
        elif (target := name_of(flag)) is not None:
            self._neutral.add(flag)
            self._found.bound.append((_text_of(named), _pattern_of(named), target, _spot(node)))
            self._found.assigned.update(dict.fromkeys(targets, target))
            if not targets and node not in self._kept_apart:
                self._found.loads.append(Load(target, _spot(node), is_neutral=False, function=self._function))

    def _declares(self, called: Name) -> bool:
        first, *rest = called
        if rest:
            return rest[-1] in DECLARATORS
        module, original = self._found.imported.get(first, ((), ""))
        return module == ("dflag",) and original in DECLARATORS

    def _declare(self, node: ast.Call, called: Name) -> None:
        module, original = self._found.imported.get(called[0], ((), ""))
        is_function = (len(called) == 1 and module == ("dflag",)) or (
            len(called) == 2 and self._found.modules.get(called[0]) == ("dflag",)
        )
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if is_function:
            named = self._names.get(node, given.get("name"))
        else:
            named = node.args[0] if node.args else given.get("name")
        if not is_function and named is None:
            return
        if named is not None:
            self._kept_apart.add(named)
        targets = self._targets.get(node, [])
        self._found.declared.append(
            Declared(
                receiver=None if is_function else called[:-1],
                method=original if len(called) == 1 else called[-1],
                spot=_spot(node),
                lines=_lines(node),
                name=_text_of(named),
                pattern=None if named is None else _pattern_of(named),
                targets=targets,
                class_name=self._class,
                function=self._function,
                escapes=not targets and node not in self._kept_apart,
                expires=_date_of(given.get("expires")),
                keys=_text_of(given.get("keys")),
            )
        )

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Load):
            self._note_text(name_of(node.value), node.slice, "read")
        self.generic_visit(node)

    def _note_written(self, receiver: Name | None, argument: ast.expr) -> None:
        if not isinstance(argument, ast.Dict):
            return
        for key in filter(None, argument.keys):
            if name_of(key) is None:
                self._note_text(receiver, key, "write")
            else:
                self._neutral.add(key)

    def _note_text(self, receiver: Name | None, node: ast.expr, how: str) -> None:
        text, pattern = _text_of(node), _pattern_of(node)
        if text is None and (pattern is None or isinstance(node, ast.Constant)):
            return
        self._kept_apart.add(node)
        self._found.texts.append(Text(receiver, text, pattern, _spot(node), how))

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and node not in self._kept_apart and len(node.value) <= 253:
            self._found.texts.append(Text(None, node.value, None, _spot(node), "perhaps"))

    def visit_Name(self, node: ast.Name) -> None:
        self._load(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in _NEUTRAL:
            self._neutral.add(node.value)
        if name_of(node) is None:
            self._found.loads.append(Load(("?", node.attr), _spot_of_attribute(node), node in self._neutral, 0))
            self.generic_visit(node)
        else:
            self._load(node)
            self._visit_calls(node)

    def _visit_calls(self, node: ast.expr) -> None:
        """
        Visit the arguments of the calls within a dotted name.
        """
        while isinstance(node, (ast.Attribute, ast.Call)):
            if isinstance(node, ast.Call):
                self.visit(node)
                return
            node = node.value

    def _load(self, node: ast.Name | ast.Attribute) -> None:
        if name_of(node) is None or not isinstance(node.ctx, ast.Load):
            return
        # ``limits.rate.get()`` reads each of ``limits``, ``limits.rate`` and ``limits.rate.get``, where one is a flag.
        part: ast.expr = node
        while isinstance(part, ast.Attribute):
            self._note_load(part, _spot_of_attribute(part))
            if part.attr in _NEUTRAL:
                self._neutral.add(part.value)
            part = part.value
        if isinstance(part, ast.Name):
            self._note_load(part, _spot(part))

    def _note_load(self, node: ast.expr, spot: Spot) -> None:
        if (name := name_of(node)) is not None:
            self._found.loads.append(Load(name, spot, node in self._neutral, self._function))


def _annotated_name(annotation: ast.expr | None) -> Name | None:
    """
    Return the dotted name that an annotation is, also one in quotes.
    """
    text = _text_of(annotation)
    return name_of(annotation) if text is None else tuple(text.strip().split("."))


def _spot(node: ast.expr) -> Spot:
    return Spot(node.lineno, node.col_offset + 1)


def _lines(node: ast.expr | ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _spot_of_attribute(node: ast.Attribute) -> Spot:
    line, end = node.end_lineno or node.lineno, node.end_col_offset or 0
    return Spot(line, end - len(node.attr.encode()) + 1)


def _text_of(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _pattern_of(node: ast.expr) -> str | None:
    """
    Return a regular expression of the texts that an expression may build; None where it builds none.
    """
    match node:
        case ast.Constant(value=value):
            return re.escape(value) if isinstance(value, str) else None
        case ast.JoinedStr(values=parts):
            return "".join(_pattern_of(part) or ANYTHING for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (_pattern_of(left) or ANYTHING) + (_pattern_of(right) or ANYTHING)
        case (
            ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod())
            | ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format"))
        ):
            return ANYTHING.join(map(re.escape, _FIELD.split(text)))
        case ast.Slice() | ast.Tuple() | ast.Lambda() | ast.UnaryOp():
            return None
    return ANYTHING


def _date_of(node: ast.expr | None) -> datetime.date | None:
    """
    Return the day of ``datetime.date(2026, 12, 31)``.
    """
    if not isinstance(node, ast.Call) or (name_of(node.func) or ("",))[-1] != "date":
        return None
    given: dict[str, ast.expr] = dict(zip(("year", "month", "day"), node.args, strict=False))
    given.update((keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg is not None)
    numbers = {key: value.value for key, value in given.items() if isinstance(value, ast.Constant)}
    try:
        return datetime.date(**numbers)  # type: ignore[arg-type]  # anything else than three ints raises
    except (TypeError, ValueError):
        return None
