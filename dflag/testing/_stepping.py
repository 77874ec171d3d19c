"""
An updater that a test drives step by step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self, Unpack, final

from dflag._registry import registry_of
from dflag._updater import Updater
from dflag.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag._options import UpdaterOptions
    from dflag._records import Revision
    from dflag._registry import RegistryLike
    from dflag._status import Status
    from dflag.typing import Raw


@final
class SteppedUpdater:
    """
    An updater for values in memory that applies them within the call that publishes them.

    It has no file, no watch and no thread. So a test has nothing to wait for: when a call returns, the values are in
    force and the callbacks have run. Like `Updater.setup`, it initializes and freezes the static flags. At the end of
    its ``with`` block its values are dropped.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> with SteppedUpdater(flags, {"rate_limit": "60"}) as steps:
        ...     steps.update(rate_limit="70").changed, rate.get()
        (('rate_limit',), 70)
        >>> rate.get()
        50

    Args:
        registry: The registry, or a `dflag.Flags` class.
        values: The first set of values; None for an empty set.
        name: The name of the source.
        **options: The options of `Updater`.

    Raises:
        UpdateError: A value of the first set is bad.
        DefinitionError: An option or the name is not valid, or another updater follows a source of this name.
        TypeError: A name or a value of the first set is of a type that a source may not return.

    Thread safety: one thread at a time. Validators run on the calling thread, callbacks on the registry's notifier
    thread.
    """

    def __init__(
        self,
        registry: RegistryLike,
        values: Mapping[str, Raw] | None = None,
        *,
        name: str = "test",
        **options: Unpack[UpdaterOptions],
    ) -> None:
        self._registry: Final = registry_of(registry)
        self._source: Final = MemorySource(values, name=name)
        self._updater: Final = Updater(registry, self._source, **options)
        self._updater.initialize()
        self._registry.freeze()
        self._registry.flush()

    def write(self, values: Mapping[str, Raw]) -> Revision:
        """
        Publish *values* as the complete set.

        Returns:
            The resulting revision, as from `Updater.refresh`. If a registry validator refuses the values,
            `Revision.error` says why. The callbacks have run, except for coroutine functions on the event loop of this
            thread.

        Raises:
            TypeError: A name or a value is of a type that a source may not return. Nothing is published.
        """
        self._source.update(values)
        revision = self._updater.refresh()
        self._registry.flush()
        return revision

    def update(self, values: Mapping[str, Raw] | None = None, /, **more: Raw) -> Revision:
        """
        Publish the current set with these values added or replaced; returns and raises the same as `write`.
        """
        return self.write({**self._source.read(), **({} if values is None else values), **more})

    def remove(self, *names: str) -> Revision:
        """
        Publish the current set without these names; returns the same as `write`.

        Raises:
            KeyError: The set does not contain one of the names.
        """
        values = dict(self._source.read())
        for name in names:
            del values[name]
        return self.write(values)

    def status(self) -> Status:
        """
        Return the status of the updater, as `Updater.status` does.
        """
        return self._updater.status()

    def close(self) -> None:
        """
        Drop the values. Static flags keep theirs, because they are frozen. Idempotent.

        If a registry validator refuses the values that would be left, the dropped ones stay, and a warning is logged.
        Only `isolated` restores the registry in any case.
        """
        self._updater.stop()
        self._registry.apply({}, source=self._source.name)
        self._registry.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
