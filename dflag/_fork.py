"""
The handling of forks for all of dflag.

Only the forking thread continues in a child. So a lock that another thread held stays locked for ever, and the data
that it guarded may be half changed. Therefore dflag takes its locks, which are only held for a few instructions, before
the fork. The parent then releases them. The child makes new locks and starts its own threads: it *settles*.

If possible, the child does not do this in a hook. uvloop runs the hooks even in a child that another program replaces
at once, and each page of memory that the child writes to is copied for nothing. C code that forks runs no hook at all.
So a child settles when the interpreter runs code in it again, or with the first call of dflag that takes a lock or
relies on a thread, whichever comes first. A ``get()`` does neither.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping
    from contextlib import AbstractContextManager
    from typing import Protocol

    class ForkAware(Protocol):
        """
        An object that takes part in forks: it takes its locks before a fork and releases them afterwards.

        Those locks must only be held briefly. In a child that C code has forked, `after_fork_in_child` is called
        without a `before_fork`.
        """

        def before_fork(self) -> None: ...

        def after_fork_in_parent(self) -> None: ...

        def is_active(self) -> bool:
            """
            Return whether a child must act soon: start threads or close descriptors.
            """
            ...

        def after_fork_in_child(self) -> None:
            """
            Make new locks, and release the resources that belong to the parent.
            """
            ...

    class Resumable(Protocol):
        """
        An object that must start its threads again in a child.
        """

        def resume_in_child(self) -> None: ...


F = TypeVar("F")

_MOMENT_SECONDS: Final = 0.05
"""How long a child waits to be replaced by another program before it starts its threads."""

_RENEWAL_SECONDS: Final = 5.0
"""How long a thread waits at most for another one that makes the new locks, which takes microseconds."""


_followers: weakref.WeakKeyDictionary[ForkAware, None] = weakref.WeakKeyDictionary()  # in the order of registration
_first: list[ForkAware] = []  # followers that wait for other threads, called before any lock is taken
_forking = threading.RLock()
_prepared: list[ForkAware] = []
_is_active = False  # whether any prepared follower must act in a child
_is_for_program = False  # whether another program will replace the child
_registered = False

_callback: Any = None  # the function that the interpreter calls in a child as soon as it runs code there
_registration = 0  # the number of the latest hook that requests this call, and the process that registered it
_registered_in = 0

_renewed = os.getpid()  # the process that made the current locks
_renewers: Final[dict[int, int]] = {}  # by process, the thread that makes the new locks

settled: Final = {_renewed}
"""
The process that has settled: its locks are new, and its threads run. Frequent callers check this before `settle`.
"""

_settling = threading.RLock()
_unresumed: list[Resumable] = []
_inherited_threads: Final[list[threading.Thread]] = []


class ForkFollower:
    """
    Default methods of a `ForkAware` that takes no lock for a fork, and that has nothing to do soon in a child.
    """

    def before_fork(self) -> None:
        pass

    def after_fork_in_parent(self) -> None:
        pass

    def is_active(self) -> bool:
        return False


def follow_forks(follower: ForkAware, *, first: bool = False) -> None:
    """
    Call *follower* around every fork while it lives. The followers that it relies on must be registered before it.

    Args:
        follower: The follower.
        first: Call it before the followers that take locks, and keep it alive.

    Thread safety: any thread.
    """
    global _registered  # noqa: PLW0603 - hooks are registered once and cannot be removed
    with no_fork():
        if first:
            _first.append(follower)
        else:
            _followers[follower] = None
        if not _registered and hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
            _registered = True


def followers(cls: type[F]) -> list[F]:
    """
    Return the living objects of one class that follow forks, such as all stores of the process.

    An object in a reference cycle lives until the garbage collector finds it.

    Thread safety: any thread.
    """
    with no_fork():
        return [follower for follower in _followers if isinstance(follower, cls)]


def no_fork() -> AbstractContextManager[object]:
    """
    Return a context manager that makes forks wait, for code that takes the locks of two followers.

    It is needed because a fork takes those locks in any order.
    """
    settle()
    return _forking


def resume_soon(follower: Resumable) -> None:
    """
    Register *follower* to be resumed when the child settles. Call it in `ForkAware.after_fork_in_child`.
    """
    _unresumed.append(follower)


def settle() -> None:
    """
    Finish the work after a fork in a forked child; do nothing in any other process.

    Every method of a follower that takes its lock or ends its threads calls this first, because until then the locks
    that the fork took are held.

    Thread safety: any thread.
    """
    if os.getpid() not in settled:
        _settle()


def spare_other_programs() -> None:
    """
    From now on, do nothing in a child that another program replaces before it runs any Python code.

    Settling in a hook adds 75 % to the processor time of such a child, and starting a thread there 8 %. A pending call,
    which the interpreter makes as soon as it runs code again, adds 1 %. It needs ctypes, which most running updaters
    have loaded anyway.

    A Python hook that is registered later runs code in such a child. So this is called again in each process.

    Thread safety: any thread.
    """
    global _callback, _registration, _registered_in  # noqa: PLW0603 - hooks cannot be removed
    with no_fork():
        if _registered_in == os.getpid() or not _registered:
            return
        try:
            import ctypes

            callback = _callback or ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_in_running_child)
            add = ctypes.pythonapi.Py_AddPendingCall
        except (ImportError, AttributeError):  # not CPython
            return
        _callback = callback
        _registration += 1
        _registered_in = os.getpid()
        # Not wrapped in a Python function, within which the pending call would be made.
        os.register_at_fork(after_in_child=functools.partial(add, callback, ctypes.c_void_p(_registration)))


def _settle() -> None:
    _renew()
    with _settling:
        # The newest first, so that an object that measures another one starts before that one continues.
        while _unresumed:
            _unresumed.pop().resume_in_child()
        settled.clear()
        settled.add(os.getpid())


def _renew() -> None:
    """
    Make new locks in a child, where several threads may call this at once.
    """
    global _forking, _settling, _renewed  # noqa: PLW0603 - inherited locks may have waiters that no longer exist
    pid, me = os.getpid(), threading.get_ident()
    if _renewed == pid:
        return
    if _renewers.setdefault(pid, me) != me:
        deadline = time.monotonic() + _RENEWAL_SECONDS
        while _renewed != pid and time.monotonic() < deadline:
            time.sleep(0)
        return
    _forking = threading.RLock()
    _settling = threading.RLock()
    if _prepared:
        _forget_imports()  # only if hooks ran: otherwise Python still lists the parent's threads
    else:
        _keep_inherited_threads()
    _prepared.clear()
    _unresumed.clear()
    try:
        _call_all(follower.after_fork_in_child for follower in (*_first, *_followers))
    finally:
        _renewed = pid


def _keep_inherited_threads() -> None:
    """
    Keep the objects of the parent's threads alive in a child in which none of Python's own hooks ran.

    From CPython 3.13 on, freeing such an object detaches its thread unless it was joined. The handle of the thread is
    unknown to the C library in the child, so the process ends with a segmentation fault.
    """
    _inherited_threads.extend(getattr(threading, "_dangling", ()))  # includes threads that have ended


_IMPORTED_LATE: Final = (
    "_sha2",
    "_sha256",
    "asyncio",
    "datetime",
    "decimal",
    "dflag._formats.documents",
    "dflag._formats.json",
    "dflag._formats.json_values",
    "dflag._formats.outline",
    "dflag._formats.yaml",
    "dflag._records",
    "dflag._rule_layers",
    "dflag._source_layers",
    "dflag._waiter",
    "dflag.sources._native",
    "dflag.sources._reflector",
    "difflib",
    "fcntl",
    "fractions",
    "hashlib",
    "selectors",
    "socket",
    "termios",
    "watchdog.observers.inotify_c",
    "yaml",
)
"""
The modules that threads import while a program runs. None of them follows forks, because then its import could wait for
the forking thread.
"""

_MODULE_LOCKS: Final[MutableMapping[str, Callable[[], Any]] | None] = getattr(
    sys.modules.get("_frozen_importlib"), "_module_locks", None
)
"""Weak references to the locks of modules that are being imported. CPython may move this private mapping."""


def _before() -> None:
    global _is_for_program  # noqa: PLW0603 - as below
    caller = sys._getframe().f_back
    _is_for_program = caller is not None and caller.f_globals.get("__name__") == "subprocess"
    # `_renew` first: a child that forks again at once must take its own locks.
    _call_all((_renew, _finish_imports, _take_turn, _prepare))


def _take_turn() -> None:
    _forking.acquire()  # two threads that fork at once do so one after the other


def _prepare() -> None:
    global _is_active  # noqa: PLW0603 - set here, where it costs the child nothing
    _prepared[:] = (*_first, *_followers)
    _call_all(follower.before_fork for follower in _prepared)
    _is_active = any(follower.is_active() for follower in _prepared)


def _in_parent() -> None:
    prepared = list(_prepared)
    _prepared.clear()
    releases = (*(follower.after_fork_in_parent for follower in reversed(prepared)), _forking.release)
    _call_all(functools.partial(_release, release) for release in releases)


def _release(function: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the lock is not held: a signal handler raised during the wait
        function()


def _in_child() -> None:
    if _registration == 0:
        _settle_child()


def _in_running_child(registration: int) -> int:
    """
    Settle the child, as a pending call of the interpreter.
    """
    if registration == _registration:
        _settle_child()
    return 0  # any other result would raise an exception


def _settle_child() -> None:
    if not _is_active:
        return  # the first call of dflag settles the child, if there is one
    if not _is_for_program:
        settle()
        return
    # This runs within the program's preexec_fn. Not with `threading`, which waits until the thread runs.
    with contextlib.suppress(RuntimeError):
        _thread.start_new_thread(_settle_later, ())


def _settle_later() -> None:
    time.sleep(_MOMENT_SECONDS)
    settle()


def _finish_imports() -> None:
    """
    Wait for other threads that are importing modules that dflag imports late.

    The lock of a module is held during its import. A child that is forked meanwhile inherits the held lock, but not the
    thread that would release it. Then an import of that module in the child never returns.
    """
    from importlib import import_module  # here, as only programs that fork need it

    while any(map(_is_imported_elsewhere, _IMPORTED_LATE)):  # again: the other thread may go on to the next import
        for name in filter(_is_imported_elsewhere, _IMPORTED_LATE):
            with contextlib.suppress(Exception):  # the other thread handles it: not every system has all of them
                import_module(name)


def _forget_imports() -> None:
    """
    Let a child import the modules again that other threads of the parent were importing at the fork.

    A fork cannot wait for all such imports. After the hooks the interpreter takes a lock of its own, and while it waits
    for that lock, another import may begin.
    """
    living = {threading.get_ident(), *(thread.ident for thread in threading.enumerate())}
    for name, find_lock in list((_MODULE_LOCKS or {}).items()):
        owner = getattr(find_lock(), "owner", None)
        if _MODULE_LOCKS is not None and owner is not None and owner not in living:
            _MODULE_LOCKS.pop(name, None)
            if is_half_imported(name):
                sys.modules.pop(name, None)


def is_half_imported(name: str) -> bool:
    """
    Return whether a module is in ``sys.modules`` but its code is still running.
    """
    specification = getattr(sys.modules.get(name), "__spec__", None)
    return bool(getattr(specification, "_initializing", False))  # importlib itself checks this


def _is_imported_elsewhere(name: str) -> bool:
    """
    Return whether another thread is importing a module or searching for it.
    """
    if _MODULE_LOCKS is None:
        return is_half_imported(name)
    find_lock = _MODULE_LOCKS.get(name)
    lock = None if find_lock is None else find_lock()
    # This thread does not count, because it would wait for itself: a signal handler may fork during an import.
    return getattr(lock, "owner", None) not in (None, threading.get_ident())


def _call_all(functions: Iterable[Callable[[], object]]) -> None:
    """
    Call every function, even if some raise; a signal handler may raise in any of them. Then raise the last exception.

    A lock that stays held would block every other thread. Python prints the exception, because an exception in a hook
    cannot prevent a fork.
    """
    fault: BaseException | None = None
    for function in functions:
        try:
            function()
        except BaseException as error:
            fault = error
    if fault is not None:
        raise fault
