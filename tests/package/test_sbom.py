"""
The wheel holds a valid and complete bill of materials (PEP 770).
"""

from __future__ import annotations

import json
import zipfile
from email.parser import Parser
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.schema._res import BOM_JSON, JSF, SPDX_JSON
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module", name="parts")
def _parts(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as zipped:
        return {name: zipped.read(name).decode() for name in zipped.namelist() if ".dist-info/" in name}


@pytest.fixture(scope="module", name="bill")
def _bill(parts: dict[str, str]) -> dict[str, Any]:
    (text,) = (text for name, text in parts.items() if name.endswith(".dist-info/sboms/dflag.cdx.json"))
    return json.loads(text)


def _schema_problems(bill: Any) -> list[str]:
    """
    Return what the official schema refuses; its references lead to files next to it.
    """
    path = BOM_JSON[SchemaVersion.V1_6]
    with open(path, encoding="utf-8") as file:
        schema = json.load(file)
    beside = {}
    for each in (SPDX_JSON, JSF):
        with open(each, encoding="utf-8") as file:
            parsed = json.load(file)
        beside[parsed["$id"]] = parsed
    resolver = jsonschema.RefResolver.from_schema(schema, store=beside)
    return [error.message for error in jsonschema.Draft7Validator(schema, resolver=resolver).iter_errors(bill)]


def test_it_fits_the_schema(bill: dict[str, Any]) -> None:
    """The bill fits CycloneDX's own schema, which refuses one with an unknown scope or another format."""
    assert _schema_problems(bill) == []
    assert _schema_problems({**bill, "bomFormat": "other"}) != []
    assert _schema_problems({**bill, "components": [{**bill["components"][0], "scope": "needed"}]}) != []


def test_it_names_what_the_metadata_names(bill: dict[str, Any], parts: dict[str, str]) -> None:
    """The bill has the name, version, licence and requirements of the wheel's metadata, with optional ones marked."""
    (metadata,) = (Parser().parsestr(text) for name, text in parts.items() if name.endswith("/METADATA"))
    this = bill["metadata"]["component"]
    assert (this["name"], this["version"]) == (metadata["Name"], metadata["Version"])
    assert this["licenses"] == [{"expression": metadata["License-Expression"]}]
    required, optional = set(), set()
    for requirement in map(Requirement, metadata.get_all("Requires-Dist")):
        (optional if requirement.marker and "extra" in str(requirement.marker) else required).add(requirement.name)
    scopes = {each["name"]: each["scope"] for each in bill["components"]}
    assert {name for name, scope in scopes.items() if scope == "required"} == required
    assert {name for name, scope in scopes.items() if scope == "optional"} == optional - required


def test_every_reference_leads_somewhere(bill: dict[str, Any]) -> None:
    """Each component that the dependencies name is described in the bill."""
    described = {each["bom-ref"] for each in [bill["metadata"]["component"], *bill["components"]]}
    named = {each["ref"] for each in bill["dependencies"]}.union(*(each["dependsOn"] for each in bill["dependencies"]))
    assert named <= described


def test_the_wheel_lists_it(parts: dict[str, str]) -> None:
    """The wheel's RECORD has the hash of the bill, so that installers check it."""
    (record,) = (text for name, text in parts.items() if name.endswith("/RECORD"))
    (line,) = (line for line in record.splitlines() if "/sboms/" in line)
    assert line.split(",")[1].startswith("sha256=")
