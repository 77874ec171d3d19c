"""
What every kind of flag value is: a stateless translator between text and value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Problem(ValueError):  # noqa: N818 - a verdict in parts; the error is made of it
    """
    Why a text or a value is refused, in parts, so that a secret's detail can be left out.

    The message of the `FlagValueError` made of it reads ``expected <expected> (<detail>), got ...``.

    Attributes:
        expected: What would have been right: ``"an int"``. Never quotes what was given.
        detail: What is wrong with this one in particular; may quote it.
        json_path: Where in a JSON value the fault lies.
    """

    def __init__(self, expected: str, detail: str = "", *, json_path: str | None = None) -> None:
        super().__init__(f"expected {expected}" + (f" ({detail})" if detail else ""))
        self.expected = expected
        self.detail = detail
        self.json_path = json_path


class Kind(Generic[T]):
    """
    One kind of value: its grammar, its Python type and how it is printed.

    Instances have no mutable state and are shared between flags; any thread may use one.
    """

    __slots__ = ()

    name: ClassVar[str]
    """What ``flag.type_name`` says: ``"int"``."""

    binary: ClassVar[bool] = False
    """Whether bytes from a source are the value itself, neither decoded nor stripped."""

    itemised: ClassVar[bool] = False
    """Whether a value is a collection of texts, whose ``choices`` apply to each item."""

    hides: ClassVar[bool] = False
    """Whether `format` may leave out some of a value, which `exact` writes."""

    gathers: ClassVar[bool] = False
    """Whether a value is made of all keys that fit a pattern: a `MapKind`."""

    expected: str
    """What a message says was expected: ``"an int"``."""

    def parse(self, text: str) -> T:
        """
        Read a text, already stripped, as a value; raise `Problem` when it is not in the grammar.
        """
        raise NotImplementedError

    def load(self, native: object, text: str) -> T:  # noqa: ARG002 - for kinds that read native values
        """
        Read a document's value, given natively and as text; most kinds read the text.
        """
        return self.parse(text)

    def convert(self, value: object) -> T:
        """
        Check and normalise a Python value given in code; raise `Problem` when it is of the wrong type.
        """
        raise NotImplementedError

    def format(self, value: T) -> str:
        """
        Print a value for people, as the Go library does; unless it hides something, it reads back as an equal value.
        """
        raise NotImplementedError

    def head(self, value: T, limit: int) -> str:  # noqa: ARG002 - for kinds that can print a part
        """
        Print at least the first *limit* characters of what `format` prints, for less work where that can be.
        """
        return self.format(value)

    def exact(self, value: T) -> str:
        """
        Return the text of all of a value, also of what `format` hides: equal texts are equal values. Never show it.
        """
        return self.format(value)

    def merge(self, values: Sequence[T]) -> T:
        """
        Put the values of several sources together, the lowest first; of most kinds the highest alone counts.
        """
        return values[-1]

    def same(self, one: T, other: T) -> bool:
        """
        Say whether two values are the same, types included.
        """
        return one == other


def is_unawaited(result: object) -> bool:
    """
    Return whether a function has returned something to be awaited, which nobody does; it is closed.
    """
    if not hasattr(result, "__await__"):
        return False
    close = getattr(result, "close", None)
    if close is not None:
        close()  # or Python warns of it when it is collected
    return True
