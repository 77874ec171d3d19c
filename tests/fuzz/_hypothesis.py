"""
Inputs that Hypothesis makes, for Python versions for which atheris has no wheel.
"""

from __future__ import annotations

import hashlib
import logging
import random
import signal
import time
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.property.oracles import ORACLES, SEEDS

if TYPE_CHECKING:
    from pathlib import Path


def run(target: str, found: Path, *, seconds: int, max_bytes: int, hang_seconds: int, memory_mib: int) -> None:
    """
    Feed random buffers to a property test until the time is over; raise the exception of a broken oracle.
    """
    logging.disable()
    _limit_memory(memory_mib)
    tried = b""

    @given(
        data=st.binary(max_size=max_bytes) | st.text().map(lambda text: text.encode()) | st.sampled_from(SEEDS[target])
    )
    def check(data: bytes) -> None:
        nonlocal tried
        tried = data
        ORACLES[target](data)

    executions = 0
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            signal.alarm(hang_seconds)  # the signal has no handler, so it ends the process
            check.hypothesis.fuzz_one_input(random.randbytes(random.randint(1, max_bytes)))
            executions += 1
    except BaseException:
        path = found / f"crash-{hashlib.sha256(tried).hexdigest()[:16]}"
        path.write_bytes(tried)
        print(f"after {executions} executions: {tried!r}, saved as {path}")
        raise
    finally:
        signal.alarm(0)
    print(f"{executions} executions")


def _limit_memory(mib: int) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mib * 1024**2, hard))
