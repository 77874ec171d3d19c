"""
dynamic-config-py, with its file watcher.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._base import DEFAULT, JsonDriver, Reading


@dataclass
class Settings:
    """
    The schema: a dataclass, which the library validates itself.
    """

    limit: int = DEFAULT


class Peer(JsonDriver):
    """
    ``DynamicConfig(...).file(...)``, ``init()`` and ``watch()``.
    """

    title = "dynamic-config-py"
    package = "dynamic-config-py"
    file = "config.json"
    imports = "from dynamic_config import DynamicConfig"

    def tree(self, options: dict[str, object]) -> object:
        return {"app": options}

    def start(self, path: str) -> None:
        from dynamic_config import DynamicConfig

        self._config = DynamicConfig(Settings, key="app").file(f"{path}/{self.file}")
        self._config.init()
        self._watch = self._config.watch()

    def readings(self) -> dict[str, Reading]:
        return {self.title: Reading("config.current().limit", {"config": self._config})}

    def read(self) -> object:
        return self._config.current().limit

    def health(self) -> str:
        return "" if self._config.is_healthy else "is_healthy"
