"""
What comes of an input: what each source would give, with the place of every key and value.
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
    Something wrong with an input that no flag has a say in.

    Attributes:
        key: The key that it is about, if it is about one.
        message: What is wrong, and what to write instead.
        masked: The same without the value, for a secret; empty when the message holds none.
        rule: Which sort of finding it makes.
    """

    place: Place
    key: str
    message: str
    masked: str = ""
    rule: str = "limits"


class Item:
    """
    A key with its value, as they stand in an input.

    Args:
        raw: The value as a source would give it.
        file: The file that it stands in.
        source: The text that the nodes were read from.
        place: What says where a character of that text stands in the file.
        nodes: The key and the value in that text; None when the file is the value.
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
        Return where the key stands; of a file that is a value, its beginning.
        """
        return START if self._key is None or self._place is None else self._place(self._key.start)

    def value_place(self) -> Place:
        """
        Return where the value begins: inside of a block scalar its first character that is no white space.
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
        Return where a character of the value's text stands.
        """
        return self.places()(index)

    def places(self) -> Callable[[int], Place]:
        """
        Return what maps each character of the value's text to its place; an encoded value has one place.
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
        Return what maps the lines and columns of a text in the value, without its byte order mark, to its place.
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
        Return where a part of a value stands that the document holds natively.
        """
        if self._node is None or self._place is None:
            return START
        return self._place(self._node.walk(path).start)

    def text(self) -> str | None:
        """
        Return the text that a parser reads, if its characters have places; None of a native or encoded value.
        """
        if self._node is None:
            data = self.raw.encode() if isinstance(self.raw, str) else self.raw
            return data.decode(errors="replace") if isinstance(data, bytes) else None
        return self._node.text if isinstance(self.raw, str) else None

    def is_native(self) -> bool:
        """
        Return whether the parts of the value stand in the document, and not in a text.
        """
        return isinstance(self.raw, Text) or (self._node is not None and self._node.text is None)

    def with_text(self, text: str) -> Item:
        """
        Return the item with the text that is published in place of a document's value; its places stay.
        """
        nodes = None if self._key is None or self._node is None else (self._key, self._node)
        return Item(text, self.file, self._source, self._place, nodes)


class Object(NamedTuple):
    """
    What one source would give.

    Attributes:
        label: What it is, for people.
        file: Where it stands.
        items: Its keys and values.
        faults: What is wrong with it whatever the flags are.
        secret: Whether all of it is secret.
        files: Whether a volume of it has a file for each key, which may be a document of flags.
        in_config_map: Whether it stands in a ConfigMap.
        unread: Why it, a document of flags, cannot be read; None if it can.
        hidden: The keys that begin with a dot, and their values: a volume has files of them, which no source reads.
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
        Return what an updater would read; messages come without the place, which a finding says itself.
        """
        return Reading(self.values, lambda _: "", self.secret)
