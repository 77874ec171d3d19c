"""
The shop under gunicorn, from the directory above: ``gunicorn --config flask_shop/gunicorn.conf.py``.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

# Any worker may answer a scrape, for all of them; a directory that is new at each start, before anything is imported.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="shop-metrics-")

wsgi_app = "flask_shop.app:create_app()"
bind = os.environ.get("SHOP_ADDRESS", "0.0.0.0:8000")
workers = 2
threads = 4
preload_app = True  # bad values keep the server from starting; the updater goes on in each worker by itself


def child_exit(_server: Arbiter, worker: Worker) -> None:
    """Forget the gauges of a worker that has ended; those of dflag go by themselves."""
    from prometheus_client import multiprocess  # not before the directory is named

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # has no types
