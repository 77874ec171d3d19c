"""
A fake API server, which keeps the objects of one namespace as a real one does, and fails on request.

By default it answers lists and watches truthfully. `ApiServer.on_list` and `ApiServer.on_watch` queue answers, each of
which replaces one truthful answer: an error, a silence, half a line.
"""

from __future__ import annotations

import contextlib
import copy
import json
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

from ._waiting import DEADLINE_SECONDS, eventually

Event: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True)
class Request:
    """
    A request, as it arrived.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    target: str = ""
    at: float = field(default_factory=time.monotonic)

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "1"


class Connection:
    """
    One accepted connection, to which an answer writes.
    """

    def __init__(self, server: ApiServer, accepted: socket.socket) -> None:
        self.server = server
        self.ends = 0  # how often the server had ended its watches when the request arrived
        self._socket = accepted

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(
        self, status: int, body: bytes | object, headers: Mapping[str, str] | None = None, protocol: str = "1.1"
    ) -> None:
        """Send a complete answer; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
        lines = [f"HTTP/{protocol} {status} Said", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode() + data)

    def begin(self) -> None:
        """Start a stream of chunks."""
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def event(self, event: Event) -> None:
        self.chunk(json.dumps(event).encode() + b"\n")

    def end(self) -> None:
        """End the stream properly, with the last chunk."""
        self.send(b"0\r\n\r\n")

    def reset(self) -> None:
        """Close the connection with a RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def wait_for_end(self) -> None:
        """Send nothing until the other side closes."""
        with contextlib.suppress(OSError):
            while self._socket.recv(4096):
                pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == bytes(8):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def read_request(self) -> Request | None:
        """Read the head of a request; return None at the end of the connection."""
        head = b""
        while b"\r\n\r\n" not in head:
            part = self._socket.recv(4096)
            if not part:
                return None
            head += part
        first, *lines = head.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        method, target, _ = first.split(" ")
        parts = urllib.parse.urlsplit(target)
        headers: dict[str, str] = {}
        for name, _, value in (line.partition(":") for line in lines):
            # The values of a repeated header are joined to a list.
            headers[name.lower()] = ", ".join(filter(None, [headers.get(name.lower()), value.strip()]))
        return Request(
            method,
            target if method == "CONNECT" else parts.path,
            dict(urllib.parse.parse_qsl(parts.query)),
            headers,
            target,
        )

    def secure(self, context: ssl.SSLContext) -> None:
        """Start TLS on the connection."""
        self._socket = context.wrap_socket(self._socket, server_side=True)


Answer: TypeAlias = "Callable[[Connection, Request], None]"


class ApiServer:
    """
    The server, which is truthful except for the queued answers.

    Args:
        path: The path for the kubeconfig of the server.
        context: The TLS context; None for plain HTTP.
        authority: The file with the certificate of the authority that has issued the server's certificate.
    """

    def __init__(self, path: Path, context: ssl.SSLContext | None = None, authority: Path | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.token: str | None = None  # the token that is accepted; None accepts every request
        self._context = context
        self._changed = threading.Condition()
        self._version = 100
        self._objects: dict[tuple[str, str], Event] = {}
        self._log: list[tuple[str, int, Event]] = []
        self._lists: list[Answer] = []
        self._watches: list[Answer] = []
        self._ends = 0  # how often the watches were ended
        self._open: set[Connection] = set()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self.kubeconfig = write_kubeconfig(path, self.url, authority=authority)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    # --- what the cluster holds

    def put(self, data: Mapping[str, str] | None, *, name: str = "web", kind: str = "ConfigMap", **fields: Any) -> str:
        """Make or change an object, and return its version."""
        with self._changed:
            known = self._objects.get((kind, name))
            self._version += 1
            uid = known["metadata"]["uid"] if known else f"uid-{self._version}"
            metadata = {"name": name, "namespace": "default", "uid": uid, **fields.pop("metadata", {})}
            item = {"kind": kind, "apiVersion": "v1", "metadata": metadata, "data": data, **fields}
            metadata["resourceVersion"] = str(self._version)
            self._objects[kind, name] = item
            self._publish(kind, "MODIFIED" if known else "ADDED", item)
            return str(self._version)

    def delete(self, *, name: str = "web", kind: str = "ConfigMap") -> None:
        """Delete an object."""
        with self._changed:
            self._version += 1
            item = copy.deepcopy(self._objects.pop((kind, name)))
            item["metadata"]["resourceVersion"] = str(self._version)
            self._publish(kind, "DELETED", item)

    def item(self, *, name: str = "web", kind: str = "ConfigMap") -> Event:
        """Return a copy of an object."""
        return copy.deepcopy(self._objects[kind, name])

    @property
    def version(self) -> str:
        return str(self._version)

    def begin_anew(self, data: Mapping[str, str] | None, version: int) -> None:
        """Lose the database: versions continue from *version*, and connections break. *data* None makes no object."""
        with self._changed:
            self._version = version - 1
            self._objects.clear()
            self._log.clear()
            if data is not None:
                self.put(data)
            open_now = list(self._open)
        for connection in open_now:
            connection.reset()

    def listing(self, *items: Event, version: str | None = None, kind: str = "ConfigMap") -> Event:
        """Return a list in the form of the server."""
        return {
            "kind": f"{kind}List",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": version or self.version},
            "items": list(items),
        }

    # --- how it answers

    def on_list(self, *answers: Answer) -> None:
        self._lists += answers

    def on_watch(self, *answers: Answer) -> None:
        self._watches += answers

    def relent(self) -> None:
        """Drop all queued answers, and answer truthfully from now on."""
        self._lists.clear()
        self._watches.clear()

    def end_watches(self) -> None:
        """End every truthful watch properly."""
        with self._changed:
            self._ends += 1
            self._changed.notify_all()

    @property
    def lists(self) -> list[Request]:
        return [request for request in self.requests if not request.is_watch]

    @property
    def watches(self) -> list[Request]:
        return [request for request in self.requests if request.is_watch]

    def await_watches(self, number: int) -> Request:
        """Wait until there have been *number* watch requests, and return the last of them."""
        assert eventually(lambda: len(self.watches) >= number), f"{len(self.watches)} watches, expected {number}"
        return self.watches[number - 1]

    def await_lists(self, number: int) -> Request:
        """Wait until there have been *number* list requests, and return the last of them."""
        assert eventually(lambda: len(self.lists) >= number), f"{len(self.lists)} lists, expected {number}"
        return self.lists[number - 1]

    def close(self) -> None:
        """Stop listening, and end all connections. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            connection.close()
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)

    # --- serving

    def _publish(self, kind: str, event: str, item: Event) -> None:
        self._log.append((kind, self._version, {"type": event, "object": item}))
        self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(Connection(self, accepted),), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: Connection) -> None:
        self._open.add(connection)
        try:
            if self._context is not None:
                connection.secure(self._context)
            while not self._closed and (request := connection.read_request()) is not None:
                self._answer(connection, request)
        except (OSError, ssl.SSLError):  # the client has gone
            pass
        finally:
            self._open.discard(connection)
            connection.close()

    def _answer(self, connection: Connection, request: Request) -> None:
        waiting = self._watches if request.is_watch else self._lists
        answer = waiting.pop(0) if waiting else self._watch if request.is_watch else self._list
        connection.ends = self._ends  # before a test can see the request and end its watch
        self.requests.append(request)
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            answer = refuse(401, "Unauthorized")
        answer(connection, request)

    def _list(self, connection: Connection, request: Request) -> None:
        kind = _kind(request)
        with self._changed:
            items = [item for (of, name), item in self._objects.items() if of == kind and _selects(request, name)]
            body = self.listing(*items, kind=kind)
            late = int(request.query.get("resourceVersion", 0)) > self._version
        if late:
            refuse(504, "Too large resource version")(connection, request)
        else:
            connection.answer(200, body)

    def _watch(self, connection: Connection, request: Request) -> None:
        kind, after = _kind(request), int(request.query["resourceVersion"])
        deadline = time.monotonic() + int(request.query["timeoutSeconds"])
        connection.begin()
        over = False
        while not over:
            with self._changed:
                self._changed.wait_for(
                    lambda after=after: self._closed or self._ends != connection.ends or self._version > after,
                    deadline - time.monotonic(),
                )
                over = self._closed or self._ends != connection.ends or time.monotonic() >= deadline
                events = [
                    event
                    for of, version, event in self._log
                    if of == kind and version > after and _selects(request, event["object"]["metadata"]["name"])
                ]
                after = self._version
            for event in events:
                connection.event(event)
        if not self._closed:
            connection.end()


# --- answers


def refuse(status: int, message: str = "refused", **headers: str) -> Answer:
    """
    Return an answer with an error, in the form of an API server.
    """
    body = {"kind": "Status", "status": "Failure", "message": message, "code": status}
    return lambda connection, _: connection.answer(
        status, body, {name.replace("_", "-"): value for name, value in headers.items()}
    )


def reply(status: int, body: object, protocol: str = "1.1", **headers: str) -> Answer:
    """
    Return an answer with this status, body and headers.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda connection, _: connection.answer(status, body, named, protocol)


def stream(*events: Event, then: Callable[[Connection], None] = Connection.end) -> Answer:
    """
    Return an answer that sends events and then calls *then*, which ends the stream by default.
    """

    def answer(connection: Connection, request: Request) -> None:
        connection.begin()
        for event in events:
            connection.event(event)
        then(connection)

    return answer


def pieces(*parts: bytes, then: Callable[[Connection], None] = Connection.wait_for_end) -> Answer:
    """
    Return an answer that sends chunks unchanged, even if a chunk ends in the middle of an event.
    """

    def answer(connection: Connection, request: Request) -> None:
        connection.begin()
        for part in parts:
            connection.chunk(part)
        then(connection)

    return answer


def silence(connection: Connection, request: Request) -> None:
    """
    Accept the request and never answer.
    """
    connection.wait_for_end()


def error(code: int, reason: str) -> Event:
    """
    Return the event with which a server ends a watch with an error.
    """
    status = {"kind": "Status", "status": "Failure", "reason": reason, "message": f"it is {reason}", "code": code}
    return {"type": "ERROR", "object": status}


def bookmark(version: str) -> Event:
    """
    Return a bookmark, whose object has only a version.
    """
    return {"type": "BOOKMARK", "object": {"kind": "ConfigMap", "metadata": {"resourceVersion": version}}}


# --- configuration


def write_kubeconfig(
    path: Path, url: str, *, authority: Path | None = None, user: Event | None = None, **fields: Any
) -> Path:
    """
    Write a kubeconfig whose current context has the namespace "default"; the context "other" has "elsewhere".

    *fields* are further fields of the cluster, with underscores instead of hyphens.
    """
    cluster = {"server": url} | ({"certificate-authority": str(authority)} if authority else {})
    cluster |= {name.replace("_", "-"): value for name, value in fields.items()}
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": "test", "user": user or {"token": "first"}}],
                "contexts": [
                    {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "default"}},
                    {"name": "other", "context": {"cluster": "test", "user": "test", "namespace": "elsewhere"}},
                ],
            }
        )
    )
    return path


def _kind(request: Request) -> str:
    return "Secret" if request.path.endswith("/secrets") else "ConfigMap"


def _selects(request: Request, name: str) -> bool:
    selector = request.query.get("fieldSelector")
    return selector is None or selector == f"metadata.name={name}"
