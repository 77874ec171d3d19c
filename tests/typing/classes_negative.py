"""
Uses of flags as a class that the type checkers must refuse: both report an unused ignore below. Never run.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import dataclasses

import dflag


class Settings(dflag.Flags):
    """Two flags."""

    port = dflag.int(8080)
    rate = dflag.dyn_int(50)


cfg = Settings.current()

# An instance never changes, and a flag is not replaced by a value.
cfg.rate = 5  # type: ignore[assignment]
cfg.revision = 9  # type: ignore[misc]
Settings.rate = 5  # type: ignore[assignment]

# Names are known, on the class and on an instance.
cfg.rte  # type: ignore[attr-defined]
Settings.rte  # type: ignore[attr-defined]

# A value is not a flag, and a flag is not a value.
cfg.rate.get()  # type: ignore[attr-defined]
total = Settings.rate + 1  # type: ignore[operator]
text: str = cfg.rate  # type: ignore[assignment]
dynamic: dflag.DynamicFlag[int] = Settings.port  # type: ignore[assignment]

# There is no constructor.
Settings()  # type: ignore[call-arg]
Settings(rate=5)  # type: ignore[call-arg]


# The keyword arguments of a class are known.
class Misspelt(dflag.Flags, prefx="shop."):  # type: ignore[arg-type]
    """A misspelt option."""


class OfAnotherType(dflag.Flags, prefix=5):  # type: ignore[arg-type]
    """A prefix that is not a text."""


class NoRegistry(dflag.Flags, registry="shop"):  # type: ignore[arg-type]
    """A registry that is not a registry."""


# A declarator takes a text as name, and a registry's method does not take the name twice.
dflag.dyn_int(5, name=5)  # type: ignore[arg-type]
Settings.registry.dyn_int("x", 5, nme="y")  # type: ignore[call-arg]

# Neither an instance nor any other class is a registry.
dflag.Updater(cfg, "/etc/shop")  # type: ignore[arg-type]
dflag.Updater(int, "/etc/shop")  # type: ignore[arg-type]


# If the field of another class is a flag, its constructor takes a flag too.
@dataclasses.dataclass
class Worker:
    """A flag as a field."""

    rate: dflag.DynamicFlag[int]


Worker(5)  # type: ignore[arg-type]
Worker(Settings.rate).rate = 5  # type: ignore[assignment]
number: int = Worker(Settings.rate).rate  # type: ignore[assignment]
