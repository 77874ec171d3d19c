"""
What all readers have in common: places, the error, and how deep a text may nest.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_DEPTH: Final = 100
"""How deep arrays and objects may nest: deep enough for any policy, shallow enough for every recursion here."""


class Place(NamedTuple):
    """
    A place in a text, counted from 1.
    """

    line: int
    column: int


class NotJSON(ValueError):  # noqa: N818 - reads as what it says: the text is not JSON
    """
    A text or a value is not JSON as dflag takes it.

    Attributes:
        expected: What would have been right; never quotes what was given.
        detail: What is wrong; may quote it.
        place: Where in a text, if that is known.
        offset: The same as an offset, from a reader that keeps places.
    """

    def __init__(
        self, expected: str, detail: str = "", *, place: Place | None = None, offset: int | None = None
    ) -> None:
        super().__init__(f"expected {expected}" + (f" ({detail})" if detail else ""))
        self.expected: Final = expected
        self.detail: Final = detail
        self.place = place
        self.offset = offset
