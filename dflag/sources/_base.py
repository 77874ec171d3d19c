"""
The base class of sources: complete sets of raw values, and when to look again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag.typing import Raw, Wake


class Watch:
    """
    A running watch of one source, as its source's `Source.watch` returns it.

    The base class waits for nothing and has nothing to close.

    Thread safety: one thread at a time, the updater's.
    """

    mode: str = "polling"
    """How changes are noticed, for people: ``"inotify"``, ``"fsevents"``, ``"polling"``, ``"memory"``."""

    problem: str | None = None
    """Why changes are only noticed by the periodic check, or None when the watch works as it should."""

    last_contact: float | None = None
    """When the source was last heard of (`time.monotonic`), if the watch knows better than the periodic check."""

    reconnects: int = 0
    """How often the connection behind the watch was lost and made again."""

    def fileno(self) -> int | None:
        """
        Return a descriptor that becomes readable when it is time to look again, if there is one.

        The updater waits for it in its own thread, which saves a thread and a hand-over.
        """
        return None

    def woken(self) -> None:
        """
        Note that the descriptor has become readable. The updater looks at the source right after this call.
        """

    def drain(self) -> None:
        """
        Read what made the descriptor readable. The updater looks at the source before and after this call.
        """

    def close(self) -> None:
        """
        End the watch and release its threads and descriptors. Idempotent.
        """

    def abandon(self) -> None:
        """
        Release in a forked child what was inherited, without disturbing the parent's watch.
        """
        self.close()


class Source(ABC):
    """
    A place that values come from.

    Derive from it to bring values of your own; only `name` and `read` must be written. A source knows nothing of flags.

    Thread safety: the updater calls every method from one thread at a time.

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
        The name of the layer, as in ``flag.origin``; it must be unique in a registry.
        """

    @abstractmethod
    def read(self) -> Mapping[str, Raw]:
        """
        Read the complete set of values now.

        Raises:
            SourceError: It cannot be read; with ``missing=True`` when it is not there at all.
        """

    @property
    def secret(self) -> bool:
        """
        Whether all of its values are secret, as in a Kubernetes Secret. The updater reads it after each `read`.

        A flag with a value from a secret source counts as secret, unless it was declared with ``secret=False``.
        """
        return False

    def invalidate(self) -> None:  # noqa: B027 - most sources look for themselves at every read
        """
        Make the next `read` find out what the source holds now: not what a watch has received, nor what a file held
        before it was written to.

        `Updater.refresh` and `Updater.initialize` call it, after which nobody may look for long.
        """

    def probe(self) -> object:
        """
        Return a cheap token that changes whenever `read` may return something else.

        The updater calls it after every wake-up and every ``resync_seconds``, and reads when the token has changed.
        So one that has raised `SourceError` is read again only when its token changes. By default each token
        differs.
        """
        return object()

    def watch(self, wake: Wake) -> Watch:  # noqa: ARG002 - for sources that can say when to look
        """
        Start to watch. The watch may call *wake* at any time, from any thread, until it is closed.

        Where events are not available, do not raise: return a `Watch` with a `Watch.problem`.
        """
        return Watch()

    def recheck_seconds(self) -> float | None:
        """
        Return in how many seconds to look again even without an event, or None.

        The updater calls it after each `read`. It is for values that have not settled yet.
        """
        return None

    def why_not_live(self) -> str | None:
        """
        Return why some or all changes will never show, or None when they will.

        The updater calls it once, when it starts to watch. The result is logged as a warning and is in ``status()``.
        """
        return None

    def locate(self, key: str) -> str:  # noqa: ARG002 - for sources whose keys have places of their own
        """
        Return where *key* comes from, for messages: ``"/etc/dflag/rate_limit"``.

        The same as long as the value stays where it is: a bad value whose place differs is parsed again.
        """
        return self.name
