"""
What a driver is: one int option, ``limit``, followed in a volume in the way that the library documents.
"""

from __future__ import annotations

import abc
import json
from typing import ClassVar

DEFAULT = 1


class Driver(abc.ABC):
    """
    One library, followed in one volume.

    Attributes:
        title: The name of its row.
        package: The distribution whose version the legend gives; empty for the checkout.
        file: The file of the volume that holds the option.
        by_hand: Whether the library has no watcher, so that `reload` is called after each publication.
        settle_seconds: How long a change may take to be seen; well over what the library promises.
    """

    title: ClassVar[str]
    package: ClassVar[str]
    file: ClassVar[str]
    by_hand: ClassVar[bool] = False
    settle_seconds: ClassVar[float] = 3.0

    @abc.abstractmethod
    def document(self, value: object) -> str:
        """Give the file's text with the option at *value*."""

    @abc.abstractmethod
    def without(self) -> str | None:
        """Give the file's text without the option; None where the file is the option."""

    @abc.abstractmethod
    def start(self, path: str) -> None:
        """Follow the volume at *path*."""

    @abc.abstractmethod
    def read(self) -> object:
        """Read the option as a program does."""

    def reload(self) -> None:
        """Reload by hand, in a library without a watcher."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop following; only where a driver runs in a process that goes on."""
        raise NotImplementedError

    def health(self) -> str:
        """Give what the library says of a rejected update where a program can ask; empty when all is well."""
        return ""

    def after_fork(self) -> str:
        """Call what the library documents for a forked child, and give its name; empty when there is none."""
        return ""


class JsonDriver(Driver):
    """
    A library whose file is one JSON document.
    """

    def document(self, value: object) -> str:
        return json.dumps(self.tree({"limit": value}))

    def without(self) -> str | None:
        return json.dumps(self.tree({}))

    def tree(self, options: dict[str, object]) -> object:
        """Give the document that holds *options*."""
        return options
