"""
Fixtures for the tests of the package: the wheel and the sdist, built once.

The tests need the tools of the dependency group `package`. Without these tools, no test of this directory is collected,
and ``tox run -e package``, which runs no other tests, fails.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TOOLS = ("build", "cyclonedx", "griffe", "ruamel")
collect_ignore_glob = [] if all(map(importlib.util.find_spec, TOOLS)) else ["*"]

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--build-into", type=Path, help="an empty directory, to keep what was built and tested")


@pytest.fixture(scope="session")
def dist(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Return a directory with the sdist of this checkout and the wheel that is built from it.
    """
    from tests.package._building import build

    return build(ROOT, request.config.getoption("--build-into") or tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def sdist(dist: Path) -> Path:
    (found,) = dist.glob("*.tar.gz")
    return found
