"""
The library's logger, in programs that have and have not configured logging.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

WARN = "import dflag, logging; dflag.FlagRegistry; logger = logging.getLogger('dflag')\n"
"""The first line of a program."""


def _stderr(program: str) -> str:
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert found.stdout == ""
    return found.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "import dflag; dflag.FlagRegistry",
        "import dflag; dflag.Updater",
        "import dflag.sources._reflector",
        "import dflag.web._handler",
        "import dflag.integrations.prometheus",
    ],
)
def test_the_first_warning_is_printed_with_what_to_do(statement: str) -> None:
    """A program without logging prints one line, for the first warning, whichever part of dflag it imports first."""
    (line,) = _stderr(
        f"{statement}\nimport logging\nfor n in range(3): logging.getLogger('dflag').warning('said %s', n)"
    ).splitlines()

    assert line.startswith("dflag: said 0 [")
    assert "logging.basicConfig()" in line


def test_a_value_refused_at_run_time_is_seen() -> None:
    """A program as in the tutorial, without logging, shows on standard error which value was refused and why."""
    (line,) = _stderr(
        "import dflag\n"
        "from dflag.sources import MemorySource\n"
        "flags = dflag.FlagRegistry()\n"
        "rate = flags.dyn_int('rate', 50)\n"
        "source = MemorySource({'rate': '60'})\n"
        "with dflag.Updater.setup(flags, source) as updater:\n"
        "    for number in range(3):\n"
        "        source.update({'rate': f'a lot {number}'})\n"
        "        updater.refresh()\n"
    ).splitlines()

    assert "flag 'rate': expected an int, got 'a lot 0' (memory)" in line


def test_lower_levels_are_no_reason() -> None:
    """A program without logging prints no message below a warning, whatever the level of the logger."""
    assert _stderr(WARN + "logger.setLevel(1); logger.info('a change'); logger.debug('two texts')") == ""


@pytest.mark.parametrize(
    "configure",
    [
        "logging.basicConfig(filename='/dev/null')",
        "logging.basicConfig(handlers=[logging.NullHandler()])",
        "logger.addHandler(logging.NullHandler())",
        "logger.addHandler(logging.FileHandler('/dev/null'))",
        "logger.propagate = False",
        "logger.setLevel('CRITICAL')",
        "logger.disabled = True",
        "logger.addFilter(lambda record: False)",
        "logging.disable(logging.CRITICAL)",
        "logging.lastResort = None",
        "import logging.config; logging.config.dictConfig({'version': 1, 'disable_existing_loggers': True})",
    ],
)
def test_a_program_that_handles_or_silences_warnings_gets_no_line(configure: str) -> None:
    """A program that has configured logging in any way, even to silence dflag, gets no line from dflag."""
    assert _stderr(f"{WARN}{configure}\nlogger.warning('said')") == ""


def test_a_handler_that_is_added_later_takes_over() -> None:
    """A program that configures logging after the first warning gets the later ones only from its own handler."""
    first, second = _stderr(
        f"{WARN}logger.warning('early')\nlogging.basicConfig(format='mine: %(message)s')\nlogger.warning('late')"
    ).splitlines()

    assert first.startswith("dflag: early [")
    assert second == "mine: late"


@pytest.mark.parametrize(
    "broken",
    [
        "sys.stderr = None",
        "sys.stderr.close()",
        "os.close(2)",
        "sys.stderr = object()",
        "sys.stderr.write = None.__bool__",
        "sys.stderr = type('Loud', (), {'write': lambda self, text: 1 / 0})()",
        "sys.stderr = type('Logging', (), {'write': lambda self, text: logger.warning(text)})()",
    ],
)
def test_a_standard_error_that_cannot_be_written_to_is_no_failure(broken: str) -> None:
    """A warning raises nothing and prints no traceback when standard error is closed, missing or an odd object."""
    program = (
        f"import os, sys\n{WARN}try:\n    {broken}\nexcept AttributeError: pass\nlogger.warning('said')\nos._exit(7)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False)

    assert (found.returncode, found.stdout) == (7, "")
    assert "Traceback" not in found.stderr


def test_the_line_stays_one_line() -> None:
    """The line is short and has its control characters escaped; a message that cannot be made is left out."""
    (line,) = _stderr(WARN + r"logger.warning('a\nb\x1b[31m %s', 'x' * 10_000)").splitlines()
    assert r"a\nb\x1b[31m" in line
    assert len(line) < 1_200

    assert _stderr(WARN + "logger.warning('%d', 'no number')") == ""


def test_many_threads_and_a_forked_child_print_one_line() -> None:
    """A process prints the line once, from whichever thread, and a forked child does not repeat it."""
    lines = _stderr(
        "import os, sys, threading, warnings\n" + WARN + "sys.setswitchinterval(1e-6)\n"
        "warnings.simplefilter('ignore')\n"  # Python warns at a fork while a joined thread still ends
        "barrier = threading.Barrier(8)\n"
        "def warn():\n"
        "    barrier.wait()\n"
        "    logger.warning('said')\n"
        "threads = [threading.Thread(target=warn) for _ in range(8)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    logger.warning('in the child')\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
    ).splitlines()

    assert [line.partition(" [")[0] for line in lines] == ["dflag: said"]
