"""
The contents of an input: what each source would give, with the place of every key and value.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from dflag._formats.nodes import START, Lines
from dflag._raw import Excerpt, Text
from dflag._source_state import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dflag._formats.base import Place
    from dflag._formats.nodes import Node, Step
    from dflag.typing import Raw


class Fault(NamedTuple):
    """
    A fault of an input that does not depend on the flags.

    Attributes:
        key: The key that it is about; empty if it is about none.
        message: What is wrong, and what to write instead.
        masked: The message without the value, for a secret; empty if the message contains no value.
        rule: The sort of finding that it becomes.
    """

    place: Place
    key: str
    message: str
    masked: str = ""
    rule: str = "limits"


class Item:
    """
    A key with its value, as an input contains them.

    Args:
        raw: The value as a source would give it.
        file: The file that contains it.
        source: The text that the nodes were read from.
        place: Maps the offset of a character in that text to a place in the file.
        nodes: The key and the value in that text; None if the file is the value.
    """

    __slots__ = ("_key", "_node", "_place", "_source", "file", "raw")

    def __init__(
        self,
        raw: Raw,
        file: str,
        source: str = "",
        place: Callable[[int], Place] | None = None,
        nodes: tuple[Node, Node] | None = None,
    ) -> None:
        self.raw: Final = raw
        self.file: Final = file
        self._source: Final = source
        self._place: Final = place
        self._key: Final = None if nodes is None else nodes[0]
        self._node: Final = None if nodes is None else nodes[1]

    def key_place(self) -> Place:
        """
        Return the place of the key; the beginning of a file that is a value.
        """
        return START if self._key is None or self._place is None else self._place(self._key.start)

    def value_place(self) -> Place:
        """
        Return the place where the value begins; in a block scalar, that of its first character that is no white space.
        """
        node = self._node
        if node is None or self._place is None:
            return START
        if node.style in ("|", ">") and node.text is not None and node.text.strip():
            return self._place(node.offsets(self._source)(len(node.text) - len(node.text.lstrip())))
        # An empty value has no place of its own.
        return self.key_place() if node.text == "" and not node.style else self._place(node.start)

    def place_of(self, index: int) -> Place:
        """
        Return the place of a character of the value's text.
        """
        return self.places()(index)

    def places(self) -> Callable[[int], Place]:
        """
        Return a function that maps the index of a character in the value's text to its place.

        All characters of an encoded value have the place of the value.
        """
        text, place = self.text(), self._place
        if text is None:
            start = self.value_place()
            return lambda _: start
        if self._node is None or place is None:
            return Lines(text).place
        offset = self._node.offsets(self._source)
        return lambda index: place(offset(index))

    def locator(self) -> Callable[[Place], Place]:
        """
        Return a function that maps a line and column of the value's text, byte order mark excluded, to its place.
        """
        source = self._place
        if isinstance(self.raw, Excerpt) and source is not None:  # its lines are those of the document
            lines = Lines(self._source)
            return lambda place: source(lines.offset(place))
        text, places = self.text() or "", self.places()
        mark = 1 if text.startswith("\ufeff") else 0
        lines = Lines(text[mark:])
        return lambda place: places(lines.offset(place) + mark)

    def place_within(self, path: list[Step]) -> Place:
        """
        Return the place of a part of a value that the document holds natively.
        """
        if self._node is None or self._place is None:
            return START
        return self._place(self._node.walk(path).start)

    def text(self) -> str | None:
        """
        Return the text that a parser reads, if its characters have places; None for a native or encoded value.
        """
        if self._node is None:
            data = self.raw.encode() if isinstance(self.raw, str) else self.raw
            return data.decode(errors="replace") if isinstance(data, bytes) else None
        return self._node.text if isinstance(self.raw, str) else None

    def is_native(self) -> bool:
        """
        Return whether the document holds the parts of the value natively, and not in a text.
        """
        return isinstance(self.raw, Text) or (self._node is not None and self._node.text is None)

    def with_text(self, text: str) -> Item:
        """
        Return the item with the text that is published instead of a document's value, and with the same places.
        """
        nodes = None if self._key is None or self._node is None else (self._key, self._node)
        return Item(text, self.file, self._source, self._place, nodes)


class Object(NamedTuple):
    """
    What one source would give.

    Attributes:
        label: What it is, for people.
        file: The file or directory that contains it.
        items: Its keys and values.
        faults: Its faults that do not depend on the flags.
        secret: Whether all of it is secret.
        files: Whether a volume of it has a file for each key. Such a file may be a document of flags.
        in_config_map: Whether a ConfigMap contains it.
        unread: The fault that makes a document of flags unreadable; None if it can be read.
        hidden: The keys that begin with a dot, and their values. A volume has files for them, which no source reads.
    """

    label: str
    file: str
    items: Mapping[str, Item]
    faults: tuple[Fault, ...] = ()
    secret: bool = False
    files: bool = False
    in_config_map: bool = False
    unread: Fault | None = None
    hidden: Mapping[str, Item] = MappingProxyType({})

    @property
    def values(self) -> dict[str, Raw]:
        return {key: item.raw for key, item in self.items.items()}

    def reading(self) -> Reading:
        """
        Return the reading that an updater would make. Its messages have no place, because a finding has its own.
        """
        return Reading(self.values, lambda _: "", self.secret)
