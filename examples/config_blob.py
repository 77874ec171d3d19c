"""
A worker whose settings are one JSON document in a mounted ConfigMap, all of them live; see README.md beside this file.

    python examples/config_blob.py                         follows /etc/worker/config.json
    python examples/config_blob.py --config config.json    follows that file
    python examples/config_blob.py --help                  lists the flags
"""

from __future__ import annotations

import datetime
import logging
import signal
import threading

import dflag

RETRY = {
    "type": "object",
    "properties": {"times": {"type": "integer", "minimum": 0}, "backoff": {"type": "number", "minimum": 1}},
    "required": ["times"],
    "additionalProperties": False,
}

flags = dflag.FlagRegistry()
config = flags.string("config", "/etc/worker/config.json", "JSON file to follow")
batch_size = flags.dyn_int("batch_size", 10, "Items in one batch", min=1, max=1000)
queues = flags.dyn_string_list("queues", ["default"], "Queues to serve, in this order")
pause = flags.dyn_duration("pause", datetime.timedelta(seconds=5), "Between batches", min=datetime.timedelta(0))
retry = flags.dyn_json("retry", {"times": 3}, "What to do about failures", schema=RETRY)

stopping = threading.Event()


def work() -> None:
    """Do one batch; all settings come from one snapshot, so that no batch mixes two documents."""
    settings = flags.snapshot()
    names = ", ".join(settings[queues])
    print(f"batch of {settings[batch_size]} from {names}, retries: {settings[retry]['times']}", flush=True)


def main() -> None:
    """Work until a signal comes."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    flags.parse_args(description="A worker whose settings are one JSON document.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with dflag.Updater.setup(flags, config.get()):
        while not stopping.is_set():
            work()
            stopping.wait(pause.get().total_seconds())


if __name__ == "__main__":
    main()
