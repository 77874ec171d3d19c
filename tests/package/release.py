"""
Refuse to release a version that does not match its tag: ``python -m tests.package.release v0.2.0``.

The check runs before anything is built, and needs only Python.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

RESERVED = re.compile(r"(?:[/@.])(?:example|invalid|localhost|test)(?=[/:]|$)|example\.(?:com|net|org)")
"""The reserved names of RFC 2606, which the metadata contain until the address of the source is known."""


def version(root: Path = ROOT) -> str:
    """
    Return the version, which only ``dflag/_version.py`` contains.
    """
    tree = ast.parse((root / "dflag" / "_version.py").read_text(encoding="utf-8"))
    (value,) = (node.value for node in tree.body if isinstance(node, ast.AnnAssign))
    return str(ast.literal_eval(value))


def versions(root: Path = ROOT) -> list[tuple[str, str]]:
    """
    Return the versions in the changelog with their dates, the newest first.
    """
    text = (root / "docs" / "changelog.md").read_text(encoding="utf-8")
    return re.findall(r"^## (\S+) - (\S+)$", text, re.MULTILINE)


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """
    Return the problems that prevent the release of a tag.
    """
    ours, (described, date) = version(root), versions(root)[0]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    addresses = {**project["urls"], **{each["name"]: each["email"] for each in project["authors"]}}
    found = []
    if tag != f"v{ours}":
        found.append(f"the tag is {tag}, and dflag/_version.py says {ours}")
    if described != ours:
        found.append(f"the newest section of docs/changelog.md is on {described}, and not on {ours}")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date):
        found.append(f"docs/changelog.md has no date for {described}")
    found += [
        f"{name} in pyproject.toml leads nowhere: {each}" for name, each in addresses.items() if RESERVED.search(each)
    ]
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems(sys.argv[1])) or None)
