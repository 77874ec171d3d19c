"""
A broker of Celery in files, each of which appears as a whole.

That of kombu writes a message in place, so that a worker that looks at that moment takes an empty one and loses it. The
module is copied beside the workers of tests, and imports nothing of them.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps


def put(channel: Any, queue: str, payload: Any, **_options: object) -> None:
    """
    Put a message onto a queue, as kombu names it.
    """
    name = os.path.join(channel.data_folder_out, f"{time.monotonic_ns()}_{uuid.uuid4()}.{queue}.msg")
    with open(f"{name}.part", "w", encoding="utf-8") as file:
        file.write(dumps(payload))
    os.rename(f"{name}.part", name)


filesystem.Channel._put = put
