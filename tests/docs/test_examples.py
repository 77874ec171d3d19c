"""
The example service does what its README says.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE_SECONDS = 20.0


class Service:
    """
    The example service, running, with the lines that it has printed.
    """

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "server.py"), "--port=0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait for a line in which *pattern* is found."""
        seen = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no line like {pattern!r} among {seen}")
            if line is None:
                pytest.fail(f"ended without a line like {pattern!r} after {seen}")
            seen.append(line)
            if match := re.search(pattern, line):
                return match

    def start(self) -> None:
        """Wait until it serves."""
        found = self.expect(r"Serving on (\S+/) and following (.+)$")
        self.url, self.directory = found[1], Path(found[2])

    def get(self, path: str = "") -> str:
        """Load a page."""
        with urllib.request.urlopen(self.url + path, timeout=DEADLINE_SECONDS) as answer:  # noqa: S310 - its own url
            text: str = answer.read().decode()
        return text

    def values(self) -> dict[str, Any]:
        """Load the values as JSON."""
        values: dict[str, Any] = json.loads(self.get("values"))["values"]
        return values

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal and give its status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(DEADLINE_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            assert self.process.stdout
            self.process.stdout.close()


@pytest.fixture(name="service")
def _service() -> Iterator[Service]:
    """Give the service with its embedded volume."""
    service = Service()
    yield service
    service.stop()


def test_printed_line_changes_the_page(service: Service) -> None:
    """The line that the service prints, typed in a shell, changes the page and keeps the other values."""
    service.expect("To change a flag")
    line = service.expect(r"^  (.+)$")[1]
    service.start()
    assert "<h1>Good morning</h1>" in service.get()
    before = service.values()
    subprocess.run(shlex.split(line), check=True, timeout=DEADLINE_SECONDS)
    service.expect("changed: Good morning -> Good evening")
    assert "<h1>Good evening</h1>" in service.get()
    assert service.values() == before | {"greeting": "Good evening"}


def test_bad_value_is_logged_and_kept_out(service: Service) -> None:
    """A bad value costs one line that names the flag; the last good value stays, and the next good one is taken."""
    service.start()
    volume = ConfigMapVolume(service.directory)
    volume.update(rate_limit="a lot")
    service.expect(r"rate_limit.*a lot")
    assert service.values()["rate_limit"] == 50
    volume.update(policy='{"mode": "allow", "blocked": ["/"]}', rate_limit="60")
    service.expect("the page itself cannot be blocked")
    assert service.values()["rate_limit"] == 60
    assert service.values()["policy"] == {"mode": "allow", "blocked": ["/admin"]}


def test_values_are_escaped(service: Service) -> None:
    """What a flag holds cannot become markup."""
    service.start()
    ConfigMapVolume(service.directory).update(greeting="<script>alert('x')</script>")
    service.expect("changed")
    assert "<script>" not in service.get()


def test_maintenance_answers_503(service: Service) -> None:
    """A bool and a duration steer the answer; the health check goes on."""
    service.start()
    ConfigMapVolume(service.directory).update(maintenance="on")
    service.expect("changed: False -> True")
    with pytest.raises(urllib.error.HTTPError) as caught:
        service.get()
    with caught.value as answer:
        assert (answer.code, answer.headers["Retry-After"]) == (503, "90")
    assert service.get("healthz") == "ok\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_cleanly(service: Service, number: signal.Signals) -> None:
    """Either signal ends the service with status 0, and its temporary directory is gone."""
    service.start()
    assert service.directory.is_dir()
    assert service.stop(number) == 0
    assert not service.directory.parent.exists()


def test_config_dir_is_followed(tmp_path: Path) -> None:
    """With a directory given, the service follows that one and leaves it there."""
    (tmp_path / "greeting").write_text("Salut", encoding="utf-8")
    service = Service("--config-dir", str(tmp_path))
    try:
        service.start()
        assert "<h1>Salut</h1>" in service.get()
        os.replace(_written(tmp_path.parent / "new", "Ciao"), tmp_path / "greeting")
        service.expect("changed: Salut -> Ciao")
    finally:
        service.stop()
    assert (tmp_path / "greeting").read_text(encoding="utf-8") == "Ciao"


def test_manifests_agree() -> None:
    """The Deployment mounts the ConfigMap as a directory where its arguments say, never by subPath."""
    config_map = yaml.safe_load((EXAMPLES / "kubernetes" / "configmap.yaml").read_text(encoding="utf-8"))
    manifests = yaml.safe_load_all((EXAMPLES / "kubernetes" / "deployment.yaml").read_text(encoding="utf-8"))
    pod = next(manifests)["spec"]["template"]["spec"]
    container = pod["containers"][0]
    (mount,) = container["volumeMounts"]
    assert f"--config-dir={mount['mountPath']}" in container["args"]
    assert "subPath" not in mount
    assert pod["volumes"] == [{"name": mount["name"], "configMap": {"name": config_map["metadata"]["name"]}}]
    assert all(isinstance(value, str) for value in config_map["data"].values())


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
