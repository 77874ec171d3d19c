"""
Copy a file with a limited rate: ``python -m copy_command SOURCE TARGET --rate_bytes=1000000``.

The limit can be changed during the copy, in the file that ``--config`` names, unless the command line sets it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

import prometheus_client

import dflag
from copy_command.settings import Settings
from dflag.integrations.prometheus import register
from dflag.web import start_http_server

if TYPE_CHECKING:
    from collections.abc import Sequence

COPIED = prometheus_client.Counter("copied_bytes", "Bytes copied")
changed = threading.Event()


@Settings.rate_bytes.on_change
def wake(_old: int, _new: int) -> None:
    """End the current pause, because it was computed with the old limit."""
    changed.set()


def copy(source: BinaryIO, target: BinaryIO) -> None:
    """Copy the whole file; each chunk uses the limits in force when it is read."""
    while True:
        changed.clear()  # before the limits are read, so that no change is missed
        cfg = Settings.current()
        chunk = source.read(cfg.chunk_bytes)
        if not chunk:
            return
        target.write(chunk)
        COPIED.inc(len(chunk))
        if cfg.rate_bytes:
            changed.wait(len(chunk) / cfg.rate_bytes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser("copy_command", description="Copy a file no faster than allowed.")
    parser.add_argument("source")
    parser.add_argument("target")
    Settings.registry.add_to_argparse(parser)
    given = parser.parse_args(arguments)
    logging.basicConfig(format="copy_command: %(message)s")
    config = os.path.expanduser(Settings.config.get())
    # Command-line arguments take precedence over the file, and the file is optional.
    updater = dflag.Updater(Settings, config, below_arguments=True, required=False)
    try:
        with ExitStack() as running:
            running.enter_context(updater)
            if Settings.page_port.get() >= 0:
                running.enter_context(start_http_server(Settings.page_port.get(), Settings, updater))
            if Settings.metrics_port.get() >= 0:
                register(Settings, updater)
                prometheus_client.start_http_server(Settings.metrics_port.get(), "127.0.0.1")
            source = running.enter_context(open(given.source, "rb"))
            copy(source, running.enter_context(open(given.target, "wb")))
    except (OSError, dflag.DflagError) as error:
        print(f"copy_command: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
