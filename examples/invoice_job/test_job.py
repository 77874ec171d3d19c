"""
The tests of the job.
"""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import pytest

import dflag
from invoice_job.__main__ import HALTED, main, run
from invoice_job.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dflag.testing import ConfigMapVolume


@pytest.fixture(autouse=True)
def _isolated(dflag_isolated: Callable[[type[Settings]], None], configmap_volume: ConfigMapVolume) -> None:
    """Drop, at the end of each test, the values from its volume."""
    dflag_isolated(Settings)
    configmap_volume.write({"tax": "10", "sender": "Test"})


@pytest.fixture
def pushed() -> Iterator[tuple[str, list[bytes]]]:
    """Return the address of a Pushgateway, and the list of the metrics that it receives."""
    bodies = []

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, args=[0.01]).start()
        yield f"127.0.0.1:{server.server_port}", bodies
        server.shutdown()


def test_whole_run(
    tmp_path: Path,
    configmap_volume: ConfigMapVolume,
    capsys: pytest.CaptureFixture[str],
    pushed: tuple[str, list[bytes]],
) -> None:
    """A run writes all invoices with the values of its volume, and pushes its metrics."""
    (tmp_path / "orders.csv").write_text("ann,1000\nbob,2000\n", encoding="utf-8")
    gateway, bodies = pushed
    options = [f"--orders={tmp_path}/orders.csv", "--page_port=0", f"--config={configmap_volume.path}"]
    assert main([*options, f"--pushgateway={gateway}"]) == 0
    assert capsys.readouterr().out == "Test: ann owes 1100\nTest: bob owes 2200\n"
    assert b'dflag_running{registry="invoice_job"} 1.0' in bodies[0]


def test_change_during_a_run(configmap_volume: ConfigMapVolume, capsys: pytest.CaptureFixture[str]) -> None:
    """A new tax applies only to the next run; the flag ``halt`` works at once."""
    updater = dflag.Updater.setup(Settings, configmap_volume.path)

    def orders() -> Iterator[list[str]]:
        yield ["ann", "1000"]
        configmap_volume.update(tax="20")
        updater.refresh()
        yield ["bob", "1000"]
        configmap_volume.update(halt="true")
        updater.refresh()
        yield ["eve", "1000"]

    assert run(orders()) == HALTED
    assert capsys.readouterr().out == "Test: ann owes 1100\nTest: bob owes 1100\n"
