"""
Documents of flags in single keys, for programs that follow one file of a volume.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dflag._formats.base import NotJSON
from dflag._formats.nodes import Lines
from dflag._formats.texts import decode
from dflag._layers import RULES_KEYS
from dflag._raw import Unreadable
from dflag._registry import store_of_registry
from dflag.cli._errors import CommandError
from dflag.cli._inputs import document_items
from dflag.cli._items import Fault, Object

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from dflag._formats.base import Place
    from dflag._registry import FlagRegistry
    from dflag.cli._items import Item

SUFFIXES: Final = (".json", ".yaml", ".yml")
"""The endings of keys that hold a document."""


def is_flag(registry: FlagRegistry, key: str) -> bool:
    """
    Return whether a key is the name of a flag, or belongs to a map.
    """
    return key in registry or any(kind.fits(key) for kind in store_of_registry(registry).maps.values())


def opened(is_flag: Callable[[str], bool], objects: Sequence[Object], keys: Collection[str] = ()) -> list[Object]:
    """
    Return the objects, with each document of flags as a separate object that ranks above the one that holds it.

    Args:
        is_flag: Returns whether a key is that of a flag, and so no document, whatever its ending.
        objects: The objects of an input.
        keys: Further keys that hold documents, whether they are flags or not.
    """
    return [part for each in objects for part in (_open(is_flag, each, keys) if each.files else (each,))]


def check_read(objects: Sequence[Object]) -> None:
    """
    Raise for a document that cannot be read, as a process keeps its last good values, which are not in the input.

    Raises:
        CommandError: A document cannot be read.
    """
    for each in objects:
        if each.unread is not None:
            place = each.unread.place
            raise CommandError(f"{each.file}:{place.line}:{place.column}: {each.unread.message}")


def keys_of(objects: Sequence[Object]) -> set[str]:
    """
    Return the keys of an input that may hold a document.
    """
    return {key for given in objects if given.files for key in given.items}


def _open(is_flag: Callable[[str], bool], given: Object, keys: Collection[str]) -> Iterator[Object]:
    documents = [
        key
        for key in given.items
        if key not in RULES_KEYS and (key in keys or (key.endswith(SUFFIXES) and not is_flag(key)))
    ]
    yield given._replace(items={key: item for key, item in given.items.items() if key not in documents})
    for key in documents:
        yield _read(given, key, given.items[key])


def _read(given: Object, key: str, item: Item) -> Object:
    label = f"{key} in {given.label}"
    found = Object(label, item.file, {}, secret=given.secret, in_config_map=given.in_config_map)
    if isinstance(item.raw, Unreadable):
        known = any(fault.key == key for fault in given.faults)  # the reader of manifests has reported it
        fault = Fault(item.value_place(), key, f"{key}: {item.raw.reason}", rule="invalid-value")
        return found._replace(faults=() if known else (fault,), unread=fault)
    data = item.raw.encode(errors="surrogatepass") if isinstance(item.raw, str) else item.raw
    try:
        return found._replace(items=document_items(data, key, item.file, _places(item, data)))
    except NotJSON as error:
        where, message = _offset_of(data, error), f"{key}: expected {error.expected}"
    fault = Fault(_places(item, data)(where), key, message, rule="invalid-value")
    return found._replace(faults=(fault,), unread=fault)


def _places(item: Item, data: bytes) -> Callable[[int], Place]:
    """
    Return a function that maps the offset of a character in a document, byte order mark excluded, to its place.
    """
    within = item.places()
    mark = 1 if data.startswith(b"\xef\xbb\xbf") else 0
    return lambda offset: within(offset + mark)


def _offset_of(data: bytes, error: NotJSON) -> int:
    if error.offset is not None or error.place is None:
        return error.offset or 0
    try:
        text = decode(data)
    except NotJSON:
        text = data.decode(errors="replace").removeprefix("\ufeff")
    return Lines(text).offset(error.place)
