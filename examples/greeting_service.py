"""
A service whose message comes from one YAML file in a mounted ConfigMap; see examples/README.md.

    python examples/greeting_service.py                      follows /etc/app/app.yaml
    python examples/greeting_service.py --config app.yaml    follows app.yaml
    python examples/greeting_service.py --help               lists the flags
"""

from __future__ import annotations

import http.server
import logging
import signal
import sys

import dflag
from dflag.validators import not_empty

flags = dflag.FlagRegistry()
config = flags.string("config", "/etc/app/app.yaml", "YAML file to follow")
address = flags.string("address", "127.0.0.1", "Address to listen on")
port = flags.int("port", 8080, "Port to listen on; 0 picks a free one", min=0, max=65_535)
message = flags.dyn_string("message", "Hello", "What the service says", validator=not_empty())


@message.on_change
def report(old: str, new: str) -> None:
    """Print the change."""
    print(f"changed message: {old} -> {new}", flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every path with the current message."""

    def do_GET(self) -> None:
        """Answer with the message; the flag is read once, so that Content-Length matches the body."""
        body = f"{message.get()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
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
    flags.parse_args(description="A service whose message comes from one YAML file.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    # No delay is needed here: the kubelet publishes by renaming one link, and dflag follows that link once per read. So
    # it reads either the old file or the new one. A file that is written in place may be half written; dflag reads such
    # a file after it has stayed unchanged for a while.
    try:
        updater = dflag.Updater.setup(flags, config.get())
    except (dflag.SourceError, dflag.UpdateError) as error:
        sys.exit(str(error))
    with updater, listen() as http_server:
        print(f"Serving on http://{address.get()}:{http_server.server_port}/ and following {config.get()}", flush=True)
        http_server.serve_forever()


if __name__ == "__main__":
    main()
