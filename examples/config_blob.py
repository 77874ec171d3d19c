"""
A worker whose settings are one JSON document in a mounted ConfigMap and change while it runs; see examples/README.md.

    python examples/config_blob.py                         follows /etc/worker/config.json
    python examples/config_blob.py --config config.json    follows config.json
    python examples/config_blob.py --help                  lists the flags
"""

from __future__ import annotations

import datetime
import logging
import signal
import sys
import threading

import dflag

RETRY = {
    "type": "object",
    "properties": {"times": {"type": "integer", "minimum": 0}, "backoff": {"type": "number", "minimum": 1}},
    "required": ["times"],
    "additionalProperties": False,
}


class Settings(dflag.Flags):
    """The settings in the document, and the path of the document."""

    config = dflag.string("/etc/worker/config.json", "JSON file to follow")
    batch_size = dflag.dyn_int(10, "Items in one batch", min=1, max=1000)
    queues = dflag.dyn_string_list(["default"], "Queues to serve, in this order")
    pause = dflag.dyn_duration(datetime.timedelta(seconds=5), "Between batches", min=datetime.timedelta(0))
    retry = dflag.dyn_json({"times": 3}, "What to do about failures", schema=RETRY)


stopping = threading.Event()


def work(cfg: Settings) -> None:
    """Process one batch; all settings are from one revision, so that no batch mixes two documents."""
    names = ", ".join(cfg.queues)
    print(f"batch of {cfg.batch_size} from {names}, retries: {cfg.retry['times']}", flush=True)


def main() -> None:
    """Work until a signal arrives."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    Settings.registry.parse_args(description="A worker whose settings are one JSON document.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        updater = dflag.Updater.setup(Settings, Settings.config.get())
    except (dflag.SourceError, dflag.UpdateError) as error:
        sys.exit(str(error))
    with updater:
        while not stopping.is_set():
            cfg = Settings.current()
            work(cfg)
            stopping.wait(cfg.pause.total_seconds())


if __name__ == "__main__":
    main()
