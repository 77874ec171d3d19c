"""
sentry-options, which checks its file when an option is read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ._base import DEFAULT, JsonDriver, Reading


class Peer(JsonDriver):
    """
    ``init()`` with a schema at ``schemas/<namespace>``; the values are in a volume at ``values/<namespace>``.
    """

    title = "sentry-options"
    package = "sentry-options"
    file = "values.json"
    imports = "import sentry_options"
    settle_seconds = 9.0  # it refreshes at a read 5 s after the last refresh, plus some jitter

    def tree(self, options: dict[str, object]) -> object:
        return {"options": options}

    def start(self, path: str) -> None:
        import sentry_options

        volume = Path(path)
        option = {"type": "integer", "default": DEFAULT, "description": "A limit."}
        schema = {"version": "1.0", "type": "object", "properties": {"limit": option}}
        directory = volume.parents[1]
        place = directory / "schemas" / volume.name
        place.mkdir(parents=True)
        (place / "schema.json").write_text(json.dumps(schema), encoding="ascii")
        os.environ["SENTRY_OPTIONS_DIR"] = str(directory)
        sentry_options.init()
        self._options = sentry_options.options(volume.name)

    def readings(self) -> dict[str, Reading]:
        return {self.title: Reading('options.get("limit")', {"options": self._options})}

    def read(self) -> object:
        return self._options.get("limit")
