"""
Reads an INPUT: manifests, a directory, a document, or standard input.

The result is always what a source would give, with the place of every key and value.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from dflag._formats import texts
from dflag._formats.base import NotJSON
from dflag._formats.nodes import Lines
from dflag._layers import RULES_KEYS
from dflag.cli import _manifests
from dflag.cli._errors import CommandError
from dflag.cli._items import Item, Object
from dflag.errors import SourceError, one_line
from dflag.sources._entries import MAX_BYTES, is_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from dflag._formats.base import Place
    from dflag._formats.nodes import Node

_MAX_BYTES: Final = 64 * 2**20
"""More than the manifests of any cluster, so that no device and no runaway command fills the memory."""

_MANIFESTS: Final = (".json", ".yaml", ".yml")
"""The endings of the files that ``kubectl`` reads in a directory."""


class Input:
    """
    The objects of a file, of a directory or of standard input, which are checked together.

    Attributes:
        objects: The objects in it, in order.
        lacks: The reason to give if there is nothing to check in it.
    """

    __slots__ = ("lacks", "objects")

    def __init__(self, objects: Sequence[Object], lacks: str) -> None:
        self.objects: Final = objects
        self.lacks: Final = lacks


def read(path: str, is_flag: Callable[[str], bool] | None = None, *, may_be_empty: bool = True) -> list[Object]:
    """
    Read an INPUT, and return the objects in it, in order.

    An INPUT with nothing in it is reported on standard error, because the command before a pipe may have failed. A
    ConfigMap or a directory may be empty on purpose.

    Args:
        path: A file, a directory, or ``-``.
        is_flag: Returns whether a file of that name in a directory is the value of a flag; None if no flags are known.
        may_be_empty: Whether an INPUT with nothing in it is accepted.

    Raises:
        CommandError: The INPUT cannot be read, or is not YAML (or JSON, if its name ends with ``.json``), or is empty
            although it must not be.
    """
    inputs = read_all(path, is_flag)
    objects = [each for given in inputs for each in given.objects]
    if not any(each.files or each.items or each.faults for each in objects):
        lack = f"no values in {'standard input' if path == '-' else path}: {inputs[0].lacks}"
        if not may_be_empty:
            raise CommandError(lack)
        print(f"dflag: {one_line(lack)}", file=sys.stderr)
    return objects


def read_all(path: str, is_flag: Callable[[str], bool] | None = None) -> list[Input]:
    """
    Read an INPUT. Each file of a directory of manifests is an `Input` of its own.

    Raises:
        CommandError: As in `read`, but not for an empty INPUT.
    """
    if path != "-" and os.path.isdir(path):
        return _read_manifest_files(path, is_flag or _is_plain) or [_read_directory(path)]
    return [_read_file(path)]


def read_text(data: bytes, name: str) -> Input:
    """
    Read the contents of a file.

    Raises:
        CommandError: As in `read_all`.
    """
    try:
        text = texts.decode(data)
    except NotJSON as error:
        raise _unreadable(name, error.place, f"expected {error.expected}") from None
    lines = Lines(text)
    try:
        nodes = texts.nodes(text, yaml=_may_be_yaml(name), repeats=True)
        if any(map(_manifests.is_manifest, nodes)):
            return _read_manifests(nodes, name, text, lines)
        if not any(key in (node.members or ()) for node in nodes for key in RULES_KEYS):
            nodes = texts.nodes(text, yaml=_may_be_yaml(name))
        return _read_document(data, nodes, name, text, lines)
    except NotJSON as error:
        place = error.place if error.offset is None else lines.place(error.offset)
        raise _unreadable(name, place, f"expected {error.expected}") from None


def document_items(data: bytes, name: str, file: str, place: Callable[[int], Place] | None = None) -> dict[str, Item]:
    """
    Read a document whose top-level keys are flags.

    Args:
        data: The document.
        name: Its name, whose ending says whether it is JSON.
        file: The file that contains it.
        place: Maps the offset of a character in it to a place in the file; None if the file is the document.

    Raises:
        NotJSON: It is not such a document.
    """
    from dflag._formats import documents  # not needed for manifests

    text, yaml = texts.decode(data), _may_be_yaml(name)
    values = documents.read(data, yaml=yaml, unread=RULES_KEYS).values
    # A key that occurs twice in a rule makes that rule invalid, but not the document.
    nodes = texts.nodes(text, yaml=yaml, repeats=any(key in values for key in RULES_KEYS))
    members = (nodes[0].members if nodes else None) or {}
    places = Lines(text).place if place is None else place
    return {key: Item(raw, file, text, places, members[key]) for key, raw in values.items()}


def _may_be_yaml(name: str) -> bool:
    return not name.lower().endswith(".json")


def _read_file(path: str) -> Input:
    return read_text(_bytes_of(path), "<stdin>" if path == "-" else path)


def _unreadable(name: str, place: Place | None, problem: str) -> CommandError:
    where = name if place is None else f"{name}:{place.line}:{place.column}"
    return CommandError(f"{where}: {problem}")


def _bytes_of(path: str) -> bytes:
    name = "standard input" if path == "-" else path
    try:
        if path != "-":
            with open(path, "rb") as file:
                return _limited(file, name)
        if sys.stdin is None:  # a shell closes it with <&-
            raise CommandError("standard input is closed")
        return _limited(sys.stdin.buffer, name)
    except OSError as error:
        raise CommandError(f"{name}: {(error.strerror or str(error)).lower()}") from error


def _limited(file: BinaryIO, name: str) -> bytes:
    data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise CommandError(f"{name}: expected at most {_MAX_BYTES} bytes")
    return data


def _is_plain(name: str) -> bool:
    return is_key(name) and not name.endswith(_MANIFESTS)


def _read_manifest_files(path: str, is_flag: Callable[[str], bool]) -> list[Input]:
    """
    Read the files in and below a directory of manifests; none if it is a volume, or has a file for each flag.
    """
    if os.path.lexists(os.path.join(path, "..data")):
        return []
    files = []
    for root, directories, names in os.walk(path, onerror=_raise):
        if root == path and any(is_flag(name) for name in names):
            return []
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        every = (os.path.join(root, name) for name in sorted(names) if name.endswith(_MANIFESTS) and name[0] != ".")
        files += [(file, _bytes_of(file)) for file in every if os.path.isfile(file)]
    held = [_holds_manifests(data) for _, data in files]
    if not any(held):
        return []
    return [
        _passed_over(file) if holds is False else read_text(data, file)
        for (file, data), holds in zip(files, held, strict=True)
    ]


def _passed_over(file: str) -> Input:
    print(f"dflag: passed over {one_line(file)}, which is no manifest", file=sys.stderr)
    return Input((), "it is no manifest")


def _raise(error: OSError) -> None:
    raise CommandError(f"{error.filename}: {(error.strerror or str(error)).lower()}") from error


def _holds_manifests(data: bytes) -> bool | None:
    """
    Return whether there is a manifest in a file; None if the file cannot be parsed, which `read_text` reports.
    """
    try:
        return any(map(_manifests.is_manifest, texts.nodes(texts.decode(data), yaml=True, repeats=True)))
    except NotJSON:
        return None


def _read_directory(path: str) -> Input:
    from dflag.sources.directory import DirectorySource

    source = DirectorySource(path, settle_seconds=0)
    try:
        values = source.read()
    except SourceError as error:
        raise CommandError(str(error)) from error
    items = {key: Item(raw, os.path.join(path, key)) for key, raw in values.items()}
    given = Object("directory", path, items, secret=bool(source.secret), files=True)
    lacks = "no file in it has a name that a flag can have" if os.listdir(path) else "the directory is empty"
    return Input([given], lacks)


def _read_manifests(nodes: Sequence[Node], name: str, text: str, lines: Lines) -> Input:
    objects, others = _manifests.read(nodes, name, text, lines)
    if objects:
        labels = " and ".join(each.label for each in objects)
        return Input(objects, f"{labels} holds no keys that can name flags")
    kinds = ", ".join(dict.fromkeys(others)) or "an empty list"
    return Input((), f"it holds no ConfigMap and no Secret, only {kinds}")


def _read_document(data: bytes, nodes: Sequence[Node], name: str, text: str, lines: Lines) -> Input:
    if len(nodes) > 1:
        raise _unreadable(name, lines.place(nodes[1].start), "expected manifests, or one document alone")
    if len(data) > MAX_BYTES:  # a source reads a whole document, but only one object of a file of manifests
        raise _unreadable(name, None, f"expected a document of at most {MAX_BYTES} bytes")
    items = document_items(data, name, name) if nodes else {}  # templates may leave several empty documents
    lacks = "it holds nothing but comments" if text.strip() else "it is empty"
    if not text.strip() and name == "<stdin>":
        lacks = "it is empty; did the command before the pipe fail?"
    return Input([Object("document", name, items)], lacks)
