"""
The length of the torture tests, and the seed of their random choices.

The default run has a short form of each test. ``DFLAG_TORTURE_SECONDS`` selects the long form, and is the approximate
length of all tests together; ``tox -e torture`` sets it. ``DFLAG_TORTURE_SEED`` repeats a run. The seed of each run is
printed at its end and with each failure.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT_SECONDS: Final = 1.0
"""The length, in the default run, of a test that takes a length."""

SLACK_SECONDS: Final = 120.0
"""How long a test of the long form may run beyond its share, on a machine that stalls, before it counts as hanging."""

_total_seconds: Final = float(os.environ.get("DFLAG_TORTURE_SECONDS") or 0)
_seed: Final = os.environ.get("DFLAG_TORTURE_SEED") or str(random.SystemRandom().randrange(10**9))
_share: Final = pytest.StashKey[float]()


def pytest_itemcollected(item: pytest.Item) -> None:
    """
    Run these tests without coverage's tracer, which slows down their storms; other tests cover the same code.
    """
    item.add_marker(pytest.mark.untraced)


def pytest_collection_finish(session: pytest.Session) -> None:
    """
    Divide the time of the long form among the tests that take a length, and extend their timeouts.
    """
    items = [item for item in session.items if "torture_seconds" in _fixtures(item)]
    share = _total_seconds / max(len(items), 1)
    session.config.stash[_share] = share
    for item in items if _total_seconds else ():
        item.add_marker(pytest.mark.timeout(share + SLACK_SECONDS))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """
    Print how to repeat the run.
    """
    terminalreporter.write_line(f"torture: to repeat its random choices, set DFLAG_TORTURE_SEED={_seed}")


@pytest.fixture(name="torture_long", scope="session")
def _torture_long() -> bool:
    """Return whether the long form was asked for."""
    return _total_seconds > 0


@pytest.fixture(name="torture_seconds")
def _torture_seconds(request: pytest.FixtureRequest) -> float:
    """Return how many seconds a test should run."""
    return request.config.stash[_share] if _total_seconds else SHORT_SECONDS


@pytest.fixture(name="rng")
def _rng(request: pytest.FixtureRequest) -> random.Random:
    """Return the test's own random generator, which does not depend on the other tests of the run."""
    print(f"DFLAG_TORTURE_SEED={_seed}")  # noqa: T201 - shown with a failure
    return random.Random(f"{_seed} {request.node.name}")


def _fixtures(item: pytest.Item) -> Sequence[str]:
    names: Sequence[str] = getattr(item, "fixturenames", ())
    return names
