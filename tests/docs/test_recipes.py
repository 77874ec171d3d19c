"""
The recipes, which are programs under examples/, pass their own tests and work under their servers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dflag.testing import ConfigMapVolume
from tests.integration._waiting import DEADLINE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
START_SECONDS = 5 * DEADLINE_SECONDS
RECIPES = {
    "celery_shop": ("settings", "celery", {"mail": "off"}),
    "copy_command": ("settings", "prometheus_client", {"rate_bytes": "1_000"}),
    "django_shop": ("flags", "django", {"discount": "5"}),
    "fastapi_shop": ("settings", "fastapi", {"discount": "5"}),
    "flask_shop": ("settings", "flask", {"discount": "5"}),
    "grpc_shop": ("settings", "grpc", {"discount": "5"}),
    "invoice_job": ("settings", "prometheus_client", {"tax": "7"}),
    "retry_library": ("settings", "prometheus_client", {"retry.attempts": "1"}),
}
"""Each program: the module of its flags, a package that only the rest of it needs, and values for its flags."""

CHECK = """
import importlib, json, os, sys, threading

from dflag.cli import main

recipes, modules, directory = json.loads(sys.argv[1])
for recipe, module, framework in recipes:
    status = main(["check", "--strict", f"{recipe}.{module}:Settings", f"{directory}/{recipe}"])
    print(recipe, status, framework in sys.modules)
for module in modules:
    importlib.import_module(module)
descriptors = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
places = [os.path.realpath(f"/proc/self/fd/{name}") for name in descriptors]
print(threading.active_count(), [place for place in places if "socket:" in place or "inotify" in place])
"""
"""Checks the flags of each recipe, then imports every module that can be imported without a server."""

SERVERS = {
    "gunicorn": ["-m", "gunicorn", "--no-control-socket", "--config=flask_shop/gunicorn.conf.py"],
    "uwsgi": ["-c", "import pyuwsgi; pyuwsgi.run()", "--ini", "flask_shop/uwsgi.ini"],
    "uvicorn": ["-m", "uvicorn", "--fd=FD", "--workers=2", "--factory", "fastapi_shop.app:create_app"],
}
"""The server programs of the recipes, with two workers each."""


@pytest.fixture(name="own_tests", scope="module")
def _own_tests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Run the tests of all recipes that can run here, and return the failures of each recipe."""
    report = tmp_path_factory.mktemp("recipes") / "report.xml"
    # Isolated, so that the current directory does not hide an installed wheel.
    command = [sys.executable, "-Im", "pytest", "-p", "no:cacheprovider", f"--junit-xml={report}"]
    done = subprocess.run(
        [*command, *filter(_can_run, RECIPES)],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - what pytest has written
        failures = found.setdefault(case.attrib["classname"].partition(".")[0], [])
        failures += ["".join(fault.itertext()) for fault in case if fault.tag in ("error", "failure")]
    return found


def _in_time(condition: Callable[[], object]) -> bool:
    """
    Return whether the condition becomes true within the time that a program needs to start on a busy machine.
    """
    return any(eventually(condition) for _ in range(round(START_SECONDS / DEADLINE_SECONDS)))


def _can_run(recipe: str) -> bool:
    return importlib.util.find_spec(RECIPES[recipe][1]) is not None


def _skip_unless_it_can_run(recipe: str) -> None:
    if not _can_run(recipe):
        pytest.skip(f"needs {RECIPES[recipe][1]}")


def test_every_directory_is_a_recipe() -> None:
    """Every directory of the examples that has tests is in `RECIPES`."""
    assert {path.parent.name for path in EXAMPLES.glob("*/test_*.py")} == set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_own_tests_pass(own_tests: dict[str, list[str]], recipe: str) -> None:
    """The tests of a recipe pass with warnings as errors, and use the fixture `dflag_isolated`."""
    _skip_unless_it_can_run(recipe)
    assert own_tests[recipe] == []
    (tests,) = (EXAMPLES / recipe).glob("test_*.py")
    assert "dflag_isolated" in tests.read_text(encoding="utf-8")


def test_checking_flags_starts_nothing(tmp_path: Path) -> None:
    """Checking the flags of a recipe imports no framework, and importing its programs starts no thread or socket."""
    for recipe in RECIPES:
        ConfigMapVolume(tmp_path / recipe).write(RECIPES[recipe][2])
    recipes = [(recipe, *RECIPES[recipe][:2]) for recipe in RECIPES]
    modules = [
        f"{recipe}.{path.stem}"
        for recipe in filter(_can_run, RECIPES)
        for path in sorted((EXAMPLES / recipe).glob("[a-z_]*.py"))
        if not path.stem.startswith("test_") and "." not in path.stem and recipe != "django_shop"
    ]
    done = subprocess.run(
        [sys.executable, "-c", CHECK, json.dumps([recipes, modules, str(tmp_path)])],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.stdout.splitlines() == [*(f"{recipe} 0 False" for recipe in RECIPES), "1 []"], done.stderr


def test_commands_of_the_django_project(volume: ConfigMapVolume) -> None:
    """The system checks of the Django project name an unknown key, and `manage.py dflag docs` lists the flags."""
    _skip_unless_it_can_run("django_shop")
    volume.write({"discount": "5", "order": "off"})
    for command, expected in {"check": "unknown key 'order'", "dflag docs": "discount"}.items():
        done = subprocess.run(
            [sys.executable, "django_shop/manage.py", *command.split()],
            cwd=EXAMPLES,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
            env={**os.environ, "SHOP_CONFIG": str(volume.path)},
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout + done.stderr


def test_each_file_is_shown() -> None:
    """The pages of the recipes show all of their files, except the two that only start Django."""
    shown = "".join(path.read_text(encoding="utf-8") for path in (EXAMPLES.parent / "docs").glob("recipe-*.md"))
    files = {f"{path.parent.name}/{path.name}" for path in EXAMPLES.glob("*/*.*") if path.parent.name in RECIPES}
    assert {file for file in files if f"{{literalinclude}} ../examples/{file}\n" not in shown} == {
        "django_shop/manage.py",
        "django_shop/wsgi.py",
    }


class Server:
    """
    A program that serves on an inherited socket, so that its port is known and no request is refused during the start.
    """

    def __init__(self, command: list[str], volume: ConfigMapVolume, directory: Path) -> None:
        self.log = directory / "log"
        with socket.create_server(("127.0.0.1", 0)) as listening, self.log.open("w") as output:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            place = str(listening.fileno())
            self._process = subprocess.Popen(
                [sys.executable, *(argument.replace("FD", place) for argument in command)],
                cwd=EXAMPLES,
                env={
                    **os.environ,
                    "SHOP_ADDRESS": f"fd://{place}",
                    "SHOP_CONFIG": str(volume.path),
                    "PROMETHEUS_MULTIPROC_DIR": str(directory),
                },
                pass_fds=[listening.fileno()],
                stdout=output,
                stderr=output,
            )

    def get(self, path: str) -> tuple[int, str]:
        """
        Return the status and the body of an answer.
        """
        try:
            with urllib.request.urlopen(f"{self.url}/{path}", timeout=DEADLINE_SECONDS) as answer:  # noqa: S310 - its own
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""

    def processes_with(self, discount: str) -> set[int]:
        """
        Return the ids of both workers, once each of them has that value.
        """
        found: set[int] = set()

        def are_both() -> bool:
            with contextlib.suppress(OSError):  # a request that waited for a server to start
                listing = json.loads(self.get("debug/flags/?name=discount")[1])
                if listing["flags"][0]["current_value"] == discount:
                    found.add(listing["process"])
            return len(found) == 2

        assert _in_time(are_both), (found, self.log.read_text())
        return found

    def stop(self) -> int:
        """
        End the program, and return its status.
        """
        self._process.terminate()
        try:
            return self._process.wait(DEADLINE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()


@pytest.mark.untraced
@pytest.mark.parametrize("name", SERVERS)
def test_each_worker_of_a_server_follows(name: str, volume: ConfigMapVolume, tmp_path: Path) -> None:
    """Under each server, all workers follow the volume, count a refused value in the metrics, and log each warning."""
    if importlib.util.find_spec(name.replace("uwsgi", "pyuwsgi")) is None:
        pytest.skip(f"needs {name}")
    volume.write({"discount": "10"})
    (tmp_path / "metrics").mkdir()
    server = Server(SERVERS[name], volume, tmp_path / "metrics")
    try:
        workers = server.processes_with("10")
        volume.write({"discount": "25"})
        assert server.processes_with("25") == workers
        assert json.loads(server.get("price?amount=1000")[1])["amount"] == 750
        volume.write({"discount": "all"})
        refused = 'dflag_rejected_values{flag="discount"'
        assert eventually(lambda: refused in server.get("metrics/")[1])
        assert server.get("healthz")[0] == 200
        for bad in ("many", "most"):  # without configured logging only the first warning would show
            volume.write({"discount": bad})
            assert eventually(lambda text=f"got {bad!r}": text in server.log.read_text()), server.log.read_text()
    finally:
        status = server.stop()
    assert status == 0, server.log.read_text()
    assert "Traceback" not in server.log.read_text()


MAINS = {
    "celery_shop": ["-m", "celery", "--app=celery_shop.tasks", "worker", "--pool=solo", "--without-mingle"],
    "grpc_shop": ["-m", "grpc_shop.server", "--port=0", "--page_port=0", "--metrics_port=0", "--config=VOLUME"],
    "retry_library": ["-m", "retry_library.probe", "--port=0", "--page_port=0", "--config=VOLUME"],
}
"""The commands that start the programs without a web server."""


@contextlib.contextmanager
def _running(recipe: str, volume: ConfigMapVolume, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    _skip_unless_it_can_run(recipe)
    settings = {"CONFIG": str(volume.path), "PAGE_PORT": "0", "METRICS_PORT": "0"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *(argument.replace("VOLUME", str(volume.path)) for argument in MAINS[recipe])],
            cwd=EXAMPLES,
            env={
                **os.environ,
                **{f"SHOP_{name}": value for name, value in settings.items()},
                "C_FORCE_ROOT": "1",
                "CELERY_BROKER_URL": "memory://",
            },
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("recipe", MAINS)
def test_program_runs(recipe: str, volume: ConfigMapVolume, tmp_path: Path) -> None:
    """The program starts, follows its volume, shows its flags, and ends with status 0 by a signal."""
    (name, value), *_ = RECIPES[recipe][2].items()
    volume.write({name: value})
    log = tmp_path / "log"
    with _running(recipe, volume, log) as process:
        assert _in_time(lambda: process.poll() is not None or "lags at http" in log.read_text()), log.read_text()
        place = re.search(r"lags at (http://\S+)", log.read_text())
        assert place, log.read_text()
        with urllib.request.urlopen(place[1], timeout=DEADLINE_SECONDS) as answer:  # noqa: S310 - its own
            listing = json.load(answer)
        assert listing["updater"]["state"] == "running"
        assert {flag["name"]: flag["origin"] for flag in listing["flags"]}[name] == str(volume.path)
        for bad in ("bad", "worse"):  # without configured logging only the first warning would show
            volume.write({name: bad})
            assert eventually(lambda text=f"got {bad!r}": text in log.read_text()), log.read_text()
        if recipe != "celery_shop":  # its worker takes five seconds to end
            process.terminate()
            assert process.wait(DEADLINE_SECONDS) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("recipe", MAINS)
def test_bad_value_keeps_a_program_from_starting(recipe: str, volume: ConfigMapVolume, tmp_path: Path) -> None:
    """A program does not start on a bad value, and names the flag."""
    (name, _), *_ = RECIPES[recipe][2].items()
    volume.write({name: "bad"})
    log = tmp_path / "log"
    with _running(recipe, volume, log) as process:
        assert process.wait(START_SECONDS) != 0
    assert f"flag {name!r}" in log.read_text()


def test_command_logs_in_the_form_of_its_errors(tmp_path: Path) -> None:
    """The command works without a file of flags, and its one warning begins with the name of the command."""
    _skip_unless_it_can_run("copy_command")
    (tmp_path / "source").write_bytes(b"x")
    found = subprocess.run(
        [sys.executable, "-m", "copy_command", "source", "target", "--config=absent.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), *sys.path])},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert (found.returncode, (tmp_path / "target").read_bytes()) == (0, b"x")
    (warning,) = found.stderr.splitlines()
    assert warning.startswith("copy_command: cannot read ")
    assert warning.endswith("; using the values of the layers below")
