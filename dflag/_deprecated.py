"""
The decorator that marks deprecated functions, for type checkers (PEP 702) and at run time; see docs/support.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import deprecated  # type checkers know it without the package
else:
    import functools
    import types
    import warnings

    def deprecated(message: str) -> types.FunctionType:
        """
        Return a decorator for functions and methods. Each call then issues a `DeprecationWarning` at the caller's line.

        Args:
            message: ``"deprecated since 0.3 and gone in 0.5: use ..."``, as a literal, which type checkers show.

        Raises:
            TypeError: The decorated object is not a function. A class, for example, would no longer be a class.
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
