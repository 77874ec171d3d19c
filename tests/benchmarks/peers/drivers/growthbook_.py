"""
GrowthBook with local features and no server.
"""

from __future__ import annotations

from ._base import GOOD, Library, Reading


class Peer(Library):
    """
    ``GrowthBook(features=...)``.
    """

    title = "GrowthBook, local features"
    package = "growthbook"
    imports = "from growthbook import GrowthBook"

    def start(self, path: str) -> None:
        from growthbook import GrowthBook

        self._growthbook = GrowthBook(features={"limit": {"defaultValue": GOOD}})

    def readings(self) -> dict[str, Reading]:
        return {self.title: Reading('growthbook.get_feature_value("limit", 1)', {"growthbook": self._growthbook})}
