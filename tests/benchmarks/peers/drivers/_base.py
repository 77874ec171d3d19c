"""
What a driver is: one int option, ``limit``, read and followed in the way that the library documents.
"""

from __future__ import annotations

import abc
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = 41
DEFAULT = 1


@dataclass(frozen=True, slots=True)
class Reading:
    """
    How a program reads the option.

    Attributes:
        statement: The expression, for timeit.
        names: What stands for the names in it.
        within: What a program is in meanwhile.
        expected: What it gives.
    """

    statement: str
    names: dict[str, object]
    within: Callable[[], contextlib.AbstractContextManager[object]] = field(default=contextlib.nullcontext)
    expected: object = GOOD


class Library(abc.ABC):
    """
    One library, with an option at `GOOD`.

    Attributes:
        title: The name of its row.
        package: The distribution whose version the legend gives; empty for the checkout.
        imports: What a program imports to use it; empty where another driver of the library says so.
        declares: Whether flags are declared in code, so that `declare` is measured.
        loads: Whether a file of many options is one call, so that `load` is measured.
    """

    title: ClassVar[str]
    package: ClassVar[str]
    imports: ClassVar[str] = ""
    declares: ClassVar[bool] = False
    loads: ClassVar[bool] = False

    @abc.abstractmethod
    def start(self, path: str) -> None:
        """Make the option ready, from the volume at *path* where the library follows one."""

    @abc.abstractmethod
    def readings(self) -> dict[str, Reading]:
        """Return the ways to read the option, by the names of their rows."""

    def declare(self, count: int) -> object:
        """Declare *count* flags in code, and give what holds them."""
        raise NotImplementedError

    def files(self, options: dict[str, int]) -> dict[str, str]:
        """Return the files of a volume that holds *options*."""
        raise NotImplementedError

    def load(self, path: str) -> Callable[[], object]:
        """Return what reads all options of the volume at *path*; what a program does before is done by then."""
        raise NotImplementedError


class Driver(Library):
    """
    One library, followed in one volume.

    Attributes:
        file: The file of the volume that holds the option.
        by_hand: Whether the library has no watcher, so that `reload` is called after each publication.
        settle_seconds: How long a change may take to be seen; well over what the library promises.
    """

    file: ClassVar[str]
    by_hand: ClassVar[bool] = False
    settle_seconds: ClassVar[float] = 3.0

    @abc.abstractmethod
    def document(self, value: object) -> str:
        """Return the file's text with the option at *value*."""

    @abc.abstractmethod
    def without(self) -> str | None:
        """Return the file's text without the option; None where the file is the option."""

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
        """Return what the library says of a rejected update where a program can ask; empty when all is well."""
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
        """Return the document that holds *options*."""
        return options
