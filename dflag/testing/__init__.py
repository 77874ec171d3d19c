"""
Helpers for the tests of programs that use dflag.

The fixtures and the marker for pytest are in `dflag.pytest_plugin`, which pytest loads automatically.
"""

from dflag.testing._overriding import Overrides, isolated, override
from dflag.testing._stepping import SteppedUpdater
from dflag.testing._strategies import bad_texts, texts, values
from dflag.testing._volume import ConfigMapVolume

__all__ = ["ConfigMapVolume", "Overrides", "SteppedUpdater", "bad_texts", "isolated", "override", "texts", "values"]


def __dir__() -> list[str]:
    return __all__
