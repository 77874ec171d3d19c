"""
Inputs that libFuzzer makes, guided by the lines of dflag that they reach.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # has no types, and is rarely installed


def run(target: str, found: Path, *, seconds: int, max_bytes: int, hang_seconds: int, memory_mib: int) -> None:
    """
    Fuzz until the time is over or an oracle breaks; then end the process.
    """
    # atheris prints a line for every module.
    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["dflag", "json", "yaml"]):
        from tests.property.oracles import ORACLES, SEEDS

    logging.disable()
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS[target]):
            Path(corpus, str(number)).write_bytes(seed)
        options = [
            f"-max_total_time={seconds}",
            f"-max_len={max_bytes}",
            f"-timeout={hang_seconds}",
            f"-rss_limit_mb={memory_mib}",
            f"-artifact_prefix={found}/",
            "-print_final_stats=1",
            "-verbosity=0",
        ]
        atheris.Setup([sys.argv[0], *options, corpus], ORACLES[target])
        atheris.Fuzz()
