"""
Descriptors whose numbers the system may give to other files.
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
    A descriptor is not open once its number is that of another file, even of inotify, and ``close()`` closes no other.
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
    If two descriptors had the same number, only the newer one is open, and only its ``close()`` closes the number.
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
    A descriptor whose number the program has closed is not open, and its ``close()`` raises nothing.
    """
    descriptor = Descriptor(number)
    os.close(number)

    assert not descriptor.is_open()
    descriptor.close()


def test_a_socket_whose_number_is_another_files_is_forgotten() -> None:
    """
    ``close_socket()`` detaches a socket whose number is that of another file, and leaves the other file open.
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
    ``wait()`` leaves out a closed descriptor, which would be ready at once each time, and waits for the others.
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
    Several calls of ``wake()`` end one ``wait()``, and the next ``wait()`` lasts until its time is over.
    """
    waiter = Waiter()
    for _ in range(3):
        waiter.wake()
    assert waiter.wait([], 10.0, threading.Event())
    assert not waiter.wait([], 0.01, threading.Event())
    waiter.close()
