"""
Asking the API server about one object: the list, the watch, and what may go wrong with either.

Authentication and the kubeconfig are lightkube's, HTTP is httpx's; how both are used is decided here.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpcore2 as httpcore
import httpx2 as httpx
import msgspec
from lightkube.config.client_adapter import user_auth, verify_cluster
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.config.models import User

from dflag.sources._link import Link
from dflag.sources._objects import Absent, State, absent_from, decode

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from dflag.sources._objects import Target

REQUEST_SECONDS: Final = 10.0
"""How long a connection, and an answer that should come at once, may take."""

SILENCE_SECONDS: Final = 5.0
"""How much longer than agreed a watch may be silent before it counts as dropped."""

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""The longest event; an object ends at about 1.5 MiB, ten times that in the worst of escapes."""

_EXEC_V1: Final = "client.authentication.k8s.io/v1"
_BEHIND: Final = frozenset({400, 410, 504})
"""How a server says that it does not know, or does not know yet, the version that it was asked for."""


class Fault(Exception):  # noqa: N818 - it is judged here and never seen by users
    """
    The API server could not be asked, or refused to answer.

    Attributes:
        code: The HTTP status, 0 when there was none.
        retry_after: How many seconds the server wants to be left alone, if it said so.
        unreachable: Whether it may just be down, as opposed to being set up wrongly.
        absent: Whether the answer means that there can be no such object.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        retry_after: float | None = None,
        unreachable: bool = False,
        absent: bool = False,
    ) -> None:
        super().__init__(message)
        self.code: Final = code
        self.retry_after: Final = retry_after
        self.unreachable: Final = unreachable
        self.absent: Final = absent


class ApiServer:
    """
    One object at the API server, and the connection to ask about it.

    The configuration is read when a connection is first needed after `close`: a rotated token, a new CA bundle and an
    edited kubeconfig count from then on.

    Thread safety: `cut` from any thread; `abandon` in a forked child; the rest from one thread.
    """

    def __init__(self, target: Target, kubeconfig: str | None, context: str | None) -> None:
        self._target: Final = target
        self._kubeconfig: Final = kubeconfig
        self._context: Final = context
        self._link: Final = Link()
        self._client: httpx.Client | None = None

    def list(self, not_older_than: str | None) -> tuple[State, str]:
        """
        Ask for the object's state; gives it with the version to watch from.

        Args:
            not_older_than: A version that was seen; None asks for the newest there is.

        Raises:
            Fault: There is no answer.
        """
        try:
            return self._list(not_older_than)
        except Fault as fault:
            if not_older_than is None or fault.code not in _BEHIND:
                raise
        return self._list(None)

    @contextmanager
    def watch(self, version: str, seconds: float) -> Generator[Iterator[tuple[str, Mapping[str, Any]]]]:
        """
        Open a watch and give its events, each a type and an object.

        Args:
            version: From where on.
            seconds: How long the server shall keep it open.

        Raises:
            Fault: It cannot be opened, or it broke; one that the server ends in good order just ends.
        """
        whole = max(1, round(seconds))
        asked = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(whole),
        }
        with self._ask(asked, whole + SILENCE_SECONDS) as response:
            yield _events(response.iter_bytes())

    def cut(self) -> None:
        """
        Make whatever is going on fail at once, and all that follows.
        """
        self._link.cut()

    def close(self) -> None:
        """
        Close the connection, and forget the configuration. Idempotent.
        """
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def abandon(self) -> None:
        """
        Let go, in a forked child, of the parent's connection.
        """
        self._link.abandon()

    def _list(self, not_older_than: str | None) -> tuple[State, str]:
        asked = {}
        if not_older_than:
            asked = {"resourceVersion": not_older_than, "resourceVersionMatch": "NotOlderThan"}
        with self._ask(asked, REQUEST_SECONDS) as response:
            body = _object(_whole(response), "a list")
        metadata, items = body.get("metadata"), body.get("items", ())
        if not str(body.get("kind", "List")).endswith("List") or not isinstance(metadata, dict):
            raise Fault(f"expected a list from the API server, got kind {body.get('kind')!r}")
        state: State = absent_from(body)
        for item in items or ():
            if self._target.is_named_by(item):
                state = _decoded(item, self._target)
        return state, str(metadata.get("resourceVersion") or "")

    @contextmanager
    def _ask(self, asked: Mapping[str, str], seconds: float) -> Generator[httpx.Response]:
        target = self._target
        path = f"/api/v1/namespaces/{target.namespace}/{target.plural}"
        parameters = {"fieldSelector": f"metadata.name={target.name}", **asked}
        timeout = httpx.Timeout(REQUEST_SECONDS, read=seconds)
        with _as_faults():
            if self._client is None:
                self._client = connect(load(self._kubeconfig, self._context), self._link)
            url = str(self._client.base_url).rstrip("/") + path
            with self._client.stream("GET", url, params=parameters, timeout=timeout) as response:
                if response.status_code != 200:
                    raise _refusal(response, target)
                content = response.headers.get("content-type", "application/json")
                if not content.startswith("application/json"):
                    raise Fault(f"expected JSON from the API server, got {content.partition(';')[0]!r}; is it a proxy?")
                yield response


def load(kubeconfig: str | None, context: str | None) -> SingleConfig:
    """
    Find the configuration: the file given, or ``KUBECONFIG``, or that of a pod, or the home directory's.

    Raises:
        Fault: It cannot be found, read or understood.
    """
    named = (
        [kubeconfig] if kubeconfig else [path for path in os.environ.get("KUBECONFIG", "").split(os.pathsep) if path]
    )
    try:
        if not named and context is None and os.path.exists(os.path.join(SERVICE_ACCOUNT, "token")):
            found = KubeConfig.from_service_account(SERVICE_ACCOUNT).get()
        else:
            existing = [path for path in named if os.path.exists(os.path.expanduser(path))]
            found = KubeConfig.from_file((existing or named or [DEFAULT_KUBECONFIG])[0]).get(context)
    except Exception as error:
        # The texts of YAML errors are left out: they quote the file, and tokens stand in it.
        reason = f"not understood ({type(error).__name__})" if _is_foreign(error) else str(error)
        raise Fault(f"cannot use the kubeconfig: {reason}") from None
    if found is None:
        raise Fault("cannot use the kubeconfig: it has no current context")
    return found


def connect(config: SingleConfig, link: Link) -> httpx.Client:
    """
    Make an HTTP client with the credentials of a configuration, whose connections are those of *link*.
    """
    user = _usable(config.user or User(), config)
    server = config.cluster.server
    context = verify_cluster(config.cluster, user, config.abs_file) if server.startswith("https:") else None
    return httpx.Client(
        base_url=server,
        auth=user_auth(user),
        transport=_Transport(link, context, _proxy(server)),
        headers={"User-Agent": "dflag", "Accept": "application/json"},
        follow_redirects=False,
    )


class _Transport(httpx.BaseTransport):
    """
    One connection at a time over a link.
    """

    def __init__(self, link: Link, context: ssl.SSLContext | None, proxy: httpcore.Proxy | None) -> None:
        self._pool: Final = httpcore.ConnectionPool(
            ssl_context=context, proxy=proxy, network_backend=link, max_connections=1
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        response = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response: Final = response

    def __iter__(self) -> Iterator[bytes]:
        yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


def _usable(user: User, config: SingleConfig) -> User:
    """
    Mend what lightkube does not: paths relative to the kubeconfig, and exec plugins of version v1.
    """
    changed: dict[str, Any] = {}
    if user.token_file is not None:
        changed["token_file"] = str(config.abs_file(user.token_file))
    if user.exec is not None and user.exec.apiVersion == _EXEC_V1:
        # What v1 gives back reads as v1beta1 does.
        changed["exec"] = msgspec.structs.replace(user.exec, apiVersion=f"{_EXEC_V1}beta1")
    return msgspec.structs.replace(user, **changed)


def _proxy(server: str) -> httpcore.Proxy | None:
    """
    Take the proxy from ``HTTPS_PROXY``, ``HTTP_PROXY`` or ``ALL_PROXY``, unless ``NO_PROXY`` names the server.
    """
    parts = urllib.parse.urlsplit(server)
    proxies = urllib.request.getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    if not found or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    url = httpx.URL(found if "://" in found else f"http://{found}")
    auth = (url.username, url.password) if url.username else None
    return httpcore.Proxy(str(url.copy_with(username=None, password=None)), auth=auth)


# --- answers


def _whole(response: httpx.Response) -> bytes:
    parts, size = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_LINE_BYTES:
            raise Fault(f"the API server's answer is larger than {MAX_LINE_BYTES // 1024**2} MiB")
    return b"".join(parts)


def _events(chunks: Iterator[bytes]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line in _lines(chunks):
        event = _object(line, "an event")
        kind, item = event.get("type"), event.get("object")
        if not isinstance(kind, str) or not isinstance(item, dict):
            raise Fault("expected an event from the API server, got something else", unreachable=True)
        yield kind, item


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """
    Cut a stream into lines; half a line at its end is dropped, for the next watch brings it whole.
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
            raise Fault(f"an event is larger than {MAX_LINE_BYTES // 1024**2} MiB")


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        # Without the cause, which quotes the text: it may be a secret's.
        raise Fault(f"expected {what} in JSON from the API server, got something else", unreachable=True)
    return found


def _decoded(item: Mapping[str, Any], target: Target) -> State:
    try:
        return decode(item, target.kind)
    except (AttributeError, TypeError, ValueError):
        raise Fault(f"{target}: expected data of texts, got something else") from None


def understand(kind: str, item: Mapping[str, Any], target: Target) -> State | None:
    """
    Read an event: the object's state after it, or None when it is about another object or nothing.

    Raises:
        Fault: It is an error, or not understood.
    """
    if kind == "ERROR":
        code = item.get("code")
        raise Fault(
            f"the API server ended the watch: {item.get('message') or item.get('reason') or 'no reason given'}",
            code=code if isinstance(code, int) else 500,
            retry_after=_seconds((item.get("details") or {}).get("retryAfterSeconds")),
            unreachable=True,
        )
    if kind not in {"ADDED", "MODIFIED", "DELETED"} or not target.is_named_by(item):
        return None
    return Absent(absent_from(item).version) if kind == "DELETED" else _decoded(item, target)


def _refusal(response: httpx.Response, target: Target) -> Fault:
    code = response.status_code
    status: dict[str, Any] = {}
    with contextlib.suppress(Fault):
        status = _object(_whole(response), "a status")
    said = str(status.get("message") or response.reason_phrase or "no reason given")
    absent = False
    if code == 403:
        said = f"{said}; expected {role_for(target)}"
    elif response.is_redirect:
        said = "a redirect, which is not followed"
    elif code == 404:
        absent = status.get("kind") == "Status"
    return Fault(
        f"{target}: the API server answered {code}: {said}",
        code=code,
        retry_after=_seconds(response.headers.get("retry-after")),
        unreachable=code == 429 or code >= 500,
        absent=absent,
    )


def role_for(target: Target) -> str:
    """
    Name the permission that reading the object takes, as it would stand in a Role.
    """
    return (
        f'a Role in namespace {target.namespace!r} with apiGroups: [""], resources: ["{target.plural}"], '
        f'resourceNames: ["{target.name}"], verbs: ["list", "watch"], bound to this account'
    )


def _seconds(given: object) -> float | None:
    """
    Read a ``Retry-After``: seconds, or a date.
    """
    if given is None:
        return None
    try:
        return max(float(str(given)), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(str(given)).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


# --- failures


@contextmanager
def _as_faults() -> Generator[None]:
    """
    Turn what the libraries raise into a `Fault`.
    """
    try:
        yield
    except Fault:
        raise
    except ssl.SSLCertVerificationError as error:
        raise Fault(f"the API server's certificate is refused: {error.verify_message}") from error
    except (httpcore.LocalProtocolError, httpx.LocalProtocolError):
        # Its text quotes the header, and so the token.
        raise Fault("the credentials cannot be sent: they are no text of one line") from None
    except (TimeoutError, httpcore.TimeoutException) as error:
        raise Fault("the API server did not answer in time", unreachable=True) from error
    except (OSError, httpx.HTTPError, *_HTTP_FAILURES) as error:
        raise Fault(
            f"the API server cannot be reached: {str(error) or type(error).__name__}", unreachable=True
        ) from error
    except Exception as error:
        reason = f"({type(error).__name__})" if _is_foreign(error) else str(error)
        raise Fault(f"the API server cannot be asked: {reason}") from None


_HTTP_FAILURES: Final = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


def _is_foreign(error: Exception) -> bool:
    """
    Tell errors whose text may quote a credential from those that lightkube and the system put into words.
    """
    return not isinstance(error, OSError) and not type(error).__module__.startswith("lightkube.")
