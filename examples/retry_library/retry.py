"""
A library that repeats a failed call. Its flags work without setup; a program that wants to set them binds them.
"""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING, TypeVar

import dflag

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

attempts = dflag.dyn_int(3, "Calls before giving up", min=1)
pause = dflag.dyn_duration(
    datetime.timedelta(milliseconds=200), "Before the second call; before each later one twice as long"
)


def retry(call: Callable[[], T]) -> T:
    """Return the result of *call*, or raise the exception of the last attempt."""
    allowed, seconds = attempts.get(), pause.get().total_seconds()  # both are read once, for all attempts of this call
    for _ in range(allowed - 1):
        try:
            return call()
        except OSError:
            time.sleep(seconds)
            seconds *= 2
    return call()
