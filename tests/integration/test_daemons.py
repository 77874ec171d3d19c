"""
Programs that become daemons after dflag has started: they fork twice, and close every descriptor.

Each program runs in an interpreter of its own, whose descriptors can be closed without harm to the test.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from ._waiting import DEADLINE_SECONDS, run_python

if TYPE_CHECKING:
    from dflag.testing import ConfigMapVolume

pytestmark = [
    pytest.mark.untraced,
    pytest.mark.skipif(sys.platform != "linux", reason="which descriptors there are is known for Linux alone"),
]

NO_RESYNC = 3600.0
"""An interval so long that the periodic check never comes, so only events can report a change."""

QUIET = "import warnings; warnings.filterwarnings('ignore', 'This process', DeprecationWarning)\n"
"""Python 3.12 and later warn of a fork while threads run, but such forks are what is tested here."""

PRELUDE = f"""
import errno, faulthandler, gc, logging, os, select, socket, sys, threading, time
import dflag
from dflag.sources import MemorySource, _native
from dflag.testing import ConfigMapVolume
import watchdog.observers.inotify_c as inotify

faulthandler.dump_traceback_later({4 * DEADLINE_SECONDS}, exit=True)
said = []
class Said(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger("dflag").addHandler(Said())
logging.getLogger("dflag").setLevel(logging.INFO)
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 0)
other = flags.dyn_int("other", 0)
volume = ConfigMapVolume(sys.argv[1])
memory = MemorySource({{"other": "1"}}, name="memory")
updater = dflag.Updater.setup(flags, [volume.path, memory], resync_seconds={NO_RESYNC})

def shows(value):
    assert updater.wait_for(lambda snapshot: snapshot[rate] == value, {DEADLINE_SECONDS}), updater.status()

def eventually(condition):
    deadline = time.monotonic() + {DEADLINE_SECONDS}
    while not condition():
        assert time.monotonic() < deadline, (condition, updater.status(), said)
        threading.Event().wait(0.005)

def publish(value):
    volume.write({{"rate": str(value)}})
    shows(value)

def watched():
    return [(source.watched, source.degraded) for source in updater.status().sources]

def ours():
    found = {{}}
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{{number}}")
        except FileNotFoundError:  # that of the listing itself
            continue
    return {{number: target for number, target in found.items() if number > 2}}

def well():
    eventually(lambda: watched() == [("inotify", None), ("memory", None)])
    for value in range(10, 14):
        publish(value)
    memory.update({{"rate": "20", "other": "2"}})
    shows(20)
    memory.update({{"other": "1"}})
    shows(13)
    assert all(source.healthy for source in updater.status().sources)

publish(1)
"""

FILL = """
# Whatever may get a number that was dflag's: each would notice if it were read, written or closed.
def fill():
    taken = []
    for _ in range(6):
        reading, writing = os.pipe()
        os.write(writing, b"mine")
        taken += [reading, writing]
        one, other = socket.socketpair()
        one.send(b"mine")
        taken += [one.detach(), other.detach()]
        taken.append(os.eventfd(7, os.EFD_NONBLOCK))
        number = inotify.inotify_init()
        os.set_blocking(number, False)
        # The same directory, under the number that dflag's watch has.
        assert inotify.inotify_add_watch(number, os.fsencode(volume.path), inotify.InotifyConstants.IN_MOVED_TO) == 1
        taken.append(number)
        taken.append(select.epoll().detach() if hasattr(select.epoll, "detach") else os.open("/dev/zero", os.O_RDONLY))
    return taken

def check(taken):
    for position in range(0, len(taken), 7):
        reading, writing, one, other, event, number, last = taken[position : position + 7]
        os.set_blocking(reading, False)
        assert os.read(reading, 100) == b"mine"
        with socket.socket(fileno=other) as end, socket.socket(fileno=one) as peer:
            end.setblocking(False)
            assert end.recv(100) == b"mine"
            assert not select.select([peer], [], [], 0)[0]
        assert os.eventfd_read(event) == 7
        volume.write({"rate": "99"})
        assert os.read(number, 10_000), "its events were read, or its watch removed"
        os.fstat(last)
"""


def _run(program: str, volume: ConfigMapVolume) -> None:
    volume.write({"rate": "0"})
    result = run_python(QUIET + PRELUDE + FILL + program, volume.path, warnings="default")

    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
    assert result.stderr == ""


def test_it_follows_after_its_descriptors_were_closed(volume: ConfigMapVolume) -> None:
    """
    The updater follows again each time all its descriptors were closed, and has none open after ``stop()``.
    """
    _run(
        """
before = ours()
for _ in range(3):
    os.closerange(3, 256)
    well()
    assert len(ours()) == len(before), (ours(), before)
updater.stop()
assert not ours()
print("done")
""",
        volume,
    )


def test_it_takes_no_number_for_its_own_that_another_file_has_got(volume: ConfigMapVolume) -> None:
    """
    The updater neither reads, writes nor closes files that the program has opened under the numbers of its descriptors.
    """
    _run(
        """
os.closerange(3, 256)
taken = fill()
well()
updater.stop()
check(taken)
print("done")
""",
        volume,
    )


def test_stop_right_after_the_closing_raises_nothing(volume: ConfigMapVolume) -> None:
    """
    ``stop()`` right after the closing raises nothing, also when other files have the numbers; ``start()`` works again.
    """
    _run(
        """
for refill in (False, True):
    os.closerange(3, 256)
    taken = fill() if refill else []
    updater.stop()
    assert updater.status().state == "stopped"
    updater.start()
    well()
    if refill:
        check(taken)
updater.stop()
print("done")
""",
        volume,
    )


@pytest.mark.parametrize("which", ["inotify", "socket"])
def test_it_follows_after_some_of_its_descriptors_were_closed(volume: ConfigMapVolume, which: str) -> None:
    """
    The updater follows after any one of its descriptors was closed: the watch, or either end of the wake-up sockets.
    """
    _run(
        f"""
def chosen():
    return [number for number, target in sorted(ours().items()) if {which!r} in target]

for position in range(len(chosen())):
    os.close(chosen()[position])
    memory.update({{"other": "3"}})  # ends a wait in which nothing can be noticed before the periodic check
    well()
updater.stop()
print("done")
""",
        volume,
    )


def test_while_no_watch_can_be_made_again_it_says_so_and_checks(volume: ConfigMapVolume) -> None:
    """
    While the system refuses a new watch the status shows polling and its reason, and values still arrive.
    """
    _run(
        """
real = inotify.inotify_init
def refuse():
    import ctypes
    ctypes.set_errno(errno.EMFILE)
    return -1
_native._RETRY_SECONDS = 0.02
inotify.inotify_init = refuse
os.closerange(3, 256)
reason = f"{volume.path}: cannot be watched ({os.strerror(errno.EMFILE)})"
eventually(lambda: watched()[0] == ("polling", reason))
publish(2)
publish(3)
assert updater.status().sources[0].healthy
inotify.inotify_init = real
well()
updater.stop()
print("done")
""",
        volume,
    )


DAEMONIZE = """
def fork():
    child = os.fork()
    if child:
        return child
    os.setsid()
    if os.fork():
        os._exit(0)
    return 0

def end(code):
    print("done" if code == 0 else "failed", flush=True)
    os._exit(code)

def guarded(run):
    try:
        run()
    except BaseException:
        import traceback
        traceback.print_exc()
        sys.stderr.flush()
        end(1)
    end(0)
"""


@pytest.mark.parametrize("refill", [False, True])
@pytest.mark.parametrize("at", ["at once", "once it follows"])
def test_a_daemon_follows(volume: ConfigMapVolume, at: str, refill: bool) -> None:
    """
    A daemon, forked twice and detached, follows after it has closed every descriptor, whether at once or later.
    """
    _run(
        DAEMONIZE
        + f"""
def live():
    if {at!r} == "once it follows":
        assert watched()[0] == ("inotify", None)
        publish(2)
    os.closerange(3, 256)
    taken = fill() if {refill} else []
    well()
    updater.stop()
    if {refill}:
        check(taken)

child = fork()
if child == 0:
    guarded(live)
assert os.waitpid(child, 0)[1] == 0
# The parent of a daemon ends, without a stop; standard output is open as long as the daemon lives.
os._exit(0)
""",
        volume,
    )


PAGE = """
from dflag.web import start_http_server

def move(made, number):
    number = os.dup2(made.fileno(), number)
    made.close()
    moved = socket.socket(fileno=number)
    moved.settimeout(10)
    return moved

def connect():
    return move(socket.create_connection(("127.0.0.1", server.port)), 300)  # which the closing leaves

def ask(connection):
    connection.sendall(b"GET /?name=rate HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    return connection.recv(65_536)

def threads():
    return [thread for thread in threading.enumerate() if thread.name == "dflag-web"]

server = start_http_server(0, flags, updater)
"""


def test_a_page_whose_descriptors_were_closed_says_so(volume: ConfigMapVolume) -> None:
    """
    A page whose descriptors were closed logs that it no longer answers and ends its threads; its port is free again.
    """
    _run(
        PAGE
        + """
with connect() as connection:
    assert ask(connection).startswith(b"HTTP/1.1 200")
    os.closerange(3, 256)
    eventually(lambda: not threads())
    assert [text for text in said if f"port {server.port} no longer answers" in text], said
    assert connection.recv(1) == b""
port = server.port
for _ in range(2):
    server.close()
server = start_http_server(port, flags, updater)
with connect() as connection:
    assert ask(connection).startswith(b"HTTP/1.1 200")
server.close()
updater.stop()
assert not ours(), ours()
print("done")
""",
        volume,
    )


def test_a_page_takes_no_number_for_its_own_that_another_file_has_got(volume: ConfigMapVolume) -> None:
    """
    A page whose descriptors' numbers belong to other sockets neither accepts from, reads nor closes these.
    """
    _run(
        PAGE
        + """
connection = connect()
assert ask(connection).startswith(b"HTTP/1.1 200")
listening, serving = server._server.socket.fileno(), next(iter(server._server._connections))._descriptor.number
# Opened above the numbers that are closed, so that these can be given to them at once.
here, there = map(move, socket.socketpair(), (301, 302))
there.sendall(b"mine")
listener = move(socket.create_server(("127.0.0.1", 0)), 303)
client = move(socket.create_connection(listener.getsockname()), 304)
os.closerange(3, 256)
listener, here = move(listener, listening), move(here, serving)
connection.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
eventually(lambda: not threads())
server.close()
assert here.recv(100) == b"mine"
here.sendall(b"still open")
assert there.recv(100) == b"still open"
listener.accept()[0].close()
updater.stop()
print("done")
""",
        volume,
    )


@pytest.mark.parametrize("call", ["os.fork", "ctypes.PyDLL(None).fork"])
def test_a_daemon_is_not_harmed_by_the_page_of_its_parent(volume: ConfigMapVolume, call: str) -> None:
    """
    A daemon can close its parent's page, open other files and start its own page, also after a fork without hooks.
    """
    _run(
        PAGE
        + DAEMONIZE
        + f"""
import ctypes

def live():
    global server
    os.closerange(3, 256)
    taken = fill()
    server.close()
    server = start_http_server(0, flags, updater)
    with connect() as connection:
        assert ask(connection).startswith(b"HTTP/1.1 200")
    server.close()
    updater.stop()
    check(taken)

with connect() as connection:
    assert ask(connection).startswith(b"HTTP/1.1 200")
    # A fork in C copies the interpreter's lock as it is: a thread that waits for it then is waited for in the child.
    time.sleep(0.2)
    child = {call}()
    if child == 0:
        guarded(live)
    assert os.waitpid(child, 0)[1] == 0
os._exit(0)
""",
        volume,
    )
