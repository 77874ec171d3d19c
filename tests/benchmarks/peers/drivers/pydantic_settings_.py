"""
pydantic-settings, which has no watcher.
"""

from __future__ import annotations

from typing import Any

from ._base import DEFAULT, Driver, Reading


class Peer(Driver):
    """
    A file per field in ``secrets_dir``, and ``settings.__init__()`` to reload in place, as the documentation says.
    """

    title = "pydantic-settings"
    package = "pydantic-settings"
    file = "limit"
    by_hand = True
    imports = "from pydantic_settings import BaseSettings"

    def document(self, value: object) -> str:
        return str(value)

    def without(self) -> str | None:
        return None

    def start(self, path: str) -> None:
        from pydantic import create_model
        from pydantic_settings import BaseSettings, SettingsConfigDict

        class Base(BaseSettings):
            model_config = SettingsConfigDict(secrets_dir=path)

        self._settings: Any = create_model("Settings", __base__=Base, limit=(int, DEFAULT))()

    def readings(self) -> dict[str, Reading]:
        return {self.title: Reading("settings.limit", {"settings": self._settings})}

    def read(self) -> object:
        return self._settings.limit

    def reload(self) -> None:
        self._settings.__init__()
