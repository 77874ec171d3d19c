"""
The decorator for deprecated functions, and the check that they are removed in time.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag._deprecated import deprecated
from dflag._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE = re.compile(r"deprecated since (\d+)\.(\d+) and gone in (\d+)\.(\d+): use .+")
KEPT_VERSIONS = 2
"""How many minor versions warn before the one that removes a function; see docs/support.md."""


class Owner:
    """
    A class with a method that goes away.
    """

    @deprecated("deprecated since 0.3 and gone in 0.5: use new")
    def old(self, number: int) -> int:
        """Return the number, doubled."""
        return 2 * number


def _call() -> int:
    return Owner().old(2)


def test_a_call_warns_where_it_stands() -> None:
    """A call of a deprecated method works as before, with a warning that has the message and the caller's line."""
    with pytest.warns(DeprecationWarning, match=r"^deprecated since 0\.3 and gone in 0\.5: use new$") as caught:
        assert _call() == 4
    assert (caught[0].filename, caught[0].lineno) == (__file__, _call.__code__.co_firstlineno + 1)


def test_it_looks_as_before() -> None:
    """A deprecated method keeps its signature, name and docstring, and has `__deprecated__` for tools (PEP 702)."""
    assert str(inspect.signature(Owner.old)) == "(self, number: 'int') -> 'int'"
    assert (Owner.old.__name__, Owner.old.__doc__) == ("old", "Return the number, doubled.")
    assert vars(Owner.old)["__deprecated__"] == "deprecated since 0.3 and gone in 0.5: use new"


def test_a_class_is_refused() -> None:
    """`deprecated()` refuses a class with a TypeError, as `isinstance` would fail with a wrapped class."""
    with pytest.raises(TypeError, match=r"^expected a function or method to deprecate, got <class 'int'>$"):
        deprecated("deprecated since 0.3 and gone in 0.5: use new")(int)


def _marks(source: str) -> Iterator[str]:
    """
    Yield each message in a source: of ``deprecated()``, empty if it is not a literal, and of other calls that warn.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            texts = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if isinstance(node.func, ast.Name) and node.func.id == "deprecated":
                yield texts[0] if texts else ""
            else:
                yield from (text for text in texts if text.startswith("deprecated since"))


def _problems(source: str, version: str) -> list[str]:
    """
    Return a problem for each mark that says too little, leaves too little time, or is due.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    found = []
    for message in _marks(source):
        said = MESSAGE.fullmatch(message)
        if said is None:
            found.append(f"not in the form of docs/support.md: {message!r}")
            continue
        since, gone = (int(said[1]), int(said[2])), (int(said[3]), int(said[4]))
        if gone < (since[0], since[1] + KEPT_VERSIONS) and gone[0] == since[0]:
            found.append(f"goes too soon: {message!r}")
        if gone <= (major, minor):
            found.append(f"is due in {version}: {message!r}")
    return found


@pytest.mark.parametrize(
    ("message", "version", "expected"),
    [
        ("deprecated since 0.3 and gone in 0.5: use new", "0.4.9", []),
        ("deprecated since 0.3 and gone in 0.5: use new", "0.5.0", ["is due"]),
        ("deprecated since 0.3 and gone in 0.4: use new", "0.3.0", ["goes too soon"]),
        ("deprecated since 0.9 and gone in 1.0: use new", "0.9.1", []),
        ("use new", "0.3.0", ["not in the form"]),
    ],
)
def test_a_mark_is_held_to_its_form(message: str, version: str, expected: list[str]) -> None:
    """The check reports a mark that does not say what to use, leaves less than two minor versions, or is due."""
    found = _problems(f"@deprecated({message!r})\ndef f(): ...\n", version)
    assert [each.startswith(start) for each, start in zip(found, expected, strict=True)] == [True] * len(expected)
    if message.startswith("deprecated since"):
        assert _problems(f"warnings.warn({message!r}, DeprecationWarning, stacklevel=2)\n", version) == found


def test_marks_are_in_their_form_and_time() -> None:
    """Each mark in the package says since when and until when it is valid and what to use instead; none is due."""
    sources = [path.read_text(encoding="utf-8") for path in Path(dflag.__file__).parent.rglob("*.py")]
    assert sources
    assert [problem for source in sources for problem in _problems(source, __version__)] == []
