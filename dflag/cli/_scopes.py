"""
The scopes of a module, and the scoped form of a name, which says in which scope the name is bound.

A name of a function, lambda or comprehension gets the number of that scope, ``("flags@3",)``, which distinguishes it
from a name of the module. A name in the body of a class, or after ``self`` in its methods, becomes an attribute of the
class: ``("Limits", "rate")``.
"""

from __future__ import annotations

import ast
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

Name: TypeAlias = tuple[str, ...]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

_LOCAL: Final = "@"


class _Scope(NamedTuple):
    """
    One scope.

    Attributes:
        names: How often each name is bound in it.
        elsewhere: The names that ``global`` lists.
        suffix: Distinguishes its names from those of other scopes.
        class_key: The class whose body it is; None if it is no class.
        function: The name of the function whose body it is; None if it is no function.
        receiver: The first parameter of a method, which is an instance or the class, and the class.
    """

    names: Mapping[str, int]
    elsewhere: AbstractSet[str]
    suffix: str = ""
    class_key: str | None = None
    function: Name | None = None
    receiver: tuple[str, str] | None = None

    def own(self, name: Name) -> Name:
        """
        Return the scoped form of a name that this scope binds.
        """
        if self.class_key is not None:
            return (self.class_key, *name)
        if self.receiver is not None and self.receiver[0] == name[0]:
            return (self.receiver[1], *name[1:])
        return (name[0] + self.suffix, *name[1:])


class Scopes:
    """
    The scopes around the current place in a module.

    Attributes:
        bindings: How often each name is bound. The names of functions have the number of their scope.
    """

    def __init__(self, tree: ast.Module) -> None:
        names, _ = _bound(tree.body)
        self.bindings: Final = Counter(names)
        self._scopes: Final = [_Scope(names, frozenset())]
        self._count = 0

    @property
    def class_key(self) -> str | None:
        """
        The class whose body is the innermost scope.
        """
        return self._scopes[-1].class_key

    @property
    def function(self) -> Name | None:
        """
        The function whose body is the innermost scope.
        """
        return self._scopes[-1].function

    @property
    def receiver_class(self) -> str | None:
        """
        The class of the innermost method, which ``super()`` refers to.
        """
        return next((scope.receiver[1] for scope in reversed(self._scopes) if scope.receiver is not None), None)

    def own(self, name: Name) -> Name:
        """
        Return the scoped form of a name at the current place.
        """
        innermost = self._scopes[-1]
        for scope in reversed(self._scopes):
            if name[0] in scope.elsewhere:
                return name
            if name[0] in scope.names and (scope.class_key is None or scope is innermost):
                return scope.own(name)
        return name

    def local(self, name: str) -> str:
        """
        Return the scoped form of a name that an import binds here; in the body of a class, the name itself.
        """
        own = self.own((name,))
        return own[0] if len(own) == 1 else name

    @contextlib.contextmanager
    def in_class(self, node: ast.ClassDef) -> Iterator[str]:
        """
        Enter the body of a class; yield the key of the class.
        """
        key = ".".join(self.own((node.name,)))
        names, elsewhere = _bound(node.body)
        with self._inside(_Scope(names, elsewhere, class_key=key)):
            yield key

    @contextlib.contextmanager
    def in_function(self, node: Function) -> Iterator[list[str]]:
        """
        Enter the body of a function; yield the scoped forms of its parameters.
        """
        names, elsewhere = _bound([node.body] if isinstance(node, ast.Lambda) else node.body)
        arguments = [each.arg for each in parameters(node)]
        names.update(arguments)
        for name in elsewhere & names.keys():
            self.bindings[name] += names.pop(name)
        function = None if isinstance(node, ast.Lambda) else self.own((node.name,))
        receiver = self._receiver(node, arguments)
        with self._inside(self._local_scope(names, elsewhere, function, receiver)):
            yield [self.own((name,))[0] for name in arguments]

    def in_comprehension(self, node: Comprehension) -> contextlib.AbstractContextManager[None]:
        """
        Enter a comprehension.
        """
        names, _ = _bound(each.target for each in node.generators)
        return self._inside(self._local_scope(names, frozenset()))

    def _local_scope(
        self,
        names: Mapping[str, int],
        elsewhere: AbstractSet[str],
        function: Name | None = None,
        receiver: tuple[str, str] | None = None,
    ) -> _Scope:
        self._count += 1
        suffix = f"{_LOCAL}{self._count}"
        self.bindings.update({name + suffix: count for name, count in names.items()})
        return _Scope(names, elsewhere, suffix, function=function, receiver=receiver)

    def _receiver(self, node: Function, arguments: list[str]) -> tuple[str, str] | None:
        key = self.class_key
        if key is None or not arguments or isinstance(node, ast.Lambda):
            return None
        is_static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in node.decorator_list)
        return None if is_static else (arguments[0], key)

    @contextlib.contextmanager
    def _inside(self, scope: _Scope) -> Iterator[None]:
        self._scopes.append(scope)
        try:
            yield
        finally:
            self._scopes.pop()


def is_local(name: str) -> bool:
    """
    Return whether a name belongs to the scope of a function, so that no other module can reach it.
    """
    return _LOCAL in name


def plain(name: str) -> str:
    """
    Return a name as the code writes it, without the number of its scope.
    """
    return name.partition(_LOCAL)[0]


def parameters(node: Function) -> list[ast.arg]:
    """
    Return the parameters of a function.
    """
    arguments = node.args
    several = [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *several]


def _bound(nodes: Iterable[ast.AST]) -> tuple[Counter[str], AbstractSet[str]]:
    """
    Return how often some nodes bind each name, without the scopes within them, and the names that ``global`` lists.
    """
    names: Counter[str] = Counter()
    imported: set[str] = set()
    elsewhere: set[str] = set()
    enclosing: set[str] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                names[node.id] += 1
        elif not node._fields or isinstance(node, ast.Constant):
            continue  # this skips half of all nodes
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            imported.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Global):
            elsewhere.update(node.names)
        elif isinstance(node, ast.Nonlocal):
            enclosing.update(node.names)
        else:
            names.update(_named(node))
            pending.extend(_within(node))
    names.update(imported)  # once each: several modules of a package are imported under its name
    return Counter({name: count for name, count in names.items() if name not in enclosing}), elsewhere


def _named(node: ast.AST) -> list[str]:
    """
    Return the names that a node binds itself, without a node for the name.
    """
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        return [] if node.name is None else [node.name]
    return [node.rest] if isinstance(node, ast.MatchMapping) and node.rest is not None else []


def _within(node: ast.AST) -> Iterable[ast.AST]:
    """
    Return the parts of a node that may bind names in the same scope.
    """
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
        return ()
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        return [each.target for each in ast.walk(node) if isinstance(each, ast.NamedExpr)]
    is_bare = isinstance(node, ast.AnnAssign) and node.value is None
    return () if is_bare else ast.iter_child_nodes(node)
