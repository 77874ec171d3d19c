"""
Documents of flags inside of a key, as a program has them that follows one file of a volume.
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
"""How the name of a key ends that holds a document."""


def is_flag(registry: FlagRegistry, key: str) -> bool:
    """
    Return whether a key is a flag's, or one of a map.
    """
    return key in registry or any(kind.fits(key) for kind in store_of_registry(registry).maps.values())


def opened(is_flag: Callable[[str], bool], objects: Sequence[Object], keys: Collection[str] = ()) -> list[Object]:
    """
    Return the objects with each document of flags in them as an object of its own, above the one that holds it.

    Args:
        is_flag: Whether a key is that of a flag, which is no document, whatever its name.
        objects: The objects of an input.
        keys: Further keys that hold documents.
    """
    return [part for each in objects for part in (_open(is_flag, each, keys) if each.files else (each,))]


def check_read(objects: Sequence[Object]) -> None:
    """
    Raise for a document that cannot be read: a process keeps its last good values, which the input does not tell.

    Raises:
        CommandError: There is one.
    """
    for each in objects:
        if each.unread is not None:
            place = each.unread.place
            raise CommandError(f"{each.file}:{place.line}:{place.column}: {each.unread.message}")


def keys_of(objects: Sequence[Object]) -> set[str]:
    """
    Return the keys of an input of which each may hold a document.
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
        known = any(fault.key == key for fault in given.faults)  # what a manifest cannot hold is among them already
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
    Return what says where a character of a document stands, whose byte order mark does not count.
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
