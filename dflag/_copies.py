"""
What a process has one of: it is shared, and neither copied nor pickled.
"""

from __future__ import annotations

from typing import ClassVar, NoReturn, Self


class NeverCopied:
    """
    Base of what stays one object: nothing would follow or update a second one.

    A copy is the object itself, so that what holds it, such as a dataclass, can be copied.
    """

    __slots__ = ()

    _to_pickle: ClassVar[str]
    """What to do instead of pickling it."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {self!r}, which belongs to its process: {self._to_pickle}")
