"""
dflag, from the checkout.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._base import DEFAULT, GOOD, Driver, Reading

if TYPE_CHECKING:
    from collections.abc import Callable


class Peer(Driver):
    """
    A file per flag, followed by an `Updater`.
    """

    title = "dflag"
    package = ""
    file = "limit"
    imports = "from dflag import FlagRegistry, Updater"
    declares = True
    loads = True

    def document(self, value: object) -> str:
        return str(value)

    def without(self) -> str | None:
        return None

    def start(self, path: str) -> None:
        import dflag

        self._flags = dflag.FlagRegistry()
        self._limit = self._flags.dyn_int("limit", DEFAULT)
        self._static = self._flags.int("static", GOOD)
        self._updater = dflag.Updater.setup(self._flags, path)

    def read(self) -> object:
        return self._limit.get()

    def readings(self) -> dict[str, Reading]:
        return {
            "dflag, static flag": Reading("limit.get()", {"limit": self._static}),
            "dflag, dynamic flag": Reading("limit.get()", {"limit": self._limit}),
            "dflag, inside pinned()": Reading("limit.get()", {"limit": self._limit}, within=self._flags.pinned),
        }

    def declare(self, count: int) -> object:
        import dflag

        flags = dflag.FlagRegistry()
        for number in range(count):
            flags.dyn_int(f"flag{number}", number, "What it is good for")
        return flags

    def files(self, options: dict[str, int]) -> dict[str, str]:
        return {name: str(value) for name, value in options.items()}

    def load(self, path: str) -> Callable[[], object]:
        import dflag

        flags = dflag.FlagRegistry()
        for name in os.listdir(f"{path}/..data"):
            flags.dyn_int(name, 0)
        return dflag.Updater(flags, path).initialize

    def stop(self) -> None:
        self._updater.stop()

    def health(self) -> str:
        status = self._updater.status()
        healthy = all(source.healthy for source in status.sources)
        return "" if healthy and not status.rejected else "status()"
