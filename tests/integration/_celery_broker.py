"""
A Celery broker in files, in which each message appears as a whole.

The file broker of kombu writes a message in place. A worker that reads at this moment takes an empty message and loses
it. This module is copied next to the workers of tests, so it imports nothing from the tests.
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
    Put a message into a queue, as a file with a name in kombu's form.
    """
    name = os.path.join(channel.data_folder_out, f"{time.monotonic_ns()}_{uuid.uuid4()}.{queue}.msg")
    with open(f"{name}.part", "w", encoding="utf-8") as file:
        file.write(dumps(payload))
    os.rename(f"{name}.part", name)


filesystem.Channel._put = put
