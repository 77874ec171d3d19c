"""
flagd's OpenFeature provider, reading a file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ._base import DEFAULT, JsonDriver, Reading

if TYPE_CHECKING:
    from collections.abc import Callable


class Peer(JsonDriver):
    """
    ``FlagdProvider(resolver_type=ResolverType.FILE)`` behind an OpenFeature client.
    """

    title = "flagd provider, file mode"
    package = "openfeature-provider-flagd"
    file = "flags.json"
    imports = "from openfeature.contrib.provider.flagd import FlagdProvider"
    loads = True

    def tree(self, options: dict[str, object]) -> object:
        return {
            "flags": {
                name: {"state": "ENABLED", "variants": {"on": value}, "defaultVariant": "on"}
                for name, value in options.items()
            }
        }

    def start(self, path: str) -> None:
        from openfeature import api

        api.set_provider(self._provider(path))
        self._client = api.get_client()

    def _provider(self, path: str) -> Any:
        from openfeature.contrib.provider.flagd import FlagdProvider
        from openfeature.contrib.provider.flagd.config import ResolverType

        return FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=f"{path}/{self.file}")

    def read(self) -> object:
        return self._client.get_integer_value("limit", DEFAULT)

    def readings(self) -> dict[str, Reading]:
        return {self.title: Reading('client.get_integer_value("limit", 1)', {"client": self._client})}

    def files(self, options: dict[str, int]) -> dict[str, str]:
        return {self.file: json.dumps(self.tree(dict(options)))}

    def load(self, path: str) -> Callable[[], object]:
        # The provider has no public method that reads the file; its own thread calls this one.
        return self._provider(path).resolver.connector._load_data

    def health(self) -> str:
        code = self._client.get_integer_details("limit", DEFAULT).error_code
        return f"error_code {code.name}" if code else ""
