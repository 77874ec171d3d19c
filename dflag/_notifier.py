"""
Callbacks, called in order on one thread that lives only while deliveries are queued.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from dflag._faults import OwnThread, code_flags, is_coroutine_function, is_unawaited, name_of, repr_of
from dflag._fork import settle
from dflag._log import logger
from dflag.errors import DefinitionError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_LOOP_CHECK_SECONDS: Final = 0.2
"""The interval at which a wait for an event loop checks whether the loop was closed, which wakes no waiting thread."""

_CO_GENERATORS: Final = 0x20 | 0x200
"""`inspect.CO_GENERATOR` and `CO_ASYNC_GENERATOR`."""


class Notifier:
    """
    A queue of deliveries and the thread that empties it.

    The lock is that of the registry. The step that commits a change queues its deliveries, so they are in commit order.

    Attributes:
        queue: The pending deliveries. After appending to it, `resume` must be called.
        errors: How many callbacks have raised, by the name of the flag.
        problem: Why no thread could be started, until that is logged without the lock; else None.
    """

    waiting_text: Final = "callbacks wait"

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._idle = threading.Condition(lock)
        self.queue: Final[deque[Delivery]] = deque()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the event loop of the current delivery
        self.errors: dict[str, int] = {}
        self.problem: str | None = None

    def flush(self, timeout: float | None) -> bool:
        """
        Wait until everything is delivered, including deliveries queued meanwhile; return False after *timeout* seconds.

        Also return False as soon as a callback must run in the calling thread, which cannot wait for itself.
        """
        settle()
        with self._lock:
            self.resume()
            self._idle.wait_for(lambda: self._is_idle() or self._waits_for_caller(), timeout)
            return self._is_idle()

    def _is_idle(self) -> bool:
        return self._thread is None and not self.queue

    def _waits_for_caller(self) -> bool:
        """
        Return whether the current callback runs in the calling thread or on its event loop.
        """
        is_own = threading.current_thread() is self._thread
        return is_own or (self._loop is not None and self._loop is _running_loop())

    def is_pending(self) -> bool:
        """
        Return whether any delivery is queued.
        """
        return bool(self.queue)

    def renew(self, lock: threading.RLock) -> None:
        """
        Replace the thread and the lock of the parent in a forked child.

        Deliveries that were still queued are made in the child too. The one in progress is only completed in the
        parent.
        """
        self._lock = lock
        self._idle = threading.Condition(lock)
        self._thread = None
        self._loop = None

    def resume(self) -> None:
        """
        Deliver what is queued, on a new thread if none is running.
        """
        with self._lock:
            if not self.queue or (self._thread is not None and self._thread.is_alive()) or sys.is_finalizing():
                return  # during finalization CPython 3.11 would wait for a new thread for ever
            thread = None
            try:
                thread = self._thread = OwnThread(target=self._run, name="dflag-notifier", daemon=True)
                thread.start()
            except RuntimeError as error:  # none can be started now, or in this interpreter: the next commit retries
                if self._thread is thread:  # unless a signal handler has started one meanwhile
                    self._thread = None
                self.problem = str(error)

    def _run(self) -> None:
        me = threading.current_thread()
        try:
            while self._thread is me:  # else a callback has forked: in this child another thread delivers the rest
                try:
                    # Without the lock, as the commit that caused the delivery may still hold it.
                    delivery = self.queue.popleft()
                except IndexError:
                    with self._lock:
                        if not self.queue and self._thread is me:
                            self._end()
                else:
                    self._deliver(delivery)
        finally:
            with self._lock:
                if self._thread is me:  # an exception was raised in this thread between two callbacks
                    self._end()
                    self.resume()

    def _end(self) -> None:
        self._thread = None
        self._idle.notify_all()

    def _deliver(self, delivery: Delivery) -> None:
        try:
            if delivery.loop is not None:
                with self._lock:
                    self._loop = delivery.loop
                    self._idle.notify_all()  # a waiting thread may be the one that runs this loop
            delivery.run()
        except BaseException as error:
            problem = type(error).__name__ if delivery.secret else repr_of(error)
            details = None if delivery.secret else error
            name = delivery.flag_name
            if name is None:
                logger.error("%s failed: %s", delivery.label, problem, exc_info=details)
            else:
                self.errors[name] = self.errors.get(name, 0) + 1
                logger.error("flag %r: callback %s failed: %s", name, delivery.label, problem, exc_info=details)
        finally:
            self._loop = None


class Listener:
    """
    A registered callback.

    Attributes:
        label: The name of the callback in messages.
        loop: The event loop that it runs on if it is a coroutine function; else None.
        is_dropped: Whether that event loop no longer exists, so that the callback is never called again.
    """

    __slots__ = ("_function", "_pid", "is_dropped", "label", "loop")

    def __init__(self, function: Callable[..., Any], flag_name: str) -> None:
        if not callable(function):
            raise DefinitionError(f"flag {flag_name!r}: expected a callable for on_change, got {repr_of(function)}")
        if code_flags(function) & _CO_GENERATORS:  # a call would not run its code
            raise DefinitionError(
                f"flag {flag_name!r}: expected a callable for on_change, got a generator: {repr_of(function)}"
            )
        self._function = function
        self.label = name_of(function)
        self.loop = _required_loop(self.label, flag_name) if is_coroutine_function(function) else None
        self._pid = os.getpid()
        self.is_dropped: bool = False

    def __call__(self, old: object, new: object, origin: str, revision: int) -> None:  # noqa: ARG002 - for subclasses
        """
        Call the function for a change.

        Args:
            old: The old value.
            new: The new value.
            origin: The layer that holds the new value.
            revision: The number of the revision that changed the value.
        """
        if self.loop is not None:
            self._run_on(self.loop, old, new)
            return
        result = self._function(old, new)
        if hasattr(result, "close") and is_unawaited(result):  # a task or future has no close(), and runs
            raise TypeError("it returned a coroutine, which nobody awaits: register the coroutine function itself")

    def _run_on(self, loop: asyncio.AbstractEventLoop, old: object, new: object) -> None:
        import asyncio

        if loop.is_closed() or os.getpid() != self._pid:
            self._drop("is gone")
            return
        coroutine = self._function(old, new)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:  # closed since
            coroutine.close()
            self._drop("is gone")
            return
        # Wait, to keep the order: the next callback must not overtake this one.
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        while not done.wait(_LOOP_CHECK_SECONDS):
            if loop.is_closed():
                coroutine.close()
                self._drop("was closed")
                return
        if future.cancelled():
            logger.warning("callback %s was cancelled", self.label)
        else:
            future.result()

    def _drop(self, problem: str) -> None:
        if not self.is_dropped:
            self.is_dropped = True
            logger.warning("callback %s dropped: its event loop %s", self.label, problem)


class Delivery:
    """
    One call that must be made once.

    Attributes:
        run: The function to call.
        label: The name of the function in messages.
        flag_name: The name of the flag that the callback belongs to; None for a function of dflag itself.
        secret: Whether messages must not quote its errors.
        loop: The event loop that *run* waits for; None if there is none.
    """

    __slots__ = ("flag_name", "label", "loop", "run", "secret")

    def __init__(
        self,
        run: Callable[[], object],
        label: str,
        flag_name: str | None = None,
        *,
        secret: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.run: Final = run
        self.label: Final = label
        self.flag_name: Final = flag_name
        self.secret: Final = secret
        self.loop: Final = loop


def _required_loop(label: str, flag_name: str) -> asyncio.AbstractEventLoop:
    loop = _running_loop()
    if loop is None:
        raise DefinitionError(
            f"flag {flag_name!r}: the coroutine function {label} needs a running event loop when it is registered"
        )
    return loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
