"""
Every way to declare a flag stands in the API reference.
"""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import pytest

import dflag
from dflag import _unbound
from dflag._declarations import Declarations

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
METHODS = sorted(name for name in vars(Declarations) if not name.startswith("_"))
FUNCTIONS = sorted(
    name
    for name, value in vars(_unbound).items()
    if inspect.isfunction(value) and value.__module__ == "dflag" and not name.startswith("_")
)


def _without(signature: inspect.Signature, *left_out: str) -> list[tuple[str, object, object]]:
    """
    List the parameters with their kind and annotation, those left out aside.
    """
    return [
        (each.name, each.kind, each.annotation) for each in signature.parameters.values() if each.name not in left_out
    ]


def test_each_style_has_each_kind() -> None:
    """What a registry declares, statically and dynamically, a library can make too."""
    assert METHODS == FUNCTIONS
    assert {name.removeprefix("dyn_") for name in METHODS if name.startswith("dyn_")} == {
        name for name in METHODS if not name.startswith("dyn_")
    }
    assert set(FUNCTIONS) <= set(dir(dflag))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_described_with_options_errors_and_an_example(name: str) -> None:
    """The page shows it; the dynamic one refers to the static one, which says all."""
    assert f".. automethod:: dflag.FlagRegistry.{name}\n" in PAGE
    text = inspect.getdoc(getattr(dflag.FlagRegistry, name)) or ""
    assert f".{name}(" in text
    assert ">>> " in text
    if name.startswith("dyn_"):
        assert f"Grammar, options and errors are those of `FlagRegistry.{name.removeprefix('dyn_')}`." in text
        return
    assert re.search(r"^Raises:\n    DefinitionError: .*\n(?:.*\n)*    DuplicateFlagError: ", text, re.MULTILINE)
    signature = inspect.signature(getattr(dflag.FlagRegistry, name))
    for parameter in signature.parameters.values():
        if parameter.name != "self":
            assert re.search(rf"^    (?:\*\*)?{parameter.name}: ", text, re.MULTILINE), parameter.name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_described_with_an_example(name: str) -> None:
    """The page shows it; it refers to the method of the same kind."""
    assert f".. autofunction:: dflag.{name}\n" in PAGE
    text = inspect.getdoc(getattr(dflag, name)) or ""
    assert f"dflag.{name}(" in text
    assert pickle.loads(pickle.dumps(getattr(dflag, name))) is getattr(dflag, name)  # noqa: S301 - made here
    assert f"Grammar, options and errors are those of `FlagRegistry.{name.removeprefix('dyn_')}`." in text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_what_the_method_takes(name: str) -> None:
    """Its signature is that of the method of the same kind, but the name comes last and may be left out."""
    function = inspect.signature(getattr(dflag, name))
    method = inspect.signature(getattr(dflag.FlagRegistry, name))
    assert _without(function, "name") == _without(method, "self", "name")
    assert function.return_annotation == method.return_annotation
    assert function.parameters["name"].kind is inspect.Parameter.KEYWORD_ONLY
    assert function.parameters["name"].default is None
