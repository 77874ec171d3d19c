"""
The examples in docstrings run and print what they show.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import dflag


def _modules() -> list[str]:
    # __main__ runs on import; other modules may need extras, and skip when those are missing.
    found = pkgutil.walk_packages(dflag.__path__, "dflag.", onerror=lambda _: None)
    return ["dflag", *sorted(module.name for module in found if not module.name.endswith("__main__"))]


@pytest.mark.parametrize("name", _modules())
def test_examples_of_module(name: str) -> None:
    """The examples in the docstrings of a module print what they say."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("dflag"):
            raise
        pytest.skip(f"{error.name} is not installed")
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert failed == 0
