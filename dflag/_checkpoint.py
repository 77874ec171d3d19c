"""
The state of a registry at one moment, to be brought back after a test.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from dflag._layers import OVERRIDE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dflag._flags import Flag
    from dflag._intake import Sources
    from dflag._layers import Entry
    from dflag._store import Edit, Store


class Checkpoint:
    """
    The layers, callbacks and validators of a store's flags, its registry validators, its sources, and its freeze.

    Thread safety: any thread.
    """

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        with store.lock, store.books:
            self._flags: Final = {flag: (flag._layers, flag._listeners, flag._spec) for flag in store.flags.values()}
            self._rules: Final = store.rules
            self._frozen: Final = store.frozen
            self._sources: Final = store.intake.keep()

    def restore(self) -> None:
        """
        Bring all of it back; values change in one step, which callbacks from before hear of.

        Overrides whose time is over meanwhile stay dropped. Flags that were declared since stay, with what they were
        declared with, and take the values that the sources held for their names. What was made a secret stays one.
        """
        store = self._store
        replaced: list[object] = []  # what must not end under the lock, since that may run code of a user
        with store.lock:
            replaced += store.rules
            store.rules = self._rules
            store.frozen = self._frozen
            for flag, (_, listeners, spec) in self._flags.items():
                replaced += (flag._listeners, flag._spec)
                flag._listeners = listeners
                flag._spec = spec.concealed() if flag.secret else spec
        step = self._step()
        while not step.take():
            step = self._step()
        for flag in step.current.keys() - self._flags.keys():
            store.intake.catch_up(flag)

    def _step(self) -> _Restoration:
        return _Restoration(self._store, {flag: layers for flag, (layers, _, _) in self._flags.items()}, self._sources)


class _Restoration:
    """
    The step that brings layers and sources back, worked out for the layers that flags have now.
    """

    def __init__(self, store: Store, before: Mapping[Flag[Any], Mapping[str, Entry]], sources: Sources) -> None:
        self._store: Final = store
        self._sources: Final = sources
        self._replaced: object = None  # as in `Checkpoint.restore`
        self.current: Final = {flag: flag._layers for flag in list(store.flags.values())}
        now = time.monotonic()
        self.edits: Final[list[Edit]] = []
        for flag, layers in self.current.items():
            kept = before.get(flag, {})
            for layer in {**layers, **kept}:
                entry = kept.get(layer)
                if entry is not None and layer == OVERRIDE and entry.deadline is not None and entry.deadline <= now:
                    entry = None
                if entry is not layers.get(layer):
                    self.edits.append((flag, layer, entry))

    def take(self) -> bool:
        """
        Commit it, unless flags have other layers by now; without a change of any flag it is no revision.
        """
        if self.edits:
            return self._store.commit(self.edits, ruled=False, errand=self) is not None
        with self._store.lock:
            if not self.is_current():
                return False
            self._replaced = self._store.intake.bring_back(self._sources)
            return True

    def is_current(self) -> bool:
        return all(flag._layers is self.current.get(flag) for flag in self._store.flags.values())

    def give_way(self) -> None:
        pass

    def conclude(self, changed: Collection[Flag[Any]]) -> None:  # noqa: ARG002 - as of every errand
        self._replaced = self._store.intake.bring_back(self._sources)
