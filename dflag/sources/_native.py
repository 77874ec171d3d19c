"""
Watching a path, so that changes need not wait for the next periodic check.

A watch is only a hint. The source looks for itself, whatever an event says, and the periodic check finds every change
that caused no event. So no failure here raises. The watch goes on as ``"polling"``, and `Watch.problem` says why.

On Linux, a watch is one inotify descriptor, made through watchdog's bindings. The updater waits for it in its own
thread. watchdog's own ``Observer`` could wake the updater too, but it has faults. Each of its threads is one more
hand-over of the interpreter lock. A forked child that stops it silently ends the parent's watch. It drops pending
events when the kernel's queue overflows. Under gevent and eventlet it dies while it reports that it is alive. It does
not report that a directory was replaced. On other systems the ``Observer`` is used, and its events only wake the
updater.
"""

from __future__ import annotations

import array
import ctypes
import errno
import os
import struct
import time
from typing import TYPE_CHECKING, Any, Final

from dflag._descriptors import Descriptor
from dflag.sources._base import Watch
from dflag.sources._path import numbers_lie
from dflag.sources._plan import Concern, Plan, make_plan
from dflag.sources._way import DATA, read_link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dflag.typing import Wake

_RETRY_SECONDS: Final = 30.0
"""How soon a watch that the system refused is tried again. The limits of a node rarely change sooner."""

_EVENT: Final = struct.Struct("iIII")
"""``struct inotify_event`` without the name: watch, mask, cookie, and length of the name that follows."""

_MISSES: Final = 2
"""
How many changes in a row that were found without an event prove that no events come.

A single event may be late, because some systems collect events for a second.
"""


def watch_path(
    path: str,
    wake: Wake,
    *,
    heard: Callable[[], None],
    woken: Callable[[], None] = lambda: None,
    is_file: bool = False,
) -> Watch:
    """
    Watch what is at *path*, and every link on the way to it.

    Args:
        path: The absolute path of the directory or file, which need not exist yet.
        wake: Called from another thread after an event, unless the watch has a descriptor.
        heard: Called before *wake*, or within `Watch.drain`.
        woken: Called when the descriptor has an event, before the event is read.
        is_file: Whether *path* is that of a file. Then its directory is watched.
    """
    try:
        # `_readable_bytes` needs the first two. At the first event, there might be no descriptor left to load them.
        import fcntl  # noqa: F401
        import termios  # noqa: F401

        import watchdog.observers.inotify_c as bindings
    except Exception:
        return ObserverWatch(path, wake, heard, is_file=is_file)
    return InotifyWatch(path, heard, bindings, woken, is_file=is_file)


class _PathWatch(Watch):
    """
    The common part of both kinds of watch: arming it, and arming it again when the path leads another way.
    """

    def __init__(self, path: str, heard: Callable[[], None], *, is_file: bool) -> None:
        self._path = path
        self._is_file = is_file
        self._data = os.path.join(os.path.dirname(path) if is_file else path, DATA)
        self._heard = heard
        self._armed: Plan | None = None
        self._next_try = 0.0
        self._closed = False
        self._seen: str | None = None  # the target of ``..data`` at the last look
        self._missed = 0

    def drain(self) -> None:
        """
        Take the events, and make sure that the right directories are watched.
        """
        if not self._closed:
            heard = self._take_events()
            target = self._target()
            self._note_missed(target, heard=heard)
            self._keep_armed()

    def close(self) -> None:
        """
        End the watch.
        """
        self._closed = True
        self._armed = None
        self._release()

    def _note_missed(self, target: str | None, *, heard: bool) -> None:
        """
        Find out whether events come at all: network and overlay file systems accept a watch and then send no events.

        Only a volume gives proof, because each swap changes the target of its link.
        """
        before, self._seen = self._seen, target
        if heard:
            if self._missed >= _MISSES:
                self.mode, self.problem = self._armed_mode(), None
            self._missed = 0
        elif before is not None and target not in (before, None) and self._is_armed_rightly():
            self._missed += 1
            self._disarm()  # so that it is armed again, because the watch may be at fault

    def _keep_armed(self) -> None:
        try:
            wanted = self._plan()
        except OSError as error:
            self._disarm()
            absent = error.errno in (errno.ENOENT, errno.ENOTDIR)
            reason = "no such directory yet" if absent else f"cannot be looked at ({error.strerror})"
            self._degrade(f"{self._path}: {reason}")
            return
        if wanted != self._armed and time.monotonic() >= self._next_try:
            self._try_to_arm(wanted)

    def _plan(self) -> Plan:
        plan, armed = make_plan(self._path, is_file=self._is_file), self._armed
        if armed is None or plan == armed:
            return plan
        # If inode numbers prove nothing, two plans that differ only in them count as the same.
        alike = plan._replace(identity=armed.identity)
        return armed if alike == armed and numbers_lie(plan.last) else plan

    def _try_to_arm(self, wanted: Plan) -> None:
        try:
            self._arm(wanted)
        except (FileNotFoundError, NotADirectoryError):
            # The directory has just gone, or a file is in its place. The next look shows which.
            self._disarm()
            self._degrade(f"{self._path}: no such directory")
        except Exception as error:
            self._disarm()
            self._next_try = time.monotonic() + _RETRY_SECONDS
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or repr(error)
            self._degrade(f"{self._path}: cannot be watched ({reason})")
        else:
            self._armed = wanted
            self._data = wanted.data
            self._seen = self._target()
            if self._missed < _MISSES:
                self.mode, self.problem = self._armed_mode(), None
            else:
                self._degrade(f"{self._path}: changes come without events")
            # Changes between the last look and the arming have caused no event.
            self._heard()

    def _degrade(self, problem: str) -> None:
        self.mode, self.problem = "polling", problem

    def _is_armed_rightly(self) -> bool:
        try:
            return self._armed == self._plan()
        except OSError:
            return False

    def _target(self) -> str | None:
        return read_link(self._data)

    def _disarm(self) -> None:
        self._armed = None

    def _take_events(self) -> bool:
        """
        Take the events since the last call; return whether there were any.
        """
        raise NotImplementedError

    def _arm(self, wanted: Plan) -> None:
        raise NotImplementedError

    def _armed_mode(self) -> str:
        raise NotImplementedError

    def _release(self) -> None:
        raise NotImplementedError


class InotifyWatch(_PathWatch):
    """
    A watch that uses an inotify descriptor and needs no thread.
    """

    def __init__(
        self,
        path: str,
        heard: Callable[[], None],
        bindings: Any,
        woken: Callable[[], None] = lambda: None,
        *,
        is_file: bool = False,
    ) -> None:
        super().__init__(path, heard, is_file=is_file)
        self._bindings = bindings
        self._woken = woken
        self._events = bindings.InotifyConstants
        self._descriptor: Descriptor | None = None
        self._watches: dict[int, str] = {}
        self._last: int | None = None  # the kernel's watch of `Plan.last`
        self._is_swap = False  # whether there were events, all for entries of the kubelet, when they were last read
        self._keep_armed()

    def fileno(self) -> int | None:
        """
        Return the descriptor, or None while the system refuses one.
        """
        descriptor = self._held()
        return None if descriptor is None else descriptor.number

    def woken(self) -> None:
        self._woken()

    def abandon(self) -> None:
        """
        Close the descriptor in a forked child, and do nothing else.

        Parent and child share the inotify instance in the kernel, so removing a watch here would remove the parent's.
        """
        self.close()

    def _held(self) -> Descriptor | None:
        """
        Return the descriptor if it still belongs to the watch: the program may have closed it and opened another file.
        """
        if self._descriptor is not None and not self._descriptor.is_open():
            self._descriptor = self._last = self._armed = None
            self._watches = {}
            self._degrade(f"{self._path}: the program has closed the descriptor of the watch")
        return self._descriptor

    def _keep_armed(self) -> None:
        # A swap changes nothing on the way to the directory, and finding the way takes as long as reading the values.
        if not self._is_swap or self._armed is None:
            super()._keep_armed()

    def _take_events(self) -> bool:
        ended = self._events.IN_IGNORED | self._events.IN_UNMOUNT
        ended |= self._events.IN_DELETE_SELF | self._events.IN_MOVE_SELF
        names = frozenset() if self._armed is None else self._armed.names
        heard = others = False
        for watch, mask, padded in self._pending():
            # Late events of a removed watch are ignored. An overflow has the watch -1, and means: look again.
            if watch != -1 and watch not in self._watches:
                continue
            others = others or watch != self._last or padded[:2] != b".."
            if mask & ended:
                # The kernel's watch is gone, even if the path leads to the same inode number again.
                self._armed = None
            heard = heard or watch in (self._last, -1) or padded.rstrip(b"\0") in names
        self._is_swap = heard and not others
        if heard:
            self._heard()
        return heard

    def _pending(self) -> Iterable[tuple[int, int, bytes]]:
        # Read only once: events that come meanwhile leave the descriptor readable.
        descriptor = self._held()
        size_bytes = 0 if descriptor is None else _readable_bytes(descriptor.number)
        if descriptor is None or size_bytes == 0:
            return ()
        try:
            return _parse(os.read(descriptor.number, size_bytes))
        except OSError:
            return ()

    def _arm(self, wanted: Plan) -> None:
        descriptor = self._held()
        if descriptor is None:
            descriptor = self._descriptor = self._open()
        before, self._watches = self._watches, {}
        # The lowest concern first: a directory with two paths, by a bind mount, has one watch and keeps the last mask.
        for place, concern in sorted(wanted.places.items(), key=lambda item: item[1]):
            watch = self._bindings.inotify_add_watch(descriptor.number, os.fsencode(place), self._mask(concern))
            if watch >= 0:
                self._watches[watch] = place
                if place == wanted.last:
                    self._last = watch
            elif concern > Concern.ITSELF or ctypes.get_errno() != errno.EACCES:
                self._watches.update(before)
                _raise_errno()
        # Old watches are removed only now: the loop has renewed the watches that are still wanted, without an event.
        self._remove(before.keys() - self._watches.keys())

    def _open(self) -> Descriptor:
        descriptor: int = self._bindings.inotify_init()
        if descriptor < 0:
            _raise_errno()
        # The binding takes no flags. A program that another thread starts at this moment inherits the descriptor, but
        # does not use it.
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - takes no keywords
        os.set_blocking(descriptor, False)
        return Descriptor(descriptor, marked=True)

    def _mask(self, concern: Concern) -> int:
        events = self._events
        mask: int = events.IN_DELETE_SELF | events.IN_MOVE_SELF | events.IN_ONLYDIR
        if concern >= Concern.SWAPS:
            # In a swap, a link is renamed. The creation of the directory and of the link announces the swap: a thread
            # that these events have woken is awake when the link is renamed.
            mask |= events.IN_CREATE | events.IN_MOVED_TO
        if concern >= Concern.LINKS:
            mask |= events.IN_MOVED_FROM | events.IN_DELETE
        if concern >= Concern.FILES:
            mask |= events.IN_MODIFY | events.IN_CLOSE_WRITE | events.IN_ATTRIB
        return mask

    def _disarm(self) -> None:
        super()._disarm()
        self._remove(self._watches)
        self._watches, self._last = {}, None

    def _remove(self, watches: Iterable[int]) -> None:
        descriptor = self._held()
        if descriptor is not None:
            for watch in watches:
                # This call fails, without harm, if the kernel has already removed the watch.
                self._bindings.inotify_rm_watch(descriptor.number, watch)

    def _armed_mode(self) -> str:
        return "inotify"

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        self._watches, self._last = {}, None
        if descriptor is not None:
            descriptor.close()


class ObserverWatch(_PathWatch):
    """
    A watch that uses watchdog's ``Observer``, whose threads wake the updater.
    """

    def __init__(self, path: str, wake: Wake, heard: Callable[[], None], *, is_file: bool = False) -> None:
        super().__init__(path, heard, is_file=is_file)
        self._wake = wake
        self._observer: Any = None
        self._called = False
        self._keep_armed()

    def abandon(self) -> None:
        """
        Forget the observer in a forked child. Its threads do not run there, and stopping it would end the parent's
        watch.
        """
        self._observer = None
        self.close()

    def _take_events(self) -> bool:
        # An observer whose directory was deleted still reports that it is alive, but its emitter does not.
        observer = self._observer
        if observer is not None and not all(thread.is_alive() for thread in (observer, *observer.emitters)):
            self._armed = None
        called, self._called = self._called, False
        return called

    def _arm(self, wanted: Plan) -> None:
        self._release()
        # An observer cannot watch a directory without its entries. The periodic check finds that a directory on the
        # way was replaced.
        places = [place for place, concern in wanted.places.items() if concern > Concern.ITSELF]
        self._observer = _start_observer(places, self._on_event)

    def _on_event(self) -> None:
        if not self._closed:
            self._called = True
            self._heard()
            self._wake()

    def _disarm(self) -> None:
        super()._disarm()
        self._release()

    def _armed_mode(self) -> str:
        return type(self._observer).__name__.removesuffix("Observer").lower()

    def _release(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            _stop_observer(observer)


def _start_observer(places: Iterable[str], on_event: Callable[[], None]) -> Any:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer
    from watchdog.observers.polling import PollingObserver

    class Handler(FileSystemEventHandler):
        """
        Wakes the updater after every event. The kind and path of an event are misleading on some systems.
        """

        def dispatch(self, event: FileSystemEvent) -> None:  # noqa: ARG002 - only that there was one counts
            on_event()

    observer_class: Any = Observer
    if issubclass(observer_class, PollingObserver):
        # Its scan costs more than the periodic check and finds a change no sooner.
        raise OSError(errno.ENOSYS, "this system has no file events")
    observer = observer_class()
    try:
        for place in places:
            observer.schedule(Handler(), place)
        observer.start()
    except BaseException:
        _stop_observer(observer)
        raise
    return observer


def _stop_observer(observer: Any) -> None:
    observer.stop()
    if observer.is_alive():
        # With a limit, because the delivery of an event may itself wait for this thread.
        observer.join(1.0)


def _readable_bytes(descriptor: int) -> int:
    """
    Return how many bytes can be read now.

    Reading until the read would block is not an alternative: eventlet's ``os.read`` then waits, even on a non-blocking
    descriptor.
    """
    import fcntl
    import termios

    answer = array.array("i", [0])
    try:
        fcntl.ioctl(descriptor, termios.FIONREAD, answer)
    except OSError:
        return 0
    return answer[0]


def _parse(events: bytes) -> Iterator[tuple[int, int, bytes]]:
    """
    Yield the watch, the mask and the name of each event. The name is padded with zeros.
    """
    position = 0
    # The kernel returns whole events. Half an event only means that something changed, which the check finds too.
    while position + _EVENT.size <= len(events):
        watch, mask, _, name_bytes = _EVENT.unpack_from(events, position)
        position += _EVENT.size
        yield watch, mask, events[position : position + name_bytes]
        position += name_bytes


def _raise_errno() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
