"""
The configuration of gunicorn; run it in the directory above: ``gunicorn --config flask_shop/gunicorn.conf.py``.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

# Any worker may answer a scrape, and answers for all workers through files in this directory. The directory must be new
# at each start, and must be set before prometheus_client is imported.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="shop-metrics-")

wsgi_app = "flask_shop.app:create_app()"
bind = os.environ.get("SHOP_ADDRESS", "0.0.0.0:8000")
workers = 2
threads = 4
preload_app = True  # bad values keep the server from starting; the updater continues in each worker by itself


def child_exit(_server: Arbiter, worker: Worker) -> None:
    """Remove the gauges of a worker that has ended; dflag removes its own."""
    from prometheus_client import multiprocess  # not before the directory is set

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # the function has no types
