"""
The sources as programs pass them: one or several, each as a `Source` or as a path.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from dflag.errors import ArgumentError, DefinitionError, check_argument, checked_text
from dflag.sources._base import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

SourceLike: TypeAlias = "str | os.PathLike[str] | Source"


def as_sources(source: SourceLike | Sequence[SourceLike]) -> list[Source]:
    """
    Return the sources of an updater as a list, with a source in place of each path. Their names differ.

    Raises:
        ArgumentError: An item is neither a path nor a source.
        DefinitionError: There is no source, or two sources have the same name.
    """
    one = isinstance(source, (str, os.PathLike, Source))
    if not one and (not isinstance(source, Iterable) or isinstance(source, (bytes, Mapping))):
        raise ArgumentError(f"expected source as a path, a Source, or a sequence of them, got {source!r}")
    given: list[Any] = [source] if one else list(source)  # type: ignore[arg-type]  # it iterates
    for each in given:
        check_argument("each source", each, (str, os.PathLike, Source), "a path or a Source")
    if not given:
        raise DefinitionError("expected a path, a Source, or a sequence with at least one of them, got none")
    sources = [each if isinstance(each, Source) else _source_at(each) for each in given]
    names = [checked_text("the name of each source", each.name) for each in sources]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DefinitionError(f"expected sources with different names, got {twice!r} twice")
    return sources


def _source_at(path: str | os.PathLike[str]) -> Source:
    from dflag.sources import DirectorySource, FileSource

    is_document = os.fspath(path).lower().endswith((".yaml", ".yml", ".json"))
    # A directory may have such a name too. For a path that does not exist yet, the name decides.
    return FileSource(path) if is_document and not os.path.isdir(path) else DirectorySource(path)
