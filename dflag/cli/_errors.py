"""
How a command says that it cannot do its work.
"""


class CommandError(Exception):
    """
    Misuse, or something that cannot be read: one line on standard error, status 2.
    """
