"""
The common parts of all readers: places, the error, and the limit of nesting.
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
    A text or a value is not JSON that dflag accepts.

    Attributes:
        expected: What would be right. Never quotes the text or the value.
        detail: What is wrong. May quote the text or the value.
        place: The place of the error in the text, if known.
        offset: The same place as an offset, from readers that keep places.
    """

    def __init__(
        self, expected: str, detail: str = "", *, place: Place | None = None, offset: int | None = None
    ) -> None:
        super().__init__(f"expected {expected}" + (f" ({detail})" if detail else ""))
        self.expected: Final = expected
        self.detail: Final = detail
        self.place = place
        self.offset = offset
