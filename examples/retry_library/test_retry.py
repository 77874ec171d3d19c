"""
The tests of the library, which do not need the program, and the tests of the program.
"""

from __future__ import annotations

import datetime
import socket
from typing import TYPE_CHECKING

import pytest

import dflag
from retry_library.probe import probe
from retry_library.retry import attempts, pause, retry
from retry_library.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag.testing import ConfigMapVolume, Overrides


@pytest.fixture(autouse=True)
def _no_pause(dflag_override: Overrides) -> None:
    """Set the pause to zero, so that the tests do not wait."""
    dflag_override({pause: datetime.timedelta(0)})


def test_attempts(dflag_override: Overrides) -> None:
    """A call is made as often as the flag says, and the last exception is raised."""
    dflag_override({attempts: 4})
    calls: list[int] = []

    def fail() -> None:
        calls.append(len(calls))
        raise OSError(f"call {len(calls)}")

    with pytest.raises(OSError, match="call 4"):
        retry(fail)


def test_program(dflag_isolated: Callable[[type[Settings]], None], configmap_volume: ConfigMapVolume) -> None:
    """The program's volume sets its own flags and those of the library."""
    dflag_isolated(Settings)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        configmap_volume.write({"target": f"127.0.0.1:{port}", "retry.attempts": "1"})
        updater = dflag.Updater.setup(Settings, configmap_volume.path)
        assert attempts.get() == 1
        assert probe()
    configmap_volume.update(**{"retry.attempts": "2"})
    updater.refresh()
    assert attempts.get() == 2
    assert not probe()
