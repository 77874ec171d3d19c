"""
The tutorial works as written: its files, its commands in order, and the service that runs next to them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dflag
from tests.integration._waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
FOLDER, PORTS = "/home/you/shop", ("8080", "8081")
"""The folder and the ports on the page, in place of the reader's."""

_FILE = re.compile(r"^<!-- file: (\S+) -->\n(?:<!-- no-run -->\n)?```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STEP = re.compile(
    r"^(?:<!-- (?P<service>service(?: prints)?) -->\n)?```(?:console|text)\n"
    r"(?:\$ (?P<command>.*)\n)?(?P<output>(?s:.*?))^```$",
    re.MULTILINE,
)
_CURL = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[-1], timeout=20).read().decode(), end='')"

TIMEOUT_SECONDS = 60


def _mind_ctrl_c() -> None:
    """Restore Ctrl-C in the child: tests that run in the background ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Reader:
    """
    A person who follows the page in a folder of their own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with contextlib.ExitStack() as stack:  # all at once, or the same port may come twice
            free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
            self.ports = [str(each.getsockname()[1]) for each in free]
        self.printed = folder / "printed.txt"
        self.service: subprocess.Popen[bytes] | None = None
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name, options in {"python": [], "dflag": ["-m", "dflag"], "curl": ["-c", f'"{_CURL}"']}.items():
            (programs / name).write_text(
                f'#!/bin/sh\nexec "{sys.executable}" {" ".join(options)} "$@"\n', encoding="utf-8"
            )
            (programs / name).chmod(0o755)
        packages = Path(dflag.__file__).parents[1]  # of the dflag under test: the checkout or the installed wheel
        self.environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, [os.fspath(packages), os.environ.get("PYTHONPATH", "")])),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        # With PYTHONUNBUFFERED, a line and its end are written separately, and a line of the log may come between.
        self.environment.pop("PYTHONUNBUFFERED", None)

    def typed(self, text: str) -> str:
        """Return the text that the reader types, with ports that are free here."""
        for shown, port in zip(PORTS, self.ports, strict=True):
            text = text.replace(shown, port)
        return text

    def seen(self, text: str) -> str:
        """Return the output with the ports and the folder that the page shows."""
        for shown, port in zip(PORTS, self.ports, strict=True):
            text = text.replace(port, shown)
        return text.replace(os.fspath(self.folder), FOLDER)

    def run(self, command: str) -> str:
        """Run a command and return what it prints."""
        found = subprocess.run(
            ["/bin/sh", "-c", self.typed(command)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        return self.seen(found.stdout)

    def start(self, command: str) -> None:
        """Start the service, which then runs while the other commands run."""
        with self.printed.open("wb") as output:
            self.service = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_mind_ctrl_c,  # noqa: PLW1509 - a handler of signals alone; no thread runs here
            )

    def has_printed(self, line: str) -> bool:
        """Return whether the service has printed a line."""
        return line in self.seen(self.printed.read_text(encoding="utf-8")).splitlines()


@pytest.fixture(name="reader")
def _reader(tmp_path: Path) -> Iterator[Reader]:
    """Yield a reader; end their service by Ctrl-C after the test."""
    reader = Reader(tmp_path)
    yield reader
    if reader.service:
        reader.service.send_signal(signal.SIGINT)
        assert reader.service.wait(TIMEOUT_SECONDS) == 0


@pytest.mark.skipif(not shutil.which("sh"), reason="needs a shell")
def test_tutorial_can_be_followed(reader: Reader) -> None:
    """Each command prints what the page shows below it, and the service prints each line that the page announces."""
    text = PAGE.read_text(encoding="utf-8")
    for name, contents in _FILE.findall(text):
        (reader.folder / name).write_text(reader.typed(contents), encoding="utf-8")
    steps = list(_STEP.finditer(text))
    assert len(steps) == text.count("```console") + text.count("```text")
    for step in steps:
        if step["service"] is None:
            shown = r" .*\n".join(map(re.escape, step["output"].split(" ...\n")))  # durations differ
            assert re.fullmatch(shown, reader.run(step["command"])), step["command"]
            continue
        if step["command"]:
            reader.start(step["command"])
        for line in step["output"].splitlines():
            assert eventually(lambda line=line: reader.has_printed(line)), line  # type: ignore[misc]
