"""
The state of a registry at one moment, for restoring it after a test.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from dflag._flags import keyed_of, layers_of, restore_flag, specification_of
from dflag._layers import OVERRIDE
from dflag._transaction import Transaction

if TYPE_CHECKING:
    from dflag._source_layers import SourceLayers
    from dflag._store import Store
    from dflag._transaction import Edit, KeyedEdit


class Checkpoint:
    """
    The state of a store: layers, callbacks and validators of its flags, registry validators, sources, and freeze.

    Thread safety: any thread.
    """

    def __init__(self, store: Store, sources: SourceLayers) -> None:
        self._store: Final = store
        self._sources: Final = sources
        with store.lock:
            flags = list(store.flags.values())  # a copy: a signal handler may declare others
            self._layers: Final = {flag: layers_of(flag) for flag in flags}
            self._keyed: Final = {flag: keyed_of(flag) for flag in flags}
            self._specifications: Final = {flag: specification_of(flag) for flag in flags}
            self._validators: Final = store.checks.validators
            self._frozen: Final = store.frozen
            self._kept: Final = sources.keep()

    def restore(self) -> None:
        """
        Restore the state. The values change in one step, and the restored callbacks are called for it.

        Overrides that have expired meanwhile stay dropped. Flags that were declared since stay as declared, and get the
        values that the sources held for their names. Flags that have become secret stay secret.
        """
        store = self._store
        with store.lock:
            replaced = [store.checks.validators, self._sources.keep(), *map(specification_of, self._specifications)]
            store.checks.validators = self._validators
            store.frozen = self._frozen
            for flag, specification in self._specifications.items():
                restore_flag(flag, specification)
            self._sources.restore(self._kept)
            store.outdate()
        del replaced  # outside the lock, because this may run a user's code
        transaction = store.turns.run(self._try_to_restore)
        store.report(transaction, ())
        self._sources.catch_up([flag for flag in list(store.flags.values()) if flag not in self._layers])

    def _try_to_restore(self) -> Transaction | None:
        store, base = self._store, self._store.base()
        edits, keyed = self._edits(), self._keyed_edits()
        cells = self._sources.cells_of(self._kept)
        transaction = Transaction(base, edits, keyed=keyed)
        if edits or keyed:
            return transaction if store.commit(transaction, cells) else None
        return transaction if store.set_cells(base.token, cells) else None  # no revision: no layer of a flag changes

    def _edits(self) -> list[Edit]:
        now = time.monotonic()
        edits: list[Edit] = []
        for flag in list(self._store.flags.values()):
            layers, kept = layers_of(flag), self._layers.get(flag, {})
            for layer in {**layers, **kept}:
                entry = kept.get(layer)
                if entry is not None and layer == OVERRIDE and entry.is_over(now):
                    entry = None
                if entry is not layers.get(layer):
                    edits.append((flag, layer, entry))
        return edits

    def _keyed_edits(self) -> list[KeyedEdit]:
        return [
            (flag, source, tuple(self._keyed.get(flag, {}).get(source, ())))
            for flag in list(self._store.flags.values())
            for source in {**keyed_of(flag), **self._keyed.get(flag, {})}
            if keyed_of(flag).get(source, ()) is not self._keyed.get(flag, {}).get(source, ())
        ]
