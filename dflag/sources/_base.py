"""
The base class of sources. A source returns complete sets of raw values, and says when to look again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag.typing import Raw, Wake


class Watch:
    """
    A running watch of one source, as `Source.watch` returns it.

    The base class waits for nothing and has nothing to close.

    Thread safety: one thread at a time, the updater's.
    """

    mode: str = "polling"
    """How changes are noticed, for people: ``"inotify"``, ``"fsevents"``, ``"polling"``, ``"memory"``."""

    problem: str | None = None
    """Why only the periodic check notices changes, or None while the watch works."""

    last_contact: float | None = None
    """When the source was last seen to be there (`time.monotonic`); None if only the periodic check knows."""

    reconnects: int = 0
    """How many times the connection of the watch was lost and made again."""

    def fileno(self) -> int | None:
        """
        Return a descriptor that becomes readable when it is time to look again, or None if there is none.

        The updater waits for it in its own thread, which saves a thread and a hand-over of the interpreter lock.
        """
        return None

    def woken(self) -> None:
        """
        Note that the descriptor has become readable. The updater looks at the source right after this call.
        """

    def drain(self) -> None:
        """
        Read the events that made the descriptor readable. The updater looks at the source before and after this call.
        """

    def close(self) -> None:
        """
        End the watch and release its threads and descriptors. Idempotent.
        """

    def abandon(self) -> None:
        """
        Release the inherited descriptors in a forked child, without disturbing the parent's watch.
        """
        self.close()


class Source(ABC):
    """
    A place that values come from.

    Subclass it to supply values of your own; only `name` and `read` are required. A source knows nothing about flags.

    Thread safety: the updater calls `invalidate`, `probe`, `read`, `secret` and `locate` from one thread at a time. It
    may call the other methods, and those of the watch, from another thread at the same time. If a read still runs after
    `Updater.stop`, the next `Updater.start` does not wait for it.

    >>> import dflag
    >>> class Defaults(dflag.sources.Source):
    ...     name = "defaults"
    ...
    ...     def read(self):
    ...         return {"rate_limit": "60"}
    >>> flags = dflag.FlagRegistry()
    >>> rate = flags.dyn_int("rate_limit", 50)
    >>> with dflag.Updater.setup(flags, Defaults()):
    ...     rate.get(), rate.origin
    (60, 'defaults')
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """
        The name of the layer, as in ``flag.origin``. It must be unique in a registry.
        """

    @abstractmethod
    def read(self) -> Mapping[str, Raw]:
        """
        Return the complete current set of values.

        Raises:
            SourceError: The source cannot be read; with ``missing=True`` if it does not exist at all.
        """

    @property
    def secret(self) -> bool:
        """
        Whether all values are secret, as in a Kubernetes Secret. The updater asks for this property after each `read`.

        A flag with a value from a secret source counts as secret, unless it was declared with ``secret=False``.
        """
        return False

    def invalidate(self) -> None:  # noqa: B027 - most sources look for themselves at every read
        """
        Make the next `read` find out what the source holds now. It must not return what a watch has received earlier,
        or what a file held before it was written to.

        `Updater.refresh` and `Updater.initialize` call it, because after them nobody might look again for a long time.
        """

    def probe(self) -> object:
        """
        Return a cheap token that changes whenever `read` may return something else.

        The updater calls it after every wake-up and every ``resync_seconds``, and reads when the token has changed.
        So a source that has raised `SourceError` is read again only when its token changes. By default, every call
        returns another token.
        """
        return object()

    def watch(self, wake: Wake) -> Watch:  # noqa: ARG002 - for sources that can say when to look
        """
        Start to watch the source. The watch may call *wake* at any time, from any thread, until it is closed.

        Do not raise if events are not available: return a `Watch` with a `Watch.problem`.
        """
        return Watch()

    def recheck_seconds(self) -> float | None:
        """
        Return in how many seconds to look again even without an event, or None.

        The updater calls it after each `read`. It is for values that have not settled yet, and for failed reads.
        """
        return None

    def why_not_live(self) -> str | None:
        """
        Return why some or all changes will never be seen, or None if all of them will be.

        The updater calls it once, when it starts to watch. The reason is logged as a warning and is in ``status()``.
        """
        return None

    def locate(self, key: str) -> str:  # noqa: ARG002 - for sources whose keys have places of their own
        """
        Return the place of *key* for messages, such as ``"/etc/dflag/rate_limit"``.

        The place must stay the same as long as the value does not move: a bad value whose place differs is parsed
        again.
        """
        return self.name
