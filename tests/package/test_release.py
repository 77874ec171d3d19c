"""
The repository meets what a release requires.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
from ruamel import yaml

from tests.package.release import problems, version, versions

ROOT = Path(__file__).parents[2]
USES = re.compile(r"^ *(?:- )?uses: +(\S+)(.*)$", re.MULTILINE)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SHOWN = [page for page in sorted((ROOT / "docs").glob("*.md")) if USES.search(page.read_text(encoding="utf-8"))]
"""The pages that show a workflow, which people copy."""

PINNED = re.compile(r"([\w.-]+/[\w./-]+)@[0-9a-f]{40}")


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Path:
    """
    Return a repository that may be released as v1.2.0: this one, with another version and real addresses.
    """
    for name in ("pyproject.toml", "dflag/_version.py", "docs/changelog.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    _edit(tmp_path / "pyproject.toml", "git.example", "git.kernel.org")
    _edit(tmp_path / "dflag/_version.py", version(ROOT), "1.2.0")
    (tmp_path / "docs/changelog.md").write_text("# Changelog\n\n## 1.2.0 - 2027-01-31\n\n## 1.1.0 - 2027-01-01\n")
    return tmp_path


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_release_that_fits_is_let_pass(project: Path) -> None:
    """A release is accepted if the tag names the version, the changelog has a dated section, and addresses are real."""
    assert problems("v1.2.0", project) == []


def test_another_tag_is_refused(project: Path) -> None:
    """A tag that names a version other than the source is refused, with both versions."""
    assert problems("v1.3.0", project) == ["the tag is v1.3.0, and dflag/_version.py says 1.2.0"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("1.2.0 -", "1.1.9 -", "the newest section of docs/changelog.md is on 1.1.9, and not on 1.2.0"),
        ("2027-01-31", "unreleased", "docs/changelog.md has no date for 1.2.0"),
    ],
)
def test_a_changelog_that_does_not_fit_is_refused(project: Path, old: str, new: str, problem: str) -> None:
    """A release without its own dated section in the changelog is refused."""
    _edit(project / "docs/changelog.md", old, new)
    assert problems("v1.2.0", project) == [problem]


def test_addresses_that_lead_nowhere_are_refused(project: Path) -> None:
    """A release is refused while a link or the mail address has a domain that is reserved for examples."""
    _edit(project / "pyproject.toml", "git.kernel.org", "git.example")
    found = problems("v1.2.0", project)
    assert len(found) == 5
    assert all("leads nowhere" in each for each in found)


def test_the_changelog_begins_with_this_version() -> None:
    """The newest section of the changelog is that of this version, with a date unless the version ends with `.dev0`."""
    described, date = versions()[0]
    assert described == version().removesuffix(".dev0")
    assert (date == "unreleased") == version().endswith(".dev0")


def test_the_released_version_is_everywhere_the_same() -> None:
    """The citation and the versions to install in the manual are those of the newest version that has a date."""
    released, date = next((each, date) for each, date in versions() if date != "unreleased")
    citation = yaml.YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert (citation["version"], str(citation["date-released"])) == (released, date)
    for page in ("command-line.md", "installation.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert set(re.findall(r"(?:rev: |/dflag@)v([\d.]+\d)", text)) == {released}


def test_each_classifier_was_run() -> None:
    """The Python versions of the classifiers are those of the jobs, which run every environment of tox but py314."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    claimed = {found[1] for each in classifiers if (found := re.search(r":: (3\.\d+)$", each))}
    if any("Free Threading" in each for each in classifiers):
        claimed.add("3.13t")
    jobs = yaml.YAML(typ="safe").load(ROOT / ".github/workflows/ci.yml")["jobs"]["tox"]["strategy"]["matrix"]["include"]
    assert {job["python"] for job in jobs} == claimed
    environments = re.search(r"env_list = (.*)", (ROOT / "tox.ini").read_text(encoding="utf-8"))[1].split(", ")
    assert {each for job in jobs for each in job["environments"].split(",")} == {*environments} - {"py314"}


def _uses(path: Path) -> list[tuple[str, str]]:
    """
    Return the actions of other projects in a file, each with the text after it.
    """
    found = USES.findall(path.read_text(encoding="utf-8"))
    return [(name, behind) for name, behind in found if not name.startswith("OWNER/dflag@")]


@pytest.mark.parametrize("path", [*WORKFLOWS, *SHOWN], ids=lambda path: path.name)
def test_actions_are_pinned(path: Path) -> None:
    """Each action is pinned to a commit, with its version as a comment, the same in all workflows and pages."""
    used = [each for file in (*WORKFLOWS, *SHOWN) for each in _uses(file)]
    ours = _uses(path)
    assert ours
    assert [
        each for each in ours if not PINNED.fullmatch(each[0]) or not re.fullmatch(r" +# v\d+\.\d+\.\d+", each[1])
    ] == []
    assert len(set(used)) == len({name.split("@")[0] for name, _ in used})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_do_nothing_else(path: Path) -> None:
    """A workflow has no rights by default, only the job that publishes may sign, and no secret is read."""
    text = path.read_text(encoding="utf-8")
    workflow = yaml.YAML(typ="safe").load(text)
    assert workflow["permissions"] == {}
    signing = {name for name, job in workflow["jobs"].items() if "id-token" in job["permissions"]}
    assert signing == ({"publish"} if path.name == "release.yml" else set())
    assert "secrets." not in text


def test_the_licence_is_one() -> None:
    """`LICENSES/Apache-2.0.txt`, which REUSE reads, is the same file as `LICENSE`."""
    assert (ROOT / "LICENSES" / "Apache-2.0.txt").read_bytes() == (ROOT / "LICENSE").read_bytes()
