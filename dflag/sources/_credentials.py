"""
The credentials for an API server: headers, certificates, and the exec plugins that print either.

OpenSSL gets certificates from memory where the system allows this, so that a read-only file system is no obstacle.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import re
import selectors
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpcore2 as httpcore

from dflag._descriptors import new_selector
from dflag.errors import one_line
from dflag.sources._kubeconfig import read_file
from dflag.sources._objects import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dflag.sources._kubeconfig import Cluster, Config, Plugin
    from dflag.sources._link import Link

PLUGIN_SECONDS: Final = 60.0
"""How long an exec plugin may take. Some plugins ask a server of their own, and none must block the source for ever."""

_LOOK_SECONDS: Final = 0.05
"""How often to check whether a plugin has ended while its output is open."""

_PIPE_BYTES: Final = 2**20
"""The most that a pipe holds, so that one read takes everything that an ended plugin has left in it."""

_SHOWN_CHARACTERS: Final = 200
"""How many characters of a plugin's last line on standard error, or of its hint, a message quotes."""

_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN (?P<kind>(?:X509 |TRUSTED )?CERTIFICATE)-----.*?-----END (?P=kind)-----", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class _Granted:
    """
    The credentials that an exec plugin has printed.
    """

    token: str | None = field(repr=False)
    certificate: bytes = field(repr=False)
    expires: datetime.datetime | None


class Credentials:
    """
    The credentials of one configuration.

    An exec plugin runs at construction, unless the configuration has a token. A token file is read for every request.

    Raises:
        ApiError: The plugin fails.
    """

    def __init__(self, config: Config, link: Link) -> None:
        self._cluster: Final = config.cluster
        self._user: Final = config.user
        plugin, has_token = config.user.plugin, config.user.token or config.user.token_file
        self._granted: Final = None if plugin is None or has_token else _run(plugin, config.cluster, link)

    @property
    def has_expired(self) -> bool:
        """
        Whether the plugin must run again before the next request.
        """
        expires = None if self._granted is None else self._granted.expires
        return expires is not None and datetime.datetime.now(datetime.UTC) >= expires

    def headers(self) -> list[tuple[bytes, bytes]]:
        """
        Return the headers of a request.

        Raises:
            ApiError: The token file cannot be read, or a value is not one line of text.
        """
        headers: list[tuple[str, str]] = list(self._user.impersonation)
        if token := self._token():
            headers.append(("Authorization", f"Bearer {token}"))
        elif self._user.name is not None or self._user.password is not None:
            pair = f"{self._user.name or ''}:{self._user.password or ''}".encode()
            headers.append(("Authorization", f"Basic {base64.b64encode(pair).decode()}"))
        for name, value in headers:
            if not value.isprintable():
                # Without the value, which may be the token.
                raise ApiError(f"{self._user.place}: the credentials cannot be sent: {name} must be one line of text")
        return [(name.encode(), value.encode()) for name, value in headers]

    def tls(self) -> ssl.SSLContext:
        """
        Return the TLS settings: the trusted authorities, and the client's certificate.

        Raises:
            ApiError: A certificate or a key cannot be read.
        """
        context = self._trusting()
        user = self._user
        if user.certificate is not None and user.key is not None:
            _present(context, user.certificate.read() + b"\n" + user.key.read(), user.certificate.place)
        elif self._granted is not None and self._granted.certificate:
            _present(context, self._granted.certificate, f"{user.place}.exec")
        return context

    def _token(self) -> str | None:
        user = self._user
        if user.token_file is not None:
            try:
                return _token_in(user.token_file, f"{user.place}.tokenFile")
            except ApiError:
                if user.token is None:
                    raise
        if user.token is not None:
            return user.token.strip()
        return None if self._granted is None else self._granted.token

    def _trusting(self) -> ssl.SSLContext:
        cluster = self._cluster
        if cluster.insecure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        if cluster.authority is None:
            try:
                return httpcore.default_ssl_context()  # finds the system's authorities where OpenSSL alone does not
            except OSError as error:
                raise ApiError(
                    f"SSL_CERT_FILE or SSL_CERT_DIR: cannot read the authorities: {error.strerror}"
                ) from None
        # The text between the certificates is left out, because it may be in any encoding.
        found = [match.group().decode("latin-1") for match in _CERTIFICATE.finditer(cluster.authority.read())]
        where = f"{cluster.authority.place}: expected certificates in PEM"
        if cluster.authority.path is not None:
            where += f" in {cluster.authority.path}"
        if not found:
            raise ApiError(f"{where}, found none")
        try:
            context = ssl.create_default_context(cadata="\n".join(found))
        except (ssl.SSLError, ValueError):
            raise ApiError(f"{where}, found one that is damaged") from None
        # As in kubectl, certificates without key identifiers are valid, and everything in the bundle is trusted.
        # Python 3.13 made missing identifiers an error, which many hand-made authorities would cause.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


def _token_in(file: str, place: str) -> str:
    token = read_file(place, file).decode(errors="replace").strip()
    if not token:
        raise ApiError(f"{place}: expected a token in {file}, which is empty")
    return token


# --- client certificates


def _present(context: ssl.SSLContext, pem: bytes, place: str) -> None:
    """
    Load a certificate and its key into *context*, from memory if possible, or else from a temporary file.
    """

    def refuse() -> str:
        raise ApiError(f"{place}: the key is encrypted, and dflag does not ask for a password; use an unencrypted key")

    for as_file in (_in_memory, _on_disk):
        try:
            with as_file(pem) as path:
                context.load_cert_chain(path, password=refuse)
        except ssl.SSLError as error:
            reason = "the key does not belong to the certificate" if "MISMATCH" in (error.reason or "") else "damaged"
            raise ApiError(f"{place}: expected a certificate and its key in PEM, found them {reason}") from None
        except (OSError, AttributeError) as error:
            problem = error
        else:
            return
    raise ApiError(f"{place}: OpenSSL reads certificates from files, and none can be made here: {problem}; set TMPDIR")


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """
    Make a file in memory, if the system has such files, and yield its path.
    """
    descriptor = os.memfd_create("dflag")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _on_disk(data: bytes) -> Iterator[str]:
    with tempfile.NamedTemporaryFile() as file:  # readable by its owner alone
        file.write(data)
        file.flush()
        yield file.name


# --- exec plugins


def _run(plugin: Plugin, cluster: Cluster, link: Link) -> _Granted:
    """
    Run a plugin, and return the credentials that it prints.
    """
    place, hint = plugin.place, f"; {_shown(plugin.hint)}" if plugin.hint else ""
    # As in kubectl, the program is looked for on the PATH of this process, not on that of the plugin.
    command = plugin.command if os.sep in plugin.command else shutil.which(plugin.command)
    if command is None:
        raise ApiError(f"{place}: there is no program {plugin.command!r} on the PATH{hint}")
    environment = {**os.environ, **plugin.environment, "KUBERNETES_EXEC_INFO": _question(plugin, cluster)}
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own kubeconfig names it
            [command, *plugin.arguments],
            env=environment,
            stdin=subprocess.DEVNULL,  # the standard input of the program is not for the plugin
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that `_end` also kills the processes that it started
        )
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it cannot be run"
        raise ApiError(f"{place}: cannot run {plugin.command!r}: {reason}{hint}") from None
    pipes = [pipe.fileno() for pipe in (process.stdout, process.stderr) if pipe is not None]
    with process, link.waiting(lambda: _end(process), *pipes):
        try:
            printed, said = _outputs(process)
        except BaseException as error:  # such as Ctrl-C: end the process, because leaving the block waits for it
            _end(process)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise ApiError(f"{place}: {plugin.command!r} did not end within {PLUGIN_SECONDS:.0f} s") from None
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise ApiError(f"{place}: {plugin.command!r} ended with status {process.returncode}: {_shown(lines[-1])}{hint}")
    return _answer(printed, f"{place}: {plugin.command!r}")


def _outputs(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """
    Wait until a plugin ends, and return its standard output and standard error.

    The output may end much later than the plugin, because a process that the plugin leaves behind holds it open.

    Raises:
        subprocess.TimeoutExpired: The plugin takes too long.
    """
    if os.name == "nt":
        return process.communicate(timeout=PLUGIN_SECONDS)  # selectors there support only sockets
    deadline = time.monotonic() + PLUGIN_SECONDS
    found: dict[Any, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    with new_selector() as selector:
        for pipe in found:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() and process.poll() is None and time.monotonic() < deadline:
            for key, _ in selector.select(_LOOK_SECONDS):
                if not _read_into(found[key.fileobj], key.fd):
                    selector.unregister(key.fileobj)
        for key in selector.get_map().values():
            os.set_blocking(key.fd, False)
            with contextlib.suppress(BlockingIOError):
                _read_into(found[key.fileobj], key.fd)
    process.wait(max(deadline - time.monotonic(), 0.0))
    return bytes(found[process.stdout]), bytes(found[process.stderr])


def _read_into(found: bytearray, descriptor: int) -> bool:
    part = os.read(descriptor, _PIPE_BYTES)
    found += part
    return bool(part)


def _end(process: subprocess.Popen[bytes]) -> None:
    """
    Kill a plugin and all processes that it started.
    """
    if process.returncode is not None:
        return  # another process may have the same process id by now
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _question(plugin: Plugin, cluster: Cluster) -> str:
    """
    Return the text that a plugin reads in ``KUBERNETES_EXEC_INFO``.
    """
    spec: dict[str, Any] = {"interactive": False}
    if plugin.wants_cluster:
        spec["cluster"] = {name: value for name, value in _described(cluster).items() if value}
    return json.dumps({"kind": "ExecCredential", "apiVersion": plugin.version, "spec": spec})


def _described(cluster: Cluster) -> dict[str, Any]:
    authority = b"" if cluster.authority is None else cluster.authority.read()
    return {
        "server": cluster.server,
        "tls-server-name": cluster.tls_name,
        "insecure-skip-tls-verify": cluster.insecure,
        "certificate-authority-data": base64.b64encode(authority).decode(),
        "proxy-url": cluster.proxy,
        "disable-compression": not cluster.compressed,
        "config": cluster.plugin_settings,
    }


def _answer(printed: bytes, who: str) -> _Granted:
    """
    Return the credentials in the output of a plugin, of either API version. The versions differ only in their names.
    """
    expected = f"{who} printed no ExecCredential in JSON"
    try:
        answer = json.loads(printed)
    except (ValueError, RecursionError):
        raise ApiError(expected) from None  # without the cause, which holds the text and so perhaps a token
    if not isinstance(answer, dict) or answer.get("kind", "ExecCredential") != "ExecCredential":
        raise ApiError(expected)
    version = answer.get("apiVersion", "client.authentication.k8s.io/v1")
    if version not in ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"):
        raise ApiError(f"{who} printed an ExecCredential of a version other than v1 and v1beta1")
    status = answer.get("status")
    fields = status if isinstance(status, dict) else {}
    token, certificate, key, expires = (
        _text(fields, name, who) for name in ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")
    )
    if (certificate is None) is not (key is None):
        raise ApiError(f"{who} printed a certificate without its key, or a key without its certificate")
    if token is None and certificate is None:
        raise ApiError(f"{who} printed neither status.token nor status.clientCertificateData")
    try:
        moment = None if expires is None else datetime.datetime.fromisoformat(expires)
    except ValueError:
        raise ApiError(f"{who} printed a status.expirationTimestamp that is not a time of RFC 3339") from None
    if moment is not None and moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return _Granted(
        None if token is None else token.strip(), f"{certificate or ''}\n{key or ''}".strip().encode(), moment
    )


def _text(fields: dict[str, Any], name: str, who: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ApiError(f"{who} printed a status.{name} that is not a text")
    return value or None


def _shown(text: str) -> str:
    return one_line(text)[:_SHOWN_CHARACTERS]
