"""
Names and modules of the package that are imported at their first use.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dflag
from dflag._lazy import lazily

MODULES = ("errors", "facts", "logging", "sources", "testing", "typing", "validators", "web")


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.mark.parametrize("name", MODULES)
def test_public_module_is_an_attribute_of_the_package(name: str) -> None:
    """A public module is an attribute of the package in a fresh interpreter, without an import of its own."""
    assert _run(f"import dflag; print(dflag.{name}.__name__)") == f"dflag.{name}\n"


def test_import_of_the_package_loads_no_part_of_it() -> None:
    """Importing the package loads only the exceptions and the module that imports the rest at its first use."""
    code = "import sys, dflag; print(sorted(name for name in sys.modules if name.startswith('dflag.')))"
    assert _run(code) == "['dflag._lazy', 'dflag.errors']\n"


def test_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that was looked up is stored in the package, so that it is not looked up again."""
    monkeypatch.delitem(vars(dflag), "dyn_int", raising=False)
    function = dflag.dyn_int
    assert vars(dflag)["dyn_int"] is function


def test_unknown_name_is_an_attribute_error() -> None:
    """An unknown name of the package raises AttributeError, as in any module, so that `hasattr()` returns False."""
    get, _ = lazily("dflag", {"Snapshot": "_snapshot"}, ["web"])
    assert (get("Snapshot"), get("web")) == (dflag.Snapshot, dflag.web)
    with pytest.raises(AttributeError, match="module 'dflag' has no attribute 'wbe'"):
        get("wbe")
    assert not hasattr(dflag, "_unbound_")


def test_names_outside_of_all_are_exported_to_type_checkers() -> None:
    """
    Every public name outside of ``__all__`` is imported as ``X as X``: next to an ``__all__``, pyright takes a name of
    any other import as private, also of a wildcard.

    Pyright reports that only in programs that have dflag installed, and not in this checkout.
    """
    tree = ast.parse(Path(dflag.__file__).read_text(encoding="utf-8"))
    imported = [name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names]
    exported = {name.name for name in imported if name.asname == name.name}
    assert set(dir(dflag)) - set(dflag.__all__) == exported
