"""
Reads manifests as ``kubectl`` and the API server do: the ConfigMaps and Secrets in a stream, and their faults.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from dflag._raw import Unreadable
from dflag.cli import _fields
from dflag.cli._items import Fault, Item, Object
from dflag.cli._json_types import LIST, MAPPING, NULL, STRING, TAGGED, is_changed_as_key, type_of
from dflag.sources._entries import is_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dflag._formats.base import Place
    from dflag._formats.nodes import Lines, Node

_MAX_BYTES: Final = 2**20
"""The limit for all values of a ConfigMap or a Secret together; the API server refuses more."""

_ANY_KEY: Final = re.compile(r"(?!\.\.)(?!\.\Z)[-._a-zA-Z0-9]{1,253}")
"""Matches the keys that the API server allows (apimachinery's ``IsConfigMapKey``); not all of them can name flags."""

_LINE_ENDS: Final = {ord("\r"): None, ord("\n"): None}
"""The only other characters that may stand in base64 (Go's ``encoding/base64``)."""

_VALUES: Final = {"ConfigMap": ("data", "binaryData"), "Secret": ("data", "stringData")}
_ENCODED: Final = frozenset({("ConfigMap", "binaryData"), ("Secret", "data")})

_REQUIRED_KEYS: Final = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
"""The keys that a Secret of each type must have (``ValidateSecret``)."""

_SLIP: Final = 0.82
"""How similar a misspelt kind must be: Secert counts as misspelt, but neither Service nor SecretStore does."""

_JSON_KEYS: Final = frozenset({".dockercfg", ".dockerconfigjson"})
_ACCOUNT: Final = "kubernetes.io/service-account.name"


def is_manifest(node: Node) -> bool:
    """
    Return whether a document is meant for the API server, even if the server would refuse it.
    """
    kind, version, metadata = (node.get(key) for key in ("kind", "apiVersion", "metadata"))
    if kind is not None and version is not None:
        return True
    if kind is not None:
        return _meant_kind(kind.text or "") is not None and any(
            node.get(key) for key in ("metadata", *_VALUES["Secret"])
        )
    return version is not None and metadata is not None


def read(nodes: Sequence[Node], name: str, source: str, lines: Lines) -> tuple[Sequence[Object], Sequence[str]]:
    """
    Read the documents of a stream.

    Return its ConfigMaps and Secrets with their faults, and the kinds of the objects that are passed over.

    Args:
        nodes: The documents.
        name: The name of the file.
        source: The text of the file.
        lines: The lines of that text, which give each character its place.
    """
    reader = _Reader(name, source, lines)
    objects = [each for node in nodes for each in reader.objects(node)]
    return objects, reader.others


def _text(node: Node | None, key: str) -> str:
    inner = None if node is None else node.get(key)
    return "" if inner is None else inner.text or ""


def _meant_kind(kind: str) -> str | None:
    """
    Return which of the two kinds is meant by a kind that may be misspelt; None if neither is.
    """
    if kind in _fields.KINDS:
        return kind
    import difflib  # needed for a misspelt kind only

    letters = re.sub(r"[-_ ]", "", kind).lower().removesuffix("s")
    lower = {each.lower(): each for each in _fields.KINDS}
    near = difflib.get_close_matches(letters, lower, n=1, cutoff=_SLIP)
    return lower[near[0]] if near else None


def _is_custom(version: str) -> bool:
    """
    Return whether a version is of a group that anybody may define, together with kinds of any name.

    The groups of Kubernetes itself have no dot, or end with ``.k8s.io``.
    """
    group, slash, _ = version.partition("/")
    return bool(slash) and "." in group and not group.endswith(".k8s.io")


class _Reader:
    def __init__(self, name: str, source: str, lines: Lines) -> None:
        self._name: Final = name
        self._source: Final = source
        self._lines: Final = lines
        self.others: Final[list[str]] = []

    def objects(self, node: Node) -> Iterator[Object]:
        """
        Yield the objects of a document, which is one object or a list of them.
        """
        kind, items = _text(node, "kind"), node.get("items")
        if not kind or not is_manifest(node):
            fault = Fault(self._lines.place(node.start), "", "a manifest has apiVersion and kind; add what is missing")
            yield Object("document", self._name, {}, (fault,))
            return
        if kind.endswith("List") and items is not None:
            for item in items.items or ():
                yield from self._member(item, node, kind.removesuffix("List"))
            return
        yield from self._object(node, kind, _text(node, "apiVersion"))

    def _member(self, node: Node, listed: Node, kind: str) -> Iterator[Object]:
        """
        Read an item of a list. In a list of one kind, an item needs neither kind nor version.
        """
        if kind and node.members is not None and node.get("kind") is None and node.get("apiVersion") is None:
            yield from self._object(node, kind, _text(listed, "apiVersion"))
        else:
            yield from self.objects(node)

    def _object(self, node: Node, kind: str, version: str) -> Iterator[Object]:
        meant = None if _is_custom(version) else _meant_kind(kind)
        if meant is None or (kind != meant and version not in ("", "v1")):
            self.others.append(kind)
            return
        yield _ObjectReader(self._name, self._source, self._lines, meant).read(node, kind, version)


class _ObjectReader:
    """
    Reads one ConfigMap or Secret.
    """

    def __init__(self, name: str, source: str, lines: Lines, kind: str) -> None:
        self._name: Final = name
        self._source: Final = source
        self._lines: Final = lines
        self._kind: Final = kind
        self._items: Final[dict[str, Item]] = {}
        self._hidden: Final[dict[str, Item]] = {}
        self._faults: Final[list[Fault]] = []
        self._values: Final[dict[tuple[str, str], str | bytes]] = {}

    def read(self, node: Node, kind: str, version: str) -> Object:
        if kind != self._kind:
            self._refuse(node.get("kind") or node, f"the API server has no kind {kind[:80]!r}; write {self._kind}")
        if version != "v1":
            written = node.get("apiVersion")
            self._refuse(written or node, f"a {self._kind} has the apiVersion v1; write apiVersion: v1")
        if node.repeated is not None:
            says = "a key occurs twice in one mapping, and only the last counts; take one away"
            self._faults.append(Fault(self._lines.place(node.repeated), "", says))
        self._faults.extend(_fields.faults(node, self._kind, self._place))
        for field in _VALUES[self._kind]:
            inner = node.get(field)
            if inner is None or type_of(inner) == NULL:
                continue
            if inner.members is None:
                self._refuse(inner, f"expected {field} as a mapping")
            for key, nodes in (inner.members or {}).items():
                self._add(field, key, *nodes)
        label = f"{self._kind} {_text(node.get('metadata'), 'name')}".strip()
        self._check_size(node, label)
        secret = self._kind == "Secret"
        if secret:
            self._check_type(node)
        found = Object(label, self._name, self._items, tuple(self._faults), secret=secret, files=True)
        return found._replace(in_config_map=not secret, hidden=self._hidden)

    def _place(self, node: Node) -> Place:
        return self._lines.place(node.start)

    def _refuse(self, node: Node, message: str, key: str = "") -> None:
        self._faults.append(Fault(self._place(node), key, message))

    def _add(self, field: str, key: str, key_node: Node, node: Node) -> None:
        if not _ANY_KEY.fullmatch(key):
            expected = "a key of 1 to 253 characters of [-._a-zA-Z0-9] that is not . and does not begin with .."
            self._refuse(key_node, f"expected {expected}, got {key[:80]!r}", key)
        elif is_changed_as_key(key_node):
            self._refuse(key_node, f'{field}: keys are strings; write "{key}" for the key', key)
        if field == "binaryData" and ("data", key) in self._values:
            self._refuse(key_node, f"the key {key!r} is in both data and binaryData", key)
        item = partial(Item, file=self._name, source=self._source, place=self._lines.place, nodes=(key_node, node))
        raw = self._value(node, field, key, item("").value_place())
        self._values[field, key] = b"" if isinstance(raw, Unreadable) else raw
        (self._items if is_key(key) else self._hidden)[key] = item(raw)

    def _value(self, node: Node, field: str, key: str, place: Place) -> str | bytes | Unreadable:
        """
        Return the value that a volume would have. If the API server refuses it, add a fault.
        """
        found = type_of(node)
        if found not in (STRING, NULL):
            return self._unfit(node, f"{field}.{key[:80]}: {self._kind} values are strings", key, place)
        text = "" if found == NULL else node.text or ""
        if (self._kind, field) not in _ENCODED:
            return text
        from binascii import a2b_base64  # needed for encoded values only

        try:
            return a2b_base64(text.translate(_LINE_ENDS), strict_mode=True)
        except ValueError:
            plain = "data" if self._kind == "ConfigMap" else "stringData"
            message = f"{field}.{key[:80]}: the value is not valid base64; encode it, or move it to {plain}"
            self._faults.append(Fault(place, key, message, rule="invalid-value"))
            return Unreadable(f"{field} is not valid base64")

    def _unfit(self, node: Node, problem: str, key: str, place: Place) -> Unreadable:
        found = type_of(node)
        if found in (MAPPING, LIST):
            message = masked = f'{problem}; write "{key[:80]}: |" to make a text of {found}'
        elif found == TAGGED:
            message = masked = f"{problem}; take away the tag before the value"
        else:
            masked = f"{problem}; put the value in quotes"
            message = masked if self._kind == "Secret" else f"{problem}; {_fields.quoted(node)}"
        self._faults.append(Fault(place, key, message, masked, "invalid-value"))
        return Unreadable(masked)

    def _stored(self) -> Mapping[str, bytes]:
        """
        Return the values that the server stores. In a Secret, stringData takes precedence over data.
        """
        return {
            key: value.encode(errors="surrogatepass") if isinstance(value, str) else value
            for (_, key), value in self._values.items()
        }

    def _check_size(self, node: Node, label: str) -> None:
        size = sum(map(len, self._stored().values()))
        if size > _MAX_BYTES:
            self._refuse(node, f"{label}: expected values of at most {_MAX_BYTES} bytes in all, got {size}")

    def _check_type(self, node: Node) -> None:
        """
        Check what the server demands of a Secret of a well-known type.
        """
        name, stored, metadata = _text(node, "type"), self._stored(), node.get("metadata")
        place = node.get("type") or node
        for key in _REQUIRED_KEYS.get(name, ()):
            if key not in stored or (not stored[key] and key == "ssh-privatekey"):
                self._refuse(place, f"a Secret of type {name} needs the key {key!r}; add it")
            elif key in _JSON_KEYS and not _is_json_object(stored[key]):
                self._refuse(place, f"a Secret of type {name} needs a JSON object as the value of {key!r}")
        if name == "kubernetes.io/basic-auth" and not stored.keys() & {"username", "password"}:
            self._refuse(place, f"a Secret of type {name} needs the key 'username' or 'password'; add one")
        annotations = None if metadata is None else metadata.get("annotations")
        if name == "kubernetes.io/service-account-token" and not _text(annotations, _ACCOUNT):
            self._refuse(place, f"a Secret of type {name} needs the annotation {_ACCOUNT}; add it")


def _is_json_object(value: bytes) -> bool:
    import json  # needed for some Secrets only

    try:
        return isinstance(json.loads(value), (dict, type(None)))  # Go takes null for an empty map
    except (ValueError, RecursionError):
        return False
