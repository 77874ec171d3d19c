"""
Requests to the API server about one object: the list, the watch, and the failures of both.

`_kubeconfig` says which server to ask and as which user, `_credentials` proves the identity, and httpx2 speaks HTTP.
"""

from __future__ import annotations

import contextlib
import json
import math
import ssl
import time
import traceback
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpcore2 as httpcore
import httpx2 as httpx

from dflag.sources import _kubeconfig, _proxies
from dflag.sources._credentials import Credentials
from dflag.sources._link import Link
from dflag.sources._objects import Absent, ApiError, ObjectState, decode, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from dflag.sources._kubeconfig import Config, Places
    from dflag.sources._objects import Target

SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where the kubelet puts the token of a pod's service account."""

REQUEST_SECONDS: Final = 10.0
"""How long connecting may take, and each part of an answer that should come at once."""

WHOLE_ANSWER: Final = 2.0
"""How many times as long a whole answer may take. The longest answer, 1.5 MiB in 20 s, needs 600 kbit/s."""

SILENCE_SECONDS: Final = 5.0
"""How much longer than agreed a watch may last before it counts as dropped."""

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""The longest event or answer. An object has at most about 1.5 MiB, or ten times that if all characters are escaped."""

_BEHIND: Final = frozenset({400, 410, 504})
"""The HTTP statuses of a server that does not know, or does not know yet, the version that it was asked for."""


class ApiServer:
    """
    One object at the API server, and the connection for requests about it.

    The configuration is read when a connection is first needed after `close`. From then on, a rotated token, a new CA
    bundle or an edited kubeconfig is used.

    Thread safety: `cut` from any thread; `abandon` in a forked child; the rest from one thread.
    """

    def __init__(self, target: Target, where: Places, context: str | None) -> None:
        self._target: Final = target
        self._where: Final = where
        self._context: Final = context
        self._link: Final = Link()
        self._client: httpx.Client | None = None
        self._credentials: Credentials | None = None

    def list(self, not_older_than: str | None) -> tuple[ObjectState, str, bool]:
        """
        Ask for the object's state.

        Args:
            not_older_than: A version that was seen before. None asks for the newest version that there is.

        Returns:
            The state, the version to watch from, and whether the server was asked for its newest version.

        Raises:
            ApiError: The server gives no answer that can be used.
        """
        if not_older_than is not None:
            try:
                return *self._list(not_older_than), False
            except ApiError as fault:
                if fault.code not in _BEHIND:
                    raise
        return *self._list(None), True

    @contextmanager
    def watch(self, version: str, seconds: float) -> Generator[Iterator[tuple[str, Mapping[str, Any]]]]:
        """
        Open a watch, and provide an iterator of its events, each a type and an object.

        Args:
            version: The version after which the events begin.
            seconds: How long the server should keep the watch open.

        Raises:
            ApiError: The watch cannot be opened, or it broke. A watch that the server ends as agreed raises nothing.
        """
        whole = max(1, round(seconds))
        asked = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": str(whole)}
        longest = whole + SILENCE_SECONDS
        # A server opens a watch at once. A server that does not will send no change either, so do not wait longer.
        with self._ask(asked, longest, min(REQUEST_SECONDS, longest)) as response:
            # The time counts from here, and ends a watch that sends a byte now and then but never ends by itself.
            self._link.limit(longest)
            yield _events(response.iter_bytes())

    def cut(self) -> None:
        """
        Make the current call and all later ones fail at once.
        """
        self._link.cut()

    def close(self) -> None:
        """
        Close the connection, and forget the configuration. Idempotent.
        """
        client, self._client, self._credentials = self._client, None, None
        if client is not None:
            client.close()

    def abandon(self) -> None:
        """
        Release the parent's connection in a forked child.
        """
        self._link.abandon()

    def _list(self, not_older_than: str | None) -> tuple[ObjectState, str]:
        asked = {}
        if not_older_than:
            asked = {"resourceVersion": not_older_than, "resourceVersionMatch": "NotOlderThan"}
        with self._ask(asked, REQUEST_SECONDS, REQUEST_SECONDS * WHOLE_ANSWER) as response:
            body = _object(_whole(response), "a list")
        return _listed(body, self._target)

    @contextmanager
    def _ask(self, asked: Mapping[str, str], seconds: float, in_all: float) -> Generator[httpx.Response]:
        target = self._target
        path = f"/api/v1/namespaces/{target.namespace}/{target.plural}"
        parameters = {"fieldSelector": f"metadata.name={target.name}", **asked}
        timeout = httpx.Timeout(REQUEST_SECONDS, read=seconds)
        client = self._connected()
        server = str(client.base_url).rstrip("/")
        with _as_faults(server):
            self._link.limit(in_all)
            with client.stream("GET", server + path, params=parameters, timeout=timeout) as response:
                _check_response(response, target, server)
                yield response

    def _connected(self) -> httpx.Client:
        if self._credentials is not None and self._credentials.has_expired:
            self.close()
        if self._client is None:
            self._client = self._configured()
        return self._client

    def _configured(self) -> httpx.Client:
        try:
            config = _kubeconfig.load(self._where, self._context, SERVICE_ACCOUNT)
            self._credentials = Credentials(config, self._link)
            return make_client(config, self._credentials, self._link)
        except ApiError:
            raise
        except Exception as error:
            raise defect(error) from None


def _check_response(response: httpx.Response, target: Target, server: str) -> None:
    """
    Raise `ApiError` if a response is a refusal or is not JSON.
    """
    if response.status_code != 200:
        raise _refusal(response, target)
    content = response.headers.get("content-type", "application/json").partition(";")[0]
    if not content.startswith("application/json"):
        raise ApiError(f"expected JSON from the API server {server}, got {content!r}; is it a proxy?")


def make_client(config: Config, credentials: Credentials, link: Link) -> httpx.Client:
    """
    Make an HTTP client for the server of a configuration. Its connections are made by *link*.

    Raises:
        ApiError: The configuration cannot be used.
    """
    cluster = config.cluster
    server = _server(cluster)

    def sign(request: httpx.Request) -> httpx.Request:
        request.headers = httpx.Headers([*request.headers.raw, *credentials.headers()])
        return request

    # By the parsed URL, because the text may say HTTPS://. Without a context, httpcore would use its own.
    context = credentials.tls() if server.scheme == "https" else None
    headers = {"User-Agent": "dflag", "Accept": "application/json"}
    if not cluster.compressed:
        headers["Accept-Encoding"] = "identity"
    return _Client(
        sign,
        _Transport(link, context, _proxy(cluster), cluster.tls_name),
        base_url=server,
        headers=headers,
        follow_redirects=False,
    )


def _server(cluster: _kubeconfig.Cluster) -> httpx.URL:
    try:
        return httpx.URL(cluster.server)
    except httpx.InvalidURL as error:
        raise ApiError(f"{cluster.place}.server: expected https://HOST:PORT, got {cluster.server!r}: {error}") from None


class _Client(httpx.Client):
    """
    A client that signs and sends a request and does nothing else. Its base class would write each one to the log.
    """

    def __init__(self, sign: Callable[[httpx.Request], httpx.Request], transport: _Transport, **options: Any) -> None:
        super().__init__(transport=transport, **options)
        self._sign: Final = sign
        self._sender: Final = transport

    def send(self, request: httpx.Request, *, stream: bool = False, **_: Any) -> httpx.Response:
        response = self._sender.handle_request(self._sign(request))
        response.request = request
        if not stream:
            response.read()
        return response


class _Transport(httpx.BaseTransport):
    """
    A transport that uses one connection of a link at a time.
    """

    def __init__(
        self, link: Link, context: ssl.SSLContext | None, proxy: httpcore.Proxy | None, tls_name: str | None
    ) -> None:
        self._tls_name: Final = tls_name
        self._pool: Final = httpcore.ConnectionPool(
            ssl_context=context, proxy=proxy, network_backend=link, max_connections=1
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url, host = request.url, request.url.raw_host
        # An IPv6 address needs brackets, as in a URL: httpcore tells a proxy the target as host and port.
        written = b"[" + host + b"]" if b":" in host else host
        passed = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=written, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions={**request.extensions, "sni_hostname": self._tls_name or host.decode("ascii")},
        )
        response = self._send(passed)
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    def _send(self, request: httpcore.Request) -> httpcore.Response:
        is_kept = request.method == b"GET" and bool(self._pool.connections)
        try:
            return self._pool.handle_request(request)
        except (OSError, httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
            if not is_kept or isinstance(error, TimeoutError):
                raise
        # A server may end an idle connection at any time, even at the moment when it is used again.
        return self._pool.handle_request(request)

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response: Final = response

    def __iter__(self) -> Iterator[bytes]:
        yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


def _proxy(cluster: _kubeconfig.Cluster) -> httpcore.Proxy | None:
    """
    Return the proxy that the kubeconfig names, or else the one from the environment, or None.
    """
    own = None if cluster.proxy is None else (cluster.proxy, f"{cluster.place}.proxy-url")
    found = own or _proxies.find(cluster.server)
    if found is None:
        return None
    given, place = found
    try:
        url = httpx.URL(_kubeconfig.check_proxy(given, place))
        auth = (url.username.encode(), url.password.encode()) if url.userinfo else None
        return httpcore.Proxy(str(url.copy_with(username=None, password=None)), auth=auth)
    except (httpx.InvalidURL, UnicodeError):  # the environment may hold other bytes than UTF-8
        # Without the cause, which quotes the URL and so the password.
        raise ApiError(f"{place}: expected http://HOST:PORT, got another URL") from None


# --- answers


def _whole(response: httpx.Response) -> bytes:
    parts, size = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_LINE_BYTES:
            raise ApiError(f"the API server's answer is larger than {MAX_LINE_BYTES // 1024**2} MiB")
    return b"".join(parts)


def _listed(body: Mapping[str, Any], target: Target) -> tuple[ObjectState, str]:
    """
    Return the object's state from a list, and the version of the list.
    """
    kind, items, metadata = body.get("kind"), body.get("items"), body.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(kind, str) or not isinstance(items or [], list):
        raise ApiError(f"expected a list from the API server, got kind {kind!r}")
    cursor = version_of(body)
    member_kind = kind.removesuffix("List")  # the items of a list may lack their kind
    for item in items or []:
        if isinstance(item, dict) and item.get("kind", member_kind) == target.kind and target.is_named_by(item):
            return _decoded(item, target), cursor
    # Only a complete list of the right kind proves that the object does not exist.
    if kind != f"{target.kind}List" or metadata.get("continue"):
        raise ApiError(f"expected a list from the API server, got kind {kind!r}; expected all of a {target.kind}List")
    return Absent(cursor), cursor


def _events(chunks: Iterator[bytes]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line in _lines(chunks):
        event = _object(line, "an event")
        kind, item = event.get("type"), event.get("object")
        if not isinstance(kind, str) or not isinstance(item, dict):
            raise ApiError("expected an event from the API server, got something else", unreachable=True)
        yield kind, item


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """
    Cut a stream into lines. Half a line at its end is dropped, because the next watch brings the whole line.
    """
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        for other in others:
            if line := b"".join(parts).strip():
                yield line
            parts, size = [other], len(other)
        if size > MAX_LINE_BYTES:
            raise ApiError(f"an event is larger than {MAX_LINE_BYTES // 1024**2} MiB")


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        # Without the cause, which quotes the text, and so perhaps a secret.
        raise ApiError(f"expected {what} in JSON from the API server, got something else", unreachable=True)
    return found


def _ended(status: Mapping[str, Any]) -> ApiError:
    """
    Return the error for a watch that the API server ended by an event of type ERROR.
    """
    code, details = status.get("code"), status.get("details")
    return ApiError(
        f"the API server ended the watch: {status.get('message') or status.get('reason') or 'no reason given'}",
        code=code if isinstance(code, int) else 500,
        retry_after=_seconds(details.get("retryAfterSeconds")) if isinstance(details, dict) else None,
        unreachable=True,
    )


def _decoded(item: Mapping[str, Any], target: Target) -> ObjectState:
    try:
        return decode(item, target.kind)
    except (AttributeError, TypeError, ValueError):
        raise ApiError(f"{target}: expected data of texts, got something else") from None


def understand(kind: str, item: Mapping[str, Any], target: Target) -> ObjectState | None:
    """
    Return the object's state after an event, or None if the event does not concern the object.

    Raises:
        ApiError: The event is an error, or cannot be understood.
    """
    if kind == "ERROR":
        raise _ended(item)
    if kind not in {"ADDED", "MODIFIED", "DELETED"} or item.get("kind", target.kind) != target.kind:
        return None
    if not target.is_named_by(item):
        return None
    return Absent(version_of(item)) if kind == "DELETED" else _decoded(item, target)


def _refusal(response: httpx.Response, target: Target) -> ApiError:
    code = response.status_code
    status: dict[str, Any] = {}
    # An answer that is too slow or breaks off is a refusal all the same.
    with contextlib.suppress(ApiError, OSError, httpx.HTTPError, httpcore.NetworkError, httpcore.TimeoutException):
        status = _object(_whole(response), "a status")
    said = str(status.get("message") or response.reason_phrase or "no reason given")
    absent = False
    if code == 401:
        said = f"{said}; its credentials are not accepted: renew the token or certificate that the kubeconfig names"
    elif code == 403:
        said = f"{said}; expected {role_for(target)}"
    elif response.is_redirect:
        said = "a redirect, which is not followed; name the server that it leads to in the kubeconfig"
    elif code == 404:
        absent = status.get("kind") == "Status"
    return ApiError(
        f"{target}: the API server answered {code}: {said}",
        code=code,
        retry_after=_seconds(response.headers.get("retry-after")),
        unreachable=code == 429 or code >= 500,
        absent=absent,
    )


def role_for(target: Target) -> str:
    """
    Return the permission that reading the object needs, in the fields of a Role.
    """
    return (
        f'a Role in namespace {target.namespace!r} with apiGroups: [""], resources: ["{target.plural}"], '
        f'resourceNames: ["{target.name}"], verbs: ["list", "watch"], bound to this account'
    )


def _seconds(given: object) -> float | None:
    """
    Return the seconds of a ``Retry-After``, which holds seconds or a date; None if it holds neither.
    """
    if given is None:
        return None
    try:
        seconds = float(str(given))
    except ValueError:
        try:
            seconds = parsedate_to_datetime(str(given)).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(seconds, 0.0)


# --- failures


@contextmanager
def _as_faults(server: str) -> Generator[None]:
    """
    Turn the exceptions of the network and its libraries into an `ApiError`.
    """
    try:
        yield
    except ApiError:
        raise
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message
        raise ApiError(
            f"the API server's certificate is refused: {reason}; check certificate-authority and server, "
            f"or tls-server-name, in the kubeconfig ({server})"
        ) from error
    except (httpcore.LocalProtocolError, httpx.LocalProtocolError):
        # The text of this exception quotes the header, and so the token.
        raise ApiError("the credentials cannot be sent: they are not one line of text") from None
    except (TimeoutError, httpcore.TimeoutException, httpx.TimeoutException) as error:
        raise ApiError(f"the API server {server} did not answer in time", unreachable=True) from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        raise _unreachable(server, "it broke off the TLS connection") from error
    except ssl.SSLError as error:
        reason = (error.reason or "no reason given").replace("_", " ").lower()
        hint = "; does it speak http://?" if "wrong version" in reason else ""
        raise ApiError(f"the TLS connection to the API server {server} failed: {reason}{hint}") from error
    except httpcore.ProxyError as error:
        # Such as "407 Proxy Authentication Required": a refusal by a proxy lasts. An unreachable server may come back.
        passing = not str(error).startswith("4")
        raise ApiError(f"the proxy before {server} answered {error}", unreachable=passing) from error
    except (OSError, httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or "the connection broke"
        raise _unreachable(server, reason) from error
    except Exception as error:
        raise defect(error) from None


def _unreachable(server: str, reason: str) -> ApiError:
    return ApiError(f"the API server {server} cannot be reached: {reason}", unreachable=True)


def defect(error: BaseException) -> ApiError:
    """
    Return an `ApiError` for an unexpected exception. It names the place, because the text may quote a credential.
    """
    frames = traceback.extract_tb(error.__traceback__)
    at = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return ApiError(
        f"an error that dflag does not know stopped the request: {type(error).__name__}{at}; please report it"
    )
