"""
The public surface does not change unless the changelog says so.
"""

from __future__ import annotations

import re
import subprocess
import warnings
from pathlib import Path

import griffe
import pytest

from tests.package import _surface
from tests.package.release import version

ROOT = Path(__file__).parents[2]
UNTAGGED = "0.1.0"
"""The version before the first tag; its surface is in a file, made from the commit that the changelog names."""


def _tags() -> list[str]:
    """
    Return the tags of earlier versions that the checkout can reach, the newest first.
    """
    command = ["git", "-C", str(ROOT), "tag", "--list", "v*", "--merged", "HEAD", "--sort", "-version:refname"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return [tag for tag in found if tag != f"v{version()}"]


@pytest.fixture(scope="module", name="before")
def _before() -> tuple[str, griffe.Module]:
    """
    Return the version to compare with, and its surface: that of the last tag, or, with a warning, that of the file.
    """
    for tag in _tags():
        return tag.removeprefix("v"), _surface.tagged(ROOT, tag)
    warnings.warn(
        f"no tag of an earlier version is here: compared with the surface of {UNTAGGED} in a file", stacklevel=2
    )
    return UNTAGGED, _surface.written(Path(__file__).with_name(f"surface-{UNTAGGED}.json"))


@pytest.fixture(scope="module", name="now")
def _now() -> str:
    """
    Return this checkout's surface as a text, from which each test makes a tree of its own.
    """
    return _surface.text(ROOT)


def _breaks(old: griffe.Module, new: griffe.Module) -> dict[str, str]:
    """
    Return a description of each breaking change, by the full name of what it breaks.
    """
    return {
        each.obj.path: each.explain(griffe.ExplanationStyle.MARKDOWN) for each in griffe.find_breaking_changes(old, new)
    }


def _announced() -> str:
    """
    Return what the section of the changelog's newest version says on upgrading.
    """
    newest = (ROOT / "docs" / "changelog.md").read_text(encoding="utf-8").split("\n## ")[1]
    found = re.search(r"^### Upgrading.*?(?=^### |\Z)", newest, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


@pytest.mark.filterwarnings("default:no tag of an earlier version")
def test_what_breaks_is_announced(before: tuple[str, griffe.Module], now: str) -> None:
    """Each breaking change is listed under "Upgrading" in the changelog, and the version has another minor number."""
    earlier, old = before
    broken = _breaks(old, griffe.Module.from_json(now))
    assert {name: how for name, how in broken.items() if f"`{name}`" not in _announced()} == {}
    if broken:
        assert version().split(".")[:2] != earlier.split(".")[:2]


def test_a_break_is_seen(now: str) -> None:
    """A removed method or function is a breaking change, and so is a new required parameter."""
    new, old = griffe.Module.from_json(now), griffe.Module.from_json(now)
    new["FlagRegistry"].del_member("apply")
    new.del_member("dyn_int")
    new["web"]["bearer_token"].parameters.add(griffe.Parameter("more", kind=griffe.ParameterKind.positional_or_keyword))
    assert sorted(_breaks(old, new)) == ["dflag.FlagRegistry.apply", "dflag.dyn_int", "dflag.web.bearer_token"]


def test_what_is_private_may_change(now: str) -> None:
    """The surface has no names outside of `__all__` and none with an underscore."""
    paths = set(_paths(griffe.Module.from_json(now)))
    assert {"dflag.FlagRegistry.apply", "dflag.dyn_int", "dflag.errors.ParseError", "dflag.web.bearer_token"} <= paths
    assert [path for path in paths if any(part.startswith("_") for part in path.split("."))] == []
    assert "dflag.errors.check_argument" not in paths


def test_a_tag_is_loaded(tmp_path: Path) -> None:
    """`tagged()` reads the surface of a version from its tag."""
    package = tmp_path / "dflag"
    package.mkdir()
    (package / "__init__.py").write_text('__all__ = ["f"]\ndef f(): ...\ndef g(): ...\n', encoding="utf-8")
    identity = ["-c", "user.name=a", "-c", "user.email=a@git.example"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "a"], ["tag", "v0.1.9"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)  # noqa: S607 - the installed git
    assert list(_paths(_surface.tagged(tmp_path, "v0.1.9"))) == ["dflag.f"]


def _paths(module: griffe.Object | griffe.Alias) -> list[str]:
    found = []
    for member in module.members.values():
        found += [member.path, *(_paths(member) if member.is_module or member.is_class else ())]
    return found
