"""
Which API server to ask, and as which user: from kubeconfig files as kubectl reads them, or from the service account of
a pod.

An unknown field is refused, and the error names it. If it were dropped, dflag might ask another server, or ask as
another user.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dflag._formats import documents
from dflag._formats.base import NotJSON
from dflag.sources._names import is_namespace_name
from dflag.sources._objects import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOME: Final = "~/.kube/config"
"""The kubeconfig if nothing else names one."""

_MAX_BYTES: Final = 2**20
"""The longest kubeconfig, certificate or token. The YAML reader takes no longer text."""

_EXEC_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EXEC_EXTENSION: Final = "client.authentication.k8s.io/exec"
_LISTS: Final = {"clusters": "cluster", "users": "user", "contexts": "context"}


@dataclass(frozen=True, slots=True)
class Material:
    """
    A certificate or key, in a file or in the kubeconfig itself.
    """

    place: str
    path: str | None = None
    data: bytes = field(default=b"", repr=False)

    def read(self) -> bytes:
        """
        Return the PEM text.

        Raises:
            ApiError: The file cannot be read.
        """
        return self.data if self.path is None else read_file(self.place, self.path)


@dataclass(frozen=True, slots=True)
class Cluster:
    """
    An API server, and how to reach it.
    """

    place: str
    server: str
    tls_name: str | None = None
    authority: Material | None = None
    insecure: bool = False
    proxy: str | None = field(default=None, repr=False)  # its URL may hold a password
    compressed: bool = True
    plugin_settings: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Plugin:
    """
    A program that prints credentials.
    """

    place: str
    version: str
    command: str
    arguments: tuple[str, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    hint: str | None
    wants_cluster: bool


@dataclass(frozen=True, slots=True)
class User:
    """
    The credentials of a user, and the user to impersonate.
    """

    place: str
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    name: str | None = None
    password: str | None = field(default=None, repr=False)
    certificate: Material | None = None
    key: Material | None = None
    plugin: Plugin | None = None
    impersonation: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """
    One cluster, one user and a namespace. The namespace is None if nothing in a pod names it.
    """

    cluster: Cluster
    user: User
    namespace: str | None


@dataclass(frozen=True, slots=True)
class Places:
    """
    The files that may hold the configuration. The paths are absolute, so a later change of directory or ``HOME`` has no
    effect.
    """

    files: tuple[str, ...]
    required: bool  # a file that the program named must be there
    named: bool  # by the program or by KUBECONFIG
    home: str


def places(kubeconfig: str | None) -> Places:
    """
    Return the files to look for: the given file, or those in ``KUBECONFIG``, or else the one in the home directory.
    """
    home = os.path.abspath(os.path.expanduser(HOME))
    if kubeconfig:
        return Places((_absolute(kubeconfig),), required=True, named=True, home=home)
    variable = os.environ.get("KUBECONFIG", "")
    files = tuple(dict.fromkeys(_absolute(path) for path in variable.split(os.pathsep) if path))
    return Places(files, required=False, named=bool(variable), home=home)


def load(where: Places, context: str | None, account: str) -> Config:
    """
    Return the configuration of a context, or that of the pod.

    Several files are merged as kubectl does it: for each name, and for the current context, the first file that has it
    wins. Files in ``KUBECONFIG`` that do not exist or are empty are passed over.

    Args:
        where: The files to read.
        context: A context of the kubeconfig. None means its current context.
        account: The directory in which a pod finds its service account.

    Raises:
        ApiError: There is no configuration, or it cannot be read or understood.
    """
    merged = _Merged(where.files)
    for path in where.files:
        if where.required or os.path.exists(path):
            merged.add(path)
    if not merged.is_empty or where.required:
        return merged.select(context)
    lacking = _lacking_in_pod(account)
    if context is None and lacking is None:
        return _pod(account)
    if not where.named and os.path.exists(where.home):
        merged = _Merged((where.home,))
        merged.add(where.home)
        return merged.select(context)
    searched = f"KUBECONFIG={os.pathsep.join(where.files)}" if where.named else where.home
    without = "" if lacking is None else f", nor a service account: {lacking}"
    raise ApiError(f"cannot use the kubeconfig: found none in {searched}{without}; pass kubeconfig=, or set KUBECONFIG")


def read_file(place: str, path: str) -> bytes:
    """
    Return the content of a file that the configuration names.

    Raises:
        ApiError: The file cannot be read, or is too long.
    """
    try:
        with open(path, "rb") as file:
            found = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "no path"
        raise ApiError(f"{place}: cannot read {path}: {reason}") from None
    if len(found) > _MAX_BYTES:
        raise ApiError(f"{place}: {path} is larger than {_MAX_BYTES // 1024**2} MiB")
    return found


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


# --- the pod


def _lacking_in_pod(account: str) -> str | None:
    """
    Return which part of a pod's service account is missing here, or None if none is.
    """
    if not os.path.isfile(os.path.join(account, "token")):
        return f"there is no {account}/token"
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        if not os.environ.get(name):
            return f"{name} is not set"
    return None


def _pod(account: str) -> Config:
    place = "the pod's service account"
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    namespace = os.environ.get("POD_NAMESPACE") or None  # as in kubectl, the downward API's usual variable goes first
    path = os.path.join(account, "namespace")
    if namespace is None and os.path.exists(path):
        namespace = read_file(place, path).decode(errors="replace").strip() or None
    _check_namespace(place, namespace)
    return Config(
        Cluster(
            place,
            _url(server, "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT", {"https"}),
            authority=Material(place, os.path.join(account, "ca.crt")),
        ),
        User(place, token_file=os.path.join(account, "token")),
        namespace,
    )


# --- files


class _Fields:
    """
    The fields of one mapping of a kubeconfig. Each field is taken by its name, and `end` refuses the remaining fields.

    Null and the empty text count as not given, as in Go.
    """

    def __init__(self, place: str, path: str, given: object) -> None:
        if given is not None and not isinstance(given, dict):
            raise ApiError(f"{place}: expected a mapping, got {_word(given)}")
        self.place: Final = place
        self.path: Final = path
        self._given: Final[dict[str, Any]] = dict(given or {})

    def raw(self, name: str) -> Any:
        return self._given.pop(name, None)

    def text(self, name: str) -> str | None:
        value = self.raw(name)
        if value is not None and not isinstance(value, str):
            raise ApiError(f"{self.place}.{name}: expected text, got {_word(value)}; put it in quotes")
        return value or None

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise ApiError(f"{self.place}.{name} is not set")
        return value

    def truth(self, name: str) -> bool:
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            raise ApiError(f"{self.place}.{name}: expected true or false, got {_word(value)}")
        return bool(value)

    def items(self, name: str) -> list[Any]:
        value = self.raw(name)
        if value is not None and not isinstance(value, list):
            raise ApiError(f"{self.place}.{name}: expected a list, got {_word(value)}")
        return value or []

    def texts(self, name: str) -> tuple[str, ...]:
        return _texts(self.items(name), f"{self.place}.{name}")

    def mappings(self, name: str) -> Iterator[_Fields]:
        for index, item in enumerate(self.items(name)):
            yield _Fields(f"{self.place}.{name}[{index}]", self.path, item)

    def file(self, name: str) -> str | None:
        """
        Return the path in a field. A relative path starts at the directory of the kubeconfig.
        """
        value = self.text(name)
        return None if value is None else self.beside(value)

    def beside(self, path: str) -> str:
        return os.path.normpath(os.path.join(os.path.dirname(self.path), path))

    def material(self, name: str) -> Material | None:
        """
        Return the file that a field names, or the content of the field of the same name with ``-data``, or None.
        """
        path, text = self.file(name), self.text(f"{name}-data")
        if path is not None and text is not None:
            raise ApiError(f"{self.place}: expected {name} or {name}-data, got both; drop one")
        if path is not None:
            return Material(f"{self.place}.{name}", path)
        if text is None:
            return None
        place = f"{self.place}.{name}-data"
        try:
            return Material(place, data=base64.b64decode("".join(text.split()), validate=True))
        except (binascii.Error, ValueError):
            raise ApiError(f"{place}: expected base64, got other text") from None

    def end(self, *ignored: str) -> None:
        """
        Refuse the fields that remain, except *ignored* and ``extensions``, which do not matter here.
        """
        for name in (*ignored, "extensions"):
            self.raw(name)
        if self._given:
            unknown = ", ".join(repr(name[:80]) for name in self._given)
            raise ApiError(f"{self.place}: dflag does not know the field {unknown}; remove it or correct its name")


class _Merged:
    """
    The merged content of one or several kubeconfig files.
    """

    def __init__(self, files: tuple[str, ...]) -> None:
        self._place: Final = f"cannot use the kubeconfig {os.pathsep.join(files)}"
        self._current: str | None = None
        self._named: Final[dict[str, dict[str, _Fields]]] = {plural: {} for plural in _LISTS}

    @property
    def is_empty(self) -> bool:
        return self._current is None and not any(self._named.values())

    def add(self, path: str) -> None:
        document = _Fields(f"cannot use the kubeconfig {path}", path, _document(path))
        for name, known in (("apiVersion", "v1"), ("kind", "Config")):
            given = document.text(name)
            if given not in (None, known):
                raise ApiError(f"{document.place}: expected {name} {known!r}, got {given!r}; is it a kubeconfig?")
        current = document.text("current-context")
        self._current = self._current or current
        for plural, singular in _LISTS.items():
            here: dict[str, _Fields] = {}
            for entry in document.mappings(plural):
                name = entry.required("name")
                if name in here:
                    raise ApiError(f"{document.place}: {name!r} is listed twice in {plural}; remove one")
                here[name] = _Fields(f"{document.place}: {plural}[{name}]", path, entry.raw(singular))
                entry.end()
            self._named[plural] = here | self._named[plural]
        document.end("preferences")

    def select(self, context: str | None) -> Config:
        name = context or self._current
        if name is None:
            raise ApiError(f"{self._place}: it has no current-context; pass context=, one of {self._list('contexts')}")
        chosen = self._find("contexts", name, "context=" if context else "current-context")
        place = f"contexts[{name}]"
        cluster = _cluster(self._find("clusters", chosen.required("cluster"), f"{place}.cluster"))
        named, namespace = chosen.text("user"), chosen.text("namespace")
        _check_namespace(chosen.place, namespace)
        chosen.end()
        user = User(chosen.place) if named is None else _user(self._find("users", named, f"{place}.user"))
        return Config(cluster, user, namespace or "default")

    def _find(self, plural: str, name: str, by: str) -> _Fields:
        if name not in self._named[plural]:
            raise ApiError(f"{self._place}: {by} names {name!r}, which is not among its {plural}: {self._list(plural)}")
        return self._named[plural][name]

    def _list(self, plural: str) -> str:
        return ", ".join(sorted(self._named[plural])) or "there are none"


def _document(path: str) -> Any:
    place = "cannot use the kubeconfig"
    try:
        text = read_file(place, path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ApiError(f"{place} {path}: expected text in UTF-8") from None
    if all(line.isspace() or line.startswith("#") for line in text.splitlines(keepends=True)):
        return None
    try:
        return documents.loads(text)
    except NotJSON as error:
        # Without the detail of the error, which may quote the file and so a token.
        at = "" if error.place is None else f" at line {error.place.line} column {error.place.column}"
        raise ApiError(f"{place} {path}: expected {error.expected}{at}") from None


def _cluster(fields: _Fields) -> Cluster:
    authority = fields.material("certificate-authority")
    insecure = fields.truth("insecure-skip-tls-verify")
    if insecure and authority is not None:
        raise ApiError(f"{fields.place}: expected no certificate-authority beside insecure-skip-tls-verify; drop one")
    server = fields.required("server")
    if "://" not in server:
        server = f"{'https' if insecure or authority is not None else 'http'}://{server}"
    proxy, tls_name = fields.text("proxy-url"), fields.text("tls-server-name")
    if tls_name is not None and not _is_host(tls_name):
        raise ApiError(f"{fields.place}.tls-server-name: expected the name of a host, got {tls_name!r:.80}")
    settings = None
    for extension in fields.mappings("extensions"):
        held = extension.raw("extension")
        if extension.text("name") == _EXEC_EXTENSION:
            settings = held
    found = Cluster(
        fields.place,
        _url(server, f"{fields.place}.server", {"https", "http"}),
        tls_name=tls_name,
        authority=authority,
        insecure=insecure,
        proxy=None if proxy is None else check_proxy(proxy, f"{fields.place}.proxy-url"),
        compressed=not fields.truth("disable-compression"),
        plugin_settings=settings,
    )
    fields.end()
    return found


def _user(fields: _Fields) -> User:
    place = fields.place
    if fields.raw("auth-provider") is not None:
        raise ApiError(f"{place}.auth-provider: dflag does not know auth providers; use an exec plugin")
    found = User(
        place,
        token=fields.text("token"),
        token_file=fields.file("tokenFile"),
        name=fields.text("username"),
        password=fields.text("password"),
        certificate=fields.material("client-certificate"),
        key=fields.material("client-key"),
        plugin=_plugin(fields),
        impersonation=_impersonation(fields),
    )
    fields.end()
    has_token = found.token is not None or found.token_file is not None
    if has_token and (found.name is not None or found.password is not None):
        raise ApiError(f"{place}: expected a token or a username, got both; drop one")
    if (found.certificate is None) is not (found.key is None):
        lacking = "client-certificate" if found.certificate is None else "client-key"
        raise ApiError(f"{place}: expected client-certificate and client-key together; {lacking} is not set")
    return found


def _plugin(fields: _Fields) -> Plugin | None:
    given = fields.raw("exec")
    if given is None:
        return None
    inner = _Fields(f"{fields.place}.exec", fields.path, given)
    version, command = inner.required("apiVersion"), inner.required("command")
    if version not in _EXEC_VERSIONS:
        raise ApiError(f"{inner.place}.apiVersion: expected {' or '.join(_EXEC_VERSIONS)}, got {version!r}")
    mode = inner.text("interactiveMode")
    if mode == "Always":
        raise ApiError(f"{inner.place}.interactiveMode: the plugin needs a terminal, which dflag never gives it")
    if mode not in (None, "Never", "IfAvailable"):
        raise ApiError(f"{inner.place}.interactiveMode: expected Never, IfAvailable or Always, got {mode!r}")
    environment: dict[str, str] = {}
    for entry in inner.mappings("env"):
        environment[entry.required("name")] = entry.text("value") or ""
        entry.end()
    if os.sep in command:  # otherwise it is looked for on the PATH
        command = fields.beside(command)
    found = Plugin(
        inner.place,
        version,
        command,
        inner.texts("args"),
        environment,
        hint=inner.text("installHint"),
        wants_cluster=inner.truth("provideClusterInfo"),
    )
    inner.end()
    return found


def _impersonation(fields: _Fields) -> tuple[tuple[str, str], ...]:
    name = fields.text("as")
    headers = [("Impersonate-User", name)] if name else []
    if uid := fields.text("as-uid"):
        headers.append(("Impersonate-Uid", uid))
    headers += [("Impersonate-Group", group) for group in fields.texts("as-groups")]
    place = f"{fields.place}.as-user-extra"
    extra = fields.raw("as-user-extra")
    if extra is not None and not isinstance(extra, dict):
        raise ApiError(f"{place}: expected a mapping, got {_word(extra)}")
    for key, values in (extra or {}).items():
        if not isinstance(values, list):
            raise ApiError(f"{place}[{key}]: expected a list, got {_word(values)}")
        # Escaped as in client-go: except for %, every character that a header's name may have stays as it is.
        header = f"Impersonate-Extra-{urllib.parse.quote(key, safe='!#$&*+^`|' + chr(39))}"
        headers += [(header, value) for value in _texts(values, f"{place}[{key}]")]
    if headers and name is None:
        raise ApiError(
            f"{fields.place}: expected a user to impersonate beside as-uid, as-groups and as-user-extra; set as"
        )
    return tuple(headers)


# --- values


def check_proxy(given: str, place: str) -> str:
    """
    Return the URL of a proxy, which begins with ``http://`` if *given* has no scheme.

    Raises:
        ApiError: The URL cannot be used.
    """
    return _url(given if "://" in given else f"http://{given}", place, {"http"}, credentials=True)


def _url(given: str, place: str, schemes: set[str], *, credentials: bool = False) -> str:
    expected = " or ".join(f"{scheme}://HOST:PORT" for scheme in sorted(schemes))
    try:
        parts = urllib.parse.urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urllib.parse.urlsplit(""), None, None
    if "@" in given and not credentials:
        raise ApiError(f"{place}: expected {expected} without a user name or password")
    shown = "a URL with a user name" if "@" in given else repr(given)
    if parts.scheme not in schemes and host is not None:
        raise ApiError(f"{place}: expected {expected}, got {parts.scheme}://, which dflag does not support there")
    is_usable = host and _is_host(host) and port != 0 and not parts.query and not parts.fragment
    if not is_usable or not re.fullmatch(r"[^\s\x00-\x1f\x7f\\]+", given):
        raise ApiError(f"{place}: expected {expected}, got {shown}")
    return given


def _is_host(name: str) -> bool:
    """
    Return whether Python can look up the name: it has no empty label, and no label of more than 63 characters.
    """
    return all(0 < len(label) < 64 for label in name.removesuffix(".").split("."))


def _check_namespace(place: str, namespace: str | None) -> None:
    if namespace is not None and not is_namespace_name(namespace):
        raise ApiError(f"{place}: expected the name of a namespace, got {namespace!r}")


def _texts(items: list[Any], place: str) -> tuple[str, ...]:
    for item in items:
        if not isinstance(item, str):
            raise ApiError(f"{place}: expected texts, got {_word(item)} among them; put it in quotes")
    return tuple(items)


def _word(value: object) -> str:
    """
    Return the kind of a value for messages. The value itself may be secret.
    """
    kinds = {bool: "a truth value", str: "text", dict: "a mapping", list: "a list"}
    return next((word for kind, word in kinds.items() if isinstance(value, kind)), "a number")
