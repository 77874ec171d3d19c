"""
A program that uses the library to check whether a port answers: ``python -m retry_library.probe --config /etc/probe``.
"""

from __future__ import annotations

import http.server
import logging
import signal
import socket
import threading

import prometheus_client

import dflag
from dflag.integrations.prometheus import register
from dflag.web import start_http_server
from retry_library.retry import retry
from retry_library.settings import Settings

ANSWERS = prometheus_client.Gauge("probe_answers", "1 while the target answers")
stopping = threading.Event()


def probe() -> bool:
    """Return whether the target answers at one of the library's attempts."""
    host, _, port = Settings.current().target.rpartition(":")
    try:
        retry(lambda: socket.create_connection((host, int(port)), timeout=1).close())
    except OSError:
        return False
    return True


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers ``/healthz`` and ``/metrics``."""

    def do_GET(self) -> None:
        """Answer 200, even if the target is down: that shows in the metrics and must not restart this program."""
        body = prometheus_client.generate_latest() if self.path == "/metrics" else b"ok\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Probe until a signal arrives."""
    logging.basicConfig(level=logging.INFO)
    Settings.registry.parse_args(description="Tells whether a port answers.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with dflag.Updater.setup(Settings, Settings.config.get(), facts=dflag.facts.kubernetes()) as updater:
        register(Settings, updater)
        server = http.server.ThreadingHTTPServer(("", Settings.port.get()), Handler)
        with start_http_server(Settings.page_port.get(), Settings, updater) as page, server:
            print(f"Probing, flags at http://127.0.0.1:{page.port}/", flush=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            while not stopping.is_set():
                ANSWERS.set(probe())
                stopping.wait(Settings.current().every.total_seconds())
            server.shutdown()


if __name__ == "__main__":
    main()
