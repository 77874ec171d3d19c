"""
Event streams: server-sent events that tell OFREP clients to fetch the flags again.

An event says that something has changed, but not what. So one event is enough for any number of changes.
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
"""How often an idle stream sends something: proxies close a connection that is silent for a minute."""

_RETRY_MILLISECONDS: Final = 2_000
"""How long a browser waits before it connects again."""


class Subscription:
    """
    The events of one stream. It is added to the open streams only by `on_wake`, as a request may end before its answer.

    Thread safety: `close` and `wake` from any thread; the other methods from one thread at a time.
    """

    def __init__(self, streams: Streams, last_event_id: str) -> None:
        self._streams: Final = streams
        self._snapshot: Snapshot | None = None
        self._last_event_id: Final = last_event_id
        self._is_due = False
        self._sent_at = 0.0
        self.is_open: bool = True
        self._wake: Callable[[], object] = int  # does nothing until `on_wake`

    def on_wake(self, function: Callable[[], object]) -> None:
        """
        Open the stream, and call *function*, on any thread, when there is an event to send and when the stream closes.
        """
        self._wake = function
        self._streams.add(self)

    def wake(self) -> None:
        """
        Record that something has changed.
        """
        self._is_due = True
        self._call()

    def _call(self) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop of the client's request is closed
            self._wake()

    def due(self) -> bytes:
        """
        Return the bytes to send now; usually empty.
        """
        now = time.monotonic()
        was_due, self._is_due = self._is_due, False
        snapshot = self._streams.snapshot()
        if self._snapshot is None:
            # The client would miss a change between the bulk answer that named this stream and now. So the first event
            # tells it to fetch again, unless it reconnects and has already seen the event of the current snapshot.
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
    The open streams of one registry.

    Args:
        registry: The flags.
        find: A function that returns the flag of a name if OFREP shows it, else None.
        limit: How many streams may be open.

    Thread safety: any thread.
    """

    def __init__(self, registry: FlagRegistry, find: Callable[[str], object], limit: int) -> None:
        self._store: Final = store_of_registry(registry)
        self._find: Final = find
        self._limit: Final = limit
        self._open: frozenset[Subscription] = frozenset()
        # Streams that are not open yet count too, because all clients may reconnect at once. The set is weak, so that a
        # stream whose request ends early gives its place back.
        self._places: WeakSet[Subscription] = WeakSet()

    def snapshot(self) -> Snapshot:
        """
        Return the current snapshot.
        """
        return self._store.snapshot()

    def open(self, last_event_id: str) -> Subscription | None:
        """
        Return a new stream, which `add` opens; None if there are too many.

        Args:
            last_event_id: The id of the last event that the client has seen; empty if there is none.
        """
        with self._store.lock:
            if len(self._places) >= self._limit:
                return None
            subscription = Subscription(self, last_event_id)
            self._places.add(subscription)
        return subscription

    def add(self, subscription: Subscription) -> None:
        """
        Open a stream, which commits wake from now on.
        """
        with self._store.lock:
            if not self._open:
                self._store.add_commit_listener(self._on_commit)
            self._open |= {subscription}

    def drop(self, subscription: Subscription) -> None:
        """
        Forget a stream and free its place. Idempotent.
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
        Forget the streams of the parent, in a forked child.
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
