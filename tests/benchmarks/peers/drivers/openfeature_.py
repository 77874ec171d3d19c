"""
OpenFeature's SDK with its own provider.
"""

from __future__ import annotations

from ._base import GOOD, Library, Reading


class Peer(Library):
    """
    ``InMemoryProvider`` behind a client, with no hooks.
    """

    title = "OpenFeature, in memory"
    package = "openfeature-sdk"
    imports = "from openfeature import api; from openfeature.provider.in_memory_provider import InMemoryProvider"

    def start(self, path: str) -> None:
        from openfeature import api
        from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

        api.set_provider(InMemoryProvider({"limit": InMemoryFlag("on", {"on": GOOD})}))
        self._client = api.get_client()

    def readings(self) -> dict[str, Reading]:
        return {self.title: Reading('client.get_integer_value("limit", 1)', {"client": self._client})}
