"""
Counting which flags a program reads, for a limited time.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag._read_counts import count_reads, read_counts, stop_counting

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="counting", autouse=True)
def _counting() -> Iterator[None]:
    """Stop the counting that a test has begun."""
    yield
    stop_counting()


def test_reads_are_counted_for_a_while(flags: dflag.FlagRegistry) -> None:
    """
    Reads of static, dynamic and keyed flags are counted until counting stops, and still return the right values.
    A method that was bound before is counted too, and a second `count_reads()` does not reset the counts.
    """
    port, rate = flags.int("port", 1), flags.dyn_int("rate", 2)
    limit, unread = flags.dyn_int("limit", 3, by="tenant"), flags.dyn_int("unread", 4)
    get = rate.get
    count_reads(60)
    assert (port.get(), get(), get(), limit.get(), limit.for_("acme")) == (1, 2, 2, 3, 3)
    with flags.pinned({rate: 7}):
        assert rate.get() == 7
    counts = read_counts(flags)

    assert counts is not None
    assert counts.reads == {port: 1, rate: 3, limit: 2, unread: 0}
    assert 0 < counts.seconds_left <= 60
    count_reads(60)  # does not begin again
    rate.get()
    stop_counting()
    rate.get()
    counts = read_counts(flags)
    assert counts is not None
    assert (counts.reads[rate], counts.seconds_left) == (4, 0)


def test_it_ends_by_itself_and_leaves_nothing(flags: dflag.FlagRegistry) -> None:
    """
    When its time is over, the counting and its thread end, and the methods have their original code objects again.
    """
    plain = dflag.DynamicFlag.get.__code__, dflag.StaticFlag.get.__code__, dflag.DynamicFlag.for_.__code__
    threads = set(threading.enumerate())
    count_reads(0.01)
    (thread,) = set(threading.enumerate()) - threads or {threading.main_thread()}
    if thread is not threading.main_thread():
        thread.join(10)
        assert not thread.is_alive()
    assert (dflag.DynamicFlag.get.__code__, dflag.StaticFlag.get.__code__, dflag.DynamicFlag.for_.__code__) == plain
    assert all(one is other for one, other in zip(plain, _codes(), strict=True))


def _codes() -> tuple[object, ...]:
    return dflag.DynamicFlag.get.__code__, dflag.StaticFlag.get.__code__, dflag.DynamicFlag.for_.__code__


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_count(flags: dflag.FlagRegistry) -> None:
    """
    A forked child does not count reads, because no thread would end the counting there; the parent goes on.
    """
    rate, plain = flags.dyn_int("rate", 1), _codes()
    count_reads(60)
    child = os.fork()
    if child == 0:
        os._exit(0 if rate.get() == 1 and _codes() == plain else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert _codes() != plain
