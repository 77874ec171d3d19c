"""
One place where dflag learns of `os.fork`.

Only the forking thread lives on in a child, so a lock that another thread held stays locked for ever,
and what it guarded may be half done.
Locks that are held for a few instructions are therefore taken before the fork and given back on both sides;
threads are started again in the child alone.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

F = TypeVar("F")


class ForkAware(Protocol):
    """
    What an object does around a fork: take its locks, which may only ever be held briefly, and give them back;
    in the child make them anew, and when everybody has, start the threads again.
    """

    def before_fork(self) -> None: ...

    def after_fork_in_parent(self) -> None: ...

    def after_fork_in_child(self) -> None: ...

    def resume_in_child(self) -> None: ...


_followers: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_forking = threading.RLock()
_prepared: list[ForkAware] = []
_registered = False


def follow_forks(follower: ForkAware) -> None:
    """
    Call *follower* around every fork for as long as it lives.

    Thread safety: any thread.
    """
    global _registered  # noqa: PLW0603 - hooks can be registered once and never taken back
    with _forking:
        _followers.add(follower)
        if not _registered and hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
            _registered = True


def followers(cls: type[F]) -> list[F]:
    """
    List the living objects of one class that follow forks: all stores of the process, for instance.

    An object in a cycle lives until the garbage collector finds it.

    Thread safety: any thread.
    """
    with _forking:
        return [follower for follower in _followers if isinstance(follower, cls)]


def no_fork() -> AbstractContextManager[object]:
    """
    Keep forks waiting: for whoever takes the locks of two followers, which a fork takes in any order.
    """
    return _forking


def _before() -> None:
    _forking.acquire()  # so that two threads that fork at once take turns
    _prepared[:] = _followers
    for follower in _prepared:
        follower.before_fork()


def _in_parent() -> None:
    prepared = list(_prepared)
    _prepared.clear()
    for follower in reversed(prepared):
        follower.after_fork_in_parent()
    _forking.release()


def _in_child() -> None:
    global _forking  # noqa: PLW0603 - the inherited lock may have waiters that no longer exist
    prepared = list(_prepared)
    _prepared.clear()
    _forking = threading.RLock()
    for follower in prepared:
        follower.after_fork_in_child()
    # Threads last: one may need what another follower has yet to make anew.
    for follower in prepared:
        follower.resume_in_child()
