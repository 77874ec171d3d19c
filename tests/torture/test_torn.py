"""
Readers of the first and the last of many flags that are always committed together.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dflag

FLAGS = 200
READERS = 2


def test_no_reader_sees_an_older_value_after_a_new_one(flags: dflag.FlagRegistry, torture_seconds: float) -> None:
    """
    A thread that has read one new value of a revision reads no older value of another flag.
    """
    declared = [flags.dyn_int(f"f{number:03}", 0) for number in range(FLAGS)]
    first, last = declared[0], declared[-1]
    over = threading.Event()
    torn: list[tuple[int, int]] = []
    reads = [0] * READERS

    def read(reader: int) -> None:
        while not over.is_set():
            for one, other in ((first, last), (last, first)):
                earlier, later = one.get(), other.get()
                if later < earlier:
                    torn.append((earlier, later))
            reads[reader] += 1

    readers = [threading.Thread(target=read, args=(reader,)) for reader in range(READERS)]
    for reader in readers:
        reader.start()
    deadline = time.monotonic() + torture_seconds
    commits = 0
    while time.monotonic() < deadline:
        commits += 1
        flags.apply({flag.name: str(commits) for flag in declared}, source="storm")
    over.set()
    for reader in readers:
        reader.join()

    assert torn == []
    assert commits > 1
    assert all(reads)
