"""
How a command says that it cannot do its work.
"""

from __future__ import annotations

from dflag.errors import one_line


def text_of(error: BaseException) -> str:
    """
    Return the type and the message of an error of a program, which may have a message that raises.
    """
    try:
        return one_line(f"{type(error).__name__}: {error}")
    except Exception:  # it is named by its type then
        return type(error).__name__


class CommandError(Exception):
    """
    Misuse, or something that cannot be read: one line on standard error, status 2.
    """
