"""
A small HTTP service whose flags follow a ConfigMap volume; see examples/README.md.

    python examples/server.py                                   makes a volume of its own in a temporary directory
    python examples/server.py --config-dir /etc/dflag           follows the directory /etc/dflag
    python examples/server.py --help                            lists the flags
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import html
import http.server
import json
import logging
import math
import os
import shlex
import shutil
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
MANIFEST = Path(__file__).parent / "kubernetes" / "server" / "configmap.yaml"

STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0; background: light-dark(#f6f6f4, #121417); color: light-dark(#1b1d21, #e7e9ec); }
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.25rem; }
h1 { font-size: 2.25rem; line-height: 1.2; letter-spacing: -0.02em; margin: 0; overflow-wrap: anywhere; }
a { color: light-dark(#4050cf, #a3afff); }
table { width: 100%; margin-top: 1.5rem; border-collapse: collapse; font-size: 0.9375rem; }
tr { border-top: 1px solid light-dark(#e2e2de, #2c3036); background: light-dark(#fff, #1a1d21); }
tr:first-child { background: none; border: 0; color: light-dark(#565c66, #a3aab4); font-size: 0.8125rem; }
th, td { padding: 0.5rem 1rem; text-align: left; vertical-align: baseline; overflow-wrap: anywhere; }
th { font-weight: 600; min-width: 13rem; }
tr.dynamic th { box-shadow: inset 3px 0 light-dark(#4050cf, #a3afff); }
small, footer { color: light-dark(#565c66, #a3aab4); font-weight: 400; font-size: 0.8125rem; }
footer { margin-top: 1rem; }
@media (max-width: 40rem) {
  th, td { display: block; padding: 0.125rem 1rem; }
  tr { display: block; padding: 0.5rem 0; }
  tr:first-child { display: none; }
}
"""
"""The style of the page, for light mode, dark mode and phones."""

POLICY = {
    "type": "object",
    "properties": {
        "mode": {"enum": ["allow", "deny"]},
        "blocked": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["mode"],
    "additionalProperties": False,
}
"""The JSON Schema of the policy."""


class Settings(dflag.Flags, registry=dflag.FlagRegistry("example")):
    """
    The flags of the service. An instance holds the values of one revision.
    """

    # Static flags: fixed at start-up.
    config_dir = dflag.string("", "Directory to follow; a temporary volume when empty")
    address = dflag.string("127.0.0.1", "Address to listen on")
    port = dflag.int(8080, "Port to listen on; 0 picks a free one", min=0, max=65_535)
    log_requests = dflag.bool(default=False, help="Write a line for each request")
    idle_timeout = dflag.duration(
        datetime.timedelta(seconds=30), "Close a silent connection after this", min=datetime.timedelta(0)
    )
    labels = dflag.json({}, "Shown in the page's footer", schema={"type": "object"})

    # Dynamic flags: they follow the volume while the service runs.
    greeting = dflag.dyn_string("Hello", "What the page says first")
    rate_limit = dflag.dyn_int(50, "Pages per second before the answer is 429", min=1, max=10_000)
    maintenance = dflag.dyn_bool(default=False, help="Answer 503 and say when to come back")
    retry_after = dflag.dyn_duration(
        datetime.timedelta(seconds=30), "When to come back", min=datetime.timedelta(seconds=1)
    )
    policy = dflag.dyn_json({"mode": "allow"}, "Which paths are answered", schema=POLICY)


@Settings.policy.validator
def page_stays_reachable(value: Any) -> None:
    """Refuse a policy that would block the page itself, which the schema cannot check."""
    if "/" in value.get("blocked", ()):
        raise ValueError("the page itself cannot be blocked")


def report(name: str, old: object, new: object) -> None:
    """Print a change; runs on dflag's notifier thread, after the whole revision is visible."""
    print(f"changed {name}: {old} -> {new}", flush=True)


class RateLimiter:
    """Counts the pages of the current second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._second = 0
        self._count = 0

    def admit(self, limit: int) -> bool:
        """Count one page, and return whether it is within the limit."""
        with self._lock:
            second = int(time.monotonic())
            if second != self._second:
                self._second, self._count = second, 0
            self._count += 1
            return self._count <= limit


limiter = RateLimiter()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each request from one revision, so that a request never sees half of a change."""

    debug_page: WSGIApplication

    def setup(self) -> None:
        """Set the time limit of the connection from its flag."""
        self.timeout = Settings.current().idle_timeout.total_seconds() or None
        super().setup()

    def do_GET(self) -> None:
        """Answer ``/``, ``/values``, ``/metrics``, ``/healthz`` and all paths below ``/debug/flags``."""
        snapshot = Settings.registry.snapshot()
        cfg = Settings.from_snapshot(snapshot)
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
        elif not limiter.admit(cfg.rate_limit):
            self._send(429, "text/plain", "too many requests\n")
        elif cfg.maintenance:
            seconds = math.ceil(cfg.retry_after.total_seconds())
            self._send(503, "text/plain", "down for maintenance\n", {"Retry-After": str(seconds)})
        elif path in cfg.policy.get("blocked", ()) or (path != "/" and cfg.policy["mode"] == "deny"):
            self._send(403, "text/plain", "forbidden by policy\n")
        elif path == "/":
            self._send(200, "text/html", page(snapshot))
        else:
            self._send(404, "text/plain", "not found\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Write a log line for a request if ``log_requests`` is on."""
        if Settings.current().log_requests:
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
    """Return the page: every flag of the snapshot, dynamic flags first."""
    cfg = Settings.from_snapshot(snapshot)
    rows = "\n".join(row(name, snapshot[name]) for name in sorted(snapshot, key=is_static))
    labels = " · ".join(f"{html.escape(str(key))}: {html.escape(str(value))}" for key, value in cfg.labels.items())
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>dflag example</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n<main>\n"
        f"<h1>{html.escape(cfg.greeting)}</h1>\n"
        f"<p>This page was made of <b>revision {snapshot.revision}</b>. Change a flag and load it again, or watch "
        f'<a href="{DEBUG_PAGE}">the page of all flags</a> follow by itself.</p>\n'
        f"<table>\n<tr><th>Flag<th>Value<th>What for</tr>\n{rows}\n</table>\n"
        f"<footer>{labels}</footer>\n</main>\n</html>\n"
    )


def row(name: str, value: Any) -> str:
    """Return the table row of one flag."""
    flag = Settings.registry[name]
    kind = "dynamic" if flag.dynamic else "static"
    text = html.escape(json.dumps(plain(value), ensure_ascii=False))
    return (
        f'<tr class="{kind}"><th>{html.escape(name)} <small>{kind}</small></th><td><code>{text}</code></td>'
        f"<td>{html.escape(flag.help)}</td></tr>"
    )


def is_static(name: str) -> bool:
    """Return whether a flag is fixed at start-up."""
    return not Settings.registry[name].dynamic


def plain(value: Any) -> Any:
    """Return a value in a type that JSON has: a duration as text such as ``0:00:30``."""
    return str(value) if isinstance(value, datetime.timedelta) else value


@contextlib.contextmanager
def embedded_volume() -> Iterator[Path]:
    """Publish the manifest's data as the kubelet would, in a directory that is removed at the end of the block."""
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="dflag-example-") as directory:
        volume = ConfigMapVolume(Path(directory) / "config")
        volume.write(manifest["data"])
        yield volume.path


def stop(*_: object) -> NoReturn:
    """Exit through all ``with`` blocks; ignore further signals, which would interrupt that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def write_command(directory: str) -> str:
    """Return the shortest shell command that changes a flag here."""
    program = Path(sys.executable).with_name("dflag")  # next to the interpreter, where pip installs it
    if not program.exists():
        command = f"{shlex.quote(sys.executable)} -m dflag"
    elif shutil.which("dflag") == os.fspath(program):
        command = "dflag"
    elif program.is_relative_to(Path.cwd()):
        command = shlex.quote(os.fspath(program.relative_to(Path.cwd())))
    else:
        command = shlex.quote(os.fspath(program))
    return f"{command} write {shlex.quote(directory)} greeting='Good evening'"


def listen() -> http.server.ThreadingHTTPServer:
    """Open the port, or exit with a one-line error message."""
    cfg = Settings.current()
    try:
        return http.server.ThreadingHTTPServer((cfg.address, cfg.port), Handler)
    except OSError as error:
        sys.exit(f"cannot listen on {cfg.address}:{cfg.port}: {error.strerror}; --port=0 picks a free port")


def main() -> None:
    """Serve until a signal arrives."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    Settings.registry.parse_args(description="A small HTTP service whose flags follow a ConfigMap volume.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with contextlib.ExitStack() as stack:
        directory = Settings.config_dir.get() or os.fspath(stack.enter_context(embedded_volume()))
        try:
            updater = stack.enter_context(dflag.Updater.setup(Settings, directory, facts=dflag.facts.kubernetes()))
        except (dflag.SourceError, dflag.UpdateError) as error:
            sys.exit(str(error))
        for flag in Settings.registry:
            if flag.dynamic:
                flag.on_change(functools.partial(report, flag.name))
        if register:
            register(Settings, updater)
        Handler.debug_page = web.make_wsgi_app(Settings, updater)  # read-only, because there is no `authorize`
        server = stack.enter_context(listen())
        print(f"Serving on http://{Settings.address.get()}:{server.server_port}/ and following {directory}", flush=True)
        if not Settings.config_dir.get():
            print(f"To change a flag, type in another terminal:\n  {write_command(directory)}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
