"""
Descriptors whose numbers may come to mean other files.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from dflag._descriptors import Descriptor
from dflag._waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is open on is known for Linux alone")


def _inotify() -> int:
    from watchdog.observers.inotify_c import inotify_init

    number: int = inotify_init()
    return number


def _pipe() -> int:
    reading, writing = os.pipe()
    os.close(writing)
    return reading


OPENERS: dict[str, Callable[[], int]] = {
    "inotify": _inotify,
    "pipe": _pipe,
    "event": lambda: os.eventfd(0),
    "file": lambda: os.open(os.devnull, os.O_RDONLY),
    "socket": lambda: socket.socket().detach(),
}


@pytest.fixture(name="number")
def _number() -> Iterator[int]:
    number = _inotify()
    yield number
    with contextlib.suppress(OSError):
        os.close(number)


@pytest.mark.parametrize("opener", OPENERS)
def test_another_file_under_the_number_is_not_taken_for_the_own_one(number: int, opener: str) -> None:
    """
    Another inotify instance neither, which has the same inode; and closing leaves the other file open.
    """
    descriptor = Descriptor(number, marked=True)
    assert descriptor.is_open()
    other = OPENERS[opener]()
    os.dup2(other, number)
    os.close(other)

    assert not descriptor.is_open()
    descriptor.close()
    os.fstat(number)


def test_of_two_that_had_one_number_the_newer_one_is_open(number: int) -> None:
    """
    Two watches of one process, marked alike, do not take each other's for their own.
    """
    older = Descriptor(number, marked=True)
    os.close(number)
    assert _inotify() == number
    newer = Descriptor(number, marked=True)

    assert not older.is_open()
    older.close()
    assert newer.is_open()
    newer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    newer.close()


def test_a_closed_number_is_not_open(number: int) -> None:
    """
    What the program has closed stays closed, and closing it once more raises nothing.
    """
    descriptor = Descriptor(number)
    os.close(number)

    assert not descriptor.is_open()
    descriptor.close()


def test_a_socket_whose_number_is_another_files_is_forgotten() -> None:
    """
    The socket object lets go of the number, so that its end does not close the other file.
    """
    one, other = socket.socketpair()
    descriptor = Descriptor(one.fileno())
    number = one.fileno()
    os.dup2(other.fileno(), number)
    descriptor.close_socket(one)

    assert one.fileno() == -1
    os.fstat(number)
    os.close(number)
    other.close()


def test_a_waiter_is_not_kept_busy_by_a_closed_descriptor() -> None:
    """
    A descriptor that its owner lost would be ready at once, again and again; it is left out, and the others are not.
    """
    waiter = Waiter()
    reading, writing = os.pipe()
    lost, unused = os.pipe()
    os.close(lost)
    assert not waiter.wait([reading, lost], 0.01, threading.Event())
    os.write(writing, b"x")
    assert waiter.wait([lost, reading], 10.0, threading.Event())
    waiter.close()
    for number in (reading, writing, unused):
        os.close(number)


def test_a_word_ends_one_wait_and_no_more() -> None:
    """
    However many were said before it: the next wait lasts until its time is over.
    """
    waiter = Waiter()
    for _ in range(3):
        waiter.wake()
    assert waiter.wait([], 10.0, threading.Event())
    assert not waiter.wait([], 0.01, threading.Event())
    waiter.close()
