"""
The levels of loggers as a flag.
"""

from __future__ import annotations

import logging
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag import logging as dflag_logging
from dflag.logging import add_loglevel_flag
from dflag.sources import MemorySource

from ..integration._waiting import DEADLINE_SECONDS, eventually  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = logging.getLogger()
APP = logging.getLogger("dflag_test_app")
DB = logging.getLogger("dflag_test_app.db")


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    """Set known levels for the test, and the levels from before it at its end."""
    before = ROOT.level
    ROOT.setLevel(logging.WARNING)
    yield
    ROOT.setLevel(before)
    for logger in (APP, DB):
        logger.setLevel(logging.NOTSET)


def _levels_now(flags: dflag.FlagRegistry) -> tuple[int, int, int]:
    assert flags.flush(DEADLINE_SECONDS)
    return ROOT.level, APP.level, DB.level


def test_declaring_changes_no_level(flags: dflag.FlagRegistry) -> None:
    """The default of the flag changes no level, neither at the declaration nor after the program sets a level."""
    flag = add_loglevel_flag(flags)
    assert (flag.name, flag.get(), flag.dynamic) == ("loglevel", "", True)
    ROOT.setLevel(logging.ERROR)
    assert _levels_now(flags) == (logging.ERROR, 0, 0)


@pytest.mark.parametrize(
    ("text", "level", "canonical"),
    [
        ("debug", 10, "debug"),
        ("DEBUG", 10, "debug"),
        (" Verbose ", 15, "verbose"),
        ("info", 20, "info"),
        ("warning", 30, "warning"),
        ("warn", 30, "warning"),
        ("error", 40, "error"),
        ("critical", 50, "critical"),
        ("fatal", 50, "critical"),
        ("notset", 0, "notset"),
        ("30", 30, "warning"),
        ("17", 17, "17"),
        ("root=info", 20, "info"),
        ("ROOT = info", 20, "info"),
    ],
)
def test_level_is_a_name_or_a_number(flags: dflag.FlagRegistry, text: str, level: int, canonical: str) -> None:
    """A level is a name of Python or of the Go library, in any case, or a number; the value is the canonical form."""
    flag = add_loglevel_flag(flags)
    flag.set_text(text)
    assert _levels_now(flags) == (level, 0, 0)
    assert flag.get() == canonical
    flag.set_text(canonical)
    assert flag.get() == canonical


def test_levels_of_several_loggers(flags: dflag.FlagRegistry) -> None:
    """Each logger that is named gets its level; the value has the main logger in front and the others in order."""
    flag = add_loglevel_flag(flags)
    flag.set_text("dflag_test_app.db = DEBUG, dflag_test_app=error,root=20")
    assert _levels_now(flags) == (20, 40, 10)
    assert flag.get() == "info,dflag_test_app=error,dflag_test_app.db=debug"


def test_a_level_alone_is_for_the_logger_that_was_given(flags: dflag.FlagRegistry) -> None:
    """A level alone is for the logger that the declaration names; the root logger can still be named."""
    flag = add_loglevel_flag(flags, "verbosity", logger=APP.name)
    flag.set_text("debug")
    assert _levels_now(flags) == (30, 10, 0)
    flag.set_text("root=error")
    assert _levels_now(flags) == (40, 0, 0)
    assert flag.get() == "root=error"


@pytest.mark.parametrize("name", ["TRACE", "TRACE  ", " Trace"])
@pytest.mark.parametrize("text", ["trace", "5"])
def test_levels_of_the_program_count(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    """A level that the program has named, padded or not, is accepted, and printed by that name."""
    for table in ("_levelToName", "_nameToLevel"):
        monkeypatch.setattr(logging, table, dict(getattr(logging, table)))
    logging.addLevelName(5, name)
    flag = add_loglevel_flag(flags)
    flag.set_text(text)
    assert _levels_now(flags) == (5, 0, 0)
    assert flag.get() == "trace"
    assert "notset, trace, debug" in flag.help


@pytest.mark.parametrize("name", ["a=b", "a,b", "", " "])
def test_a_level_whose_name_no_text_can_have_is_a_number(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The value is the number when the name of a level could not be read again, and the help leaves out that name."""
    for table in ("_levelToName", "_nameToLevel"):
        monkeypatch.setattr(logging, table, dict(getattr(logging, table)))
    logging.addLevelName(25, name)
    flag = add_loglevel_flag(flags)
    flag.set_text("25")
    assert _levels_now(flags) == (25, 0, 0)
    assert flag.get() == "25"
    assert f", {name.strip()}," not in flag.help


@pytest.mark.parametrize("text", ["loud", "-5", "1.5", "db=", "=info", "info,debug", "info,", "db=info,db=debug", "٣"])
def test_bad_text_is_refused_and_says_what_is_allowed(flags: dflag.FlagRegistry, text: str) -> None:
    """A bad text is refused with what the flag expects, and changes no level."""
    flag = add_loglevel_flag(flags)
    with pytest.raises(dflag.ValidationError, match="flag 'loglevel': expected"):
        flag.set_text(text)
    assert _levels_now(flags) == (30, 0, 0)


def test_refusal_lists_the_levels(flags: dflag.FlagRegistry) -> None:
    """The error for an unknown level lists the levels that exist."""
    flag = add_loglevel_flag(flags)
    # A server that another test has imported may have added a level of its own.
    with pytest.raises(
        dflag.ValidationError, match=r"notset, (trace, )?debug, verbose, info, warning, error, critical, a number"
    ):
        flag.set_text("loud")


def test_each_logger_gets_its_own_level_back(flags: dflag.FlagRegistry) -> None:
    """A logger that is no longer named gets the level from before the flag, however often the flag has changed it."""
    APP.setLevel(logging.ERROR)
    flag = add_loglevel_flag(flags)
    flag.set_text("debug,dflag_test_app=info,dflag_test_app.db=info")
    assert _levels_now(flags) == (10, 20, 20)
    flag.set_text("info,dflag_test_app=debug")
    assert _levels_now(flags) == (20, 10, 0)
    flag.reset()
    assert _levels_now(flags) == (30, 40, 0)


def test_a_level_the_program_sets_meanwhile_stays(flags: dflag.FlagRegistry) -> None:
    """After a reset a logger has the level that the program set last, also if that was after the flag's own change."""
    flag = add_loglevel_flag(flags)
    flag.set_text("debug")
    assert _levels_now(flags)[0] == 10
    ROOT.setLevel(logging.ERROR)
    flag.reset()
    assert _levels_now(flags)[0] == logging.ERROR
    flag.set_text("debug")
    assert _levels_now(flags)[0] == 10
    ROOT.setLevel(logging.CRITICAL)
    flag.set_text("info")
    assert _levels_now(flags)[0] == 20
    flag.reset()
    assert _levels_now(flags)[0] == logging.CRITICAL


def test_flags_that_name_one_logger_give_it_back_in_any_order(flags: dflag.FlagRegistry) -> None:
    """Of two flags for one logger the one set last decides; when it is reset, the other does, and then the program."""
    registries = (flags, dflag.FlagRegistry())
    one, other = (add_loglevel_flag(registry) for registry in registries)
    for order in ((one, other), (other, one)):
        one.set_text("debug")
        assert _levels_now(flags)[0] == logging.DEBUG
        other.set_text("error")
        assert _levels_now(registries[1])[0] == logging.ERROR
        order[0].reset()
        assert all(registry.flush(DEADLINE_SECONDS) for registry in registries)
        assert ROOT.level == (logging.ERROR if order[0] is one else logging.DEBUG)
        order[1].reset()
        assert all(registry.flush(DEADLINE_SECONDS) for registry in registries)
        assert ROOT.level == logging.WARNING


def test_a_value_that_was_there_first_applies_at_the_declaration(flags: dflag.FlagRegistry) -> None:
    """A flag that is declared late sets the level that its source already holds."""
    flags.apply({"loglevel": "error"}, source="early")
    add_loglevel_flag(flags)
    assert _levels_now(flags)[0] == logging.ERROR


def test_levels_follow_a_source(flags: dflag.FlagRegistry) -> None:
    """Levels follow a source at `initialize()` and each change, stay at a bad value, and go back without the key."""
    flag = add_loglevel_flag(flags)
    source = MemorySource({"loglevel": "error"})
    with dflag.Updater(flags, source) as updater:
        assert _levels_now(flags)[0] == logging.ERROR
        source.update({"loglevel": "dflag_test_app=debug"})
        assert eventually(lambda: _levels_now(flags) == (30, 10, 0))
        source.update({"loglevel": "loud"})
        assert eventually(lambda: "loglevel" in updater.status().rejected)
        assert _levels_now(flags) == (30, 10, 0)
        source.update({"other": ""})
        assert eventually(lambda: _levels_now(flags) == (30, 0, 0))
    assert flag.get() == ""


def test_a_time_limit_ends_debugging(flags: dflag.FlagRegistry) -> None:
    """An override with a time limit sets the level, and when it expires the level of the source is set again."""
    flag = add_loglevel_flag(flags)
    flags.apply({"loglevel": "error"}, source="config")
    flag.set_text("debug", ttl_seconds=0.3, reason="looking for a fault")
    assert eventually(lambda: ROOT.level == logging.DEBUG)
    assert eventually(lambda: ROOT.level == logging.ERROR)
    assert flag.origin == "config"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("." * 80_000 + "=debug", "at most 200 characters, found 80000"),
        (".".join("abcdefghijklmnopqrstu") + "=debug", "at most 20 parts, found 21"),
        (",".join(f"n{number}=debug" for number in range(8_000)), "at most 100 loggers, found 8000"),
        ("," * 80_000, "at most 100 loggers, found 80001"),
        ("dflag_test_app..db=debug", "something before and after each dot, found 'dflag_test_app..db'"),
        (".dflag_test_app=debug", "something before and after each dot"),
        ("dflag_test_app.=debug", "something before and after each dot"),
        ("9" * 80_000, "a number up to 1000"),
        ("1001", "a number up to 1000"),
    ],
    ids=["dots", "deep", "names", "commas", "empty part", "first part", "last part", "digits", "number"],
)
def test_a_text_that_would_fill_the_memory_is_refused(flags: dflag.FlagRegistry, text: str, message: str) -> None:
    """A text beyond a limit is refused with the limit in the message, uses little memory and makes no logger."""
    flag = add_loglevel_flag(flags)
    before = set(logging.root.manager.loggerDict)
    tracemalloc.start()
    try:
        rejected = flags.apply({"loglevel": text}, source="s").rejected
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message in str(rejected["loglevel"])
    assert peak < 2_000_000
    assert flags.flush(DEADLINE_SECONDS)
    assert (flag.get(), set(logging.root.manager.loggerDict)) == ("", before)


def test_the_largest_text_is_accepted(flags: dflag.FlagRegistry) -> None:
    """A text at every limit is accepted: a hundred loggers, one of them with twenty parts, and the level 1000."""
    flag = add_loglevel_flag(flags)
    deep = "dflag_test_app." + ".".join("abcdefghijklmnopqrs")
    flag.set_text(",".join(["1000", f"{deep}=info", *(f"dflag_test_app.n{number}=info" for number in range(98))]))
    assert _levels_now(flags)[0] == 1000
    assert logging.getLogger(deep).level == logging.INFO
    flag.reset()
    assert _levels_now(flags)[0] == logging.WARNING


@pytest.mark.parametrize("text", [",", "debug,,", "info, ,dflag_test_app=debug"])
def test_an_empty_item_is_named(flags: dflag.FlagRegistry, text: str) -> None:
    """An empty item is refused with a message that says so, and is not taken for a second level of the main logger."""
    flag = add_loglevel_flag(flags)
    with pytest.raises(dflag.ValidationError, match="expected a level or LOGGER=LEVEL between commas, found nothing"):
        flag.set_text(text)


@pytest.mark.parametrize("logger", ["a..b", ".", "a." * 20 + "a", "a" * 201, "a,b", " a", "a\n"])
def test_a_logger_that_no_value_could_name_is_refused(flags: dflag.FlagRegistry, logger: str) -> None:
    """A declaration for a logger that no value could name is refused; the root logger may be given in any case."""
    with pytest.raises(dflag.DefinitionError, match="expected a logger's name"):
        add_loglevel_flag(flags, logger=logger)
    assert "loglevel" not in flags
    assert add_loglevel_flag(flags, logger="Root") is add_loglevel_flag(flags)


def test_threads_that_declare_it_at_the_same_time_get_one_flag(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that call `add_loglevel_flag` with the same arguments at the same time get the same flag."""
    barrier = threading.Barrier(2)

    def allowed() -> str:  # each thread calls it just before its declaration
        barrier.wait(DEADLINE_SECONDS)
        return "a level"

    monkeypatch.setattr(dflag_logging, "_allowed", allowed)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(add_loglevel_flag, (flags, flags))
    assert one is other is flags["loglevel"]


def test_a_bad_name_is_a_definition_error(flags: dflag.FlagRegistry) -> None:
    """A name that no flag can have raises `DefinitionError`, also one of a type that cannot be a key of a mapping."""
    for name in ("", ".level", ["loglevel"]):
        with pytest.raises(dflag.DefinitionError, match="expected a name of 1 to 253 characters"):
            add_loglevel_flag(flags, name)  # type: ignore[arg-type]


def test_ever_new_names_make_a_bounded_number_of_loggers(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the flag has made as many loggers as it may, new names are refused; existing loggers may be named."""
    monkeypatch.setattr(dflag_logging, "_MAX_MADE", 10)
    monkeypatch.setattr(dflag_logging, "_loggers", dflag_logging._Loggers())
    flag = add_loglevel_flag(flags)
    before = set(logging.root.manager.loggerDict)
    refused = 0
    for number in range(30):
        refused += bool(flags.apply({"loglevel": f"dflag_test_new_{number}=debug"}, source="s").rejected)
        assert flags.flush(DEADLINE_SECONDS)
    assert refused == 20
    assert len(set(logging.root.manager.loggerDict) - before) == 10
    with pytest.raises(dflag.ValidationError, match="after 10 others; it has no 'dflag_test_new_x'"):
        flag.set_text("dflag_test_new_x=debug")
    flag.set_text("dflag_test_app=debug,dflag_test_new_3=info")
    assert _levels_now(flags)[1] == logging.DEBUG
