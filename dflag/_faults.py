"""
The code of users: which of its exceptions affect only one value, how to print them, and where it calls dflag.

Validators, parsers, comparisons, callbacks and log handlers may raise anything. This module is the one place that
decides what goes on to the caller, so that nothing else has to name kinds of exceptions.
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
"""`inspect.CO_COROUTINE` and `CO_ITERABLE_COROUTINE`; importing inspect would double the import time of dflag."""


class OwnThread(threading.Thread):
    """
    A thread that dflag has started: nobody calls it, so no exception in it can go on to a caller.

    It sees no pin of the thread that starts it, even where threads inherit the context (CPython 3.14 without the GIL,
    or with ``-X thread_inherit_context=1``).
    """

    def start(self) -> None:
        contextvars.Context().run(super().start)


def is_interrupt(error: BaseException) -> bool:
    """
    Return whether an exception is meant to end the calling program, and not to refuse a value.

    That is so for `KeyboardInterrupt` and `SystemExit` on a thread of the program's own. Everything else, and
    everything on a thread of dflag's, is a fault of the code that raised it.
    """
    return isinstance(error, (KeyboardInterrupt, SystemExit)) and not isinstance(threading.current_thread(), OwnThread)


def text_of(thing: object) -> str:
    """
    Return ``str(thing)``, or its type where that raises.
    """
    try:
        return str.__str__(str(thing))  # a plain str, whatever subclass of it a __str__ returns
    except BaseException as error:
        if is_interrupt(error):
            raise
        return _unprintable(thing)


def repr_of(thing: object) -> str:
    """
    Return ``repr(thing)``, or its type where that raises.
    """
    try:
        return str.__str__(repr(thing))
    except BaseException as error:
        if is_interrupt(error):
            raise
        return _unprintable(thing)


def place_of(error: BaseException) -> str:
    """
    Return what was raised and where, without its message, which may quote a secret.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = "" if traceback is None else f" at {traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
    return type(error).__name__ + where


def name_of(function: object) -> str:
    """
    Return the qualified name of a function, or its repr where it has none.
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
    Return the flags of the code that a call of *function* runs, 0 if it has none. `inspect` takes 10 ms to import.
    """
    while isinstance(function, partial):
        function = function.func
    if not hasattr(function, "__code__") and not hasattr(function, "__func__"):
        function = getattr(type(function), "__call__", function)  # noqa: B004 - its method, not whether it has one
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return 0 if code is None else int(code.co_flags)


def is_coroutine_function(function: Any) -> bool:
    """
    Return whether a call of *function* returns a coroutine: by its code, or because it is marked as for `inspect`.
    """
    # Look only into its ``__dict__``: a mock has every attribute that it is asked for.
    marks = getattr(function, "__dict__", {})
    is_marked = "_is_coroutine_mark" in marks or "_is_coroutine" in marks
    return is_marked or bool(code_flags(function) & _CO_COROUTINE)


def is_unawaited(result: object) -> bool:
    """
    Return whether a function has returned an awaitable, which nobody awaits; it is closed.
    """
    if not hasattr(result, "__await__"):
        return False
    close = getattr(result, "close", None)
    if close is not None:
        close()  # or Python warns of it when it is collected
    return True


def caller() -> tuple[str, int]:
    """
    Return the file and line outside of dflag that is being run.
    """
    frame = _frame()
    return frame.f_code.co_filename, frame.f_lineno


def warn_caller(message: str, category: type[Warning]) -> None:
    """
    Warn of what the code outside of dflag does.

    Python shows some warnings only for some modules, so the warning has to name a line of the program.
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
        if module[:6] not in _OURS and module != "contextlib":  # which calls our context managers
            break
        frame = frame.f_back
    return frame
