"""
The code outside of dflag that has called it.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

_OURS: Final = ("dflag", "dflag.")
"""How the names of this package and its modules begin, in as many characters."""


def caller() -> tuple[str, int]:
    """
    Return the file and line outside of dflag that is being run.
    """
    frame = _frame()
    return frame.f_code.co_filename, frame.f_lineno


def warn_caller(message: str, category: type[Warning]) -> None:
    """
    Warn of what the code outside of dflag does.

    Python shows some warnings for some modules alone, so that the line that is named has to be the program's.
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
    while frame.f_back is not None and _is_between(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame


def _is_between(module: str) -> bool:
    return module[:6] in _OURS or module == "contextlib"  # which enters the blocks of ours
