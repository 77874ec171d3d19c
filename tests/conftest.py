"""
Fixtures, Hypothesis profiles and a check for leaks, which all tests share.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

import dflag
from dflag.testing import ConfigMapVolume

# The Sentry SDK imports eventlet if it is installed, and eventlet then warns of every fork. So it is hidden here.
_HIDDEN = ("eventlet", "eventlet.patcher")
sys.modules.update(dict.fromkeys(_HIDDEN))  # type: ignore[arg-type]  # to the import system, None means absent
with contextlib.suppress(ImportError):  # few packages are installed for the free-threaded interpreter
    import sentry_sdk  # noqa: F401 - see above

for _name in _HIDDEN:
    del sys.modules[_name]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A shared machine stalls now and then, so slow examples are not failures; only tests that never end are.
settings.register_profile("relaxed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("relaxed"), max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "relaxed"))

LEAK_DEADLINE_SECONDS = 15.0
"""How long threads and descriptors may take to go away: late in a long run a garbage collection takes seconds."""

DESCRIPTORS = "/proc/self/fd"
"""The directory in which Linux lists the open descriptors; on other systems only threads are checked."""


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Fail a test that leaves a thread or a descriptor behind."""
    threads, descriptors = set(threading.enumerate()), _descriptors()
    yield
    deadline = time.monotonic() + LEAK_DEADLINE_SECONDS
    looks = 0
    while leaks := _new_threads(threads) + _new_descriptors(descriptors):
        if time.monotonic() > deadline:
            pytest.fail("left behind: " + ", ".join(leaks))
        if looks % 100 == 1:  # rarely: late in a long run a collection takes a second, during which no thread can end
            gc.collect()
        looks += 1
        threading.Event().wait(0.01)


@pytest.fixture(name="flags")
def _flags() -> dflag.FlagRegistry:
    """Return a fresh registry."""
    return dflag.FlagRegistry()


@pytest.fixture(name="registry")
def _registry(flags: dflag.FlagRegistry) -> dflag.FlagRegistry:
    """Return the registry of the test; a longer name for the fixture ``flags``."""
    return flags


@pytest.fixture(name="volume")
def _volume(tmp_path: Path) -> ConfigMapVolume:
    """Return a ConfigMap volume that publishes as the kubelet does."""
    return ConfigMapVolume(tmp_path / "config")


def _new_threads(before: set[threading.Thread]) -> list[str]:
    return [repr(thread) for thread in threading.enumerate() if thread not in before]


def _descriptors() -> dict[str, str]:
    """
    Return the open descriptors with their targets.
    """
    found = {}
    if os.path.isdir(DESCRIPTORS):
        for name in os.listdir(DESCRIPTORS):
            try:
                found[name] = os.readlink(f"{DESCRIPTORS}/{name}")
            except FileNotFoundError:  # the descriptor of the listing itself
                continue
    return found


def _new_descriptors(before: dict[str, str]) -> list[str]:
    # Only new descriptor numbers count: a library may open another file on a number of its own.
    return [f"descriptor {name} on {target}" for name, target in _descriptors().items() if name not in before]
