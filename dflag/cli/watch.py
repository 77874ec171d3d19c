"""
``dflag watch``: follow a volume and print each change.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeAlias

from dflag._flags import set_listeners, text_of_value
from dflag._registry import store_of_registry
from dflag._updater import Updater
from dflag.cli._registry import load
from dflag.cli._rules_plan import facts_of
from dflag.errors import one_line, unknown_flags

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from dflag._flags import Flag
    from dflag._registry import FlagRegistry
    from dflag._status import Status

    Event: TypeAlias = dict[str, Any]

_STATUS_SECONDS: Final = 0.5
"""How often to ask what was rejected. A rejected value changes no flag, so no callback reports it."""

_REPORTED: Final = ("_feed", "_source_reports")
_PRINTED: Final = ("%s", "%s; ", "nothing of %s was applied")
"""
The modules that log what the command prints itself: what is rejected or unknown, or cannot be read; and the formats of
these messages. The first format is complete, the others are beginnings.
"""


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print changes as they come, and return 0 when a signal ends the command.
    """
    registry = load(options.registry)
    for flag in registry:
        set_listeners(flag, ())  # the command must not run the program's callbacks
    # The health of the program is not known here, so no rule is reverted.
    updater = Updater(registry, options.directory, facts=facts_of(options), healthy=lambda: True)
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    report = _Report(registry, _FORMATS[options.format], out)
    with _ended_by_signals(events), _logging_to_standard_error():
        updater.refresh()  # the values there now are no changes; raises if the volume cannot be read
        _listen(registry, events)
        updater.start()
        try:
            print(f"dflag: following {one_line(options.directory)}", file=sys.stderr, flush=True)
            _follow(updater, events, report)
        finally:
            updater.stop()
    return 0


@contextlib.contextmanager
def _ended_by_signals(events: queue.SimpleQueue[Event | None]) -> Iterator[None]:
    """
    Let SIGINT and SIGTERM end the events. A signal handler may call `put` of a simple queue, which is reentrant.
    """
    before = {number: signal.signal(number, lambda *_: events.put(None)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _logging_to_standard_error() -> Iterator[None]:
    """
    Print the library's warnings on standard error, and keep them out of the program's own logging.
    """
    logger, handler = logging.getLogger("dflag"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("dflag: %(message)s"))
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: record.module not in _REPORTED or not _is_printed(str(record.msg)))
    level = logger.level
    before = {name: getattr(logger, name) for name in ("disabled", "filters", "handlers", "propagate")}
    vars(logger).update(disabled=False, filters=[], handlers=[handler], propagate=False)
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
        vars(logger).update(before)


def _is_printed(message: str) -> bool:
    whole, *beginnings = _PRINTED
    return message == whole or message.startswith(tuple(beginnings))


def _listen(registry: FlagRegistry, events: queue.SimpleQueue[Event | None]) -> None:
    def listen(flag: Flag[Any]) -> None:
        flag.on_change(
            lambda old, new: events.put(
                {"flag": flag.name, "old": text_of_value(flag, old), "new": text_of_value(flag, new)}
            )
        )

    for flag in registry:
        listen(flag)


def _follow(updater: Updater, events: queue.SimpleQueue[Event | None], report: _Report) -> None:
    """
    Report until the events end.
    """
    while True:
        report.look(updater.status())
        try:
            event = events.get(timeout=_STATUS_SECONDS)
        except queue.Empty:
            continue
        if event is None:
            return
        report.tell(event)


class _Report:
    """
    Prints events. It also prints each problem that a status shows, once, when the problem appears.
    """

    def __init__(self, registry: FlagRegistry, render: Callable[[Event], str], out: TextIO) -> None:
        self._registry: Final = registry
        self._render: Final = render
        self._out: Final = out
        self._shown: list[Event] = []

    def tell(self, event: Event) -> None:
        self._out.write(self._render(event) + "\n")
        self._out.flush()

    def look(self, status: Status) -> None:
        now = list(_problems(status, self._registry))
        for event in now:
            if event not in self._shown:
                self.tell(event)
        for source in status.sources:
            if any(map(_is_bad, self._shown)) and not any(map(_is_bad, now)):
                self.tell({"source": source.name, "good_again": True})
        self._shown = now


def _is_bad(event: Event) -> bool:
    return "rejected" in event or "error" in event


def _problems(status: Status, registry: FlagRegistry) -> Iterator[Event]:
    for name, error in status.rejected.items():
        yield {"flag": name, "rejected": str(error)}
    for unknown in unknown_flags(status.unknown, store_of_registry(registry).flags):
        yield {"flag": unknown.flag_name, "unknown": str(unknown)}
    for name in status.pending_restart:
        yield {"flag": name, "pending_restart": True}
    for source in status.sources:
        if source.last_error is not None:
            yield {"source": source.name, "error": source.last_error}


def _as_text(event: Event) -> str:
    if "new" in event:
        line = f"{event['flag']}: {event['old']} -> {event['new']}"
    elif "pending_restart" in event:
        line = f"{event['flag']}: changes with the next start"
    elif "good_again" in event:
        line = f"good again: {event['source']}"
    else:
        kind = next(kind for kind in ("rejected", "unknown", "error") if kind in event)
        line = f"{kind}: {event[kind]}"
    return one_line(line)


_FORMATS: Final[dict[str, Callable[[Event], str]]] = {"text": _as_text, "json": json.dumps}
