"""
Two builds of one commit are the same wherever they run, and hold what they should.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.package._building import build

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"LC_ALL": "C", "PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati"}
"""How the environment of another machine may differ; the test below also changes paths, times and permissions."""

YEAR_2000 = 946_684_800


def _hashes(directory: Path) -> dict[str, str]:
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in directory.iterdir()}


def _parts(directory: Path) -> dict[str, bytes]:
    """
    Return the members of the wheel and the sdist, to find in which of them two builds differ.
    """
    (wheel,) = directory.glob("*.whl")
    (sdist,) = directory.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as zipped, tarfile.open(sdist) as packed:
        parts = {name: zipped.read(name) for name in zipped.namelist()}
        files = [member for member in packed.getmembers() if member.isfile()]
        return parts | {member.name: packed.extractfile(member).read() for member in files}


def test_two_builds_are_one(dist: Path, sdist: Path, tmp_path: Path) -> None:
    """A build from a checkout with another path, umask, time zone and file times gives the same bytes."""
    with tarfile.open(sdist) as packed:
        packed.extractall(tmp_path / "another checkout", filter="data")
    (checkout,) = (tmp_path / "another checkout").iterdir()
    for path in checkout.rglob("*"):
        path.chmod(0o700 if path.is_dir() or os.access(path, os.X_OK) else 0o600)
        os.utime(path, (YEAR_2000, YEAR_2000))
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"} | ELSEWHERE
    again = build(checkout, tmp_path / "dist", environment, umask=0o077)
    before, after = _parts(dist), _parts(again)
    assert sorted(before) == sorted(after)
    assert [name for name, part in before.items() if after[name] != part] == []
    assert _hashes(dist) == _hashes(again)


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    """The wheel holds each file of the package, and no other file outside its metadata."""
    with zipfile.ZipFile(wheel) as zipped:
        names = {name for name in zipped.namelist() if ".dist-info/" not in name}
    ours = (path for path in (ROOT / "dflag").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert names == {path.relative_to(ROOT).as_posix() for path in ours}


@pytest.fixture(name="metadata")
def _metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as zipped:
        (metadata,) = (name for name in zipped.namelist() if name.endswith("/METADATA"))
        return zipped.read(metadata).decode()


def test_metadata_is_of_a_version_that_is_read(metadata: str, sdist: Path) -> None:
    """Wheel and sdist have metadata of version 2.4, because some uploaders and indexes refuse 2.5."""
    with tarfile.open(sdist) as packed:
        (name,) = (name for name in packed.getnames() if name.count("/") == 1 and name.endswith("/PKG-INFO"))
        assert packed.extractfile(name).read().startswith(b"Metadata-Version: 2.4\n")
    assert metadata.startswith("Metadata-Version: 2.4\n")


def test_links_of_the_description_lead_out(metadata: str) -> None:
    """Each link of the description is an https address, since an index shows the README without other files."""
    links = re.findall(r"\]\(([^)]*)\)", metadata)
    assert len(links) == len(re.findall(r"\]\([^)]*\)", (ROOT / "README.md").read_text(encoding="utf-8"))) > 0
    assert [link for link in links if not link.startswith("https://")] == []
    source = re.search(r"^Project-URL: Source, (.+)$", metadata, re.MULTILINE)[1]
    paths = [each for link in links for each in re.findall(rf"^{re.escape(source)}/(?:blob|raw)/main/([^#]+)", link)]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_sdist_holds_what_its_tests_need(sdist: Path) -> None:
    """The sdist has everything that the tests read, and nothing that the checkout does not have."""
    with tarfile.open(sdist) as packed:
        top = {Path(name).parts[1] for name in packed.getnames()}
    ours = {path.name for path in ROOT.iterdir()} - {".git"}
    assert top >= {".ci", ".github", "docs", "examples", "tests", "tox.ini", "action.yml", "REUSE.toml", "LICENSES"}
    assert top <= ours | {"PKG-INFO"}
