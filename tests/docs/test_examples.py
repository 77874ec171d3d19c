"""
The examples work as their README describes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import re
import shlex
import signal
import socket
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
from tests.integration._api_server import ApiServer
from tests.integration._waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE_SECONDS = 20.0


class Program:
    """
    A running example, with the lines that it has printed.
    """

    def __init__(self, name: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *arguments],
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
        """Return the match of *pattern* in the next line that contains one; fail after the deadline."""
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

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the program by a signal, and return its exit status."""
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


class Service(Program):
    """
    An example that serves pages over HTTP.
    """

    def __init__(self, *arguments: str, name: str = "server.py") -> None:
        super().__init__(name, "--port=0", *arguments)

    def start(self) -> None:
        """Wait until the service answers requests."""
        found = self.expect(r"Serving on (\S+/) and following (.+)$")
        self.url, self.directory = found[1], Path(found[2])

    def get(self, path: str = "") -> str:
        """Return the text of a page."""
        with urllib.request.urlopen(self.url + path, timeout=DEADLINE_SECONDS) as answer:  # noqa: S310 - its own url
            text: str = answer.read().decode()
        return text

    def values(self) -> dict[str, Any]:
        """Return the values that the service shows as JSON."""
        values: dict[str, Any] = json.loads(self.get("values"))["values"]
        return values


@pytest.fixture(name="service")
def _service() -> Iterator[Service]:
    """Yield the service with its embedded volume."""
    service = Service()
    yield service
    service.stop()


def test_printed_line_changes_the_page(service: Service) -> None:
    """The line that the service prints, typed in a shell, changes the page and keeps the other values."""
    service.start()
    service.expect("To change a flag")
    line = service.expect(r"^  (.+)$")[1]
    assert line.endswith(f" write {service.directory} greeting='Good evening'")
    assert "<h1>Good morning</h1>" in service.get()
    before = service.values()
    subprocess.run(shlex.split(line), check=True, timeout=DEADLINE_SECONDS)
    service.expect("changed greeting: Good morning -> Good evening")
    assert "<h1>Good evening</h1>" in service.get()
    assert service.values() == before | {"greeting": "Good evening"}


def test_line_to_type_is_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The service prints its `dflag write` command as short as a shell can find it: by name or by a relative path."""
    spec = importlib.util.spec_from_file_location("example_server", EXAMPLES / "server.py")
    assert spec
    assert spec.loader
    server = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(server)
    program = tmp_path / ".venv" / "bin" / "dflag"
    program.parent.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", os.fspath(program.with_name("python")))
    assert server.write_command("/c").startswith(f"{sys.executable} -m dflag write /c ")
    program.touch(0o755)
    assert server.write_command("/c").startswith(f"{program} write /c ")
    monkeypatch.chdir(tmp_path)
    assert server.write_command("/c") == ".venv/bin/dflag write /c greeting='Good evening'"
    monkeypatch.setenv("PATH", os.fspath(program.parent))
    assert server.write_command("/c") == "dflag write /c greeting='Good evening'"


@pytest.mark.parametrize("name", ["server.py", "greeting_service.py"])
def test_port_in_use_is_one_plain_line(name: str, tmp_path: Path) -> None:
    """If its port is taken, a program exits with status 1 and one line that says what to do, without a traceback."""
    document = tmp_path / "app.yaml"
    document.write_text("message: Hi\n", encoding="utf-8")
    options = {"server.py": [], "greeting_service.py": [f"--config={document}"]}[name]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = _ended(name, f"--port={port}", *options)
    last = found.stderr.splitlines()[-1]
    assert (found.returncode, last.partition(": ")[0]) == (1, f"cannot listen on 127.0.0.1:{port}")
    assert "--port=0" in last
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("name", "option"),
    [("server.py", "--config-dir"), ("greeting_service.py", "--config"), ("config_blob.py", "--config")],
)
def test_missing_source_is_one_plain_line(name: str, option: str, tmp_path: Path) -> None:
    """If its source does not exist, a program exits with status 1 and prints only the library's message."""
    found = _ended(name, f"{option}={tmp_path / 'absent.yaml'}")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith(f"cannot read {tmp_path / 'absent.yaml'}: no such ")
    assert found.stderr.count("\n") == 1


def test_bad_value_is_logged_and_kept_out(service: Service) -> None:
    """A bad value is logged with the name of its flag; the last good value stays, and other values are applied."""
    service.start()
    volume = ConfigMapVolume(service.directory)
    volume.update(rate_limit="a lot")
    service.expect(r"rate_limit.*a lot")
    assert service.values()["rate_limit"] == 50
    volume.update(policy='{"mode": "allow", "blocked": ["/"]}', rate_limit="60")
    service.expect("the page itself cannot be blocked")
    assert service.values()["rate_limit"] == 60
    assert service.values()["policy"] == {"mode": "allow", "blocked": ["/admin"]}


def test_metrics_tell_of_a_bad_value(service: Service) -> None:
    """A value that is refused is counted under /metrics, by the name of its flag."""
    service.start()
    assert 'dflag_running{registry="example"} 1.0' in service.get("metrics")
    ConfigMapVolume(service.directory).update(rate_limit="a lot")
    service.expect(r"rate_limit.*a lot")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while 'dflag_rejected_values{flag="rate_limit",registry="example"} 1.0' not in service.get("metrics"):
        assert time.monotonic() < deadline


def test_values_are_escaped(service: Service) -> None:
    """The page escapes the value of a flag, so that it cannot become markup."""
    service.start()
    ConfigMapVolume(service.directory).update(greeting="<script>alert('x')</script>")
    service.expect("changed")
    assert "<script>" not in service.get()


def test_debug_page(service: Service) -> None:
    """The page of flags shows the origin of a value and what was refused, and its link to the script works."""
    service.start()
    ConfigMapVolume(service.directory).update(rate_limit="a lot")
    service.expect(r"rate_limit.*a lot")
    listing = json.loads(service.get("debug/flags?name=rate_limit"))
    (rate_limit,) = listing["flags"]
    assert (rate_limit["origin"], rate_limit["current_value"]) == (os.fspath(service.directory), "50")
    assert "a lot" in rate_limit["rejected"][0]["message"]
    assert listing["updater"]["state"] == "running"
    script = re.search(r'src="([^"]+)"', service.get("debug/flags?format=html"))
    assert script
    assert "fetch" in service.get(f"debug/{script[1]}")


def test_maintenance_answers_503(service: Service) -> None:
    """While the flag `maintenance` is on, pages answer 503 with Retry-After, and the health check answers ok."""
    service.start()
    ConfigMapVolume(service.directory).update(maintenance="on")
    service.expect("changed maintenance: False -> True")
    with pytest.raises(urllib.error.HTTPError) as caught:
        service.get()
    with caught.value as answer:
        assert (answer.code, answer.headers["Retry-After"]) == (503, "90")
    assert service.get("healthz") == "ok\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_cleanly(service: Service, number: signal.Signals) -> None:
    """SIGINT and SIGTERM end the service with status 0, and it removes its temporary directory."""
    service.start()
    assert service.directory.is_dir()
    assert service.stop(number) == 0
    assert not service.directory.parent.exists()


def test_config_dir_is_followed(tmp_path: Path) -> None:
    """With `--config-dir` the service follows that directory, and does not remove it."""
    (tmp_path / "greeting").write_text("Salut", encoding="utf-8")
    service = Service("--config-dir", str(tmp_path))
    try:
        service.start()
        assert "<h1>Salut</h1>" in service.get()
        os.replace(_written(tmp_path.parent / "new", "Ciao"), tmp_path / "greeting")
        service.expect("changed greeting: Salut -> Ciao")
    finally:
        service.stop()
    assert (tmp_path / "greeting").read_text(encoding="utf-8") == "Ciao"


def _data(recipe: str) -> dict[str, str]:
    manifest = yaml.safe_load((EXAMPLES / "kubernetes" / recipe / "configmap.yaml").read_text(encoding="utf-8"))
    data: dict[str, str] = manifest["data"]
    return data


def test_greeting_follows_its_file(tmp_path: Path) -> None:
    """The greeting is the message of the manifest's file and follows changes; a broken file keeps the last message."""
    volume = ConfigMapVolume(tmp_path / "app")
    volume.write(_data("greeting-service"))
    service = Service("--config", str(volume.path / "app.yaml"), name="greeting_service.py")
    try:
        service.start()
        assert service.get() == "Hello World\n"
        volume.write({"app.yaml": "message: Good evening"})
        service.expect("changed message: Hello World -> Good evening")
        assert service.get() == "Good evening\n"
        volume.write({"app.yaml": "message: [Good"})
        service.expect(r"app\.yaml:\d+:\d+: expected")
        assert service.get() == "Good evening\n"
    finally:
        assert service.stop() == 0


def test_settings_in_one_document_are_live(tmp_path: Path) -> None:
    """The next batch uses every changed key of the document together; a bad key keeps its last good value."""
    volume = ConfigMapVolume(tmp_path / "worker")
    data = _data("config-blob")
    settings = json.loads(data["config.json"]) | {"pause": "10ms"}
    volume.write({"config.json": json.dumps(settings)})
    worker = Program("config_blob.py", "--config", str(volume.path / "config.json"))
    try:
        worker.expect("^batch of 50 from urgent, default, retries: 5$")
        settings |= {"batch_size": 7, "queues": ["bulk"], "retry": {"times": 1}}
        volume.write({"config.json": json.dumps(settings)})
        worker.expect("^batch of 7 from bulk, retries: 1$")
        volume.write({"config.json": json.dumps(settings | {"batch_size": 0, "queues": ["other"]})})
        worker.expect("batch_size.*keeping the last good value")
        worker.expect("^batch of 7 from other, retries: 1$")
    finally:
        assert worker.stop(signal.SIGINT) == 0


def _ended(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(name="api_server")
def _api_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """Yield a stand-in for an API server, which ``KUBECONFIG`` names."""
    pytest.importorskip("httpx2")
    server = ApiServer(tmp_path / "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
    yield server
    server.close()


def _endpoint(service: Service) -> str:
    endpoint: str = json.loads(service.get("config"))["current_endpoint"]
    return endpoint


def test_current_endpoint_follows_the_api_server(api_server: ApiServer) -> None:
    """The endpoint follows the object: to another target, to the default when the object is deleted, and back."""
    data, name = _data("current-endpoint"), "current-endpoint-flags"
    service = Service("--namespace=default", name="current_endpoint.py")
    try:
        service.start()
        assert _endpoint(service) == "https://default.example"
        api_server.put(data, name=name)
        assert eventually(lambda: _endpoint(service) == "https://cluster1.example")
        api_server.put({**data, "current.target": "cluster3"}, name=name)
        service.expect("there is no cluster3.endpoint")
        assert _endpoint(service) == "https://cluster1.example"
        api_server.put({**data, "current.target": "cluster3", "cluster3.endpoint": "https://new.example"}, name=name)
        assert eventually(lambda: _endpoint(service) == "https://new.example")

        api_server.delete(name=name)
        assert eventually(lambda: _endpoint(service) == "https://default.example")
        api_server.put({**data, "current.target": "cluster2"}, name=name)
        assert eventually(lambda: _endpoint(service) == "https://cluster2.example")
        api_server.end_watches()
        api_server.await_watches(2)
        api_server.put(data, name=name)
        assert eventually(lambda: _endpoint(service) == "https://cluster1.example")
    finally:
        assert service.stop() == 0


def test_rollout_goes_bad_and_is_stopped() -> None:
    """Two of six processes switch at their shares and revert by themselves; the other four never switch."""
    found = subprocess.run(
        [sys.executable, str(EXAMPLES / "rollout.py")], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stderr == ""
    lines = [re.sub(r"^ *[\d.]+ s  ", "", line) for line in found.stdout.splitlines()]
    for pod in ("web-5 ", "web-2 "):  # their shares of the six seconds end at 1.69 and 1.98
        went, back, end = (line for line in lines if line.startswith(pod))
        assert "50 -> 120" in went
        assert "120 -> 50" in back
        assert "(rule: reverted)" in back
        assert "ends with 50" in end
    assert sum(line.startswith("operator") for line in lines) == 1
    assert sum(line.endswith("ends with 50") for line in lines) == 6
