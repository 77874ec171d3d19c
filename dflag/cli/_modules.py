"""
Finds the Python files of a program, and parses them.

Nothing of the program is imported; only its syntax trees are used.
"""

from __future__ import annotations

import ast
import io
import os
import re
import tokenize
import warnings
from typing import TYPE_CHECKING, Final, NamedTuple

from dflag.cli._errors import CommandError
from dflag.cli._private_names import with_private_names
from dflag.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_EXCLUDED: Final = frozenset({"__pycache__", "build", "dist", "env", "node_modules", "site-packages", "venv"})
"""Directories without code of the program itself, in addition to those whose names begin with a dot."""

_TEST_FILE: Final = re.compile(r"test_.*\.py|.*_test\.py|conftest\.py")

_KEEP: Final = re.compile(r"#\s*dflag:\s*keep\b")

_MAX_BYTES: Final = 16 * 2**20
"""More than any module that people or generators write, so that no device fills the memory."""


class ModuleSource(NamedTuple):
    """
    One module of a program.

    Attributes:
        file: Its path, as reports show it.
        names: The parts of its dotted name as far as the path tells; for an ``__init__`` those of the package.
        is_test: Whether only tests run it.
        is_package: Whether it is an ``__init__``.
        tree: Its syntax tree; None if it cannot be parsed, and for a module that was scanned.
        kept: The lines with a comment ``# dflag: keep``.
        problem: Why it cannot be parsed, with the line and the column; None if it can.
    """

    file: str
    names: tuple[str, ...]
    is_test: bool
    is_package: bool
    tree: ast.Module | None
    kept: frozenset[int] = frozenset()
    problem: tuple[str, int, int] | None = None


def read_sources(paths: Iterable[str]) -> Iterator[ModuleSource]:
    """
    Read every Python file at or below each path, each file once, in the order of the paths and then of the names.

    Raises:
        CommandError: There is no file or directory at a path.
    """
    seen: set[str] = set()
    for path in paths:
        if not os.path.lexists(path):
            raise CommandError(f"no file or directory at {path!r}")
        for file in [path] if os.path.isfile(path) else _walk(path):
            real = os.path.realpath(file)
            if real not in seen:
                seen.add(real)
                yield _read(file, path)


def _walk(directory: str) -> Iterator[str]:
    for parent, directories, files in os.walk(directory):
        directories[:] = sorted(
            name
            for name in directories
            if name not in _EXCLUDED
            and not name.startswith(".")
            and not name.endswith(".egg-info")
            and not os.path.lexists(os.path.join(parent, name, "pyvenv.cfg"))
        )
        yield from (os.path.normpath(os.path.join(parent, name)) for name in sorted(files) if name.endswith(".py"))


def _read(file: str, root: str) -> ModuleSource:
    parts = os.path.abspath(file).removesuffix(".py").split(os.sep)
    is_package = parts[-1] == "__init__"
    names = tuple(filter(None, parts[:-1] if is_package else parts))
    is_test = _is_test(file, root)
    tree, text, problem = _parse(file)
    kept = frozenset(_kept(text)) if _KEEP.search(text) else frozenset()
    return ModuleSource(file, names, is_test, is_package, tree, kept, problem)


def _is_test(file: str, root: str) -> bool:
    if _TEST_FILE.fullmatch(os.path.basename(file)):
        return True
    # Directories above the given path say nothing about the program, but the name of the path itself does.
    above = os.path.dirname(os.path.abspath(root))
    return "tests" in os.path.relpath(os.path.abspath(file), above).split(os.sep)[:-1]


def _parse(file: str) -> tuple[ast.Module | None, str, tuple[str, int, int] | None]:
    try:
        with open(file, "rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            return None, "", (f"larger than {_MAX_BYTES // 2**20} MiB", 1, 1)
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about literals and escapes of the program
            return with_private_names(ast.parse(text), text), text, None
    except SyntaxError as error:
        return None, "", (one_line(f"no Python: {error.msg}"), error.lineno or 1, error.offset or 1)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return None, "", (one_line(f"cannot be read: {reason}"), 1, 1)


def _kept(text: str) -> Iterator[int]:
    """
    Yield the numbers of the lines with a comment ``# dflag: keep``.
    """
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and _KEEP.search(token.string):
            yield token.start[0]
