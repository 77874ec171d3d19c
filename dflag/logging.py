"""
The levels of the standard library's loggers as a flag.

Use the flag to debug a running process for some time, without a restart:

>>> import dflag, logging
>>> from dflag.logging import add_loglevel_flag
>>> flags = dflag.FlagRegistry()
>>> loglevel = add_loglevel_flag(flags)
>>> loglevel.set_text("app.db=debug", ttl_seconds=600, reason="slow queries")
>>> flags.flush()
True
>>> logging.getLogger("app.db").isEnabledFor(logging.DEBUG)
True
>>> loglevel.reset()
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from dflag._flags import pipeline_of
from dflag._fork import ForkFollower, follow_forks, settle
from dflag._registry import checked_name, registry_of
from dflag.errors import DefinitionError, DuplicateFlagError, checked_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dflag._flags import DynamicFlag, Flag
    from dflag._registry import RegistryLike

__all__ = ["add_loglevel_flag"]


def __dir__() -> list[str]:
    return __all__


VERBOSE: Final = 15
"""The Go library's level between debug and info, which Python does not have."""

_ROOT: Final = "root"
_SEPARATORS: Final = frozenset(",=")

_MAX_LEVEL: Final = 1_000
"""The highest number that is accepted as a level: twenty times that of ``critical``."""

_MAX_LOGGERS: Final = 100
"""How many loggers one text can name: more than anybody debugs at once, and few enough to read quickly."""

_MAX_NAME_CHARACTERS: Final = 200
_MAX_NAME_PARTS: Final = 20
"""The limits for the name of a logger: `logging` keeps an entry for each name and for each of its parents."""

_MAX_MADE: Final = 1_000
"""How many loggers that the program does not have can be created in a process: `logging` never frees a logger."""


def add_loglevel_flag(registry: RegistryLike, name: str = "loglevel", logger: str = "") -> DynamicFlag[str]:
    """
    Declare a dynamic flag that sets the levels of loggers.

    The text of the flag is a list of items, separated by commas. An item is a level, for *logger*, or ``LOGGER=LEVEL``
    for another logger: ``debug``, ``info,app.db=debug``, ``root=warning,app=15``. A level is a number, or a name from
    `logging` (including ``addLevelName``) or from the Go library, in any letter case. The flag's value is the text in a
    canonical form.

    The default is empty and changes no level. A logger that the text no longer names gets its previous level back,
    unless the program has set another level meanwhile. If several flags name one logger, the flag that was set last
    decides, until its text no longer names that logger.

    A text names at most 100 loggers, with names of at most 200 characters and 20 parts. `logging` never frees a logger.
    So after 1,000 loggers that the program does not use were named in a process, further ones are refused.

    Args:
        registry: The registry in which to declare the flag.
        name: The flag's name.
        logger: The logger for a level without a name; empty for the root logger.

    Returns:
        The flag. A second call with the same arguments returns the same flag, so a program can start several times in
        one process.

    Raises:
        DefinitionError: *logger* cannot be the name of a logger in a text.
        DuplicateFlagError: Another flag has the name, or this one was declared with another *logger*.

    Thread safety: any thread. Levels are set on the registry's notifier thread, after the value is visible;
    ``registry.flush()`` waits for that.
    """
    registry, name = registry_of(registry), checked_name(name)
    main = _main(checked_text("logger", logger, "the name of a logger"))
    levels = _Levels(main)
    try:
        return registry.dyn_string(
            name,
            "",
            f"Log level, as in debug or info,app.db=debug; empty leaves all as they are ({_allowed()})",
            mutator=levels.canonical,
            on_change=lambda _, text: levels.set(text),
        )
    except DuplicateFlagError:
        declared: Any = registry[name]
        if _main_of(declared) == main:
            return declared  # type: ignore[no-any-return]  # the flag of another call with the same arguments
        raise


def _main_of(flag: Flag[Any]) -> str | None:
    """
    Return the logger for a level without a name, or None if `add_loglevel_flag` has not declared the flag.
    """
    levels = getattr(pipeline_of(flag).mutator, "__self__", None)
    return levels.main if isinstance(levels, _Levels) else None


class _Logger:
    """
    A logger whose level is set by flags.
    """

    def __init__(self, name: str) -> None:
        self._target: Final = logging.getLogger(None if name == _ROOT else name)
        self._before = self._since = self._target.level
        # Weak, so that the flags of a freed registry do not count.
        self._wanted: Final[weakref.WeakKeyDictionary[_Levels, int]] = weakref.WeakKeyDictionary()

    def is_wanted(self, flag: _Levels) -> bool:
        return flag in self._wanted

    def want(self, flag: _Levels, level: int | None) -> None:
        """
        Set the level that a flag wants; with None restore the level of another flag, or the one before all flags.
        """
        if self._target.level != self._since:  # the program has set another level since
            self._before = self._target.level
            self._wanted.clear()
        self._wanted.pop(flag, None)
        if level is not None:
            self._wanted[flag] = level
        self._since = [self._before, *self._wanted.values()][-1]
        self._target.setLevel(self._since)


class _Loggers(ForkFollower):
    """
    The loggers whose levels are set by flags: one table for a process, because several flags may name one logger.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changed: Final[dict[str, _Logger]] = {}
        self._made: Final[set[str]] = set()  # the loggers that did not exist before a text named them
        follow_forks(self)

    def set(self, flag: _Levels, levels: Mapping[str, int]) -> None:
        """
        Set the levels that a flag wants, and restore those of the loggers that it no longer names.
        """
        settle()
        with self._lock:
            self._made.update(self._missing(levels))
            dropped = [name for name, logger in self._changed.items() if logger.is_wanted(flag) and name not in levels]
            for name in dropped:
                self._changed[name].want(flag, None)
            for name, level in levels.items():
                self._changed.setdefault(name, _Logger(name)).want(flag, level)

    def check_new(self, names: Iterable[str]) -> None:
        """
        Raise `ValueError` if too many loggers would be created.
        """
        missing = self._missing(names)
        if missing and len(self._made) + len(missing) > _MAX_MADE:
            raise ValueError(
                f"expected a logger that the program uses, after {_MAX_MADE} others; it has no {min(missing)!r}"
            )

    def _missing(self, names: Iterable[str]) -> frozenset[str]:
        known = logging.root.manager.loggerDict
        return frozenset(name for name in names if name != _ROOT and name not in self._made and name not in known)

    # --- forking

    def after_fork_in_child(self) -> None:
        # Not taken before the fork: setting a level also takes the lock of logging, which a fork may hold already.
        self._lock = threading.RLock()


_loggers: Final = _Loggers()


class _Levels:
    """
    The parser for the text of one flag, and the owner of the levels that the text sets.

    Attributes:
        main: The logger for a level without a name.
    """

    def __init__(self, main: str) -> None:
        self.main: Final = main

    def canonical(self, text: str) -> str:
        """
        Return the canonical form: first the main logger's level without its name, then the other loggers in order.

        Raises:
            ValueError: The text does not match the grammar, or names too many loggers.
        """
        levels = self._parse(text)
        _loggers.check_new(levels)
        first = [_name(levels.pop(self.main))] if self.main in levels else []
        return ",".join(first + [f"{logger}={_name(level)}" for logger, level in sorted(levels.items())])

    def set(self, text: str) -> None:
        _loggers.set(self, self._parse(text))

    def _parse(self, text: str) -> dict[str, int]:
        levels: dict[str, int] = {}
        if text.count(",") >= _MAX_LOGGERS:
            raise ValueError(f"expected at most {_MAX_LOGGERS} loggers, found {text.count(',') + 1}")
        for item in text.split(",") if text.strip() else ():
            if not item.strip():
                raise ValueError("expected a level or LOGGER=LEVEL between commas, found nothing")
            left, equals, right = item.rpartition("=")
            name = left.strip() if equals else self.main
            if name.lower() == _ROOT:
                name = _ROOT
            if not name:
                raise ValueError(
                    f"expected a logger's name before '=' in {item.strip()!r}; {_ROOT} is the name of the root logger"
                )
            _check_name(name)
            if name in levels:
                raise ValueError(f"expected one level for the logger {name!r}, found two")
            levels[name] = _level(right.strip())
        return levels


def _main(logger: str) -> str:
    """
    Return the name of the logger for a level without a name.
    """
    if not logger or logger.lower() == _ROOT:
        return _ROOT
    try:
        _check_name(logger)
    except ValueError as error:
        raise DefinitionError(str(error)) from error
    return logger


def _check_name(name: str) -> None:
    if len(name) > _MAX_NAME_CHARACTERS:
        raise ValueError(f"expected a logger's name of at most {_MAX_NAME_CHARACTERS} characters, found {len(name)}")
    parts = name.split(".")
    if len(parts) > _MAX_NAME_PARTS:
        raise ValueError(f"expected a logger's name of at most {_MAX_NAME_PARTS} parts, found {len(parts)}")
    if not all(parts):
        raise ValueError(f"expected a logger's name with something before and after each dot, found {name!r}")
    if "," in name or name != name.strip():  # only the argument *logger* can be such a name
        raise ValueError(f"expected a logger's name without commas and outer white space, found {name!r}")


def _level(text: str) -> int:
    level = _known().get(text.lower())
    if level is not None:
        return level
    if text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_LEVEL)) and int(text) <= _MAX_LEVEL:
        return int(text)
    raise ValueError(f"expected {_allowed()}, found {text!r}")


def _name(level: int) -> str:
    """
    Return the text of a level, which can be parsed again: the name that `logging` has for it, or the number.
    """
    name = logging.getLevelName(level).strip().lower()
    if _known().get(name) == level:
        return str(name)
    return "verbose" if level == VERBOSE else str(level)


def _known() -> dict[str, int]:
    """
    Return the levels by name: those of the Go library, and the current ones of `logging` whose name a text can contain.

    The names are stripped, because programs pad them to align the lines of a log.
    """
    names = {name.strip().lower(): level for name, level in logging.getLevelNamesMapping().items()}
    return {"verbose": VERBOSE} | {
        name: level for name, level in names.items() if name and not _SEPARATORS.intersection(name)
    }


def _allowed() -> str:
    names = sorted({_name(level) for level in _known().values()}, key=lambda name: _known()[name])
    return f"one of {', '.join(names)}, a number up to {_MAX_LEVEL}, or LOGGER=LEVEL"
