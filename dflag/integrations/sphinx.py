"""
A Sphinx extension with which autodoc shows each flag of a class with its help text.

Add ``"dflag.integrations.sphinx"`` to ``extensions`` in ``conf.py``, next to ``"sphinx.ext.autodoc"``.
"""

from __future__ import annotations

from inspect import cleandoc
from typing import TYPE_CHECKING, Any

from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer

from dflag._flags import Flag, FlagValues
from dflag._version import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

__all__ = ["setup"]


def __dir__() -> list[str]:
    return __all__


def setup(app: Sphinx) -> ExtensionMetadata:
    """
    Connect the extension to autodoc. Sphinx calls this function.
    """
    app.connect("autodoc-process-docstring", _describe)
    app.connect("autodoc-process-signature", _without_constructor)
    return {"version": __version__, "parallel_read_safe": True, "parallel_write_safe": True}


def _describe(_app: Sphinx, _what: str, _name: str, obj: Any, _options: object, _lines: list[str]) -> None:
    """
    Describe the flags of a class before autodoc reads its members, as comments in the source would.

    Autodoc does not show the docstring of a value that is not a descriptor.
    """
    if not isinstance(obj, type) or not issubclass(obj, FlagValues):
        return
    for base in obj.__mro__:
        try:
            analyzer = ModuleAnalyzer.for_module(base.__module__)
            analyzer.analyze()
        except PycodeError:  # there is no source
            continue
        for attribute, flag in vars(base).items():
            if isinstance(flag, Flag) and flag.help:
                analyzer.attr_docs.setdefault((base.__qualname__, attribute), [*cleandoc(flag.help).splitlines(), ""])


def _without_constructor(
    _app: Sphinx, _what: str, _name: str, obj: Any, _options: object, arguments: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """
    Show no arguments for a class of flags, because programs do not call it.
    """
    return ("", None) if isinstance(obj, type) and issubclass(obj, FlagValues) else (arguments, returned)
