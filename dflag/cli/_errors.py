"""
The error of a command that cannot do its work.
"""

from __future__ import annotations

from dflag.errors import one_line


def text_of(error: BaseException) -> str:
    """
    Return the type and the message of a program's error, or the type alone if its message raises.
    """
    try:
        return one_line(f"{type(error).__name__}: {error}")
    except Exception:  # the program's own ``__str__`` may raise anything
        return type(error).__name__


class CommandError(Exception):
    """
    Misuse, or something that cannot be read. The command prints one line on standard error and ends with status 2.
    """
