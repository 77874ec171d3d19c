"""
The page on installation agrees with the metadata of the package.
"""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_extra_is_listed() -> None:
    """The table of extras names each extra of the package once, in alphabetical order."""
    table = PAGE.partition("\n## Extras\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == sorted(PROJECT["optional-dependencies"])


def test_every_dependency_is_explained() -> None:
    """The page names each dependency of the core."""
    for requirement in PROJECT["dependencies"]:
        assert re.match(r"[\w-]+", requirement)[0] in PAGE  # type: ignore[index]  # each begins with a name


def test_supported_versions_are_those_of_the_classifiers() -> None:
    """The page lists the Python versions of the classifiers, and names the oldest as the minimum."""
    prefix = "Programming Language :: Python :: 3."
    minors = [name.removeprefix(prefix) for name in PROJECT["classifiers"] if name.startswith(prefix)]
    tested = re.search(r"The tests run on (.*?);", PAGE)
    assert tested
    assert [f"3.{minor}" for minor in minors] == re.findall(r"\b3\.\d+(?![\dt])", tested[1])
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"
    assert f"needs Python 3.{minors[0]} or newer" in PAGE


def test_environments_of_tox_are_on_the_page() -> None:
    """The page on contributing has a row for each environment of tox, and no others."""
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    named = {name.removeprefix("testenv:") for name in tox.sections() if name.startswith("testenv:")}
    page = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1] for row in page.splitlines() if row.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert sorted(named | set(tox["tox"]["env_list"].split(", "))) == sorted(listed)


def test_commands_of_the_readme_need_no_certain_interpreter() -> None:
    """The README's two commands start with `python3`, without a version, and the other pages show the same two."""
    commands = {
        "README.md": ("examples/server.py", "tox run-parallel"),
        "examples/README.md": ("examples/server.py",),
        "docs/contributing.md": ("tox run-parallel",),
    }
    lines = {
        command
        for page, ends in commands.items()
        for end in ends
        for command in re.findall(
            rf"^.*venv .*{re.escape(end)}$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert lines == {
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/python examples/server.py",
        "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox run-parallel",
    }


def test_lower_bounds_that_are_tested() -> None:
    """The tox environment `oldest` pins pydantic and pydantic-settings to the lower bounds of the extras."""
    tested = configparser.ConfigParser()
    tested.read(ROOT / "tox.ini", encoding="utf-8")
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)$", tested["testenv:oldest"]["deps"], re.MULTILINE))
    assert pins.keys() == {"pydantic", "pydantic-settings"}
    for name, version in pins.items():
        (requirement,) = PROJECT["optional-dependencies"][name]
        assert re.fullmatch(rf"{re.escape(requirement)}(\.0)*", f"{name}>={version}")
