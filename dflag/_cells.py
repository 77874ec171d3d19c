"""
Cells whose values change together, in one step that no other code of the process sees half done.

Also the base class of objects that are never copied.
"""

from __future__ import annotations

import sys
from collections import deque
from functools import partial
from itertools import starmap
from operator import attrgetter, call
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class NeverCopied:
    """
    Base class of objects that must stay unique, because nothing would update a second one.

    Copying returns the object itself, so that an object that contains it, such as a dataclass, can be copied.
    """

    __slots__ = ()

    _to_pickle: ClassVar[str]
    """What to do instead of pickling the object, for the error message."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {self!r}, which belongs to its process: {self._to_pickle}")


class Cell:
    """
    An object whose value is set in one step with those of other cells: a flag, the snapshot, the state of a source.
    """

    __slots__ = ("_value",)

    _value: Any

    def __init__(self, value: Any) -> None:
        self._value = value


value_of: Final[Callable[[Any], Any]] = attrgetter("_value")
"""Return the value of a cell."""

set_value: Final[Callable[[Cell, Any], None]] = Cell.__dict__["_value"].__set__
"""Set the value of a cell outside of any step."""

VALUE: Final = "_value"
"""The attribute of a cell that `setattr` sets in a `Step`."""

Call: TypeAlias = "tuple[Callable[..., object], object, object] | tuple[Callable[..., object], object, str, object]"
"""A function written in C, and the arguments that a `Step` calls it with: ``(setattr, cell, VALUE, 5)``."""

call_with_two: Final = cast("Callable[[Callable[..., object], object, object], object]", call)


class Step:
    """
    A sequence of calls of C functions that are made in one C loop.

    During the loop the interpreter runs no Python code: no other thread (while there is a GIL), no signal handler,
    and no finaliser, as long as the step keeps the objects that it replaces alive.
    So any Python code sees either all of the calls done or none.

    No call may create an object that the garbage collector tracks, such as a tuple of arguments or an iterator. After
    that CPython 3.11 may collect at once; ``gc.callbacks`` are Python code, during which signals are handled. So
    attributes are set by ``setattr``, and not by the setter of a slot, which takes a tuple.

    With 200 flags set in this way, 0 of 17 million reads were torn; with a loop in Python, 38,000.

    Attributes:
        run: Make the calls, once. If one raises, the following calls are not made. This is a C function too, so it adds
            no time under a lock.
        made: Not empty once every call has been made. An exception after that comes from a signal handler.
    """

    __slots__ = ("made", "run")

    def __init__(self, calls: Iterable[Call]) -> None:
        """
        Args:
            calls: The calls, in order. The functions must be written in C and run no Python code. The classes whose
                attributes are set must run none either.
        """
        self.made: Final[list[None]] = []
        self.run: Final[Callable[[], object]] = partial(deque, starmap(call, [*calls, (self.made.append, None)]), 0)


def has_gil() -> bool:
    """
    Return whether the interpreter runs one thread at a time.

    A free-threaded build can enable its GIL for an extension that needs it, but never disables it again.
    """
    enabled = getattr(sys, "_is_gil_enabled", None)  # since CPython 3.13
    return enabled is None or bool(enabled())
