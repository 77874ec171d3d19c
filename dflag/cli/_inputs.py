"""
Reading an INPUT: manifests, a directory, a document, or standard input.

Whatever it is, what comes of it is what a source would give, with the place of every key and value.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from dflag import _documents
from dflag._drafting import Reading
from dflag._json import NotJSON, Place
from dflag.cli import _trees
from dflag.cli._errors import CommandError
from dflag.cli._names import NAME_EXPECTED, is_object_name
from dflag.sources._entries import is_key
from dflag.typing import Text, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dflag.cli._trees import Lines, Node, Step
    from dflag.typing import Raw

_MAX_BYTES: Final = 2**20
"""What a ConfigMap or a Secret may hold in its values; the API server refuses more."""

_ANY_KEY: Final = re.compile(r"(?!\.\.)(?!\.\Z)[-._a-zA-Z0-9]{1,253}")
"""The keys that the API server allows, which are more than may name flags (apimachinery's ``IsConfigMapKey``)."""

_NO_TEXT: Final = re.compile(
    r"(?:true|True|TRUE|false|False|FALSE|y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)"
    r"|[-+]?0[bB]?[0-1_]*|[-+]?(?:0[oO]?[0-7_]+|0[xX][0-9a-fA-F_]+|[0-9][0-9_]*)"
    r"|[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    re.ASCII,
)
"""What kubectl takes for a truth value or a number when it stands without quotes, by YAML 1.1."""

_TYPED: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("binary", "bool", "float", "int"))
"""The tags that make something else of a text, also of one in quotes."""

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})

_LINE_ENDS: Final = {ord("\r"): None, ord("\n"): None}
"""All that may stand between the characters of base64 (Go's ``encoding/base64``)."""


class Fault(NamedTuple):
    """
    Something wrong with an input that no flag has a say in.
    """

    place: Place
    key: str
    message: str


class Item:
    """
    A key with its value, as they stand in an input.

    Attributes:
        raw: The value as a source would give it.
        file: The file that it stands in.
    """

    __slots__ = ("_key", "_lines", "_node", "_source", "file", "raw")

    def __init__(
        self, raw: Raw, file: str, source: str = "", lines: Lines | None = None, nodes: tuple[Node, Node] | None = None
    ) -> None:
        self.raw: Final = raw
        self.file: Final = file
        self._source: Final = source
        self._lines: Final = lines
        self._key: Final = None if nodes is None else nodes[0]
        self._node: Final = None if nodes is None else nodes[1]

    def key_place(self) -> Place:
        """
        Say where the key stands; of a file that is a value, its beginning.
        """
        return _trees.START if self._key is None or self._lines is None else self._lines.place(self._key.start)

    def value_place(self) -> Place:
        """
        Say where the value begins: inside of a block scalar its first character that is no white space.
        """
        node = self._node
        if node is None or self._lines is None:
            return _trees.START
        if node.style in ("|", ">") and node.text is not None and node.text.strip():
            return self.place_of(len(node.text) - len(node.text.lstrip()))
        # An empty value has no place of its own.
        return self.key_place() if node.text == "" and not node.style else self._lines.place(node.start)

    def place_of(self, index: int) -> Place:
        """
        Say where a character of the value's text stands.
        """
        if self._node is None or self._lines is None:
            text = self.text()
            return _trees.START if text is None else _trees.Lines(text).place(index)
        return self._lines.place(self._node.offset_of(self._source, index))

    def place_within(self, path: list[Step]) -> Place:
        """
        Say where a part of a value stands that the document holds natively.
        """
        if self._node is None or self._lines is None:
            return _trees.START
        return self._lines.place(self._node.walk(path).start)

    def text(self) -> str | None:
        """
        Give the text that a parser reads, if its characters have places; None of a native or encoded value.
        """
        if self._node is None:
            data = self.raw.encode() if isinstance(self.raw, str) else self.raw
            return data.decode(errors="replace") if isinstance(data, bytes) else None
        return self._node.text if isinstance(self.raw, str) else None

    def is_native(self) -> bool:
        """
        Say whether a JSON flag takes the value as the document holds it, without parsing a text.
        """
        return isinstance(self.raw, Text)


class Object(NamedTuple):
    """
    What one source would give.

    Attributes:
        label: What it is, for people.
        file: Where it stands.
        items: Its keys and values.
        faults: What is wrong with it whatever the flags are.
        secret: Whether all of it is secret.
    """

    label: str
    file: str
    items: Mapping[str, Item]
    faults: tuple[Fault, ...] = ()
    secret: bool = False

    @property
    def values(self) -> dict[str, Raw]:
        return {key: item.raw for key, item in self.items.items()}

    def reading(self) -> Reading:
        """
        Give what an updater would read; messages come without the place, which a finding says itself.
        """
        return Reading(self.values, lambda _: "", self.secret)


def read(path: str) -> list[Object]:
    """
    Read an input: the objects in it, in order.

    Raises:
        CommandError: It cannot be read, or is not YAML, nor JSON where its name says so.
    """
    if path != "-" and os.path.isdir(path):
        return [_read_directory(path)]
    name = "<stdin>" if path == "-" else path
    try:
        return list(_read_stream(_bytes_of(path), name))
    except NotJSON as error:
        raise _unreadable(name, error.place, f"expected {error.expected}") from None


def _unreadable(name: str, place: Place | None, problem: str) -> CommandError:
    where = name if place is None else f"{name}:{place.line}:{place.column}"
    return CommandError(f"{where}: {problem}")


def _bytes_of(path: str) -> bytes:
    if path == "-":
        data: bytes = sys.stdin.buffer.read()
        return data
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CommandError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _read_directory(path: str) -> Object:
    from dflag.errors import SourceError
    from dflag.sources.directory import DirectorySource

    source = DirectorySource(path, settle_seconds=0)
    try:
        values = source.read()
    except SourceError as error:
        raise CommandError(str(error)) from error
    items = {key: Item(raw, os.path.join(path, key)) for key, raw in values.items()}
    return Object("directory", path, items, secret=bool(source.secret))


def _read_stream(data: bytes, name: str) -> Iterator[Object]:
    text = _documents._decode(data)
    lines = _trees.Lines(text)
    try:
        nodes = _nodes(text, only_json=name.lower().endswith(".json"))
    except _trees.Stopped as stop:
        raise _unreadable(name, lines.place(stop.offset), f"expected JSON or YAML: {stop.problem}") from None
    page = _Page(name, text, lines)
    manifests = [manifest for node in nodes for manifest in _flatten(node)]
    if any(_is_manifest(node) for node in nodes):
        yield from page.objects(manifests)
    elif len(nodes) > 1:
        raise _unreadable(name, lines.place(nodes[1].start), "expected manifests, or one document alone")
    else:
        yield page.document(data, nodes[0] if nodes else None, yaml=not name.lower().endswith(".json"))


def _nodes(text: str, *, only_json: bool) -> list[Node]:
    if not text.strip():
        return []
    if only_json:
        return [_trees.read_json(text)]
    if text.lstrip().startswith("{"):
        try:
            return [_trees.read_json(text)]
        except _trees.Stopped:
            pass  # it may be YAML that looks like JSON at first
    return _trees.read_yaml(text)


def _is_manifest(node: Node) -> bool:
    return all((inner := node.get(key)) is not None and inner.text for key in ("apiVersion", "kind"))


def _flatten(node: Node) -> Iterator[Node]:
    """
    Give the manifests in a List, or a manifest itself.
    """
    if not _is_manifest(node):
        return
    items = node.get("items")
    if _text(node, "kind").endswith("List") and items is not None:
        for item in items.items or ():
            yield from _flatten(item)
    else:
        yield node


def _text(node: Node | None, key: str) -> str:
    inner = None if node is None else node.get(key)
    return "" if inner is None else inner.text or ""


def _is_plain(node: Node) -> bool:
    """
    Say whether YAML makes of a scalar what it looks like.
    """
    return node.style == "" and node.tag is None


def _no_text(node: Node) -> str | None:
    """
    Say why the API server finds no text in a value, if it does not.
    """
    if node.text is None:
        return ", found a mapping or a sequence"
    if node.tag in _TYPED:
        return ": take away the tag before the value"
    if _is_plain(node) and _NO_TEXT.fullmatch(node.text):
        return ": put the value in quotes"
    return None


def _size(raw: str | bytes | Unreadable) -> int:
    if isinstance(raw, Unreadable):
        return 0
    return len(raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw)


class _Page:
    """
    A text with manifests or a document in it.
    """

    def __init__(self, name: str, text: str, lines: Lines) -> None:
        self._name: Final = name
        self._text: Final = text
        self._lines: Final = lines

    def document(self, data: bytes, node: Node | None, *, yaml: bool) -> Object:
        values = _documents.read(data, yaml=yaml).values
        members = (node.members if node is not None else None) or {}
        items = {key: self._item(raw, members[key]) for key, raw in values.items()}
        return Object("document", self._name, items)

    def objects(self, manifests: Iterable[Node]) -> Iterator[Object]:
        for node in manifests:
            kind = _text(node, "kind")
            if kind in ("ConfigMap", "Secret") and _text(node, "apiVersion") == "v1":
                yield self._object(node, kind)

    def _object(self, node: Node, kind: str) -> Object:
        items: dict[str, Item] = {}
        faults: list[Fault] = []
        size = 0
        seen: dict[str, str] = {}
        for field in ("data", "binaryData") if kind == "ConfigMap" else ("data", "stringData"):
            inner = node.get(field)
            if inner is not None and inner.members is None and inner.text not in _NULLS:
                faults.append(Fault(self._lines.place(inner.start), "", f"expected {field} as a mapping"))
            for key, nodes in ((inner.members if inner is not None else None) or {}).items():
                encoded = field == "binaryData" or (kind == "Secret" and field == "data")
                raw = self._value(nodes[1], field, encoded=encoded)
                size += _size(raw)
                faults.extend(self._key_faults(key, nodes[0], field, seen))
                if is_key(key):
                    items[key] = self._item(raw, nodes)
        name = (metadata := node.get("metadata")) and metadata.get("name")
        label = f"{kind} {(name and name.text) or ''}".strip()
        if name is not None:
            faults.extend(self._name_faults(name))
        if size > _MAX_BYTES:
            place = self._lines.place(node.start)
            faults.append(
                Fault(place, "", f"{label}: expected values of at most {_MAX_BYTES} bytes in all, got {size}")
            )
        return Object(label, self._name, items, tuple(faults), secret=kind == "Secret")

    def _name_faults(self, node: Node) -> Iterator[Fault]:
        name = self._value(node, "metadata.name", encoded=False)
        place = self._lines.place(node.start)
        if isinstance(name, Unreadable):
            yield Fault(place, "", name.reason)
        elif not isinstance(name, str) or not is_object_name(name):
            yield Fault(place, "", f"expected {NAME_EXPECTED}, got {str(name)[:80]!r}")

    def _key_faults(self, key: str, node: Node, field: str, seen: dict[str, str]) -> Iterator[Fault]:
        place = self._lines.place(node.start)
        if not _ANY_KEY.fullmatch(key):
            expected = "a key of 1 to 253 characters of [-._a-zA-Z0-9] that is not . and does not begin with .."
            yield Fault(place, key, f"expected {expected}, got {key[:80]!r}")
        if seen.get(key) == "data" and field == "binaryData":
            yield Fault(place, key, f"the key {key!r} stands in data and in binaryData")
        seen[key] = field

    def _value(self, node: Node, field: str, *, encoded: bool) -> str | bytes | Unreadable:
        problem = _no_text(node)
        if problem is not None:
            return Unreadable(f"{field} holds texts alone{problem}")
        text = "" if _is_plain(node) and node.text in _NULLS else node.text or ""
        if not encoded:
            return text
        try:
            return base64.b64decode(text.translate(_LINE_ENDS), validate=True)
        except (binascii.Error, ValueError):
            return Unreadable(f"{field} is not valid base64")

    def _item(self, raw: Raw, nodes: tuple[Node, Node]) -> Item:
        return Item(raw, self._name, self._text, self._lines, nodes)
