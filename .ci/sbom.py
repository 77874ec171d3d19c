"""
Put a bill of materials into the wheel, as PEP 770 asks: what is in it, which is dflag alone, and what it asks for.

A build hook of hatchling. What it writes depends on the project's metadata alone, so that two builds write the same.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.requirements import Requirement  # hatchling needs it too

if TYPE_CHECKING:
    from hatchling.metadata.core import ProjectMetadata

SPEC_VERSION = "1.6"  # of CycloneDX: what scanners of today read

LINKS = {"Source": "vcs", "Documentation": "documentation", "Changelog": "release-notes", "Issues": "issue-tracker"}
"""What CycloneDX calls the links of the project."""


def bill(metadata: ProjectMetadata) -> dict[str, Any]:
    """
    Return the bill of materials of a project without third-party files, as CycloneDX has it.
    """
    core = metadata.core
    needed = _components(core.dependencies, "required")
    wanted = _components([each for extra in core.optional_dependencies.values() for each in extra], "optional")
    components = {**wanted, **needed}
    purl = f"{_purl(core.name)}@{metadata.version}"
    this = {
        "type": "library",
        "bom-ref": purl,
        "name": core.name,
        "version": metadata.version,
        "description": core.description,
        "licenses": [{"expression": core.license_expression}],
        "purl": purl,
        "externalReferences": [{"type": LINKS.get(name, "other"), "url": url} for name, url in core.urls.items()],
    }
    listed: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": this},
        "components": [components[name] for name in sorted(components)],
        "dependencies": [{"ref": purl, "dependsOn": sorted(_purl(name) for name in needed)}],
        "compositions": [
            {"aggregate": "complete", "assemblies": [purl]},  # no third party's file is in the wheel
            {"aggregate": "incomplete", "dependencies": [purl]},  # versions are chosen where it is installed
        ],
    }
    # No time and no random number: two builds of one commit are the same.
    listed["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(listed, sort_keys=True)).urn
    return listed


def _components(requirements: list[str], scope: str) -> dict[str, dict[str, Any]]:
    """
    Describe what is required, by name, with the range of versions instead of a version.
    """
    found = {}
    for requirement in map(Requirement, requirements):
        purl = _purl(requirement.name)
        found[requirement.name] = {
            "type": "library",
            "bom-ref": purl,
            "name": requirement.name,
            "scope": scope,
            "purl": purl,
            "properties": [{"name": "python:requirement", "value": str(requirement)}],
        }
    return found


def _purl(name: str) -> str:
    return f"pkg:pypi/{name.lower().replace('_', '-')}"


class Hook(BuildHookInterface):  # type: ignore[type-arg]  # its parameter is the builder's configuration, which is not read
    """
    Add the bill to the wheel, from a directory that is there while the wheel is built.
    """

    _directory: str | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's
        self._directory = tempfile.mkdtemp()
        path = Path(self._directory, f"{self.metadata.core.name}.cdx.json")
        path.write_text(json.dumps(bill(self.metadata), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        build_data["sbom_files"].append(str(path))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - the interface's
        if self._directory is not None:
            shutil.rmtree(self._directory)
