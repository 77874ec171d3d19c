"""
The options of an updater, for type checkers.
"""

from __future__ import annotations

import inspect

from dflag import Updater
from dflag._options import UpdaterOptions


def test_what_passes_options_on_knows_those_of_the_updater() -> None:
    """
    `UpdaterOptions`, for `Updater.setup` and the test kit, has every option of `Updater` with its type, and no other.
    """
    parameters = inspect.signature(Updater).parameters.values()
    options = {each.name: each.annotation for each in parameters if each.kind is each.KEYWORD_ONLY}

    assert options == {name: hint.__forward_arg__ for name, hint in UpdaterOptions.__annotations__.items()}
