"""
Event streams: they tell clients of OFREP to ask again, as server-sent events.

A stream says that something has changed, and not what. So whatever happens in between, one event is enough.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from dflag._registry import store_of_registry
from dflag.web._listing import instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag._registry import FlagRegistry
    from dflag._snapshot import Snapshot

HEARTBEAT_SECONDS: Final = 15.0
"""How often an idle stream sends something: proxies end a connection that is silent for a minute."""

_RETRY_MILLISECONDS: Final = 2_000
"""After how long a browser connects again."""


class Subscription:
    """
    One stream: what it has to send now. It is open from `on_wake` on, as a request may be given up before its answer.

    Thread safety: `close` and `wake` from any thread; the rest from one at a time.
    """

    def __init__(self, streams: Streams, last_event_id: str) -> None:
        self._streams: Final = streams
        self._snapshot: Snapshot | None = None
        self._last_event_id: Final = last_event_id
        self._is_due = False
        self._sent_at = 0.0
        self.is_open: bool = True
        self._wake: Callable[[], object] = int  # nothing yet

    def on_wake(self, function: Callable[[], object]) -> None:
        """
        Open the stream, and call a function, in any thread, when there is something to send or it is closed.
        """
        self._wake = function
        self._streams.add(self)

    def wake(self) -> None:
        """
        Note that something has changed.
        """
        self._is_due = True
        self._call()

    def _call(self) -> None:
        with contextlib.suppress(RuntimeError):  # its event loop is closed
            self._wake()

    def due(self) -> bytes:
        """
        Return what to send now; usually nothing.
        """
        now = time.monotonic()
        was_due, self._is_due = self._is_due, False
        snapshot = self._streams.snapshot()
        if self._snapshot is None:
            # A change between the answer that named this stream and now would be missed: the client asks once more,
            # unless it comes back and has seen the last event.
            is_current = self._last_event_id == _token(snapshot)
            sent = f"retry: {_RETRY_MILLISECONDS}\n".encode() + (b":\n\n" if is_current else _event(snapshot))
        elif was_due or (now - self._sent_at >= HEARTBEAT_SECONDS and snapshot is not self._snapshot):
            sent = _event(snapshot)
        elif now - self._sent_at >= HEARTBEAT_SECONDS:
            sent = b":\n\n"
        else:
            return b""
        self._snapshot, self._sent_at = snapshot, now
        return sent

    def close(self) -> None:
        """
        End the stream. Idempotent.
        """
        self.is_open = False
        self._streams.drop(self)
        self._call()


class Streams:
    """
    The streams of one registry that are open.

    Args:
        registry: The flags.
        find: Returns a flag that is shown, by name, else None.
        limit: How many there may be.

    Thread safety: any thread.
    """

    def __init__(self, registry: FlagRegistry, find: Callable[[str], object], limit: int) -> None:
        self._store: Final = store_of_registry(registry)
        self._find: Final = find
        self._limit: Final = limit
        self._open: frozenset[Subscription] = frozenset()
        # Those that are not open yet count too: all clients come back at once. One that is given up just goes.
        self._places: WeakSet[Subscription] = WeakSet()

    def snapshot(self) -> Snapshot:
        """
        Return the values now.
        """
        return self._store.snapshot()

    def open(self, last_event_id: str) -> Subscription | None:
        """
        Return a stream that is to be opened; None when there are too many.

        Args:
            last_event_id: The event that the client has seen last; empty for none.
        """
        with self._store.lock:
            if len(self._places) >= self._limit:
                return None
            subscription = Subscription(self, last_event_id)
            self._places.add(subscription)
        return subscription

    def add(self, subscription: Subscription) -> None:
        """
        Open a stream, which is woken from now on.
        """
        with self._store.lock:
            if not self._open:
                self._store.add_commit_listener(self._on_commit)
            self._open |= {subscription}

    def drop(self, subscription: Subscription) -> None:
        """
        Forget a stream, whose place is free. Idempotent.
        """
        with self._store.lock:
            self._places.discard(subscription)
            self._open -= {subscription}
            if not self._open:
                self._store.remove_commit_listener(self._on_commit)

    def close(self) -> None:
        """
        End all streams.
        """
        for subscription in self._open:
            subscription.close()

    def abandon(self) -> None:
        """
        Forget, in a forked child, the streams of the parent.
        """
        self._open = frozenset()
        self._places = WeakSet()
        self._store.forget_commit_listener(self._on_commit)

    def _on_commit(self, names: tuple[str, ...]) -> None:
        if any(self._find(name) is not None for name in names):
            for subscription in self._open:
                subscription.wake()


def _token(snapshot: Snapshot) -> str:
    return f"{instance()}-{snapshot.revision}"


def _event(snapshot: Snapshot) -> bytes:
    token = _token(snapshot)
    data = json.dumps({"type": "refetchEvaluation", "etag": token})
    return f"id: {token}\ndata: {data}\n\n".encode()
