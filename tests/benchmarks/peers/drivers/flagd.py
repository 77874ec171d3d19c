"""
flagd's OpenFeature provider, reading a file.
"""

from __future__ import annotations

from ._base import DEFAULT, JsonDriver


class Peer(JsonDriver):
    """
    ``FlagdProvider(resolver_type=ResolverType.FILE)`` behind an OpenFeature client.
    """

    title = "flagd provider, file mode"
    package = "openfeature-provider-flagd"
    file = "flags.json"

    def tree(self, options: dict[str, object]) -> object:
        return {
            "flags": {
                name: {"state": "ENABLED", "variants": {"on": value}, "defaultVariant": "on"}
                for name, value in options.items()
            }
        }

    def start(self, path: str) -> None:
        from openfeature import api
        from openfeature.contrib.provider.flagd import FlagdProvider
        from openfeature.contrib.provider.flagd.config import ResolverType

        provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=f"{path}/{self.file}")
        api.set_provider(provider)
        self._client = api.get_client()

    def read(self) -> object:
        return self._client.get_integer_value("limit", DEFAULT)

    def health(self) -> str:
        code = self._client.get_integer_details("limit", DEFAULT).error_code
        return f"error_code {code.name}" if code else ""
