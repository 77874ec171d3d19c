"""
A web page whose banner follows a key of a ConfigMap volume, through OpenFeature's remote protocol.

Once: npm install --prefix examples/web/frontend @openfeature/web-sdk @openfeature/core @openfeature/ofrep-web-provider
Then: python examples/web/frontend/serve.py /etc/shop
"""

from __future__ import annotations

import argparse
import functools
import http.server
import logging
from pathlib import Path

import dflag
from dflag.web import start_http_server

HERE = Path(__file__).parent

flags = dflag.FlagRegistry("shop")
flags.dyn_string("banner", "", "What the page says above its heading")


class Handler(http.server.SimpleHTTPRequestHandler):
    """
    Serves the page, and the packages that npm has installed.
    """

    packages = str(HERE / "node_modules")

    def translate_path(self, path: str) -> str:
        """Return the file of a path; paths below ``/packages/`` are files of the packages."""
        below = path.partition("?")[0].removeprefix("/packages/")
        if path.startswith("/packages/"):
            self.directory, kept = self.packages, self.directory
            try:
                return super().translate_path(f"/{below}")
            finally:
                self.directory = kept
        return super().translate_path(path)


def main() -> None:
    """Serve the page, and the flags for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("config_dir", help="the ConfigMap volume")
    parser.add_argument("--port", type=int, default=8080, help="the page's")
    parser.add_argument("--flags-port", type=int, default=8081, help="the flags'")
    parser.add_argument("--packages", default=Handler.packages, help="where npm has installed the packages")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    Handler.packages = options.packages
    handler = functools.partial(Handler, directory=str(HERE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", options.port), handler) as page:
        origin = f"http://127.0.0.1:{page.server_port}"
        with dflag.Updater.setup(flags, options.config_dir) as updater:
            server = start_http_server(options.flags_port, flags, updater, ofrep=True, origins=[origin])
            print(f"{origin}/?flags=http://127.0.0.1:{server.port}", flush=True)
            try:
                page.serve_forever()
            except KeyboardInterrupt:
                server.close()


if __name__ == "__main__":
    main()
