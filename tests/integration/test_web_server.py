from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import http.client
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag.web import _connection, _server, bearer_token, start_http_server
from dflag.web._handler import Handler
from dflag.web._http import Request, Response

from ._waiting import eventually, run_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dflag.web._server import FlagServer

pytestmark = pytest.mark.once

DEADLINE_SECONDS = 20.0
LIMIT_BYTES = 2**20 + 2**12
POST = b"POST /set HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t0ken\r\nContent-Type: application/json\r\n"
BODY = b'{"name": "text", "value": "a"}'  # 30 bytes


@pytest.fixture(name="server")
def _server_fixture(flags: dflag.FlagRegistry) -> Iterator[FlagServer]:
    """Yield a running server of the test's registry, which has one flag."""
    flags.dyn_string("text", "")
    with start_http_server(0, flags, authorize=bearer_token("t0ken", "alice")) as server:
        yield server


def connect(server: FlagServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_SECONDS)


def exchange(server: FlagServer, sent: bytes) -> bytes:
    """
    Send raw bytes, and return what the server sends until it closes the connection.
    """
    with connect(server) as connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


@contextlib.contextmanager
def client(server: FlagServer) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, method: str, path: str, *args: Any) -> tuple[int, bytes]:
    connection.request(method, path, *args)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_one_connection_serves_many_requests(server: FlagServer, flags: dflag.FlagRegistry) -> None:
    """One kept connection serves listings, HEAD, settings and errors, one after the other."""
    headers = {"Authorization": "Bearer t0ken", "Content-Type": "application/json"}
    with client(server) as connection:
        assert ask(connection, "GET", "/?name=text")[0] == 200
        kept = connection.sock
        assert ask(connection, "HEAD", "/") == (200, b"")
        assert ask(connection, "POST", "/set", b'{"name": "text", "value": "a"}', headers)[0] == 200
        body = iter([b'{"name": "text",', b' "value": "b"}'])  # without a length, so in chunks
        assert ask(connection, "POST", "/set", body, headers)[0] == 200
        assert ask(connection, "GET", "/nowhere")[0] == 404
        assert ask(connection, "BREW", "/")[0] == 405
        assert connection.sock is kept
    assert flags["text"].get() == "b"


def test_close_ends_everything(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """close() frees the port, ends idle connections at once, and may be called again."""
    monkeypatch.setattr(_connection, "IDLE_SECONDS", 2 * DEADLINE_SECONDS)
    server = start_http_server(0, flags)
    with client(server) as connection:
        assert ask(connection, "GET", "/")[0] == 200
        server.close()
        assert connection.sock is not None
        assert connection.sock.recv(1) == b""
    server.close()
    with start_http_server(server.port, flags) as again:
        assert again.port == server.port


@pytest.mark.untraced  # the tracer of coverage would be replaced
def test_closing_amid_closing(flags: dflag.FlagRegistry) -> None:
    """close() does not hang when a signal handler, here a trace function, calls it amid close() in the same thread."""
    for number in range(1, 31):
        server = start_http_server(0, flags)
        closing = threading.Thread(target=_close_amid_closing, args=(server, number), daemon=True)
        closing.start()
        closing.join(DEADLINE_SECONDS)
        assert not closing.is_alive()


def _close_amid_closing(server: FlagServer, number: int) -> None:
    lines = itertools.count(1)

    def trace(_frame: object, event: str, _arg: object) -> Any:
        if event == "line" and next(lines) == number:
            sys.settrace(None)
            server.close()
        return trace

    sys.settrace(trace)
    server.close()
    sys.settrace(None)


def test_port_that_is_taken(server: FlagServer, flags: dflag.FlagRegistry) -> None:
    """start_http_server() raises an OSError for a port in use, and leaves nothing behind."""
    with pytest.raises(OSError, match="in use"):
        start_http_server(server.port, flags)


def test_without_a_thread_the_port_is_free(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """When start_http_server() cannot start a thread, it frees the port, so that no client waits for an answer."""
    made: list[Any] = []

    def fail(thread: threading.Thread) -> None:
        made.append(thread._target.__self__)  # type: ignore[attr-defined]  # Python's own
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_server.OwnThread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start"):
            start_http_server(0, flags)
    with start_http_server(made[0].server_address[1], flags) as server, client(server) as connection:
        assert ask(connection, "GET", "/")[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon here\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n" + BODY,
        POST + b"Content-Length: +30\r\n\r\n" + BODY,
        POST + b"Content-Length: 3_0\r\n\r\n" + BODY,
        POST + b"Content-Length: 30\r\nContent-Length: 3\r\n\r\n" + BODY,
        POST + b"Content-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY),
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(BODY),
        POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + BODY + b"\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-1e\r\n" + BODY + b"\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1e\r\n" + BODY + b"zz\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1e;" + b"x" * 5_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1e\r\n" + BODY + b"\r\n0\r\n" + b"T: x\r\n" * 500 + b"\r\n",
    ],
)
def test_malformed_requests(
    server: FlagServer, flags: dflag.FlagRegistry, sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """A malformed request gets at most one error and loses its connection; no flag is set, nothing goes to stderr."""
    answer = exchange(server, sent)
    assert not answer or 400 <= status(answer) < 500 or status(answer) in (501, 505)
    assert answer.count(b"HTTP/1.1 ") <= 1
    with client(server) as connection:
        assert ask(connection, "GET", "/")[0] == 200
    assert capfd.readouterr().err == ""
    assert flags["text"].get() == ""


HIDDEN = b"GET /static/page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKS = chunked(BODY)


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        (b"X: a\rTransfer-Encoding: chunked", CHUNKS, 400),
        (b"X: a\rAuthorization: Bearer t0ken", b"", 400),
        (b"X: a\nContent-Length: 30", BODY, 400),
        (b"X: a\x00b", b"", 400),
        (b"X: a\r\n Content-Length: 30", BODY, 400),
        (b"X: a\r\n\tb", b"", 400),
        (b"X : a", b"", 400),
        (b": a", b"", 400),
        (b"X\xa0: a", b"", 400),
        (b"Content-Length : 30", BODY, 400),
        (b"Content-Length: 0x1e", BODY, 400),
        (b"Content-Length: +30", BODY, 400),
        (b"Content-Length: 30, 30", BODY, 400),
        (b"Content-Length: 30\r\nContent-Length: 30", BODY, 400),
        (b"Content-Length: \xa030", BODY, 400),
        (b"Content-Length: 30\x0b", BODY, 400),
        (b"Content-Length: 30\x85", BODY, 400),
        (b"Content-Length: 3 0", BODY, 400),
        (b"Content-Length: \xb2", BODY, 400),
        (b"Content-Length:", BODY, 400),
        (b"Transfer-Encoding: \x0bchunked", CHUNKS, 400),
        (b"Transfer-Encoding: chunked\x85", CHUNKS, 400),
        (b"Transfer-Encoding: \xa0chunked", CHUNKS, 400),
        (b"Transfer-Encoding: chun ked", CHUNKS, 400),
        (b"Transfer-Encoding: chunked,", CHUNKS, 400),
        (b"Transfer-Encoding:", CHUNKS, 400),
        (b"Transfer-Encoding : chunked", CHUNKS, 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", CHUNKS, 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", CHUNKS, 400),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 30", CHUNKS, 400),
        (b"Content-Length: 30\r\nTransfer-Encoding: identity", BODY, 400),
        (b"Transfer-Encoding: identity", BODY, 501),
        (b"Transfer-Encoding: gzip, chunked", CHUNKS, 501),
        (b"Transfer-Encoding: chunked, identity", CHUNKS, 501),
        (b"Transfer-Encoding: chunked", CHUNKS.replace(b"\r\n", b"\n"), 400),
        (b"Transfer-Encoding: chunked", b" 1e\r\n" + CHUNKS[4:], 400),
        (b"Transfer-Encoding: chunked", b"1e \r\n" + CHUNKS[4:], 400),
        (b"Transfer-Encoding: chunked", b"0x1e\r\n" + CHUNKS[4:], 400),
        (b"Transfer-Encoding: chunked", b"1e;a\rb\r\n" + CHUNKS[4:], 400),
        (b"Transfer-Encoding: chunked", b"1e\r\n" + BODY + b"  \r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked", CHUNKS[:-2] + b" folded: x\r\n\r\n", 400),
    ],
)
def test_requests_that_two_readers_could_read_differently(
    server: FlagServer, flags: dflag.FlagRegistry, head: bytes, body: bytes, expected: int
) -> None:
    """A request whose headers or framing break the grammar is refused, and no request after it is answered."""
    answer = exchange(server, POST + head + b"\r\n\r\n" + body + HIDDEN)
    assert status(answer) == expected
    assert answer.count(b"HTTP/1.1 ") == 1
    assert flags["text"].get() == ""


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length:30", BODY),
        (b"content-length: \t 30 \t", BODY),
        (b"Content-Length: 000000000000000000000000000030", BODY),
        (b"Transfer-Encoding: Chunked", CHUNKS),
        (b"Transfer-Encoding:\tchunked ", b"1E;name=value\r\n" + CHUNKS[4:-2] + b"Trailer: x\r\n\r\n"),
        (b"X: caf\xe9 \t\r\nY:\r\nContent-Length: 30", BODY),
    ],
)
def test_requests_in_the_grammar(server: FlagServer, flags: dflag.FlagRegistry, head: bytes, body: bytes) -> None:
    """A request that RFC 9112 allows is read, and the next request on the connection is found where its body ends."""
    last = HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: x, Close\r\n\r\n")
    answer = exchange(server, POST + head + b"\r\n\r\n" + body + last)
    assert status(answer) == 200
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert flags["text"].get() == "a"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET  / HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET /\x0bHTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET /", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1.1\rHost: x", 400),
        (b"G\x00T / HTTP/1.1", 400),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"\r\nGET / HTTP/1.1", 200),
        (b"GET / HTTP/1.9", 200),
        (b"GET / HTTP/1.0", 200),
    ],
)
def test_request_lines(server: FlagServer, line: bytes, expected: int) -> None:
    """The server accepts a request line only if it is a method, a target and HTTP/1 with one space between them."""
    assert status(exchange(server, line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")) == expected


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("http://localhost/", "localhost", 200),
        ("HTTP://127.0.0.1:80", "localhost", 200),
        ("http://localhost/?format=json", "evil.example", 200),
        ("https://localhost?format=json", "localhost", 200),
        ("http://localhost/nowhere", "localhost", 404),
        ("http://evil.example/", "localhost", 421),
        ("http://localhost@evil.example/", "localhost", 421),
        ("http://", "localhost", 404),
        ("ftp://localhost/", "localhost", 404),
    ],
)
def test_a_target_may_name_the_host(server: FlagServer, target: str, host: str, expected: int) -> None:
    """The server accepts an absolute target, whose host counts instead of Host (RFC 9112, section 3.2.2)."""
    sent = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    answer = exchange(server, sent)
    assert status(answer) == expected
    assert (b'"flag_count"' in answer) == (expected == 200)


@pytest.mark.parametrize("head", ["", "Host: localhost\r\nHost: localhost\r\n"])
def test_a_target_does_not_make_up_for_host(server: FlagServer, head: str) -> None:
    """An HTTP/1.1 request with an absolute target is refused if it does not have exactly one Host."""
    assert status(exchange(server, f"GET http://localhost/ HTTP/1.1\r\n{head}\r\n".encode())) == 400


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/mixed; boundary=x", "message/rfc822", "text/plain", "application/json/x", ""],
)
def test_other_content_types(server: FlagServer, content_type: str) -> None:
    """A body of any content type but JSON is refused with 415."""
    head = POST.replace(b"application/json", content_type.encode())
    assert status(exchange(server, head + b"Content-Length: 30\r\n\r\n" + BODY)) == 415


@pytest.mark.parametrize("length", [str(LIMIT_BYTES + 1), "9" * 19, "1" + "0" * 19, "9" * 20, "9" * 5_000])
def test_declared_length_over_the_limit(server: FlagServer, length: str) -> None:
    """A body that is declared too long is refused before any of it is read, whether or not it ever comes."""
    answer = exchange(server, POST + f"Content-Length: {length}\r\n\r\n{{".encode())
    assert status(answer) == 413
    assert b"Connection: close" in answer


def test_chunks_over_the_limit(server: FlagServer) -> None:
    """A body in chunks that is over the limit is refused with 413; one of exactly the limit is read."""
    whole = [b" " * 65_536] * (LIMIT_BYTES // 65_536) + [b" " * (LIMIT_BYTES % 65_536)]
    head = POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert status(exchange(server, head + chunked(*whole))) == 400  # read, and not JSON
    assert status(exchange(server, head + chunked(*whole, b" "))) == 413


def test_value_of_one_mebibyte(server: FlagServer, flags: dflag.FlagRegistry) -> None:
    """A value as large as a ConfigMap may hold can be set."""
    body = json.dumps({"name": "text", "value": "x" * 2**20}).encode()
    answer = exchange(server, POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert status(answer) == 200
    assert len(flags["text"].get()) == 2**20


def test_a_body_over_the_limit_is_not_asked_for(server: FlagServer) -> None:
    """A client that waits for ``100 Continue`` with a body over the limit gets 413 at once."""
    answer = exchange(server, POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (LIMIT_BYTES + 1))
    assert status(answer) == 413


def test_cookies_that_come_one_by_one(flags: dflag.FlagRegistry) -> None:
    """Repeated cookie headers, as a proxy may pass them on from HTTP/2, are joined into one."""
    seen = []
    with start_http_server(0, flags, authorize=lambda headers: seen.append(headers["cookie"])) as server:
        exchange(server, POST + b"Connection: close\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n")
    assert seen == ["a=1; b=2"]


def test_body_that_ends_early(server: FlagServer, flags: dflag.FlagRegistry) -> None:
    """A body shorter than declared sets nothing, even if what came is whole JSON."""
    with connect(server) as connection:
        connection.sendall(POST + b'Content-Length: 100\r\n\r\n{"name": "text", "value": "a"}')
        connection.shutdown(socket.SHUT_WR)
        assert status(connection.recv(65_536)) == 400
    assert flags["text"].get() == ""


def test_refused_body_is_not_taken_for_a_request(server: FlagServer) -> None:
    """The body of a refused request never becomes the next request on the connection."""
    hidden = b"GET /static/page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = b"POST /set HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(hidden)
    answer = exchange(server, head + hidden)
    assert status(answer) == 401
    assert answer.count(b"HTTP/1.1 ") == 1


def test_answer_to_a_refused_body_arrives(server: FlagServer) -> None:
    """A client that sends a large body without authorization gets the answer, not a reset connection."""
    body = b" " * 2**24  # more than the kernel keeps
    head = b"POST /set HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert status(exchange(server, head + body)) == 401


def test_continue_only_where_the_body_is_wanted(server: FlagServer) -> None:
    """A client that waits for ``100 Continue`` gets it only if it is authorized, and otherwise gets 401."""
    body = b'{"name": "text", "value": "a"}'
    expects = b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with connect(server) as connection:
        connection.sendall(POST + expects)
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert status(connection.recv(65_536)) == 200
    with connect(server) as connection:
        connection.sendall(POST.replace(b"t0ken", b"wrong") + expects)
        assert status(connection.recv(65_536)) == 401


def test_slow_clients_are_cut_off(server: FlagServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is not complete in time is cut off, however steadily its bytes come; a late body gets 408."""
    monkeypatch.setattr(_connection, "REQUEST_SECONDS", 0.4)
    with connect(server) as connection:
        deadline = time.monotonic() + DEADLINE_SECONDS
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
            connection.settimeout(0.05)
            cut_off = False
            while not cut_off:
                assert time.monotonic() < deadline
                connection.sendall(b"a")
                with contextlib.suppress(TimeoutError):
                    cut_off = connection.recv(1) == b""
    with connect(server) as connection:
        connection.sendall(POST + b"Content-Length: 10\r\n\r\n{")
        assert status(connection.recv(65_536)) == 408


def test_idle_connections_are_closed(server: FlagServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a request is closed after `IDLE_SECONDS`."""
    monkeypatch.setattr(_connection, "IDLE_SECONDS", 0.1)
    with connect(server) as connection:
        assert connection.recv(1) == b""


def test_connections_are_counted(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection over the limit waits, without a thread, until another one ends."""
    monkeypatch.setattr(_server, "MAX_CONNECTIONS", 2)
    with start_http_server(0, flags) as server, contextlib.ExitStack() as stack:
        threads = threading.active_count()
        first, second, third = (stack.enter_context(connect(server)) for _ in range(3))
        request = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for connection in (first, second):
            connection.sendall(request)
            assert status(connection.recv(65_536)) == 404
        third.sendall(request)
        third.settimeout(0.3)
        with pytest.raises(TimeoutError):
            third.recv(1)
        assert threading.active_count() == threads + 2
        first.close()
        third.settimeout(DEADLINE_SECONDS)
        assert status(third.recv(65_536)) == 404


WITHOUT_DESCRIPTORS = """
import logging, os, resource, socket, threading, time
import dflag
from dflag.web import start_http_server

said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("dflag").addHandler(handler)

def take_all():
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return taken

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
server = start_http_server(0, dflag.FlagRegistry())
kept = threading.enumerate()
for spell in (1, 2):
    with socket.socket() as client:
        taken = take_all()
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
        client.settimeout(1.0)
        began = time.process_time()
        try:
            client.recv(1)
            raise AssertionError("it was accepted")
        except TimeoutError:
            used = time.process_time() - began
        assert used < 0.3, f"{used:.2f} s of processor time in a second"
        assert len(said) == spell, said
        for descriptor in taken:
            os.close(descriptor)
        client.settimeout(20.0)
        assert client.recv(12) == b"HTTP/1.1 200", said
    for thread in threading.enumerate():
        if thread not in kept:
            thread.join(20.0)  # after which the connection's descriptor is free
assert all("cannot accept a connection: too many open files; trying again" in line for line in said), said
server.close()
"""


@pytest.mark.skipif(os.name == "nt", reason="has no limit of descriptors")
def test_without_a_free_descriptor_it_rests_and_comes_back() -> None:
    """Connections that cannot be accepted use hardly any processor time, are logged once, and are answered later."""
    result = run_python(WITHOUT_DESCRIPTORS)
    assert result.returncode == 0, result.stderr


def test_closing_ends_the_rest_after_a_failure(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """close() returns at once while the server waits to try again after it could not accept a connection."""

    def fail(self: TCPServer) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(TCPServer, "get_request", fail)
    monkeypatch.setattr(_server, "_RETRY_SECONDS", 10 * DEADLINE_SECONDS)
    server = start_http_server(0, flags)
    with connect(server):
        assert eventually(lambda: "cannot accept a connection" in caplog.text)
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < DEADLINE_SECONDS


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_connection_whose_end_fails_gives_its_place_back(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the closing of a connection raises, its place is free again, and the next connection is served."""
    real = _server._Server.shutdown_request

    def fail(self: _server._Server, request: Any) -> None:
        real(self, request)
        raise RuntimeError("the closing failed")

    monkeypatch.setattr(_server._Server, "shutdown_request", fail)
    monkeypatch.setattr(_server, "MAX_CONNECTIONS", 1)
    with start_http_server(0, flags) as server:
        for _ in range(2):
            request = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            assert status(exchange(server, request)) == 404


def test_requests_of_a_connection_are_counted(server: FlagServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection ends after `MAX_REQUESTS` requests, and only the last answer says that it closes."""
    monkeypatch.setattr(_connection, "MAX_REQUESTS", 3)
    answer = exchange(server, b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)
    assert answer.count(b"HTTP/1.1 404") == 3
    assert answer.count(b"Connection: close") == 1


def test_connections_grow_only_so_old(server: FlagServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that keeps sending requests is closed at the age of `AGE_SECONDS`, although no other one waits."""
    monkeypatch.setattr(_connection, "AGE_SECONDS", 0.3)
    monkeypatch.setattr(_connection, "MAX_REQUESTS", 10**9)
    answer, began = ask_steadily(server, threading.Event()), time.monotonic()
    assert b"Connection: close" in answer
    assert time.monotonic() - began < DEADLINE_SECONDS


def ask_steadily(server: FlagServer, gone: threading.Event) -> bytes:
    """
    Ask on one connection every 50 ms until the server ends it; return its last answer.
    """
    answer = b""
    with contextlib.suppress(OSError), connect(server) as connection:
        while not gone.wait(0.05):
            connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if not (piece := connection.recv(65_536)):
                break
            answer = piece
    return answer


def drip(server: FlagServer, gone: threading.Event) -> None:
    """
    Send a head byte by byte until the server ends the connection.
    """
    with contextlib.suppress(OSError), connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        while not gone.wait(0.05):
            connection.sendall(b"a")


def sit(server: FlagServer, gone: threading.Event) -> None:
    """
    Hold a connection open without sending anything.
    """
    with contextlib.suppress(OSError), connect(server) as connection:
        connection.settimeout(0.1)
        while not gone.is_set():
            with contextlib.suppress(TimeoutError):
                if connection.recv(1) == b"":
                    return


@pytest.mark.parametrize("hold", [ask_steadily, drip, sit])
def test_busy_clients_leave_room_for_others(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, hold: Callable[[FlagServer, threading.Event], object]
) -> None:
    """Clients that hold all connections, and connect again when they lose one, do not keep another client out."""
    monkeypatch.setattr(_server, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(_server, "_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(_connection, "MAX_REQUESTS", 10**9)
    monkeypatch.setattr(_connection, "REQUEST_SECONDS", 2 * DEADLINE_SECONDS)
    monkeypatch.setattr(_connection, "IDLE_SECONDS", 2 * DEADLINE_SECONDS)
    gone = threading.Event()

    def hold_on(server: FlagServer) -> None:
        while not gone.is_set():
            hold(server, gone)

    with start_http_server(0, flags) as server:
        threads = [threading.Thread(target=hold_on, args=(server,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while len(server._server._connections) < 4:
                assert time.monotonic() < deadline
                gone.wait(0.01)
            for _ in range(3):
                with client(server) as connection:
                    assert ask(connection, "GET", "/")[0] == 200
        finally:
            gone.set()
            for thread in threads:
                thread.join(DEADLINE_SECONDS)


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, GeneratorExit, type("Odd", (BaseException,), {})])
def test_whatever_authorize_raises_refuses(
    flags: dflag.FlagRegistry, fault: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """Any exception of `authorize` refuses the request, is logged without its text, and leaves the connection open."""
    flags.dyn_string("text", "")

    def authorize(headers: Mapping[str, str]) -> str | None:
        raise fault("hush")

    with start_http_server(0, flags, authorize=authorize) as server, client(server) as connection:
        headers = {"Content-Type": "application/json"}
        assert ask(connection, "POST", "/set", b"", headers)[0] == 401
        kept = connection.sock
        assert ask(connection, "GET", "/")[0] == 200
        assert connection.sock is kept
    assert f"authorize raised {fault.__name__}" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:80", 200),
        ("localhost", 200),
        ("LOCALHOST.:8080", 200),
        ("app.localhost", 200),
        ("[::1]:8080", 200),
        ("10.0.0.1", 200),
        ("evil.example", 421),
        ("evil.example:8080", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[", 421),
        ("[::1]x", 421),
        ("localhost:80@evil.example", 421),
        ("localhost evil.example", 421),
        ("::1", 421),
    ],
)
def test_names_on_loopback(server: FlagServer, host: str, expected: int) -> None:
    """A server on a loopback address refuses foreign host names, so that no web page reaches it through DNS."""
    sent = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    assert status(exchange(server, sent)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"allowed_hosts": ["Flags.Example."]}, 200),
        ({"allowed_hosts": "flags.example"}, 200),
        ({"allowed_hosts": ["*"]}, 200),
        ({"allowed_hosts": ["other.example"]}, 421),
        ({"allowed_hosts": ["::1", "flags.example"]}, 200),
        ({"allowed_hosts": [], "addr": ""}, 421),
        ({"addr": ""}, 200),
        ({"addr": "localhost"}, 421),
        ({"addr": "127.1"}, 421),
        ({"addr": "2130706433"}, 421),
        ({"addr": "0x7f.1"}, 421),
        ({"addr": "0"}, 200),
    ],
)
def test_allowed_hosts(flags: dflag.FlagRegistry, options: dict[str, Any], expected: int) -> None:
    """A loopback server accepts only host names of `allowed_hosts`; others accept all if the option is missing."""
    with start_http_server(0, flags, **options) as server:
        sent = b"GET / HTTP/1.1\r\nHost: flags.example:80\r\nConnection: close\r\n\r\n"
        assert status(exchange(server, sent)) == expected


@pytest.mark.parametrize(
    ("port", "options", "message"),
    [
        ("0", {}, "expected port as a number, got '0'"),
        (None, {}, "expected port as a number, got None"),
        (True, {}, "expected port as a number, got True"),
        (-1, {}, "expected port from 0 to 65535, got -1"),
        (65_536, {}, "expected port from 0 to 65535, got 65536"),
        (0, {"addr": None}, "expected addr as a text, got None"),
        (0, {"allowed_hosts": 5}, "expected allowed_hosts as several texts, got 5"),
        (0, {"allowed_hosts": [1]}, "expected each host of allowed_hosts as a text, got 1"),
        (0, {"allowed_hosts": "*.example"}, r"as a name without scheme and port, or '\*', got '\*.example'"),
        (0, {"allowed_hosts": ["flags.example:80"]}, "got 'flags.example:80'"),
        (0, {"allowed_hosts": ["http://flags.example"]}, "got 'http://flags.example'"),
        (0, {"allowed_hosts": [""]}, "got ''"),
    ],
)
def test_arguments_that_can_never_work_are_refused(
    flags: dflag.FlagRegistry, port: Any, options: dict[str, Any], message: str
) -> None:
    """Arguments that can never work raise a DefinitionError, not an OSError, after which a program may try again."""
    with pytest.raises(dflag.DefinitionError, match=message):
        start_http_server(port, flags, **options)


def test_a_name_that_no_host_can_have_is_an_oserror(flags: dflag.FlagRegistry) -> None:
    """A name that no host can have raises an OSError, like any other address that cannot be used."""
    with pytest.raises(OSError, match="no such address"):
        start_http_server(0, flags, addr="shop..example")


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
@pytest.mark.parametrize(
    ("addr", "host", "expected"),
    [
        ("::1", "flags.example", 421),
        ("::1", "[::1]:80", 200),
        ("0:0::1", "flags.example", 421),
        ("::ffff:127.0.0.1", "flags.example", 421),
        ("::ffff:7f00:1", "flags.example", 421),
        ("::ffff:127.0.0.1", "localhost", 200),
        ("::", "flags.example", 200),
    ],
)
def test_names_on_loopback_of_ipv6(flags: dflag.FlagRegistry, addr: str, host: str, expected: int) -> None:
    """The address that the server is bound to, however it was written, decides whether a host name is accepted."""
    with start_http_server(0, flags, addr=addr) as server:
        # Linux maps IPv4 into IPv6 for a socket that is bound so.
        target = "127.0.0.1" if "ffff" in addr else "::1"
        with socket.create_connection((target, server.port), timeout=DEADLINE_SECONDS) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert status(connection.recv(65_536)) == expected


def test_every_listing_is_one_snapshot(flags: dflag.FlagRegistry) -> None:
    """While two flags change together, two hundred requests see them equal, each in a listing of one revision."""
    one, two = flags.dyn_int("one", 0), flags.dyn_int("two", 0)
    for number in range(50):
        flags.dyn_int(f"other{number}", number)
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            flags.apply({"one": str(number), "two": str(number)}, source="config")
            done.wait(0.001)

    def read(_: int) -> tuple[set[str], int]:
        with client(server) as connection:
            code, body = ask(connection, "GET", "/?only_changed=1")
        listing = json.loads(body)
        rows = {row["name"]: row for row in listing["flags"]}
        last = [change["new"] for change in listing["history"][-2:]]
        seen = {rows[name]["current_value"] for name in ("one", "two")} | set(last)
        seen |= {rows[name]["layers"][0]["text"] for name in ("one", "two")}
        assert listing["revision"] == int(min(seen))
        return seen, code

    writer = threading.Thread(target=write)
    with start_http_server(0, flags) as server, concurrent.futures.ThreadPoolExecutor(200) as pool:
        writer.start()
        try:
            while not one.get():
                done.wait(0.001)
            results = list(pool.map(read, range(200)))
        finally:
            done.set()
            writer.join()
    assert all(code == 200 and len(seen) == 1 for seen, code in results)
    assert len({tuple(seen) for seen, _ in results}) > 1
    assert one.get() == two.get()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_lets_go(flags: dflag.FlagRegistry) -> None:
    """A forked child keeps neither the port nor the connections, and its close() does nothing to the parent."""
    server = start_http_server(0, flags)
    with client(server) as connection:
        assert ask(connection, "GET", "/")[0] == 200
        ready, told = os.pipe()
        proceed, tell = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                server.close()
                os.write(told, b"x")
                os.read(proceed, 1)
                code = 0
            os._exit(code)
        try:
            os.read(ready, 1)
            assert ask(connection, "GET", "/")[0] == 200
            server.close()
            assert connection.sock is not None
            assert connection.sock.recv(1) == b""
            start_http_server(server.port, flags).close()
        finally:
            os.write(tell, b"x")
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            for descriptor in (ready, told, proceed, tell):
                os.close(descriptor)
        assert code == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_listing_in_a_forked_child(flags: dflag.FlagRegistry) -> None:
    """A child forked while a thread made a listing can make its own, with its own process and values."""
    rate = flags.dyn_int("rate", 50)
    handler = Handler(flags, None, authorize=None, title=None)
    request = Request(method="GET", path="/")
    assert isinstance(handler.handle(request), Response)
    with handler._listings._making:
        child = os.fork()
        if child == 0:
            code = 1
            signal.alarm(10)
            with contextlib.suppress(BaseException):
                answer = handler.handle(request)
                assert isinstance(answer, Response)
                assert json.loads(answer.body)["process"] == os.getpid()
                rate.set(60)
                answer = handler.handle(request)
                assert isinstance(answer, Response)
                assert [flag["current_value"] for flag in json.loads(answer.body)["flags"]] == ["60"]
                code = 0
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
