"""
Names of a package that are imported on first use.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def lazily(
    package: str, homes: Mapping[str, str], modules: Iterable[str] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """
    Make a package's ``__getattr__`` and ``__dir__`` (PEP 562). The latter lists only the names that users may import.

    Args:
        package: The name of the package.
        homes: For each name, the module of the package that defines it.
        modules: The names of the public modules of the package.
    """
    modules = frozenset(modules)

    def get(name: str) -> object:
        if name not in homes and name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = f"{package}.{homes.get(name, name)}"
        __import__(home)  # importlib would be one more module to load at each start
        module = sys.modules[home]
        value: object = module if name in modules else getattr(module, name)
        setattr(sys.modules[package], name, value)  # so that the next access does not come here
        return value

    def names() -> list[str]:
        return sorted({*sys.modules[package].__all__, *homes, *modules})

    return get, names
