"""
A small HTTP service whose flags follow a ConfigMap volume; see README.md beside this file.

    python examples/server.py                                   makes a volume of its own in a temporary directory
    python examples/server.py --config-dir /etc/dflag           follows that directory
    python examples/server.py --help                            lists the flags
"""

from __future__ import annotations

import contextlib
import datetime
import html
import http.server
import json
import logging
import math
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
import wsgiref.handlers
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

import dflag
from dflag import web
from dflag.testing import ConfigMapVolume

try:
    import prometheus_client

    from dflag.integrations.prometheus import register
except ModuleNotFoundError:  # only /metrics needs the extra dflag[prometheus]
    prometheus_client = register = None

if TYPE_CHECKING:
    from collections.abc import Iterator
    from wsgiref.types import WSGIApplication

DEBUG_PAGE = "/debug/flags"
MANIFEST = Path(__file__).parent / "kubernetes" / "configmap.yaml"

flags = dflag.FlagRegistry("example")

# Static flags: settled at start-up.
config_dir = flags.string("config_dir", "", "Directory to follow; a temporary volume when empty")
address = flags.string("address", "127.0.0.1", "Address to listen on")
port = flags.int("port", 8080, "Port to listen on; 0 picks a free one", min=0, max=65_535)
log_requests = flags.bool("log_requests", default=False, help="Write a line for each request")
idle_timeout = flags.duration(
    "idle_timeout", datetime.timedelta(seconds=30), "Close a silent connection after this", min=datetime.timedelta(0)
)
labels = flags.json("labels", {}, "Shown in the page's footer", schema={"type": "object"})

# Dynamic flags: they follow the volume while the service runs.
greeting = flags.dyn_string("greeting", "Hello", "What the page says first")
rate_limit = flags.dyn_int("rate_limit", 50, "Pages per second before the answer is 429", min=1, max=10_000)
maintenance = flags.dyn_bool("maintenance", default=False, help="Answer 503 and say when to come back")
retry_after = flags.dyn_duration(
    "retry_after", datetime.timedelta(seconds=30), "When to come back", min=datetime.timedelta(seconds=1)
)
policy = flags.dyn_json(
    "policy",
    {"mode": "allow"},
    "Which paths are answered",
    schema={
        "type": "object",
        "properties": {
            "mode": {"enum": ["allow", "deny"]},
            "blocked": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["mode"],
        "additionalProperties": False,
    },
)


@policy.validator
def page_stays_reachable(value: Any) -> None:
    """Refuse what the schema cannot see: a policy that would block the page that shows it."""
    if "/" in value.get("blocked", ()):
        raise ValueError("the page itself cannot be blocked")


@greeting.on_change
@rate_limit.on_change
@maintenance.on_change
@retry_after.on_change
@policy.on_change
def report(old: object, new: object) -> None:
    """Print what changed; runs on dflag's notifier thread, after the whole revision is visible."""
    print(f"changed: {old} -> {new}", flush=True)


class RateLimiter:
    """Counts the pages of the running second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._second = 0
        self._count = 0

    def admit(self, limit: int) -> bool:
        """Count one page; say whether it is within the limit."""
        with self._lock:
            second = int(time.monotonic())
            if second != self._second:
                self._second, self._count = second, 0
            self._count += 1
            return self._count <= limit


limiter = RateLimiter()


class Handler(http.server.BaseHTTPRequestHandler):
    """One request: it takes one snapshot, so that it never sees half of a change."""

    debug_page: WSGIApplication

    def setup(self) -> None:
        """Take the time limit from its flag."""
        self.timeout = idle_timeout.get().total_seconds() or None
        super().setup()

    def do_GET(self) -> None:
        """Answer ``/``, ``/values``, ``/metrics``, ``/healthz`` and what is below ``/debug/flags``."""
        snapshot = flags.snapshot()
        path = self.path.partition("?")[0]
        if path == DEBUG_PAGE or path.startswith(f"{DEBUG_PAGE}/"):
            self._debug(path.removeprefix(DEBUG_PAGE))
        elif path == "/healthz":
            self._send(200, "text/plain", "ok\n")
        elif path == "/metrics" and prometheus_client:
            self._send(200, "text/plain; version=0.0.4", prometheus_client.generate_latest().decode())
        elif path == "/values":
            values = {name: plain(snapshot[name]) for name in snapshot}
            self._send(200, "application/json", json.dumps({"revision": snapshot.revision, "values": values}) + "\n")
        elif not limiter.admit(snapshot[rate_limit]):
            self._send(429, "text/plain", "too many requests\n")
        elif snapshot[maintenance]:
            seconds = math.ceil(snapshot[retry_after].total_seconds())
            self._send(503, "text/plain", "down for maintenance\n", {"Retry-After": str(seconds)})
        elif path in snapshot[policy].get("blocked", ()) or (path != "/" and snapshot[policy]["mode"] == "deny"):
            self._send(403, "text/plain", "forbidden by policy\n")
        elif path == "/":
            self._send(200, "text/html", page(snapshot))
        else:
            self._send(404, "text/plain", "not found\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Write the line of a request, if that is asked for."""
        if log_requests.get():
            super().log_message(format, *args)

    def _debug(self, path: str) -> None:
        environ = {
            **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in self.headers.items()},
            "SERVER_PROTOCOL": self.request_version,
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": DEBUG_PAGE,
            "PATH_INFO": path,
            "QUERY_STRING": self.path.partition("?")[2],
        }
        wsgiref.handlers.SimpleHandler(self.rfile, self.wfile, sys.stderr, environ).run(type(self).debug_page)

    def _send(self, status: int, content_type: str, text: str, headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def page(snapshot: dflag.Snapshot) -> str:
    """Show every flag of the snapshot."""
    rows = "\n".join(
        f"<tr><td>{html.escape(name)}</td><td>{'dynamic' if flags[name].dynamic else 'static'}</td>"
        f"<td><code>{html.escape(json.dumps(plain(snapshot[name]), ensure_ascii=False))}</code></td>"
        f"<td>{html.escape(flags[name].help)}</td></tr>"
        for name in snapshot
    )
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8><title>dflag example</title>\n"
        f"<h1>{html.escape(snapshot[greeting])}</h1>\n"
        f"<p>Revision {snapshot.revision}. Change a flag and load this page again.</p>\n"
        f"<table>\n<tr><th>flag<th>kind<th>value<th>help</tr>\n{rows}\n</table>\n"
        f"<footer>{html.escape(json.dumps(snapshot[labels], ensure_ascii=False))}</footer>\n</html>\n"
    )


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: a duration as text such as ``0:00:30``."""
    return str(value) if isinstance(value, datetime.timedelta) else value


@contextlib.contextmanager
def embedded_volume() -> Iterator[Path]:
    """Publish the manifest's data as the kubelet would, in a directory that goes at the end."""
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="dflag-example-") as directory:
        volume = ConfigMapVolume(Path(directory) / "config")
        volume.write(manifest["data"])
        change = (
            f"from dflag.testing import ConfigMapVolume; "
            f"ConfigMapVolume({os.fspath(volume.path)!r}).update(greeting='Good evening')"
        )
        print("To change a flag, type in another terminal:", flush=True)
        print(f"  {shlex.quote(sys.executable)} -c {shlex.quote(change)}", flush=True)
        yield volume.path


def stop(*_: object) -> NoReturn:
    """Leave through all the ``with`` blocks; a second signal must not cut that short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def main() -> None:
    """Serve until a signal comes."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    flags.parse_args(description="A small HTTP service whose flags follow a ConfigMap volume.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with contextlib.ExitStack() as stack:
        directory = config_dir.get() or stack.enter_context(embedded_volume())
        updater = stack.enter_context(dflag.Updater.setup(flags, directory))
        if register:
            register(flags, updater)
        Handler.debug_page = web.make_wsgi_app(flags, updater)  # read-only, as nobody is said to be allowed to set
        server = stack.enter_context(http.server.ThreadingHTTPServer((address.get(), port.get()), Handler))
        print(f"Serving on http://{address.get()}:{server.server_port}/ and following {directory}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
