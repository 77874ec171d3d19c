"""
The page on operations has every line of the log and every field of the status, and its commands work.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

import dflag
from dflag import cli
from dflag.sources import KubernetesSource, MemorySource
from dflag.testing import ConfigMapVolume
from dflag.web import bearer_token, start_http_server
from tests.integration._api_server import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGE = Path(dflag.__file__).parent
PACKAGES = str(Path(cli.__file__).parents[2])
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^(?: *)```sh\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = dict(re.findall(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

LEVELS = {"warning": "warning", "error": "error", "exception": "error", "info": "info", "debug": "debug"}
PASSED_ON = {"%s", "%s; %s", "flag %r: %s"}
"""Formats without words of their own; `test_composed_lines_have_a_row` logs lines with them."""

TIMEOUT_SECONDS = 60


class Line(NamedTuple):
    """
    A line of the log, as it is written in the code or on the page.
    """

    text: str
    level: str


def _lines_of_the_code() -> Iterator[Line]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name("logger"), attr=method), args=[ast.Constant(str(text)), *_]
                ) if method in LEVELS:
                    yield Line(text, LEVELS[method])


def _section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


CODE = sorted(set(_lines_of_the_code()))
ROWS = [Line(*found) for found in re.findall(r"^\| `(.+?)` \| (\w+) \|", _section("Log lines"), re.MULTILINE)]


def _logged_as(line: Line, text: str) -> bool:
    """Return whether a format of the code can produce a text."""
    parts = re.split(r"%[rsd]", line.text)
    return bool(re.fullmatch(".*".join(map(re.escape, parts)), text))


def _has_row(text: str, level: str) -> bool:
    """Return whether the page has a row for a line of the log."""
    return any(row.level == level and re.fullmatch(_pattern(row.text), text) for row in ROWS)


def _pattern(shown: str) -> str:
    """Return a pattern for a text on the page, in which words in capitals stand for any text."""
    return ".+".join(map(re.escape, re.split(r"\b[A-Z]{2,}\b", shown)))


def test_lines_are_found() -> None:
    """The search finds more than 50 lines in the code and more than 60 rows on the page."""
    assert len(CODE) > 50
    assert len(ROWS) > 60


@pytest.mark.parametrize("line", [line for line in CODE if line.text not in PASSED_ON], ids=lambda line: line.text)
def test_every_line_of_the_log_is_on_the_page(line: Line) -> None:
    """Each line that the code logs has a row on the page with its level."""
    assert any(row.level == line.level and _logged_as(line, row.text) for row in ROWS)


def _composed() -> None:
    """Log every line whose text is composed in more than one place."""
    for atomic in (False, True):
        flags = dflag.FlagRegistry()
        flags.dyn_int("rate", 1)
        flags.dyn_int("burst", 1)
        flags.dyn_int("old", 1, deprecated="use rate")
        flags.dyn_string("odd", "", validator=lambda value: value != "odd")
        source = MemorySource({"rate": "2", "old": "2", "_rules.yaml": "- {name: good, set: {rate: 3}}"})
        updater = dflag.Updater(flags, source, atomic=atomic)
        updater.initialize()
        bad = "- {name: good, set: {rate: x}}\n- {name: new, set: {burst: x}}"
        source.update({"rate": "x", "burst": "x", "odd": "odd", "brst": "1", "_rules.yaml": bad})
        updater.refresh()
        source.update({"rate": "2", "_rules.yaml": "- ["})
        updater.refresh()
    dflag.Updater(dflag.FlagRegistry(), "none", required=False).initialize()


def test_composed_lines_have_a_row(caplog: pytest.LogCaptureFixture) -> None:
    """Each line composed of a refusal and its consequence has a row with its level, and each such row is logged."""
    with pytest.warns(DeprecationWarning, match="use rate"):
        _composed()
    logged = {(record.getMessage(), record.levelname.lower()) for record in caplog.records if record.name == "dflag"}
    assert {text for text, level in logged if not _has_row(text, level)} == set()
    formats = [line for line in CODE if line.text not in PASSED_ON]
    made = [row for row in ROWS if not any(_logged_as(line, row.text) for line in formats)]
    assert [row for row in made if not any(re.fullmatch(_pattern(row.text), text) for text, _ in logged)] == []


def _fields() -> Iterator[str]:
    for record in (dflag.Status, dflag.SourceStatus, dflag.RuleStatus):
        yield from (field.name for field in dataclasses.fields(record))


def test_every_field_of_the_status_is_on_the_page() -> None:
    """The page explains every field of the status records, except `name` and `source`."""
    explained = set(re.findall(r"`(\w+)`", _section("What status() says"))) | {"healthy"}
    assert set(_fields()) - explained == {"name", "source"}


def _last_error(source: Any, *, damage: Any = None) -> str:
    flags = dflag.FlagRegistry()
    flags.dyn_int("rate", 1)
    updater = dflag.Updater(flags, source, required=False)
    updater.initialize()
    if damage is not None:
        damage()
    with contextlib.suppress(dflag.SourceError):  # raised if the source never had a value
        updater.refresh()
    (status,) = updater.status().sources
    assert not status.healthy
    assert status.last_error
    return status.last_error


def _has_reason(text: str) -> bool:
    shown = re.findall(r"^\| `(.+?)`", _section("What status() says").partition("\n### All")[0], re.MULTILINE)
    return any(re.search(_pattern(each), text) for each in shown)


def test_reasons_of_files_are_on_the_page(tmp_path: Path) -> None:
    """Each reason why a volume or a document is unhealthy is in the table, by its text."""
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"rate": "2", "app.yaml": "rate: 2"})
    broken = tmp_path / "broken.yaml"
    broken.write_text("rate: [", encoding="utf-8")
    dangling = tmp_path / "dangling"
    dangling.mkdir()
    (dangling / "..data").symlink_to("..gone")
    reasons = [
        _last_error(tmp_path / "none"),
        _last_error(volume.path / "none.yaml"),
        _last_error(tmp_path / "volume", damage=lambda: volume.write({})),
    ]
    for path in (volume.path / "rate", broken, dangling):
        with pytest.raises(dflag.SourceError) as caught:
            dflag.Updater(dflag.FlagRegistry(), path).initialize()
        reasons.append(str(caught.value))
    assert [reason for reason in reasons if not _has_reason(reason)] == []


def test_reasons_of_the_api_server_are_on_the_page(tmp_path: Path) -> None:
    """Each reason why an object at the API server is unhealthy is in the table, by its text."""
    pytest.importorskip("httpx2")
    server = ApiServer(tmp_path / "kubeconfig")
    try:
        source = KubernetesSource("shop", kubeconfig=server.kubeconfig)
        reasons = [_last_error(source)]
    finally:
        server.close()
    reasons.append(_last_error(source))
    assert [reason for reason in reasons if not _has_reason(reason)] == []


KUBECTL = """
import json, os, subprocess, sys

verb, *rest = sys.argv[1:]
with open("shop-flags.yaml") as file:
    manifest = json.load(file)
if verb == "get" and rest[0] == "pods":
    print("pod/shop-7d9f-abcde")
elif verb == "get":
    assert rest[:2] == ["configmap", "shop-flags"], rest
    print(json.dumps(manifest))
elif verb == "patch":
    patch = json.loads(rest[rest.index("--patch") + 1])
    manifest["data"] = {key: text for key, text in (manifest["data"] | patch["data"]).items() if text is not None}
    with open("shop-flags.yaml", "w") as file:
        json.dump(manifest, file)
elif verb == "exec":
    command = [word.replace("/etc/shop", os.environ["VOLUME"]) for word in rest[rest.index("--") + 1:]]
    sys.exit(subprocess.call(command))
elif verb == "logs":
    print("[pod/shop-7d9f-abcde] WARNING dflag: unknown key")
else:
    assert verb in ("annotate", "port-forward", "rollout"), verb
"""
"""A stand-in for the cluster: one ConfigMap and one pod, whose commands run on this machine."""


@pytest.fixture(name="shop")
def _shop(tmp_path: Path) -> Path:
    """Return a directory with the example's program, its object, and the commands ``kubectl`` and ``dflag``."""
    (tmp_path / "shop.py").write_text(FILES["shop.py"], encoding="utf-8")
    manifest = yaml.safe_load(FILES["shop-flags.yaml"])
    manifest["data"] = {"rate_limit": "70", "_rules.yaml": "- {set: {rate_limit: 80}}"}
    (tmp_path / "shop-flags.yaml").write_text(json.dumps(manifest), encoding="utf-8")
    (tmp_path / "kubectl.py").write_text(KUBECTL, encoding="utf-8")
    for name, arguments in {"kubectl": f"-S {tmp_path / 'kubectl.py'}", "dflag": "-m dflag"}.items():
        (tmp_path / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n', encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def _run(block: str, directory: Path, port: int) -> str:
    """Run a block of the page in a shell that stops at the first failure, and return its output."""
    environment = {
        **os.environ,
        "PATH": f"{directory}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([PACKAGES, str(directory)]),
        "TOKEN": "secret",
        "VOLUME": str(directory / "volume"),
    }
    here = block.replace("localhost:8081", f"localhost:{port}").replace("write /etc/shop", "write host")
    done = subprocess.run(
        ["/bin/sh", "-ec", here],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, block + done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_commands_of_the_page_do_what_it_says(shop: Path) -> None:
    """The commands, run in order, show the flag, write a good value, remove the rules, and override one process."""
    flags = dflag.FlagRegistry("shop")
    rate = flags.dyn_int("rate_limit", 50, min=1, max=10_000)
    flags.dyn_string("banner", "")
    flags.int("port", 8080)

    def data() -> dict[str, str]:
        found: dict[str, str] = json.loads((shop / "shop-flags.yaml").read_text(encoding="utf-8"))["data"]
        return found

    ConfigMapVolume(shop / "volume").write(data())
    host = ConfigMapVolume(shop / "host")
    host.write({"rate_limit": "9", "old": "1"})
    (shop / "good.yaml").write_text(f"rate_limit: 70\n_rules.yaml: '{data()['_rules.yaml']}'\n", encoding="utf-8")
    updater = dflag.Updater(flags, shop / "volume")
    updater.initialize()
    with start_http_server(0, flags, updater, authorize=bearer_token("secret", "operator")) as server:
        said = {block: _run(block, shop, server.port) for block in BLOCKS}

    assert len(said) == len(BLOCKS) > 10
    assert data() == {"rate_limit": "60"}
    assert host.read() == {"_rules.yaml": b"- {set: {rate_limit: 80}}", "rate_limit": b"70"}
    assert (rate.get(), rate.origin) == (60, "override")
    (compared,) = (text for block, text in said.items() if "--against" in block)
    assert compared == "no changes\n"
    (asked,) = (text for block, text in said.items() if "?name=rate_limit" in block)
    assert '"current_value": "80"' in asked
    (pods,) = (text for block, text in said.items() if "readlink" in block)
    assert re.fullmatch(r"pod/shop-7d9f-abcde \.\.\d{4}_\S+ 70\n", pods)


def test_example_is_the_one_of_the_commands() -> None:
    """The ConfigMap of the example has the name and the key that the commands use."""
    manifest = yaml.safe_load(FILES["shop-flags.yaml"])
    assert manifest["metadata"]["name"] == "shop-flags"
    assert "rate_limit" in manifest["data"]


def test_links_within_the_page_lead_somewhere() -> None:
    """Each link within the page names a heading that exists."""
    headings = re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
