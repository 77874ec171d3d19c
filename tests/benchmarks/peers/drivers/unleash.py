"""
Unleash's client, offline.
"""

from __future__ import annotations

from ._base import Library, Reading


class Peer(Library):
    """
    ``UnleashClient`` with toggles from a bootstrap and no network; a toggle is on or off, so it has no int value.
    """

    title = "Unleash, offline"
    package = "UnleashClient"
    imports = "from UnleashClient import UnleashClient"

    def start(self, path: str) -> None:
        from UnleashClient import UnleashClient
        from UnleashClient.cache import FileCache

        toggle = {"name": "limit", "enabled": True, "strategies": [{"name": "default", "parameters": {}}]}
        cache = FileCache("app", directory=path)
        cache.bootstrap_from_dict({"version": 1, "features": [toggle]})
        self._client = UnleashClient(
            "http://localhost", "app", cache=cache, disable_metrics=True, disable_registration=True
        )
        self._client.initialize_client(fetch_toggles=False)

    def readings(self) -> dict[str, Reading]:
        return {self.title: Reading('client.is_enabled("limit")', {"client": self._client}, expected=True)}
