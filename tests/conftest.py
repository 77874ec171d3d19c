"""
What all tests share: fixtures, a Hypothesis profile, and a watch for leaks.
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

# The Sentry SDK imports eventlet where that is installed, which then warns of every fork. Hidden from it this once.
_HIDDEN = ("eventlet", "eventlet.patcher")
sys.modules.update(dict.fromkeys(_HIDDEN))  # type: ignore[arg-type]  # None is what the import system takes for absent
with contextlib.suppress(ImportError):  # without the GIL little is installed
    import sentry_sdk  # noqa: F401 - see above

for _name in _HIDDEN:
    del sys.modules[_name]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A shared machine stalls now and then: slow examples are no failures, only tests that never end are.
settings.register_profile("relaxed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("relaxed"), max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "relaxed"))

LEAK_DEADLINE_SECONDS = 15.0
"""How long threads and descriptors on their way out may take: late in a long run a collection takes seconds."""

DESCRIPTORS = "/proc/self/fd"
"""Where Linux lists the open descriptors; elsewhere only threads are watched."""


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
        if looks % 100 == 1:  # seldom: late in a long run it takes a second, in which no thread can end
            gc.collect()
        looks += 1
        threading.Event().wait(0.01)


@pytest.fixture(name="flags")
def _flags() -> dflag.FlagRegistry:
    """Return a fresh registry."""
    return dflag.FlagRegistry()


@pytest.fixture(name="registry")
def _registry(flags: dflag.FlagRegistry) -> dflag.FlagRegistry:
    """Return the registry of the test under its longer name."""
    return flags


@pytest.fixture(name="volume")
def _volume(tmp_path: Path) -> ConfigMapVolume:
    """Return a ConfigMap volume that publishes as the kubelet does."""
    return ConfigMapVolume(tmp_path / "config")


def _new_threads(before: set[threading.Thread]) -> list[str]:
    return [repr(thread) for thread in threading.enumerate() if thread not in before]


def _descriptors() -> dict[str, str]:
    """
    Map each open descriptor to what it is open on, so that one reused for something else shows too.
    """
    found = {}
    if os.path.isdir(DESCRIPTORS):
        for name in os.listdir(DESCRIPTORS):
            try:
                found[name] = os.readlink(f"{DESCRIPTORS}/{name}")
            except FileNotFoundError:  # the one that was open on the listing itself
                continue
    return found


def _new_descriptors(before: dict[str, str]) -> list[str]:
    # Only added ones count: a library may swap what stands behind a descriptor of its own.
    return [f"descriptor {name} on {target}" for name, target in _descriptors().items() if name not in before]
