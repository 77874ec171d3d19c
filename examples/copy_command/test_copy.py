"""
The tests of the command.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY

from copy_command.__main__ import main
from copy_command.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def _isolated(dflag_isolated: Callable[[type[Settings]], None]) -> None:
    """Drop, at the end of each test, the values from its command line and its file."""
    dflag_isolated(Settings)


def test_copy(tmp_path: Path) -> None:
    """The whole file is copied; the command line takes precedence over the file of flags."""
    (tmp_path / "copy.yaml").write_text("chunk_bytes: 1000\nrate_bytes: 1", encoding="utf-8")
    (tmp_path / "source").write_bytes(b"x" * 5_000)
    arguments = [f"--config={tmp_path}/copy.yaml", "--rate_bytes=0", "--page_port=0", "--metrics_port=0"]
    assert main([str(tmp_path / "source"), str(tmp_path / "target"), *arguments]) == 0
    assert (tmp_path / "target").read_bytes() == b"x" * 5_000
    assert (Settings.chunk_bytes.get(), Settings.rate_bytes.get()) == (1000, 0)


def test_new_limit(tmp_path: Path) -> None:
    """A new limit in the file takes effect at once, even during a pause."""
    before = REGISTRY.get_sample_value("copied_bytes_total")
    (tmp_path / "copy.yaml").write_text("rate_bytes: 1\nchunk_bytes: 1000", encoding="utf-8")
    (tmp_path / "source").write_bytes(b"x" * 5_000)
    arguments = [str(tmp_path / "source"), str(tmp_path / "target"), f"--config={tmp_path}/copy.yaml"]
    command = threading.Thread(target=main, args=[arguments])
    command.start()
    while command.is_alive() and REGISTRY.get_sample_value("copied_bytes_total") == before:
        command.join(0.01)
    (tmp_path / "new.yaml").write_text("rate_bytes: 0", encoding="utf-8")
    os.replace(tmp_path / "new.yaml", tmp_path / "copy.yaml")
    command.join(10)
    assert (tmp_path / "target").read_bytes() == b"x" * 5_000


def test_bad_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad value in the file keeps the command from starting; the error says where the value is."""
    (tmp_path / "copy.yaml").write_text("chunk_bytes: none", encoding="utf-8")
    assert main(["source", str(tmp_path / "target"), f"--config={tmp_path}/copy.yaml"]) == 1
    assert "flag 'chunk_bytes': expected an int, got 'none'" in capsys.readouterr().err
