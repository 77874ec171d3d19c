"""
A process that follows one number in a volume: ``python -m tests.benchmarks._following READER PATH LAST quiet|busy``.

All readers run in this program and are measured in the same way, so that only the readers themselves differ. The
program prints a line when it is ready, and at the end, as JSON, the clock at which it first saw each number.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "swap"
PAUSE_SECONDS = 2e-5
DEADLINE_SECONDS = 60.0
IN_MOVED_TO = 0x80


@contextlib.contextmanager
def staying_on(index: int) -> Iterator[None]:
    """
    Keep this process on one of its processors within the block: the writer on the first, a quiet reader on the last.

    On the same processor, a reader waits until the writer has cleaned up, 0.2 ms, unless the reader has used little of
    the processor lately.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(processors)[index]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


def clock() -> float:
    """
    Read the clock that all processes share.
    """
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Reader(Protocol):
    """
    An object that follows the number in the volume at a path, from its creation on.
    """

    def __init__(self, path: str) -> None: ...

    @property
    def get(self) -> Callable[[], int]: ...


class Bare:
    """
    The baseline: a thread that blocks in inotify and reads the file again after each event.
    """

    def __init__(self, path: str) -> None:
        self._directory = path
        self._value = self._read()
        self._watch()

    def get(self) -> int:
        return self._value

    def _watch(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = libc.inotify_init1(os.O_CLOEXEC)
        if libc.inotify_add_watch(descriptor, os.fsencode(self._directory), IN_MOVED_TO) < 0:
            raise OSError(ctypes.get_errno(), "no inotify")
        threading.Thread(target=self._run, args=(descriptor,), daemon=True).start()

    def _run(self, events: int) -> None:
        while os.read(events, 4096):
            self._value = self._read()

    def _read(self) -> int:
        descriptor = os.open(f"{self._directory}/..data/{KEY}", os.O_RDONLY)
        try:
            return int(os.read(descriptor, 64))
        finally:
            os.close(descriptor)


class Stock(Bare):
    """
    The same as `Bare`, with watchdog's own ``Observer``, as a program would use it.
    """

    def _watch(self) -> None:
        from watchdog.events import FileMovedEvent, FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer

        reader = self

        class Handler(FileSystemEventHandler):
            def on_moved(self, event: FileSystemEvent) -> None:
                reader._value = reader._read()

        observer = Observer()
        observer.schedule(Handler(), self._directory, event_filter=[FileMovedEvent])
        observer.start()


class Dflag:
    """
    A flag of dflag, which an updater changes.
    """

    def __init__(self, path: str) -> None:
        import dflag

        flags = dflag.FlagRegistry()
        self.get = flags.dyn_int(KEY, -1).get
        self._updater = dflag.Updater.setup(flags, path)


class Callback:
    """
    The value with which a flag's callback was last called.
    """

    def __init__(self, path: str) -> None:
        import dflag

        flags = dflag.FlagRegistry()
        flags.dyn_int(KEY, 0, on_change=self._take)
        self._value = 0
        self._updater = dflag.Updater.setup(flags, path)

    def get(self) -> int:
        return self._value

    def _take(self, _old: int, new: int) -> None:
        self._value = new


READERS: dict[str, type[Reader]] = {"dflag": Dflag, "callback": Callback, "bare": Bare, "stock": Stock}


def look(get: Callable[[], int], last: int, *, busy: bool) -> dict[int, float]:
    """
    Return the clock at which *get* first returned each number.

    The value must become visible to this thread, so this thread polls it. A callback runs on another thread, which
    would add one more wait for the interpreter while a thread is busy. With *busy* this thread is the busy one: it
    stands for a program that computes and reads its flag all the time. Otherwise it pauses between reads, which can
    delay the measurement, equally for all readers.
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
    Follow the volume until *last* is seen.
    """
    with staying_on(-1) if mode == "quiet" else contextlib.nullcontext():
        following = READERS[reader](path)
        if following.get() != 0:
            raise AssertionError(f"{reader} does not see the first value")
        print("ready", flush=True)
        print(json.dumps(look(following.get, int(last), busy=mode == "busy")), flush=True)
    # A thread that blocks for ever in a system call must not keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
