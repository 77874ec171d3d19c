"""
Make the links of the README absolute where an index shows it, which has no files beside it.

A metadata hook of hatchling.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)(\[[^\]]*\])\((?![a-z]+:|#)([^)\s]+)\)")
"""A link or picture of Markdown that leads to a file of the repository."""


def absolute(text: str, source: str) -> str:
    """
    Return the text with links to the repository at an address, and pictures from there.
    """

    def replaced(found: re.Match[str]) -> str:
        mark, name, path = found.groups()
        return f"{mark}{name}({source}/{'raw' if mark else 'blob'}/main/{path})"

    return LINK.sub(replaced, text)


class Hook(MetadataHookInterface):
    """
    Give the project its description.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        """Set what `dynamic` leaves out."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute(text, metadata["urls"]["Source"])}
