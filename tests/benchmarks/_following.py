"""
A process that follows one number in a volume: ``python -m tests.benchmarks._following READER PATH LAST quiet|busy``.

All readers run in this same program and are looked at in the same way, so that they differ by themselves alone. It
prints a line when it is ready, and at the end the clock at which each number was first seen, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "swap"
PAUSE_SECONDS = 2e-5
DEADLINE_SECONDS = 60.0
IN_MOVED_TO = 0x80


def clock() -> float:
    """
    Read the clock that all processes share.
    """
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Bare:
    """
    The floor: a thread that blocks in inotify and reads the file again.
    """

    def __init__(self, path: str) -> None:
        self._file = f"{path}/..data/{KEY}"
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_CLOEXEC)
        if libc.inotify_add_watch(self._descriptor, os.fsencode(path), IN_MOVED_TO) < 0:
            raise OSError(ctypes.get_errno(), "no inotify")
        self._value = self._read()
        threading.Thread(target=self._run, daemon=True).start()

    def get(self) -> int:
        return self._value

    def _run(self) -> None:
        while os.read(self._descriptor, 4096):
            self._value = self._read()

    def _read(self) -> int:
        descriptor = os.open(self._file, os.O_RDONLY)
        try:
            return int(os.read(descriptor, 64))
        finally:
            os.close(descriptor)


class Stock(Bare):
    """
    The same with watchdog's own ``Observer``, as a program would use it.
    """

    def __init__(self, path: str) -> None:
        from watchdog.events import FileMovedEvent, FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer

        self._file = f"{path}/..data/{KEY}"
        self._value = self._read()
        reader = self

        class Handler(FileSystemEventHandler):
            def on_moved(self, event: FileSystemEvent) -> None:
                reader._value = reader._read()

        observer = Observer()
        observer.schedule(Handler(), path, event_filter=[FileMovedEvent])
        observer.start()


def follow(path: str) -> Callable[[], int]:
    """
    Follow with dflag; gives what reads the number.
    """
    import dflag

    flags = dflag.FlagRegistry()
    number = flags.dyn_int(KEY, -1)
    updater = dflag.Updater.setup(flags, path)
    # The updater has to live as long as the program looks.
    follow.updater = updater  # type: ignore[attr-defined]
    return number.get


def call_back(path: str) -> Callable[[], int]:
    """
    Follow with dflag; gives what reads the number that a callback was last called with.
    """
    import dflag

    told = [0]
    flags = dflag.FlagRegistry()
    flags.dyn_int(KEY, 0, on_change=lambda _old, new: told.__setitem__(0, new))
    call_back.updater = dflag.Updater.setup(flags, path)  # type: ignore[attr-defined]  # as above
    return lambda: told[0]


READERS: dict[str, Callable[[str], Callable[[], int]]] = {
    "dflag": follow,
    "callback": call_back,
    "bare": lambda path: Bare(path).get,
    "stock": lambda path: Stock(path).get,
}


def look(get: Callable[[], int], last: int, *, busy: bool) -> dict[int, float]:
    """
    Note when *get* first gives each number.

    This thread is who the value is to be visible to, so nothing else may tell: a callback comes on a thread of its own,
    which with a busy thread beside it costs one more wait for the interpreter. With *busy* this is the busy thread
    itself, a program that computes and reads its flag all the while; else it pauses, by which the measure may be late,
    for each reader alike.
    """
    seen: dict[int, float] = {}
    deadline = clock() + DEADLINE_SECONDS
    number, now = -1, 0.0
    while number < last and now < deadline:
        number, now = get(), clock()
        if number not in seen:
            seen[number] = now
        if not busy:
            time.sleep(PAUSE_SECONDS)
    return seen


def main(reader: str, path: str, last: str, mode: str) -> None:
    """
    Follow until *last* is seen.
    """
    get = READERS[reader](path)
    if get() != 0:
        raise AssertionError(f"{reader} does not see the first value")
    print("ready", flush=True)
    print(json.dumps(look(get, int(last), busy=mode == "busy")), flush=True)
    # A thread that blocks for ever in a system call must not keep the process.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
