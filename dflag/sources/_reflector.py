"""
Following one object at the API server: list once, watch for ever.

Watches end all the time. When the server ends a watch as agreed, the next watch goes on from the last version. After a
lost connection, and after a watch in which the server sent nothing, the object is listed first. The address may lead to
another server by then, or the server may have another database, and a watch is silent until the server reaches the
version that the watch starts from.

If a watch cannot be opened, only an open watch makes the source healthy again, because a list alone does not prove that
changes will be seen. A server may also open each watch and then refuse it by an event, for example with status 410 for
the version of its newest list. When this repeats, only a watch that brings an event or ends as agreed makes the source
healthy again.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Final

from dflag._log import logger
from dflag.sources._api import defect, understand
from dflag.sources._base import Watch
from dflag.sources._objects import ApiError, Failure, StaleError, is_older, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from dflag.sources._api import ApiServer
    from dflag.sources._objects import ObjectCache, ObjectState, Target
    from dflag.typing import Wake

FIRST_SECONDS: Final = 0.8
"""The shortest pause after a failure, as in Kubernetes' own clients. The longest one doubles with each failure."""

LAST_SECONDS: Final = 30.0
"""The limit of this doubling. After a failure that an operator must fix, requests are tried about this often."""

LONGEST_SECONDS: Final = 120.0
"""The longest ``Retry-After`` of a server that is obeyed."""

SETTLED_SECONDS: Final = 10.0
"""How long a watch must last so that its end is not a failure."""

UNREPORTED_SECONDS: Final = 10.0
"""The longest pause after a broken watch that is not reported as a failure. No change is seen during the pause."""

JOIN_SECONDS: Final = 0.7
"""How long `close` waits for the thread. Only the lookup of a host name cannot be cut short."""

_GONE: Final = 410
_UNAUTHORIZED: Final = 401
_LASTING: Final = frozenset({403, 404})
"""Failures that an operator must fix at the server. A file or a plugin that fails may work again in a moment."""
_AT_ONCE: Final = frozenset({_UNAUTHORIZED, _GONE})
"""
Failures that may be over at once. After a 401 the next attempt reads the credentials again, and after a 410 it asks for
the newest version. The first failure of each kind needs no pause. Until a watch lasts, a repeated one does.
"""


class Backoff:
    """
    The pauses between attempts. They are random, so that a thousand clients that fail together do not return together.

    Thread safety: one thread at a time.
    """

    def __init__(self) -> None:
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next(self, *, at_least: float | None = None, lasting: bool = False) -> float:
        """
        Return the next pause in seconds.

        Args:
            at_least: The pause in seconds that the server asks for, if any.
            lasting: Whether an early attempt is of no use.
        """
        self._failures += 1
        ceiling = LAST_SECONDS if lasting else min(LAST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures, 16))
        pause = random.uniform(LAST_SECONDS / 2 if lasting else FIRST_SECONDS, ceiling)  # noqa: S311 - no secret
        if at_least is None:
            return pause
        wanted = min(at_least, LONGEST_SECONDS)
        return max(pause, wanted + random.uniform(0.0, FIRST_SECONDS))  # noqa: S311


class Reflector(Watch):
    """
    A running watch of one object. Its own thread waits for events, and uses hardly any processor time.

    Thread safety: `close` and the attributes from any thread.
    """

    mode = "API watch"

    def __init__(
        self,
        server: ApiServer,
        target: Target,
        cache: ObjectCache,
        wake: Wake,
        watch_seconds: float,
        *,
        ended: Callable[[Watch], None],
    ) -> None:
        self._server: Final = server
        self._target: Final = target
        self._cache: Final = cache
        self.wake: Final = wake
        self._watch_seconds: Final = watch_seconds
        self._ended: Final = ended
        self._backoff: Final = Backoff()
        self._opened_at: float | None = None
        self._reached = ""  # the version that the watch has reached
        self._lost = False  # whether there was a failure since a watch was last opened
        self.is_refused = False  # whether no watch is open; then a list alone does not make the source healthy
        self._is_refused_by_event = False  # whether events repeat a refusal; then an open watch is not enough either
        self._answered: Final[set[int]] = set()  # the codes of refusals since a watch has lasted
        self._stopping: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="dflag-kubernetes", daemon=True)

    def start(self) -> None:
        """
        Start the thread. If it cannot be started now, set `problem`, and `drain` tries again.
        """
        try:
            self._thread.start()
        except RuntimeError as error:
            self.mode, self.problem = "not watched", f"no thread could be started to watch it: {error}"
            self.is_refused = True
            # While there is a watch, nothing else asks the server.
            self._cache.fail(Failure(f"cannot read {self._target}: {self.problem}", unreachable=True, absent=False))
        else:
            self.mode, self.problem = type(self).mode, None

    def drain(self) -> None:
        """
        Try again to start the thread while there is a `problem`.
        """
        if self.problem is not None and not self._stopping.is_set():
            self.start()

    def touch(self) -> None:
        """
        Note that the API server has just answered, to the watch or to another request.
        """
        self.last_contact = time.monotonic()

    def close(self) -> None:
        """
        End the watch, wherever its thread is blocked. Idempotent.
        """
        self._ended(self)
        self._stopping.set()
        self._server.cut()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_SECONDS)

    def abandon(self) -> None:
        # The thread does not exist in the child, and its locks may be held. Only the descriptor is touched.
        self._server.abandon()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._stopping.wait(self._attempt())
        finally:
            self._server.close()

    def _attempt(self) -> float:
        """
        List if necessary, watch until the watch ends, and return the seconds to pause.
        """
        self._opened_at = None
        try:
            self._follow(self._cache.cursor or self._list())
        except ApiError as fault:
            self._server.close()
            return 0.0 if self._stopping.is_set() else self._pause_after(fault)
        except BaseException as error:
            # A defect in dflag or in a library must not end the thread that follows the object.
            self._server.close()
            return 0.0 if self._stopping.is_set() else self._pause_after(defect(error))
        logger.debug("%s: the API server ended the watch, as agreed", self._target)
        return 0.0 if self._forget_failures() else self._backoff.next()

    def _list(self) -> str:
        asked = self._cache.look().state
        state, cursor, is_latest = self._server.list(None if _GONE in self._answered else self._cache.floor)
        self.touch()
        try:
            new = self._cache.accept_list(state, cursor, asked, is_latest=is_latest)
        except StaleError as error:
            raise ApiError(f"{self._target}: the API server is behind: {error}", unreachable=True) from None
        recovered = not self.is_refused and self._cache.recover()
        if new or recovered:
            self.wake()
        return cursor

    def _follow(self, cursor: str) -> None:
        # At random, so that not all clients reconnect at once, and never longer than promised.
        seconds = self._watch_seconds * random.uniform(0.8, 1.0)  # noqa: S311
        heard, self.is_refused, self._reached = False, True, cursor
        with self._server.watch(cursor, seconds) as events:
            self._note_opened()
            for kind, item in events:
                self.touch()
                heard = True
                self._accept(kind, item)
                if self._stopping.is_set():
                    return
        self._note_watching()
        if not heard:
            self._cache.expire()

    def _note_opened(self) -> None:
        self.touch()
        self._opened_at = time.monotonic()
        self.reconnects += self._lost
        self._lost = False
        if not self._is_refused_by_event:
            self._note_watching()

    def _note_watching(self) -> None:
        self.is_refused = self._is_refused_by_event = False
        if self._cache.recover():
            self.wake()

    def _accept(self, kind: str, item: Mapping[str, Any]) -> None:
        state: ObjectState | None = understand(kind, item, self._target)
        self._note_watching()
        if kind == "BOOKMARK":
            self._advance(version_of(item))
        if state is None:
            return
        try:
            new = self._cache.accept_event(state)
        except StaleError as error:
            logger.debug("%s: an event is left out: %s", self._target, error)
            return
        self._reached = state.version
        if new:
            self.wake()

    def _advance(self, version: str) -> None:
        """
        Note that nothing has changed up to a version. The version is compared with the one that this watch has reached,
        because a list that was read meanwhile may come from another server, which is ahead.
        """
        if is_older(version, self._reached):
            raise ApiError(
                f"{self._target}: the resource versions have started again: "
                f"version {version} is older than {self._reached}, from which was watched",
                unreachable=True,
            )
        if version:
            self._reached = version
            self._cache.advance(version)

    def _pause_after(self, fault: ApiError) -> float:
        """
        Decide what a failure means for the next attempt and for the status of the source.

        Returns:
            The seconds to pause.
        """
        self._lost = True
        self._forget_failures()
        is_repeated = fault.code in self._answered
        if fault.code:
            self._answered.add(fault.code)
        at_once = fault.code in _AT_ONCE and not is_repeated
        pause = 0.0 if at_once else self._backoff.next(at_least=fault.retry_after, lasting=fault.code in _LASTING)
        if is_repeated or pause > UNREPORTED_SECONDS or (self._opened_at is None and not at_once):
            self._fail(fault, is_repeated=is_repeated)
        else:
            # A watch that was open and broke off is not a failure if the next one opens.
            logger.debug("%s: the watch broke off: %s", self._target, fault)
        self._cache.expire()
        return pause

    def _fail(self, fault: ApiError, *, is_repeated: bool) -> None:
        if self._opened_at is not None:  # no list proves that this is over, nor, after repeats, an open watch
            self.is_refused = True
            self._is_refused_by_event |= is_repeated
        if self._cache.fail(Failure(str(fault), unreachable=fault.unreachable, absent=fault.absent)):
            self.wake()

    def _forget_failures(self) -> bool:
        """
        Forget the earlier failures if this watch has lasted long enough, and return whether it has.
        """
        opened = self._opened_at
        lasted = opened is not None and time.monotonic() - opened >= min(SETTLED_SECONDS, self._watch_seconds / 2)
        if lasted:
            self._backoff.reset()
            self._answered.clear()
            self._is_refused_by_event = False
        return lasted
