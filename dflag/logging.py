"""
The levels of the standard library's loggers as a flag.

Use it to debug a running process for a while, without a restart:

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
from typing import TYPE_CHECKING, Final

from dflag._fork import ForkFollower, follow_forks, settle
from dflag._registry import registry_of
from dflag.errors import DefinitionError, checked_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dflag._flags import DynamicFlag
    from dflag._registry import FlagRegistry, RegistryLike

__all__ = ["add_loglevel_flag"]


def __dir__() -> list[str]:
    return __all__


VERBOSE: Final = 15
"""The Go library's level between debug and info, which Python has not."""

_ROOT: Final = "root"
_SEPARATORS: Final = frozenset(",=")

_MAX_LEVEL: Final = 1_000
"""The highest level as a number: twenty times that of ``critical``."""

_MAX_LOGGERS: Final = 100
"""How many loggers one text may name: more than anybody debugs at once, and few enough to read quickly."""

_MAX_NAME_CHARACTERS: Final = 200
_MAX_NAME_PARTS: Final = 20
"""How long the name of a logger may be, and how deep: `logging` keeps each name and one for each of its parents."""

_MAX_MADE: Final = 1_000
"""How many loggers that the program does not have may be made in a process, since `logging` keeps each for good."""


def add_loglevel_flag(registry: RegistryLike, name: str = "loglevel", logger: str = "") -> DynamicFlag[str]:
    """
    Declare a dynamic flag that sets the levels of loggers.

    Its text is a level, for *logger*, or ``LOGGER=LEVEL`` for another one, or several of both separated by commas:
    ``debug``, ``info,app.db=debug``, ``root=warning,app=15``. A level is a name in any case, of `logging` (those of
    ``addLevelName`` too) or of the Go library, or a number. The flag's value is the text in a canonical form.

    The default is empty and changes no level. A logger that the text no longer names gets back the level that it had
    before, unless the program has set another one meanwhile. Where several flags name one logger, the one that was set
    last decides, until its text no longer names that logger.

    A text names at most 100 loggers, with names of at most 200 characters and 20 parts. `logging` never frees a logger.
    So when 1,000 loggers that the program does not use have been named in a process, further ones are refused.

    Args:
        registry: Where to declare it.
        name: The flag's name.
        logger: The logger that a level without a name is for; empty for the root logger.

    Returns:
        The flag. It is the same one when it was declared like this before, so a program can start several times in one
        process.

    Raises:
        DefinitionError: *logger* cannot be the name of a logger in a text.
        DuplicateFlagError: Another flag has the name, or the same with another *logger*.

    Thread safety: any thread. Levels are set on the registry's notifier thread, after the value is visible;
    ``registry.flush()`` waits for it.
    """
    registry = registry_of(registry)
    main = _main(checked_text("logger", logger, "the name of a logger"))
    key = (name, main)
    added = _added.setdefault(registry, {})
    if key in added:
        return added[key]
    levels = _Levels(main)
    added[key] = registry.dyn_string(
        name,
        "",
        f"Log level, as in debug or info,app.db=debug; empty leaves all as they are ({_allowed()})",
        mutator=levels.canonical,
        on_change=lambda _, text: levels.set(text),
    )
    return added[key]


_added: Final[weakref.WeakKeyDictionary[FlagRegistry, dict[tuple[str, str], DynamicFlag[str]]]] = (
    weakref.WeakKeyDictionary()
)
"""The flags that were declared here, by their name and their logger's."""


class _Logger:
    """
    A logger whose level is set by flags.
    """

    def __init__(self, name: str) -> None:
        self._target: Final = logging.getLogger(None if name == _ROOT else name)
        self._before = self._since = self._target.level
        # Weak, so that the flags of a registry that is gone do not count.
        self._wanted: Final[weakref.WeakKeyDictionary[_Levels, int]] = weakref.WeakKeyDictionary()

    def is_wanted(self, flag: _Levels) -> bool:
        return flag in self._wanted

    def want(self, flag: _Levels, level: int | None) -> None:
        """
        Set the level that a flag wants; with None the level of another flag, or else the one before all of them.
        """
        if self._target.level != self._since:  # the program has set it after all of them
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
        self._made: Final[set[str]] = set()  # those that did not exist before their names came
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
        Raise `ValueError` when too many loggers would be made.
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
        # Not taken before: setting a level takes the lock of logging too, which a fork may hold already.
        self._lock = threading.RLock()


_loggers: Final = _Loggers()


class _Levels:
    """
    What the text of one flag says.
    """

    def __init__(self, main: str) -> None:
        self._main: Final = main

    def canonical(self, text: str) -> str:
        """
        Return the plainest form: the main logger's level alone in front, then the others in order.

        Raises:
            ValueError: It is not in the grammar, or names too many loggers.
        """
        levels = self._parse(text)
        _loggers.check_new(levels)
        first = [_name(levels.pop(self._main))] if self._main in levels else []
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
            name = left.strip() if equals else self._main
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
    Return the name of the logger that a level without a name is for.
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


def _level(text: str) -> int:
    level = _known().get(text.lower())
    if level is not None:
        return level
    if text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_LEVEL)) and int(text) <= _MAX_LEVEL:
        return int(text)
    raise ValueError(f"expected {_allowed()}, found {text!r}")


def _name(level: int) -> str:
    """
    Print a level as it may be read again: by the name that `logging` has for it, or as a number.
    """
    name = logging.getLevelName(level).strip().lower()
    if _known().get(name) == level:
        return str(name)
    return "verbose" if level == VERBOSE else str(level)


def _known() -> dict[str, int]:
    """
    Map the names of levels to levels: of the Go library, and of `logging` as it is now, but for those no text can have.

    Programs pad names so that the lines of a log are aligned.
    """
    names = {name.strip().lower(): level for name, level in logging.getLevelNamesMapping().items()}
    return {"verbose": VERBOSE} | {
        name: level for name, level in names.items() if name and not _SEPARATORS.intersection(name)
    }


def _allowed() -> str:
    names = sorted({_name(level) for level in _known().values()}, key=lambda name: _known()[name])
    return f"one of {', '.join(names)}, a number up to {_MAX_LEVEL}, or LOGGER=LEVEL"
