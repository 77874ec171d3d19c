"""
A dictionary with a lock, which many programs use instead of a library.
"""

from __future__ import annotations

import threading

from ._base import GOOD, Library, Reading


class Settings:
    """
    Values that one thread changes and the others read.
    """

    __slots__ = ("_lock", "_values")

    def __init__(self, values: dict[str, object]) -> None:
        self._lock = threading.Lock()
        self._values = values

    def get(self, name: str) -> object:
        with self._lock:
            return self._values[name]


class Peer(Library):
    """
    A class that uses only the standard library.
    """

    title = "dict with a lock"
    package = ""

    def start(self, path: str) -> None:
        self._settings = Settings({"limit": GOOD})

    def readings(self) -> dict[str, Reading]:
        return {self.title: Reading('settings.get("limit")', {"settings": self._settings})}
