"""
dflag, from the checkout.
"""

from __future__ import annotations

from ._base import DEFAULT, Driver


class Peer(Driver):
    """
    A file per flag, followed by an `Updater`.
    """

    title = "dflag"
    package = ""
    file = "limit"

    def document(self, value: object) -> str:
        return str(value)

    def without(self) -> str | None:
        return None

    def start(self, path: str) -> None:
        import dflag

        flags = dflag.FlagRegistry()
        self._limit = flags.dyn_int("limit", DEFAULT)
        self._updater = dflag.Updater.setup(flags, path)

    def read(self) -> object:
        return self._limit.get()

    def stop(self) -> None:
        self._updater.stop()

    def health(self) -> str:
        status = self._updater.status()
        healthy = all(source.healthy for source in status.sources)
        return "" if healthy and not status.rejected else "status()"
