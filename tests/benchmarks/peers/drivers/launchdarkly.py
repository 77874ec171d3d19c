"""
LaunchDarkly's file data source, polling.
"""

from __future__ import annotations

from ._base import DEFAULT, JsonDriver, Reading


class Peer(JsonDriver):
    """
    ``Files.new_data_source(auto_update=True)``, at its default interval of a second.
    """

    title = "LaunchDarkly Files, polling"
    package = "launchdarkly-server-sdk"
    file = "flags.json"
    imports = "import ldclient, ldclient.integrations"
    polling = True

    def tree(self, options: dict[str, object]) -> object:
        return {"flagValues": options}

    def start(self, path: str) -> None:
        from ldclient import Context, LDClient
        from ldclient.config import Config
        from ldclient.integrations import Files

        source = Files.new_data_source(paths=[f"{path}/{self.file}"], auto_update=True, force_polling=self.polling)
        self._client = LDClient(Config("sdk-key", update_processor_class=source, send_events=False))
        self._context = Context.create("user")

    def readings(self) -> dict[str, Reading]:
        names = {"client": self._client, "context": self._context}
        return {self.title: Reading('client.variation("limit", context, 1)', names)}

    def read(self) -> object:
        return self._client.variation("limit", self._context, DEFAULT)

    def after_fork(self) -> str:
        self._client.postfork()
        return "postfork()"
