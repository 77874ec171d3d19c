"""
``dflag watch`` as a real process that follows a real volume.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from dflag.testing import ConfigMapVolume

from ._waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.untraced, pytest.mark.once]

APP = """
import dflag

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate_limit", 50, max=100)
flags.dyn_string("token", "", secret=True)
flags.int("port", 8080)
flags.dyn_string("text", "")
rate.on_change(lambda old, new: print("the program's callback ran"))
"""


class Watcher:
    """
    A running command, and the lines that it has printed so far.
    """

    def __init__(self, here: Path, *args: str) -> None:
        code = "import sys; from dflag.cli import main; sys.exit(main())"
        # If the checkout is tested, it is on the path of this process.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "watch", "watched_app:flags", "config", *args],
            cwd=here,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: dict[str, queue.Queue[str]] = {"out": queue.Queue(), "err": queue.Queue()}
        streams = {"out": self.process.stdout, "err": self.process.stderr}
        self._readers = [threading.Thread(target=self._read, args=item) for item in streams.items()]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: Iterator[str]) -> None:
        for line in stream:
            self._lines[name].put(line.rstrip("\n"))

    def line(self, stream: str = "out") -> str:
        return self._lines[stream].get(timeout=DEADLINE_SECONDS)

    def rest(self) -> list[str]:
        """
        Wait for the command to end, and return the lines that no call of `line()` has returned.
        """
        self.process.wait(DEADLINE_SECONDS)
        for reader in self._readers:
            reader.join(DEADLINE_SECONDS)
        return [line for lines in self._lines.values() for line in lines.queue]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.rest()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def _watching(here: Path, *args: str) -> Iterator[Watcher]:
    watcher = Watcher(here, *args)
    try:
        assert watcher.line("err") == "dflag: following config"
        yield watcher
    finally:
        watcher.close()


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> ConfigMapVolume:
    (tmp_path / "watched_app.py").write_text(APP)
    volume = ConfigMapVolume(tmp_path / "config")
    volume.write({"rate_limit": "60", "token": "first"})
    return volume


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_line_a_change_until_a_signal(config: ConfigMapVolume, number: signal.Signals) -> None:
    """
    Each change prints one line at once, values at the start print none, and a signal ends the command with status 0.
    """
    with _watching(config.path.parent) as watcher:
        config.update(rate_limit="70")
        assert watcher.line() == "rate_limit: 60 -> 70"
        config.update(rate_limit="0x50", text="two\nlines")
        assert {watcher.line(), watcher.line()} == {"rate_limit: 70 -> 80", "text:  -> two\\nlines"}
        config.remove("rate_limit")
        assert watcher.line() == "rate_limit: 80 -> 50"
        watcher.process.send_signal(number)
        assert watcher.rest() == []
        assert watcher.process.returncode == 0


def test_rejected_values_are_reported_once(config: ConfigMapVolume) -> None:
    """
    Each refused value prints one line with the flag's message, also a value that is there at the start.
    """
    config.update(rate_limit="x")
    path = config.path / "rate_limit"
    with _watching(config.path.parent) as watcher:
        assert watcher.line() == f"rejected: flag 'rate_limit': expected an int, got 'x' ({path})"
        config.update(text="a")
        assert watcher.line() == "text:  -> a"
        config.update(rate_limit="101")
        assert watcher.line() == f"rejected: flag 'rate_limit': expected an int of at most 100, got '101' ({path})"
        config.update(rate_limit="99")
        assert {watcher.line(), watcher.line()} == {"rate_limit: 50 -> 99", "good again: config"}
        watcher.process.send_signal(signal.SIGTERM)
        assert watcher.rest() == []


def test_secrets_are_masked(config: ConfigMapVolume) -> None:
    """
    A change of a secret prints a line with both values masked.
    """
    with _watching(config.path.parent) as watcher:
        config.update({"token": "second"})
        assert watcher.line() == "token: ****** -> ******"


def test_static_flags_unknown_names_and_a_lost_directory(config: ConfigMapVolume) -> None:
    """
    A change of a static flag, an unknown name, and the loss and return of the directory each print a line.
    """
    with _watching(config.path.parent) as watcher:
        config.update(port="1")
        assert watcher.line() == "port: changes with the next start"
        config.update(rate_limt="1")
        assert watcher.line().startswith("unknown: ")
        os.rename(config.path, config.path.with_name("gone"))
        assert watcher.line().startswith("error: ")
        os.rename(config.path.with_name("gone"), config.path)
        assert watcher.line() == "good again: config"


def test_json_lines(config: ConfigMapVolume) -> None:
    """
    With ``--format json`` each line is a JSON object.
    """
    with _watching(config.path.parent, "--format", "json") as watcher:
        config.update(rate_limit="70")
        assert json.loads(watcher.line()) == {"flag": "rate_limit", "old": "60", "new": "70"}
        config.update(rate_limit="x")
        event = json.loads(watcher.line())
        assert event.keys() == {"flag", "rejected"}
        assert event["flag"] == "rate_limit"
        config.update(rate_limit="70")
        assert json.loads(watcher.line()) == {"source": "config", "good_again": True}


@pytest.mark.parametrize(
    "configures",
    [
        "logging.basicConfig(format='theirs: %(message)s')",
        "logging.config.dictConfig({'version': 1})",  # which disables all existing loggers
        "logging.getLogger('dflag').setLevel(logging.CRITICAL)",
        "logging.getLogger('dflag').addHandler(logging.StreamHandler())",
        "logging.getLogger('dflag').addFilter(lambda record: False)",
    ],
)
def test_rules_are_followed_by_the_facts(config: ConfigMapVolume, configures: str) -> None:
    """
    ``--fact`` applies rules; one line on standard error names a rule that needs other facts, however logging is set up.
    """
    path = config.path.with_name("watched_app.py")
    path.write_text(f"{path.read_text()}\nimport logging.config\n\n{configures}\n")
    with _watching(config.path.parent, "--fact", "zone=a") as watcher:
        config.update({"_rules.yaml": "- {when: {zone: a}, set: {rate_limit: 7}}\n- {when: {pod: b}, set: {text: x}}"})
        assert watcher.line() == "rate_limit: 60 -> 7"
        assert watcher.line("err") == "dflag: rule 2 of config needs unknown facts: 'pod'"
        watcher.process.send_signal(signal.SIGTERM)
        assert watcher.rest() == []


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """
    When the directory does not exist, the command ends at once with status 2 and a message.
    """
    (tmp_path / "watched_app.py").write_text(APP)
    watcher = Watcher(tmp_path)
    try:
        assert watcher.line("err").startswith(f"dflag: cannot read {tmp_path}/config: no such directory")
        assert watcher.process.wait(DEADLINE_SECONDS) == 2
    finally:
        watcher.close()


def test_a_retired_key_is_warned_of(config: ConfigMapVolume) -> None:
    """
    A retired key in the directory is a warning on standard error, which the library logs.
    """
    app = config.path.parent / "watched_app.py"
    app.write_text(f'import datetime\n{app.read_text()}\nflags.retired("old_limit", since=datetime.date(2026, 1, 1))\n')
    with _watching(config.path.parent) as watcher:
        config.update(old_limit="1")
        assert "key 'old_limit' in config has been retired since 2026-01-01" in watcher.line("err")
