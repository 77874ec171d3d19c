"""
Scans one module for the declarations and reads of flags, and for the names that lead to them.

A `Name` is a dotted name as a tuple of its parts: ``("settings", "rate")`` for ``settings.rate``. `Scopes` knows at
once in which scope it is bound. What it stands for is resolved later, when all modules are known.
"""

from __future__ import annotations

import ast
import datetime
import re
from typing import TYPE_CHECKING, Final

from dflag._declarations import Declarations
from dflag.cli._built_texts import ANYTHING, pattern_of, text_of
from dflag.cli._module_records import (
    CALLED,
    GIVEN,
    SET,
    ClassHead,
    Declared,
    Load,
    Mention,
    Module,
    Parameters,
    Passed,
    Position,
    Taken,
)
from dflag.cli._scopes import Scopes, parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dflag.cli._modules import ModuleSource
    from dflag.cli._scopes import Comprehension, Name

DECLARATORS: Final = frozenset(name for name in vars(Declarations) if not name.startswith("_"))
"""The methods of a registry, and the functions of dflag, that make a flag."""

_NEUTRAL: Final = frozenset({"reset", "set", "set_text", "validator"})
"""The methods of a flag that do not ask for its value."""

_BY_NAME: Final = frozenset({"__getitem__", "for_", "lookup"})
"""Methods that read the flag whose name is their first argument."""

_TAKEN: Final = DECLARATORS | {"__getitem__", "lookup"}
"""Methods with which a program may declare or read any flag after it has given them another name."""

_GIVE_ALL: Final = frozenset({"items", "values"})
"""Methods of a snapshot that return the values of all flags."""

_WRITERS: Final = frozenset({"override", "pinned"})
"""Methods that take a mapping of flags, or of their names, to values."""

_FILLS_FIELDS: Final = ("dflag", "integrations", "pydantic_settings")
"""The module that reads the flags which have the names of the fields of a class."""

_CONCEALING: Final[dict[str, bool | None]] = {"secret": False, "type": None}
"""The options that can mask a value, each with the literal that does not; a ``type`` may contain a ``SecretStr``."""

_SHOWN_ATTRIBUTE: Final = re.compile(r"\{\w*\.(\w+)")
"""Matches an attribute in a text for ``format``."""


def scan(source: ModuleSource) -> Module:
    """
    Return the records of a module. A module that is nested too deeply for the interpreter counts as unreadable.
    """
    bare = source._replace(tree=None)  # the tree would take most of the memory
    found = Module(bare)
    if source.tree is not None:
        try:
            _Scan(found, Scopes(source.tree)).visit(source.tree)
        except RecursionError:
            return Module(bare._replace(problem=("cannot be read: nested too deeply", 1, 1)))
    return found


def name_of(node: ast.expr | None) -> Name | None:
    """
    Return the dotted name that an expression consists of, with calls as `CALLED`; None for any other expression.
    """
    parts: list[str] = []
    while isinstance(node, (ast.Attribute, ast.Await)):
        parts += [node.attr] if isinstance(node, ast.Attribute) else []
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

    def __init__(self, found: Module, scopes: Scopes) -> None:
        self._found: Final = found
        self._scopes: Final = scopes
        found.bindings = scopes.bindings
        self._targets: dict[ast.Call, list[Name]] = {}
        self._kept_apart: set[ast.expr] = set()  # texts that are no reads, and calls whose result is not used
        self._neutral: set[ast.expr] = set()
        self._called: set[ast.expr] = set()
        self._passed: set[ast.expr] = set()  # lists and mappings whose contents are recorded
        self._properties: set[Name] = set()
        self._names: dict[ast.Call, ast.expr] = {}  # the names to which unbound flags are bound at once

    def _name(self, node: ast.expr | None) -> Name | None:
        """
        Return the dotted name that an expression consists of, in its scoped form; None for any other expression.
        """
        name = name_of(node)
        return None if name is None else self._scopes.own(name)

    def _any_of(self, node: ast.expr | None) -> list[Name]:
        """
        Return the scoped dotted names that an expression may consist of, one for each branch of a condition.

        A constant has none. An expression without a name has the unknown name ``?``.
        """
        if node is None or isinstance(node, ast.Constant):
            return []
        if choices := _choices(node):
            return [each for choice in choices for each in self._any_of(choice)]
        return [self._name(node) or ("?",)]

    # --- what names stand for

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            parts = tuple(alias.name.split("."))
            self._note_import(parts)
            if alias.asname is None:
                self._found.modules[self._scopes.local(parts[0])] = parts[:1]
            else:
                self._found.modules[self._scopes.local(alias.asname)] = parts

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = tuple(filter(None, (node.module or "").split(".")))
        if node.level:
            names = self._found.source.names
            package = names if self._found.source.is_package else names[:-1]
            module = (*package[: len(package) - node.level + 1], *module)
        self._note_import(module)
        for alias in node.names:
            self._note_import((*module, alias.name))
            if alias.name == "*":
                self._found.stars.append(module)
            else:
                self._import(
                    alias.asname or alias.name, (module, alias.name), Position(node.lineno, node.col_offset + 1)
                )

    def _note_import(self, path: Name) -> None:
        self._found.fills_fields = self._found.fills_fields or path == _FILLS_FIELDS

    def _import(self, local: str, origin: tuple[Name, str], position: Position) -> None:
        before = self._found.imported.setdefault(self._scopes.local(local), origin)
        if before != origin:
            # From here on the name may mean either of the two.
            self._found.shared += [(before, position), (origin, position)]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        bases = [name for base in node.bases if (name := self._name(_without_parameters(base))) is not None]
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        prefix, registry = (given.get(option, given.get(None)) for option in ("prefix", "registry"))  # or in ``**``
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        with self._scopes.in_class(node) as key:
            pattern = None if prefix is None else pattern_of(prefix)
            home = None if registry is None else self._name(registry) or ("?",)
            self._found.classes[key] = ClassHead(bases, text_of(prefix), pattern, home)
            self._visit_all(node.body)
        for decorator in node.decorator_list:
            self._found.passed.append(Passed((key,), self._name(decorator), 0, _position(decorator), is_within=False))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = node.args
        defaults = [each for each in (*arguments.defaults, *arguments.kw_defaults) if each is not None]
        annotations = [each.annotation for each in parameters(node) if each.annotation is not None]
        self._visit_all([*node.decorator_list, *defaults, *annotations, *([node.returns] if node.returns else [])])
        said, returned = self._given(node), self._made_by(node.returns)
        with self._scopes.in_function(node) as names:
            function = self._scopes.function or ()
            self._found.functions[function] = Parameters(names, len(arguments.posonlyargs) + len(arguments.args))
            if any(map(_is_property, node.decorator_list)):
                self._properties.add(function)
            self._stand_for(self._returned_by(function), *returned)
            for name, argument in zip(names, parameters(node), strict=True):
                self._stand_for((name,), *said.get(argument.arg, ()))
            self._visit_all(node.body)

    def _returned_by(self, function: Name) -> Name:
        return function if function in self._properties else (*function, CALLED)

    def _given(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, list[Name]]:
        """
        Return what the parameters of a function stand for by their annotations and defaults, and those of a validator.
        """
        said = {each.arg: self._made_by(each.annotation) for each in parameters(node)}
        validates = any(isinstance(each, ast.Attribute) and each.attr == "validator" for each in node.decorator_list)
        if validates and node.args.args:
            said[node.args.args[-1].arg].append(("?dflag", "Snapshot", GIVEN))
        for name, default in self._defaults(node.args).items():
            said[name].append(default)
        return said

    def _defaults(self, arguments: ast.arguments) -> dict[str, Name]:
        positional = [*arguments.posonlyargs, *arguments.args]
        pairs = [
            *zip(reversed(positional), reversed(arguments.defaults), strict=False),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        return {each.arg: name for each, default in pairs if (name := self._name(default)) is not None}

    def _made_by(self, annotation: ast.expr | None) -> list[Name]:
        """
        Return the instances that an annotation describes, one for each class of a union.
        """
        return [(*name, GIVEN) for name in self._classes_of(annotation) if name is not None]

    def _classes_of(self, annotation: ast.expr | None) -> list[Name | None]:
        """
        Return the classes that an annotation names, also in a union, ``Optional`` or ``Annotated``.
        """
        match annotation:
            case ast.Constant(value=str(text)):
                return [self._scopes.own(tuple(text.strip().split(".")))]
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self._classes_of(left) + self._classes_of(right)
            case ast.Subscript(value=holder, slice=ast.Tuple(elts=[inner, *_]) | inner):
                is_around = (name_of(holder) or ("",))[-1] in ("Annotated", "Optional")
                return self._classes_of(inner) if is_around else []
        return [self._name(annotation)]

    def _stand_for(self, name: Name, *said: Name | None) -> None:
        for each in said:
            if each is not None and each != name:
                self._found.assigned.setdefault(name, []).append(each)

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all(each for each in (*node.args.defaults, *node.args.kw_defaults) if each is not None)
        with self._scopes.in_function(node):
            self.visit(node.body)

    def visit_ListComp(self, node: Comprehension) -> None:
        first, *others = node.generators
        self.visit(first.iter)  # outside of the scope
        with self._scopes.in_comprehension(node):
            self._visit_all([first.target, *first.ifs, *others])
            self._visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])

    visit_SetComp = visit_ListComp  # noqa: N815 - the library's name
    visit_DictComp = visit_ListComp  # noqa: N815 - the library's name
    visit_GeneratorExp = visit_ListComp  # noqa: N815 - the library's name

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - the library's name

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            target = self._name(item.optional_vars)
            if target is not None:
                self._stand_for(target, self._name(item.context_expr))
        self.generic_visit(node)

    visit_AsyncWith = visit_With  # noqa: N815 - the library's name

    def visit_Assign(self, node: ast.Assign) -> None:
        self._assign(node.targets, node.value)
        self._visit_statement(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign([node.target], node.value)
        target, key = self._name(node.target), self._scopes.class_key
        if target is not None:
            is_field = node.value is None and key is not None and isinstance(node.target, ast.Name)
            self._stand_for((key, *target) if is_field and key else target, *self._made_by(node.annotation))
            if key is not None:
                self._found.fields.append(Mention(None, target[-1], None, _position(node.target), "perhaps"))
        self._visit_statement(node)

    def visit_Return(self, node: ast.Return) -> None:
        function = self._scopes.function
        if function is not None:
            self._stand_for(self._returned_by(function), *self._any_of(node.value))
        self._visit_statement(node)

    def _visit_statement(self, node: ast.stmt) -> None:
        """
        Visit the parts of a statement. If it declares one flag, all lines of the statement belong to that flag.
        """
        before = len(self._found.declared)
        self.generic_visit(node)
        declared = self._found.declared[before:]
        if len(declared) == 1:
            declared[0].lines = _lines(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._assign([node.target], node.value)
        if isinstance(node.value, ast.Call):
            self._targets.pop(node.value, None)  # the flag is used as a value at the same time
        self.generic_visit(node)

    def _assign(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        for parts, part in _unpacked(targets, value):
            self._assign_one(parts, part)

    def _assign_one(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        names = [name for target in targets if (name := self._name(target)) is not None]
        self._found.stored.update(name for name in names if len(name) == 2)
        if isinstance(value, ast.Call) and len(names) == len(targets):
            self._targets[value] = names
        said = self._classes_of(value) if isinstance(value, (ast.Subscript, ast.BinOp)) else self._any_of(value)
        if any(isinstance(target, ast.Subscript) for target in targets):
            self._pass_within(value)
        for target in targets:
            if isinstance(target, ast.Attribute):
                self._pass(value, self._name(target.value), SET)
        for name in names:
            if name == ("__all__",) and isinstance(value, (ast.List, ast.Tuple)):
                self._found.exported.update(filter(None, map(text_of, value.elts)))
            self._stand_for(name, *said)
            if isinstance(value, ast.Lambda):
                self._stand_for((*name, CALLED), *self._any_of(value.body))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if name_of(node.target) == ("__all__",) and isinstance(node.value, (ast.List, ast.Tuple)):
            self._found.exported.update(filter(None, map(text_of, node.value.elts)))
        self.generic_visit(node)

    # --- what is done with flags

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring, or a remark
        self._kept_apart.add(node.value)
        self._visit_statement(node)

    def visit_Call(self, node: ast.Call) -> None:
        self._called.add(node.func)
        called = self._name(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else None
        receiver = self._name(node.func.value) if isinstance(node.func, ast.Attribute) else None
        if called is not None and self._declares(called):
            self._declare(node, called)
        elif method == "bind" and (named := _argument(node, 0, "name")) and (flag := _argument(node, 1, "flag")):
            self._bind(node, named, flag)
        elif method == "retired" and (named := _argument(node, 0, "name")):
            self._retire(node, named)
        elif node.args and _asks_for(method, node.args[0]):
            self._note_text(receiver, node.args[0], "read", is_neutral=node in self._neutral)
        elif method in _WRITERS:
            for argument in node.args:
                self._note_written(receiver, argument)
        elif method in _GIVE_ALL and receiver is not None:
            self._found.passed.append(Passed(receiver, None, None, _position(node), is_within=True))
        elif called is not None:
            self._note_function(node, called)
        self._pass_all(node, called)
        self.generic_visit(node)

    def _pass_all(self, node: ast.Call, called: Name | None) -> None:
        """
        Record the arguments of a call.
        """
        first = self._name(node.args[0]) if node.args else None
        if first is not None and CALLED not in first and self._origin(first)[0] == "dflag":
            called = first  # as in ``add_middleware(PinMiddleware, registry=flags)``
        elif called is not None:
            called = self._beyond_super(called)
        are_counted = not any(isinstance(each, ast.Starred) for each in node.args)
        for number, argument in enumerate(node.args):
            self._pass(argument, called, number if are_counted else None)
        for keyword in node.keywords:
            self._pass(keyword.value, called, keyword.arg, is_within=keyword.arg is None)

    def _beyond_super(self, called: Name) -> Name:
        """
        Return the name of ``super().method`` as a method of the first base, and any other name as it is.
        """
        if called[:2] != ("super", CALLED) or (key := self._scopes.receiver_class) not in self._found.classes:
            return called
        bases = self._found.classes[key].bases
        return (*bases[0], *called[1:]) if bases else called

    def _pass(
        self, node: ast.expr, called: Name | None, place: int | str | None = None, *, is_within: bool = False
    ) -> None:
        if isinstance(node, ast.Starred):
            self._pass(node.value, called, is_within=is_within)
        elif isinstance(node, (ast.Dict, ast.List, ast.Set, ast.Tuple)):
            self._passed.add(node)
            for each in node.values if isinstance(node, ast.Dict) else node.elts:
                self._pass(each, called, is_within=True)
        elif (name := self._name(node)) is not None:
            self._found.passed.append(Passed(name, called, place, _position(node), is_within))
        else:
            for each in _choices(node):
                self._pass(each, called, place, is_within=is_within)

    def _pass_within(self, node: ast.expr) -> None:
        """
        Record the names in a list, mapping or value that is not followed.
        """
        if node not in self._passed:
            self._pass(node, None, is_within=True)

    def visit_Dict(self, node: ast.Dict | ast.Set) -> None:
        self._pass_within(node)
        self.generic_visit(node)

    visit_Set = visit_Dict  # noqa: N815 - the library's name

    def visit_List(self, node: ast.List) -> None:
        if isinstance(node.ctx, ast.Load):
            self._pass_within(node)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Mod):
            self._pass_within(node.right)  # the values for a text, also as a mapping
        self.generic_visit(node)

    def _note_function(self, node: ast.Call, called: Name) -> None:
        function = self._origin(called)[-1]
        if called == ("getattr",) and len(node.args) >= 2:
            self._note_text(self._name(node.args[0]), node.args[1], "attribute", is_neutral=node in self._neutral)
        elif function == "attrgetter":
            for argument in node.args:
                self._note_text(None, argument, "attribute")
        elif function == "add_loglevel_flag":
            self._declare_loglevel(node)

    def _retire(self, node: ast.Call, named: ast.expr) -> None:
        self._kept_apart.add(named)
        name = text_of(named)
        since = [keyword.value for keyword in node.keywords if keyword.arg == "since"]
        if name is not None and since:
            self._found.retired[name] = self._date_of(since[0])

    def _bind(self, node: ast.Call, named: ast.expr, flag: ast.expr) -> None:
        self._kept_apart.add(named)
        targets = self._targets.get(node, [])
        if isinstance(flag, ast.Call):
            self._names[flag] = named
            self._targets[flag] = targets
            if node in self._kept_apart:
                self._kept_apart.add(flag)
        elif (target := self._name(flag)) is not None:
            self._neutral.add(flag)
            self._found.bound.append((text_of(named), pattern_of(named), target, _position(node), targets))
            self._found.assigned.update({each: [target] for each in targets})
            if not targets and node not in self._kept_apart:
                self._found.loads.append(Load(target, _position(node), is_neutral=False))

    def _origin(self, called: Name) -> Name:
        """
        Return a name with the path of the module that its first part is imported from.
        """
        first, *rest = called
        if first not in self._found.imported:
            return (*self._found.modules.get(first, (first,)), *rest)
        module, original = self._found.imported[first]
        return (*module, original, *rest)

    def _date_of(self, node: ast.expr | None) -> datetime.date | None:
        """
        Return the day of ``datetime.date(2026, 12, 31)``; None for any other expression.
        """
        if not isinstance(node, ast.Call) or self._origin(self._name(node.func) or ("",))[-1] != "date":
            return None
        given: dict[str, ast.expr] = dict(zip(("year", "month", "day"), node.args, strict=False))
        given.update((keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg is not None)
        numbers = {key: value.value for key, value in given.items() if isinstance(value, ast.Constant)}
        try:
            return datetime.date(**numbers)  # type: ignore[arg-type]  # anything other than three ints raises
        except (TypeError, ValueError):
            return None

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
        named = self._names.get(node, given.get("name")) if is_function else _argument(node, 0, "name")
        is_unpacked = any(keyword.arg is None for keyword in node.keywords)
        if not is_function and named is None and not is_unpacked:
            return
        if named is not None:
            self._kept_apart.add(named)
        targets = self._targets.get(node, [])
        self._found.declared.append(
            Declared(
                receiver=None if is_function else called[:-1],
                method=original if len(called) == 1 else called[-1],
                position=_position(node),
                lines=_lines(node),
                name=text_of(named),
                pattern=pattern_of(named) if named is not None else ANYTHING if is_unpacked else None,
                targets=targets,
                class_name=self._scopes.class_key,
                escapes=(not targets and node not in self._kept_apart) or _is_given(given.get("on_change")),
                expires=self._date_of(given.get("expires")),
                keys=text_of(given.get("keys")),
                is_secret=any(map(_may_conceal, node.keywords)),
            )
        )

    def _declare_loglevel(self, node: ast.Call) -> None:
        """
        Record the flag of `dflag.logging`, which reads it itself.
        """
        named = _argument(node, 1, "name")
        if named is not None:
            self._kept_apart.add(named)
        self._found.declared.append(
            Declared(
                receiver=self._name(_argument(node, 0, "registry")) or ("?",),
                method="dyn_string",
                position=_position(node),
                lines=_lines(node),
                name="loglevel" if named is None else text_of(named),
                pattern=None if named is None else pattern_of(named),
                targets=self._targets.get(node, []),
                escapes=True,
            )
        )

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Load):
            self._note_text(self._name(node.value), node.slice, "read", is_neutral=node in self._neutral)
        self.generic_visit(node)

    def _note_written(self, receiver: Name | None, argument: ast.expr) -> None:
        if not isinstance(argument, ast.Dict):
            return
        for key in filter(None, argument.keys):
            self._neutral.add(key)  # also ``flags["rate"]``
            if name_of(key) is None and not isinstance(key, ast.Subscript):
                self._note_text(receiver, key, "write")

    def _note_text(self, receiver: Name | None, node: ast.expr, how: str, *, is_neutral: bool = False) -> None:
        text, pattern = text_of(node), pattern_of(node)
        if text is None and (pattern is None or isinstance(node, ast.Constant)):
            return
        self._kept_apart.add(node)
        name = self._name(node)
        self._found.texts.append(Mention(receiver, text, pattern, _position(node), how, name, is_neutral))

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and node not in self._kept_apart and len(node.value) <= 253:
            self._found.texts.append(Mention(None, node.value, None, _position(node), "perhaps"))
            for attribute in _SHOWN_ATTRIBUTE.findall(node.value):
                self._found.loads.append(Load(("?", attribute), _position(node), is_neutral=False))

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        matched = self._name(node.cls) or ("?",)
        for attribute in node.kwd_attrs:
            self._found.loads.append(Load((*matched, attribute), _position(node.cls), is_neutral=False))
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        name = self._scopes.own((node.id,))
        if len(name) == 1 and node not in self._called and self._declares(name):
            self._found.taken.append(Taken(("?dflag",), node.id, _position(node)))
        self._load(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in _TAKEN and node not in self._called:
            self._found.taken.append(Taken(self._name(node.value) or ("?",), node.attr, _position(node)))
        if node.attr in _NEUTRAL:
            self._neutral.add(node.value)
        if name_of(node) is None:
            self._found.loads.append(Load(("?", node.attr), _position_of_attribute(node), node in self._neutral))
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
        name = name_of(node)
        if name is None or not isinstance(node.ctx, ast.Load):
            return
        # ``limits.rate.get()`` reads each of ``limits``, ``limits.rate`` and ``limits.rate.get``, where one is a flag.
        part: ast.expr = node
        while isinstance(part, (ast.Attribute, ast.Name)):
            if (name := self._name(part)) is not None:
                position = _position_of_attribute(part) if isinstance(part, ast.Attribute) else _position(part)
                self._found.loads.append(Load(name, position, part in self._neutral))
            if not isinstance(part, ast.Attribute):
                return
            if part.attr in _NEUTRAL:
                self._neutral.add(part.value)
            part = part.value


def _unpacked(targets: Sequence[ast.expr], value: ast.expr) -> Iterator[tuple[Sequence[ast.expr], ast.expr]]:
    """
    Yield each value of an assignment with its targets: ``one, two = 1, 2`` has two.
    """
    several = [_elements(each) for each in (*targets, value)]
    if len(set(map(len, several))) > 1 or not several[-1]:
        yield targets, value
        return
    for *parts, part in zip(*several, strict=True):
        yield from _unpacked(parts, part)


def _elements(node: ast.expr) -> list[ast.expr]:
    """
    Return the elements of a tuple or list; none if a starred element makes their number unknown.
    """
    elements = node.elts if isinstance(node, (ast.List, ast.Tuple)) else []
    return [] if any(isinstance(each, ast.Starred) for each in elements) else elements


def _choices(node: ast.expr | None) -> list[ast.expr]:
    """
    Return the expressions of which one is the value of a conditional expression, of ``and``, of ``or`` or of ``:=``.
    """
    match node:
        case ast.IfExp(body=one, orelse=other):
            return [one, other]
        case ast.BoolOp(values=values):
            return values
        case ast.NamedExpr(value=value):
            return [value]
    return []


def _without_parameters(base: ast.expr) -> ast.expr:
    return base.value if isinstance(base, ast.Subscript) else base


def _argument(node: ast.Call, place: int, name: str) -> ast.expr | None:
    """
    Return the argument of a call with a position or a keyword; None if there is none.
    """
    named = (keyword.value for keyword in node.keywords if keyword.arg == name)
    return node.args[place] if place < len(node.args) else next(named, None)


def _asks_for(method: str | None, argument: ast.expr) -> bool:
    """
    Return whether a method reads the flag that its first argument names.

    ``get`` with a literal does not count, as it also takes names that no flag has.
    """
    return method in _BY_NAME or (method == "get" and not isinstance(argument, ast.Constant))


def _is_property(decorator: ast.expr) -> bool:
    return (name_of(decorator) or ("",))[-1].endswith("property")


def _is_given(option: ast.expr | None) -> bool:
    return option is not None and not (isinstance(option, ast.Constant) and option.value is None)


def _may_conceal(option: ast.keyword) -> bool:
    match option.arg, option.value:
        case None, ast.Dict(keys=keys):
            return any(name is None or name in _CONCEALING for name in map(text_of, keys))
        case str(name), ast.Constant(value=value):
            return name in _CONCEALING and value is not _CONCEALING[name]
        case name, _:
            return name is None or name in _CONCEALING


def _position(node: ast.expr) -> Position:
    return Position(node.lineno, node.col_offset + 1)


def _lines(node: ast.expr | ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _position_of_attribute(node: ast.Attribute) -> Position:
    line, end = node.end_lineno or node.lineno, node.end_col_offset or 0
    return Position(line, end - len(node.attr.encode()) + 1)
