"""
One place where dflag learns of forks.

Only the forking thread lives on in a child, so a lock that another thread held stays locked for ever,
and what it guarded may be half done.
Locks that are held for a few instructions are therefore taken before the fork; the parent gives them back, the child
makes them anew and starts its own threads.

If possible, the child does not do this in a hook. uvloop runs the hooks also in a child that another program replaces
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
        What an object does around a fork: take its locks, which may only ever be held briefly, and give them back.

        In a child that C code has forked, `after_fork_in_child` is called without a `before_fork`.
        """

        def before_fork(self) -> None: ...

        def after_fork_in_parent(self) -> None: ...

        def is_active(self) -> bool:
            """
            Return whether a child has something to do soon: threads to start, or descriptors to close.
            """
            ...

        def after_fork_in_child(self) -> None:
            """
            Make new locks, and release what belongs to the parent.
            """
            ...

    class Resumable(Protocol):
        """
        What has threads to start again in a child.
        """

        def resume_in_child(self) -> None: ...


F = TypeVar("F")

_MOMENT_SECONDS: Final = 0.05
"""How long a child may take to be replaced by another program before its threads are started."""

_RENEWAL_SECONDS: Final = 5.0
"""The longest that a thread waits for another that makes the locks anew, which takes microseconds."""


_followers: weakref.WeakKeyDictionary[ForkAware, None] = weakref.WeakKeyDictionary()  # in the order of registration
_first: list[ForkAware] = []  # those that wait for others, before any lock is taken
_forking = threading.RLock()
_prepared: list[ForkAware] = []
_is_active = False  # whether any of those prepared has something to do in a child
_is_for_program = False  # whether the child is to be replaced by another program
_registered = False

_callback: Any = None  # what the interpreter calls in a child as soon as it runs code there
_registration = 0  # the number of the latest hook that has it do so, and the process in which it was registered
_registered_in = 0

_renewed = os.getpid()  # the process that has made the current locks
_renewers: Final[dict[int, int]] = {}  # by process, the thread that makes its locks anew

settled: Final = {_renewed}
"""
The process that has settled: it has new locks, and its threads run. Frequent callers look here before `settle`.
"""

_settling = threading.RLock()
_unresumed: list[Resumable] = []
_inherited_threads: Final[list[threading.Thread]] = []


class ForkFollower:
    """
    The parts of a `ForkAware` that most have in common: it holds no lock at a fork, and a child has nothing to do soon.
    """

    def before_fork(self) -> None:
        pass

    def after_fork_in_parent(self) -> None:
        pass

    def is_active(self) -> bool:
        return False


def follow_forks(follower: ForkAware, *, first: bool = False) -> None:
    """
    Call *follower* around every fork while it lives. Register the followers that it relies on first.

    Args:
        follower: What to call.
        first: Call it before those that take locks, and keep it alive.

    Thread safety: any thread.
    """
    global _registered  # noqa: PLW0603 - hooks can be registered once and never taken back
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
    List the living objects of one class that follow forks: all stores of the process, for instance.

    An object in a cycle lives until the garbage collector finds it.

    Thread safety: any thread.
    """
    with no_fork():
        return [follower for follower in _followers if isinstance(follower, cls)]


def no_fork() -> AbstractContextManager[object]:
    """
    Keep forks waiting, for code that takes the locks of two followers: a fork takes them in any order.
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

    Every method of a follower that takes its lock or ends its threads calls this first: until then the locks that the
    fork took are held.

    Thread safety: any thread.
    """
    if os.getpid() not in settled:
        _settle()


def spare_other_programs() -> None:
    """
    From now on do nothing in a child that another program replaces before it runs any Python code.

    To settle in a hook adds 75 % to the processor time of such a child, and to start a thread there 8 %. A pending
    call, which the interpreter makes as soon as it runs code again, adds 1 %. It takes ctypes, which most running
    updaters have loaded anyway.

    A hook in Python that is registered later runs code in such a child. So this is called again in each process.

    Thread safety: any thread.
    """
    global _callback, _registration, _registered_in  # noqa: PLW0603 - hooks can be registered and never taken back
    with no_fork():
        if _registered_in == os.getpid() or not _registered:
            return
        try:
            import ctypes

            callback = _callback or ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_in_running_child)
            add = ctypes.pythonapi.Py_AddPendingCall
        except (ImportError, AttributeError):  # another interpreter than CPython
            return
        _callback = callback
        _registration += 1
        _registered_in = os.getpid()
        # Not wrapped in a Python function: the pending call would be made inside of that function.
        os.register_at_fork(after_in_child=functools.partial(add, callback, ctypes.c_void_p(_registration)))


def _settle() -> None:
    _renew()
    with _settling:
        # The newest first: an object that measures another one starts before that one goes on.
        while _unresumed:
            _unresumed.pop().resume_in_child()
        settled.clear()
        settled.add(os.getpid())


def _renew() -> None:
    """
    Make new locks in a child, where several threads may call this at once.
    """
    global _forking, _settling, _renewed  # noqa: PLW0603 - the inherited locks may have waiters that are gone
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
        _forget_imports()  # else Python still lists the threads that are gone, for none of its hooks ran
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
    Keep the objects of the parent's threads alive, in a child in which none of Python's own hooks ran.

    From CPython 3.13 on, freeing such an object detaches its thread, unless it was joined, by a handle that the
    C library no longer knows in the child. The process then ends with a segmentation fault.
    """
    _inherited_threads.extend(getattr(threading, "_dangling", ()))  # those that have ended as well


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
What threads import while a program runs. No module here follows forks: its import never waits for the forking thread.
"""

_MODULE_LOCKS: Final[MutableMapping[str, Callable[[], Any]] | None] = getattr(
    sys.modules.get("_frozen_importlib"), "_module_locks", None
)
"""The locks of the modules that are being imported, by weak references. CPython keeps them there, and may move them."""


def _before() -> None:
    global _is_for_program  # noqa: PLW0603 - as below
    caller = sys._getframe().f_back
    _is_for_program = caller is not None and caller.f_globals.get("__name__") == "subprocess"
    # `_renew` first: a child that forks again at once must take its own locks.
    _call_all((_renew, _finish_imports, _take_turn, _prepare))


def _take_turn() -> None:
    _forking.acquire()  # so that two threads that fork at once take turns


def _prepare() -> None:
    global _is_active  # noqa: PLW0603 - found out here, where it costs the child nothing
    _prepared[:] = (*_first, *_followers)
    _call_all(follower.before_fork for follower in _prepared)
    _is_active = any(follower.is_active() for follower in _prepared)


def _in_parent() -> None:
    prepared = list(_prepared)
    _prepared.clear()
    releases = (*(follower.after_fork_in_parent for follower in reversed(prepared)), _forking.release)
    _call_all(functools.partial(_release, release) for release in releases)


def _release(function: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the lock was not taken: a signal handler raised while the fork waited
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
    return 0  # or the program would see an exception


def _settle_child() -> None:
    if not _is_active:
        return  # the first call of dflag settles, if there is one
    if not _is_for_program:
        settle()
        return
    # This is within the program's preexec_fn. Not by `threading`, which waits until the thread runs.
    with contextlib.suppress(RuntimeError):
        _thread.start_new_thread(_settle_later, ())


def _settle_later() -> None:
    time.sleep(_MOMENT_SECONDS)
    settle()


def _finish_imports() -> None:
    """
    Wait for other threads that are importing what dflag imports late.

    The lock of a module is held while it is imported. A child that is forked meanwhile inherits it locked, without the
    thread that would release it, and its own import of that module never returns.
    """
    from importlib import import_module  # for programs that fork

    while any(map(_is_imported_elsewhere, _IMPORTED_LATE)):  # again: the other thread may go on to the next import
        for name in filter(_is_imported_elsewhere, _IMPORTED_LATE):
            with contextlib.suppress(Exception):  # which the other thread deals with: not every system has them all
                import_module(name)


def _forget_imports() -> None:
    """
    Let a child import anew what threads that it does not have were importing: a fork cannot wait for all of them.

    The interpreter takes a lock of its own behind the hooks, and while it waits for that, an import may begin.
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
    return bool(getattr(specification, "_initializing", False))  # as importlib itself asks


def _is_imported_elsewhere(name: str) -> bool:
    """
    Return whether another thread is importing a module, or searching for it.
    """
    if _MODULE_LOCKS is None:
        return is_half_imported(name)
    find_lock = _MODULE_LOCKS.get(name)
    lock = None if find_lock is None else find_lock()
    # Not this thread, which would wait for itself: a signal handler may fork amid an import.
    return getattr(lock, "owner", None) not in (None, threading.get_ident())


def _call_all(functions: Iterable[Callable[[], object]]) -> None:
    """
    Call every function, even if some raise; a signal handler may raise in any of them.

    One lock that is not released would stop every other thread. The last exception is raised at the end. Python
    prints it, because an exception in a hook cannot prevent a fork.
    """
    fault: BaseException | None = None
    for function in functions:
        try:
            function()
        except BaseException as error:
            fault = error
    if fault is not None:
        raise fault
