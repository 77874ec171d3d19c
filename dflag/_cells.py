"""
Cells whose values are swapped together, in one step that no other code of the process sees half done; and the base of
objects that are never copied.
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


class Cell:
    """
    Something whose value is set in the same step as those of others: a flag, a snapshot, the state of a source.
    """

    __slots__ = ("_value",)

    _value: Any

    def __init__(self, value: Any) -> None:
        self._value = value


value_of: Final[Callable[[Any], Any]] = attrgetter("_value")
"""Return the value of a cell."""

set_value: Final[Callable[[Cell, Any], None]] = Cell.__dict__["_value"].__set__
"""Set the value of a cell that no step concerns."""

VALUE: Final = "_value"
"""What `setattr` is to set of a cell in a `Step`."""

Call: TypeAlias = "tuple[Callable[..., object], object, object] | tuple[Callable[..., object], object, str, object]"
"""A function written in C, and the arguments that a `Step` calls it with: ``(setattr, cell, VALUE, 5)``."""

call_with_two: Final = cast("Callable[[Callable[..., object], object, object], object]", call)


class Step:
    """
    Calls of C functions, which are made in one C loop.

    Within the loop the interpreter runs no Python code: no other thread (while there is a GIL), no signal handler,
    no finaliser as long as the step keeps what it replaces alive.
    So either all of the calls have been made or none, for any Python code that looks.

    No call may make an object that the garbage collector knows, as a tuple of arguments or an iterator: CPython 3.11
    may collect at once then, and ``gc.callbacks`` are Python code, within which signals are handled. So attributes are
    set by ``setattr``, and not by the setter of a slot, which takes a tuple.

    200 flags set so: 0 of 17 million reads torn; 38,000 with a loop in Python.

    Attributes:
        run: Make the calls, once. When one raises, those behind it are not made. It is C too, and takes no time of its
            own under a lock.
        made: Not empty once every call was made; what is raised after that comes from a signal handler.
    """

    __slots__ = ("made", "run")

    def __init__(self, calls: Iterable[Call]) -> None:
        """
        Args:
            calls: What to call, in order. The functions must be written in C and run no Python code, nor may the
                classes whose attributes are set.
        """
        self.made: Final[list[None]] = []
        self.run: Final[Callable[[], object]] = partial(deque, starmap(call, [*calls, (self.made.append, None)]), 0)


def has_gil() -> bool:
    """
    Return whether the interpreter runs one thread at a time.

    A free-threaded build may get its GIL back when an extension needs one, and never the other way round.
    """
    enabled = getattr(sys, "_is_gil_enabled", None)  # since CPython 3.13
    return enabled is None or bool(enabled())
