"""
Sockets that dflag never uses again once the program has closed them.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from dflag._sockets import OwnSocket

from ..integration._waiting import DEADLINE_SECONDS  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is open on is known for Linux alone")

USES: dict[str, Callable[[OwnSocket], object]] = {
    "receive": lambda own: own.receive(100, DEADLINE_SECONDS),
    "send_all": lambda own: own.send_all(b"ours", DEADLINE_SECONDS),
    "is_ready": lambda own: own.is_ready(selectors.EVENT_READ, DEADLINE_SECONDS),
    "connect": lambda own: own.connect(("127.0.0.1", 1)),
    "problem": lambda own: own.problem(),
}

ENDS: dict[str, Callable[[OwnSocket], object]] = {
    "shut_down": lambda own: own.shut_down(),
    "close": lambda own: own.close(),
    "abandon": lambda own: own.abandon(),
    "set_option": lambda own: own.set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
}


class Sockets:
    """A socket of dflag and its peer, and the two ends of a connection of the program."""

    def __init__(self) -> None:
        made, self.peer = socket.socketpair()
        self.number = made.fileno()
        self.own = OwnSocket(made)
        self.program, self.other = socket.socketpair()
        self.other.sendall(b"mine")

    def take(self) -> None:
        """Close the socket of dflag, and give its descriptor number to the program's socket."""
        os.dup2(self.program.fileno(), self.number)
        self.program.close()
        self.program = socket.socket(fileno=self.number)

    def check(self) -> None:
        """Assert that the program's connection is unchanged."""
        assert self.program.getblocking()
        assert not self.program.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        self.program.setblocking(False)
        assert self.program.recv(100) == b"mine"
        self.program.sendall(b"still open")
        assert self.other.recv(100) == b"still open"

    def close(self) -> None:
        self.own.close()
        for end in (self.peer, self.program, self.other):
            end.close()


@pytest.fixture(name="sockets")
def _sockets() -> Iterator[Sockets]:
    sockets = Sockets()
    yield sockets
    sockets.close()


@pytest.mark.parametrize("use", USES)
def test_a_use_of_a_number_that_is_another_files_raises(sockets: Sockets, use: str) -> None:
    """
    Using a socket whose number belongs to another file raises ConnectionAbortedError and does not touch that file.
    """
    sockets.take()
    with pytest.raises(ConnectionAbortedError, match="the program has closed the connection"):
        USES[use](sockets.own)
    sockets.check()


@pytest.mark.parametrize("end", ENDS)
def test_an_end_of_a_number_that_is_another_files_does_nothing(sockets: Sockets, end: str) -> None:
    """
    Ending a socket whose number belongs to another file, or setting an option of it, does nothing, even twice.
    """
    sockets.take()
    for _ in range(2):
        ENDS[end](sockets.own)
    sockets.check()


@pytest.mark.parametrize("wakes", [False, True])
@pytest.mark.parametrize("use", ["receive", "send_all"])
def test_a_wait_ends_that_began_before_the_closing(sockets: Sockets, use: str, wakes: bool) -> None:
    """
    A wait ends with ConnectionAbortedError when the program closes the socket, and reads nothing of the program's.
    This holds too if the peer ends the connection meanwhile.
    """
    raised: list[OSError] = []
    waiting = threading.Event()
    real = sockets.own.is_ready
    if use == "send_all":
        with pytest.raises(TimeoutError):
            sockets.own.send_all(bytes(10_000_000), 0.0)

    class Waiting(OwnSocket):
        __slots__ = ()

        def is_ready(self, event: int, timeout: float | None) -> bool:
            waiting.set()
            return real(event, timeout)

    sockets.own.__class__ = Waiting

    def run() -> None:
        try:
            USES[use](sockets.own)
        except OSError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert waiting.wait(DEADLINE_SECONDS)
    sockets.take()
    if wakes:
        sockets.peer.close()
    thread.join(DEADLINE_SECONDS)
    assert [type(error) for error in raised] == [ConnectionAbortedError]
    sockets.check()


def test_the_timeouts_are_for_the_whole(sockets: Sockets) -> None:
    """
    `receive()` without data and `send_all()` to a peer that does not read raise TimeoutError after their timeout.
    """
    with pytest.raises(TimeoutError):
        sockets.own.receive(1, 0.01)
    with pytest.raises(TimeoutError):
        sockets.own.send_all(bytes(10_000_000), 0.01)


def test_all_is_sent_to_a_peer_that_reads_slowly(sockets: Sockets) -> None:
    """
    `send_all()` sends all data in order to a peer that reads it in small parts.
    """
    sent = os.urandom(2_000_000)
    thread = threading.Thread(target=sockets.own.send_all, args=(sent, DEADLINE_SECONDS))
    thread.start()
    sockets.peer.settimeout(DEADLINE_SECONDS)
    received = b""
    while len(received) < len(sent):
        received += sockets.peer.recv(50_000)
    thread.join(DEADLINE_SECONDS)
    assert received == sent
