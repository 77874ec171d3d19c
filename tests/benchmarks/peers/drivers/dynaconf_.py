"""
dynaconf, which has no watcher.
"""

from __future__ import annotations

from typing import Any

from ._base import DEFAULT, JsonDriver, Reading


class Peer(JsonDriver):
    """
    ``Dynaconf(settings_files=[...])`` with a validator for the type, and ``reload()``.
    """

    title = "dynaconf"
    package = "dynaconf"
    file = "settings.json"
    by_hand = True
    imports = "from dynaconf import Dynaconf"

    def start(self, path: str) -> None:
        from dynaconf import Dynaconf, Validator

        validators = [Validator("LIMIT", is_type_of=int, default=DEFAULT)]
        self._settings: Any = Dynaconf(settings_files=[f"{path}/{self.file}"], validators=validators)

    def readings(self) -> dict[str, Reading]:
        return {self.title: Reading("settings.LIMIT", {"settings": self._settings})}

    def read(self) -> object:
        return self._settings.get("LIMIT", DEFAULT)

    def reload(self) -> None:
        self._settings.reload()
