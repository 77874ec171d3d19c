"""
Base classes of drivers. A driver reads and follows one int option, ``limit``, in the way that its library documents.
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
    A way to read the option.

    Attributes:
        statement: The expression, for timeit.
        names: The values of the names in the expression.
        within: Returns the context manager in which a program reads.
        expected: The result of the expression.
    """

    statement: str
    names: dict[str, object]
    within: Callable[[], contextlib.AbstractContextManager[object]] = field(default=contextlib.nullcontext)
    expected: object = GOOD


class Library(abc.ABC):
    """
    One library, with an option whose value is `GOOD`.

    Attributes:
        title: The name of its row.
        package: The distribution whose version the legend shows; empty for the checkout.
        imports: The import statement that a program needs; empty if another driver of the same library has it.
        declares: Whether flags are declared in code, so that `declare` is measured.
        loads: Whether one call loads many options, so that `load` is measured.
    """

    title: ClassVar[str]
    package: ClassVar[str]
    imports: ClassVar[str] = ""
    declares: ClassVar[bool] = False
    loads: ClassVar[bool] = False

    @abc.abstractmethod
    def start(self, path: str) -> None:
        """Make the option ready, from the volume at *path* if the library follows a volume."""

    @abc.abstractmethod
    def readings(self) -> dict[str, Reading]:
        """Return the ways to read the option, by the name of the row."""

    def declare(self, count: int) -> object:
        """Declare *count* flags in code, and return the object that holds them."""
        raise NotImplementedError

    def files(self, options: dict[str, int]) -> dict[str, str]:
        """Return the files of a volume that holds *options*."""
        raise NotImplementedError

    def load(self, path: str) -> Callable[[], object]:
        """Return a function that reads all options of the volume at *path*, after all preparations of a program."""
        raise NotImplementedError


class Driver(Library):
    """
    One library that follows one volume.

    Attributes:
        file: The file of the volume that holds the option.
        by_hand: Whether the library has no watcher, so that `reload` is called after each publication.
        settle_seconds: How long a change may take to be seen; well above the delay that the library documents.
    """

    file: ClassVar[str]
    by_hand: ClassVar[bool] = False
    settle_seconds: ClassVar[float] = 3.0

    @abc.abstractmethod
    def document(self, value: object) -> str:
        """Return the text of the file if the option has the value *value*."""

    @abc.abstractmethod
    def without(self) -> str | None:
        """Return the text of the file without the option; None if the file is the option."""

    @abc.abstractmethod
    def read(self) -> object:
        """Read the option as a program does."""

    def reload(self) -> None:
        """Reload explicitly, for a library without a watcher."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop following; needed only if the driver runs in a process that continues."""
        raise NotImplementedError

    def health(self) -> str:
        """Return how a program can learn from the library that an update was rejected; empty if none was rejected."""
        return ""

    def after_fork(self) -> str:
        """Make the call that the library documents for a forked child, and return its name; empty if there is none."""
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
