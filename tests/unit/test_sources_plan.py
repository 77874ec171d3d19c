"""
A plan lists the directories to watch on the path to a directory or a file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dflag.sources._plan import Concern, make_plan

if TYPE_CHECKING:
    from dflag.testing import ConfigMapVolume

pytestmark = pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="links are followed on POSIX alone")


@pytest.mark.parametrize("key", [None, "rate", "below/rate"])
def test_a_published_set_is_not_watched(volume: ConfigMapVolume, key: str | None) -> None:
    """
    A plan watches the volume's directory for swaps, and nothing in the published set, which never changes.
    """
    volume.write({"rate": "1", "below/rate": "2"})
    path = os.fspath(volume.path if key is None else volume.path / key)
    plan = make_plan(path, is_file=key is not None)

    published = os.path.realpath(volume.path / "..data")
    assert plan.last == os.path.realpath(volume.path)
    assert plan.places[plan.last] is Concern.SWAPS
    assert not [place for place in plan.places if place == published or place.startswith(published + os.sep)]
