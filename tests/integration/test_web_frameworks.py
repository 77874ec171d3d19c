"""
The page in the example programs of Flask, Django and FastAPI, under real servers.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import pytest

from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE_SECONDS = 30.0
LIMIT_BYTES = 2**20 + 2**12
GUNICORN = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind=127.0.0.1:0", f"--chdir={EXAMPLES}"]
UVICORN = [sys.executable, "-m", "uvicorn", "--port=0", f"--app-dir={EXAMPLES}"]
PROGRAMS = {
    "flask": [*GUNICORN, "flask_shop.app:create_app()"],
    "django": [*GUNICORN, "django_shop.wsgi"],
    "fastapi": [*UVICORN, "--factory", "fastapi_shop.app:create_app"],
}
HEADERS = {"Authorization": "Bearer t0ken", "Content-Type": "application/json"}


class Answer:
    """
    What a server answered, after redirects.
    """

    def __init__(self, url: str, answer: http.client.HTTPResponse) -> None:
        self.url = url
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.read()

    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=DEADLINE_SECONDS)
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers or {})
        answer = Answer(url, connection.getresponse())
    finally:
        connection.close()
    if answer.status in (301, 307, 308) and method == "GET":
        return ask(urljoin(url, answer.headers["Location"]), method, body, headers)
    return answer


def price(url: str) -> Any:
    return ask(f"{url}/price?amount=1000").json()["amount"]


@pytest.fixture(name="url", params=sorted(PROGRAMS), scope="module")
def _url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run an example program, and yield the URL of its root."""
    command = PROGRAMS[request.param]
    for package in (request.param, command[2]):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    volume = ConfigMapVolume(tmp_path_factory.mktemp("shop") / "config")
    volume.write({"discount": "10"})
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "FLAGS_TOKEN": "t0ken", "SHOP_CONFIG": str(volume.path)},
    )
    assert process.stderr
    watchdog = threading.Timer(DEADLINE_SECONDS, process.kill)
    watchdog.start()
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"(?:Listening at|running on)\D*(http://127\.0\.0\.1:\d+)", line):
                break
        else:
            pytest.fail(f"did not start: {lines}")
        yield found[1]
    finally:
        watchdog.cancel()
        watchdog.join()
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)


def test_mounted_under_a_prefix(url: str) -> None:
    """The page, its files, JSON, caching and setting work under the prefix, with and without a slash at its end."""
    assert price(url) == 900
    for place in (f"{url}/debug/flags", f"{url}/debug/flags/"):
        page = ask(place, headers={"Accept": "text/html"})
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        links = re.findall(r'(?:href|src)="([^"]+)"', page.body.decode())
        assert {"page.css", "page.js", "page.svg"} <= {link.rpartition("/")[2] for link in links}
        assert {ask(urljoin(page.url, link)).status for link in links} == {200}
        listing = ask(f"{place}?format=json", headers={"Accept": "text/html"})
        assert listing.json()["title"].endswith("_shop")
        again = ask(place, headers={"If-None-Match": ask(place).headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
        head = ask(listing.url, "HEAD")
        assert (head.body, head.headers["Content-Length"]) == (b"", str(len(listing.body)))
        set_url = urljoin(listing.url, listing.json()["set_url"])
        assert set_url == f"{url}/debug/flags/set"
    assert ask(f"{url}/debug/flags/nowhere").status == 404
    assert ask(set_url, "POST", b"{}").status == 401
    assert ask(set_url, "POST", b"{}", {**HEADERS, "Origin": "http://evil.example"}).status == 403
    assert ask(set_url, "POST", b'{"name": "discount", "value": "25"}', HEADERS).status == 200
    assert price(url) == 750
    in_chunks = iter([b'{"name": "discount",', b' "value": null}'])
    assert ask(set_url, "POST", in_chunks, HEADERS).status == 200
    assert price(url) == 900


def test_body_over_the_limit(url: str) -> None:
    """A body of one byte over the limit is refused with 413, whether its length is declared or not."""
    body = b" " * (LIMIT_BYTES + 1)
    place = f"{url}/debug/flags/set"
    assert ask(place, "POST", body, HEADERS).status == 413
    assert ask(place, "POST", iter([body]), HEADERS).status == 413
    assert ask(place, "POST", body[1:], HEADERS).status == 400  # read to its end, and not JSON
