"""
The sources that a program passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag.sources import DirectorySource, FileSource, MemorySource
from dflag.sources._given import as_sources

if TYPE_CHECKING:
    from pathlib import Path


def test_a_path_is_a_directory_unless_it_is_called_as_a_document(tmp_path: Path) -> None:
    """A path is a directory unless its name is that of a document; an existing directory is one whatever its name."""
    (tmp_path / "odd.yaml").mkdir()
    sources = as_sources([tmp_path / "flags", str(tmp_path / "flags.yaml"), tmp_path / "odd.yaml"])
    assert [type(each) for each in sources] == [DirectorySource, FileSource, DirectorySource]


def test_one_source_is_a_list_of_it() -> None:
    """A single source becomes a list with the same object."""
    source = MemorySource({})
    (found,) = as_sources(source)
    assert found is source


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (3, dflag.errors.ArgumentError, "expected source as a path, a Source, or a sequence"),
        ([3], dflag.errors.ArgumentError, "expected each source as a path or a Source"),
        ([], dflag.DefinitionError, "at least one"),
        ([MemorySource({}), MemorySource({})], dflag.DefinitionError, "got 'memory' twice"),
    ],
)
def test_what_is_no_source_is_refused(given: Any, error: type[Exception], message: str) -> None:
    """`as_sources()` raises for what is not a source, for an empty list, and for two sources with one name."""
    with pytest.raises(error, match=message):
        as_sources(given)
