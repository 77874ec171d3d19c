"""
Threads read and write many flags during commits without torn reads, lost values or deadlocks.
"""

from __future__ import annotations

import itertools
import os
import threading
import time

import pytest

import dflag

FLAGS = 200
READERS = 2


def test_no_reader_sees_an_older_value_after_a_new_one(flags: dflag.FlagRegistry, torture_seconds: float) -> None:
    """
    A thread that has read the new value of one flag never reads an older value of another flag of that commit.
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


def test_two_threads_that_write_lose_no_value_and_meet_no_error(
    flags: dflag.FlagRegistry, torture_seconds: float
) -> None:
    """
    Two threads that set different flags as fast as they can lose no change and see no error.
    """
    declared = [flags.dyn_int(f"f{number}", 0) for number in range(READERS)]
    deadline = time.monotonic() + torture_seconds
    written = [0] * READERS

    def write(number: int) -> None:
        while time.monotonic() < deadline:
            declared[number].set(written[number] + 1)
            written[number] += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in range(READERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert [flag.get() for flag in declared] == written
    assert flags.snapshot().revision == sum(written)
    assert all(written)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_commits_beside_bindings_and_forks_go_on(flags: dflag.FlagRegistry, torture_seconds: float) -> None:
    """
    Commits, bindings and forks in several threads do not wait for each other's locks forever.
    """
    rate = flags.dyn_int("rate", 0)
    over = threading.Event()

    def commit() -> None:
        for number in itertools.takewhile(lambda _: not over.is_set(), itertools.count(1)):
            rate.set(number)

    committing = [threading.Thread(target=commit) for _ in range(2)]
    for thread in committing:
        thread.start()
    deadline = time.monotonic() + torture_seconds
    try:
        for number in itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.count()):
            unbound = dflag.dyn_int(1)
            unbound.set(2)
            assert flags.bind(f"bound_{number}", unbound).get() == 2
            if number % 20 == 0:
                _fork_and_commit(flags, rate)
    finally:
        over.set()
        for thread in committing:
            thread.join()


def _fork_and_commit(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    child = os.fork()
    if child == 0:
        with flags.pinned():
            rate.set(-1)
        os._exit(0 if rate.get() == -1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
