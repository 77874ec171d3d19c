"""
The mark of what goes away, for type checkers (PEP 702) and for those who run it; see docs/support.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import deprecated  # checkers know it without the package
else:
    import functools
    import types
    import warnings

    def deprecated(message: str) -> types.FunctionType:
        """
        Return a decorator of functions and methods, whose calls then raise a `DeprecationWarning` in the caller's line.

        Args:
            message: ``"deprecated since 0.3 and gone in 0.5: use ..."``, as a literal, which checkers show.

        Raises:
            TypeError: What is decorated is no function, as a class, which would no longer be one.
        """

        def mark(function: types.FunctionType) -> types.FunctionType:
            if not isinstance(function, types.FunctionType):
                raise TypeError(f"expected a function or method to deprecate, got {function!r}")

            @functools.wraps(function)
            def deprecated_function(*args: object, **options: object) -> object:
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                return function(*args, **options)

            deprecated_function.__deprecated__ = message
            return deprecated_function

        return mark


__all__ = ["deprecated"]
