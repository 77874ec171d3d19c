"""
One place where dflag learns of `os.fork`.

Only the forking thread lives on in a child, so a lock that another thread held stays locked for ever,
and what it guarded may be half done.
Locks that are held for a few instructions are therefore taken before the fork and given back on both sides;
threads are started again in the child alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
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
_first: list[ForkAware] = []  # those that wait for others, before any lock is taken
_forking = threading.RLock()
_prepared: list[ForkAware] = []
_registered = False


def follow_forks(follower: ForkAware, *, first: bool = False) -> None:
    """
    Call *follower* around every fork for as long as it lives.

    Args:
        follower: What to call.
        first: Call it before those that take locks, and keep it alive.

    Thread safety: any thread.
    """
    global _registered  # noqa: PLW0603 - hooks can be registered once and never taken back
    with _forking:
        if first:
            _first.append(follower)
        else:
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


_IMPORTED_LATE: Final = (
    "asyncio",
    "datetime",
    "dflag._documents",
    "dflag._json",
    "dflag._records",
    "dflag._waiter",
    "dflag._yaml",
    "difflib",
    "fractions",
    "hashlib",
    "selectors",
    "socket",
    "yaml",
)
"""
What threads import while a program runs. No module here follows forks: its import never waits for the forking thread.
"""


def _before() -> None:
    _call_all((_finish_imports, _forking.acquire, _prepare))  # one lock, so that two threads that fork take turns


def _prepare() -> None:
    _prepared[:] = (*_first, *_followers)
    _call_all(follower.before_fork for follower in _prepared)


def _in_parent() -> None:
    prepared = list(_prepared)
    _prepared.clear()
    releases = (*(follower.after_fork_in_parent for follower in reversed(prepared)), _forking.release)
    _call_all(partial(_release, release) for release in releases)


def _release(function: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the lock was not taken: a signal handler raised while the fork waited
        function()


def _in_child() -> None:
    global _forking  # noqa: PLW0603 - the inherited lock may have waiters that no longer exist
    prepared = list(_prepared)
    _prepared.clear()
    _forking = threading.RLock()
    # Threads last: one may need what another follower has yet to make anew.
    _call_all(
        (
            *(follower.after_fork_in_child for follower in prepared),
            *(follower.resume_in_child for follower in prepared),
        )
    )


def _finish_imports() -> None:
    """
    Wait for other threads that are importing what dflag imports late.

    The lock of a module is held while it is imported. A child that is forked meanwhile inherits it locked, without the
    thread that would release it, and its own import of that module never returns.
    """
    from importlib import import_module  # for programs that fork

    for name in _IMPORTED_LATE:
        if name in sys.modules:
            import_module(name)


def _call_all(functions: Iterable[Callable[[], object]]) -> None:
    """
    Call every function, whatever the others raise, as a signal handler may in any of them.

    One lock that is not released would stop every other thread. What was raised last is raised at the end; Python
    prints it, since nothing that a hook raises can prevent a fork.
    """
    fault: BaseException | None = None
    for function in functions:
        try:
            function()
        except BaseException as error:
            fault = error
    if fault is not None:
        raise fault
