"""
Exceptions of user code: which of them only affect one value, how to print them, and which line called dflag.

Validators, parsers, comparisons, callbacks and log handlers may raise any exception. This module alone decides which
exceptions go on to the caller, so no other module needs to distinguish their types.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import FrameType

_OURS: Final = ("dflag", "dflag.")
"""The first six characters of the name of this package or of one of its modules."""

_CO_COROUTINE: Final = 0x80 | 0x100
"""`inspect.CO_COROUTINE` and `CO_ITERABLE_COROUTINE`. Importing inspect would double the import time of dflag."""


class OwnThread(threading.Thread):
    """
    A thread that dflag starts. It has no caller that an exception could go on to.

    It sees no pin of the thread that starts it, even if threads inherit the context (CPython 3.14 without the GIL, or
    with ``-X thread_inherit_context=1``).
    """

    def start(self) -> None:
        contextvars.Context().run(super().start)


def is_interrupt(error: BaseException) -> bool:
    """
    Return whether an exception is meant to end the program, and not to refuse a value.

    This is so for `KeyboardInterrupt` and `SystemExit` on a thread of the program. Any other exception, and any
    exception on a thread of dflag, is a fault of the code that raised it.
    """
    return isinstance(error, (KeyboardInterrupt, SystemExit)) and not isinstance(threading.current_thread(), OwnThread)


def text_of(thing: object) -> str:
    """
    Return ``str(thing)``, or a text with its type if that raises.
    """
    try:
        return str.__str__(str(thing))  # a plain str, even if __str__ returns a subclass
    except BaseException as error:
        if is_interrupt(error):
            raise
        return _unprintable(thing)


def repr_of(thing: object) -> str:
    """
    Return ``repr(thing)``, or a text with its type if that raises.
    """
    try:
        return str.__str__(repr(thing))
    except BaseException as error:
        if is_interrupt(error):
            raise
        return _unprintable(thing)


def place_of(error: BaseException) -> str:
    """
    Return the type of an exception and the line that raised it, without the message, which may quote a secret.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = "" if traceback is None else f" at {traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
    return type(error).__name__ + where


def name_of(function: object) -> str:
    """
    Return the qualified name of a function, or its repr if it has none.
    """
    try:
        name = getattr(function, "__qualname__", None)
    except BaseException as error:
        if is_interrupt(error):
            raise
        name = None
    return name if isinstance(name, str) and name else repr_of(function)


def _unprintable(thing: object) -> str:
    return f"<{type(thing).__name__} that cannot be printed>"


def code_flags(function: Any) -> int:
    """
    Return the code flags of the Python function that a call of *function* runs; 0 if there is none.

    This replaces `inspect`, which takes 10 ms to import.
    """
    while isinstance(function, partial):
        function = function.func
    if not hasattr(function, "__code__") and not hasattr(function, "__func__"):
        function = getattr(type(function), "__call__", function)  # noqa: B004 - gets the method
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return 0 if code is None else int(code.co_flags)


def is_coroutine_function(function: Any) -> bool:
    """
    Return whether a call of *function* returns a coroutine, by its code or by the mark that `inspect` uses.
    """
    # Look only into its ``__dict__``, because a mock has every attribute.
    marks = getattr(function, "__dict__", {})
    is_marked = "_is_coroutine_mark" in marks or "_is_coroutine" in marks
    return is_marked or bool(code_flags(function) & _CO_COROUTINE)


def is_unawaited(result: object) -> bool:
    """
    Return whether the result of a function is an awaitable, which nobody awaits. Close it if so.
    """
    if not hasattr(result, "__await__"):
        return False
    close = getattr(result, "close", None)
    if close is not None:
        close()  # or Python warns when it is collected
    return True


def caller() -> tuple[str, int]:
    """
    Return the file and the line of the code outside dflag that is running.
    """
    frame = _frame()
    return frame.f_code.co_filename, frame.f_lineno


def warn_caller(message: str, category: type[Warning]) -> None:
    """
    Issue a warning for the line of the program that called dflag.

    Python shows some warnings only for some modules, so the warning must name a line of the program.
    """
    frame = _frame()
    names = frame.f_globals
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        names.get("__name__"),
        names.setdefault("__warningregistry__", {}),
    )


def _frame() -> FrameType:
    frame = sys._getframe(2)
    while frame.f_back is not None:
        module = frame.f_globals.get("__name__", "")
        if module[:6] not in _OURS and module != "contextlib":  # contextlib calls our context managers
            break
        frame = frame.f_back
    return frame
