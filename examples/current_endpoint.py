"""
A service that reads from a ConfigMap at the API server which cluster to use; see examples/README.md.

    python examples/current_endpoint.py                      follows the ConfigMap current-endpoint-flags
    python examples/current_endpoint.py --configmap other    follows the ConfigMap other
    python examples/current_endpoint.py --help               lists the flags
"""

from __future__ import annotations

import http.server
import json
import logging
import signal
import sys

import dflag
from dflag.sources import KubernetesSource

flags = dflag.FlagRegistry()
configmap = flags.string("configmap", "current-endpoint-flags", "ConfigMap to follow")
namespace = flags.string("namespace", "", "Its namespace; empty for the pod's or the kubeconfig's")
address = flags.string("address", "127.0.0.1", "Address to listen on")
port = flags.int("port", 8080, "Port to listen on; 0 picks a free one", min=0, max=65_535)
default = flags.string("default_endpoint", "https://default.example", "Endpoint while no cluster is chosen")
endpoints = flags.dyn_map("endpoints", {}, "Endpoint per cluster", keys="cluster*.endpoint", of="string")
target = flags.dyn_string("current.target", "", "The chosen cluster, as in cluster1.endpoint; empty for none")


@flags.validator
def target_has_an_endpoint(candidate: dflag.Snapshot) -> None:
    """Refuse a cluster without an endpoint, so that the last good choice stays in force."""
    chosen = candidate[target]
    if chosen and f"{chosen}.endpoint" not in candidate[endpoints]:
        raise ValueError(f"current.target is {chosen!r}, and there is no {chosen}.endpoint")


def current_endpoint() -> str:
    """Return the current endpoint; one snapshot ensures that target and endpoints are from one revision."""
    now = flags.snapshot()
    return now[endpoints][f"{now[target]}.endpoint"] if now[target] else now[default]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers ``/config``."""

    def do_GET(self) -> None:
        """Answer with the current endpoint."""
        known = self.path == "/config"
        body = json.dumps({"current_endpoint": current_endpoint()}).encode() if known else b"{}"
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def listen() -> http.server.ThreadingHTTPServer:
    """Open the port, or exit with a one-line error message."""
    try:
        return http.server.ThreadingHTTPServer((address.get(), port.get()), Handler)
    except OSError as error:
        sys.exit(f"cannot listen on {address.get()}:{port.get()}: {error.strerror}; --port=0 picks a free port")


def main() -> None:
    """Serve until a signal arrives."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    flags.parse_args(description="A service told by the API server which cluster to talk to.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    source = KubernetesSource(configmap.get(), namespace.get() or None)
    # If the ConfigMap is missing, at the start or later, the default endpoint is used. A new ConfigMap takes effect at
    # once.
    with dflag.Updater.setup(flags, source, required=False, on_missing="reset"), listen() as http_server:
        print(f"Serving on http://{address.get()}:{http_server.server_port}/ and following {source.name}", flush=True)
        http_server.serve_forever()


if __name__ == "__main__":
    main()
