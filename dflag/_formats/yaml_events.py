"""
The common part of all YAML readers. Imports PyYAML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import yaml

from dflag._formats.base import MAX_DEPTH, NotJSON, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
V = TypeVar("V")

_MAX_ALIASED: Final = 2**20
"""How much aliases may add to `EventReader.weight`. Without a limit, a few lines could stand for gigabytes."""

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C, if PyYAML was built with it. It is ten times as fast, and gives the same events."""

_WORDS_QUOTE: Final = _LOADER is yaml.SafeLoader
"""Whether the parser's messages may quote the text, as those of the Python parser do. The C parser's are fixed."""


class Anchored(Generic[V]):
    """
    The node of an anchor: its event, the result of reading it, and its weight.
    """

    __slots__ = ("event", "made", "weight")

    def __init__(self, event: Any, made: V, weight: int) -> None:
        self.event: Final = event
        self.made: Final = made
        self.weight: Final = weight


class EventReader(Generic[V]):
    """
    Reads every node from the parser's events as they come, so that the rest of a text beyond a limit is left unread.

    Attributes:
        weight: The number of nodes passed, including those of aliases, and what a reader adds for long scalars.
        last: The event that was passed last.
        anchors: The node of each anchor of the document.
    """

    def __init__(self, text: str) -> None:
        self._events: Final[Iterator[Any]] = yaml.parse(text, Loader=_LOADER)
        self._aliased = 0
        self.weight = 0
        self.last: Any = None
        self.anchors: Final[dict[Any, Anchored[V]]] = {}

    def run(self, read: Callable[[], T]) -> T:
        """
        Call *read*, and turn the exceptions of the parser into `NotJSON` with its place.
        """
        try:
            return read()
        except yaml.MarkedYAMLError as error:
            raise _syntax_error(error) from None
        except yaml.reader.ReaderError as error:
            where = f"at character {error.position + 1}"
            raise NotJSON(f"JSON or YAML: {error.reason}", where, offset=error.position) from None
        except NotJSON as error:
            raise self._located(error) from None
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
            # The parser lets the exception of chr() for an impossible escape through.
            raise self._located(NotJSON("JSON or YAML", str(error))) from None

    def next(self) -> Any:
        """
        Return the next event.
        """
        self.last = next(self._events)
        return self.last

    def until(self, end: type) -> Iterator[Any]:
        """
        Yield the first event of each part of a collection. The caller passes the part before it asks for the next one.
        """
        while not isinstance(event := self.next(), end):
            yield event

    def begins(self) -> bool:
        """
        Pass the events up to the next document, and return whether there is one.
        """
        between = (yaml.StreamStartEvent, yaml.DocumentEndEvent)
        while isinstance(event := self.next(), between):
            pass
        self.anchors.clear()
        return isinstance(event, yaml.DocumentStartEvent)

    def node(self, event: Any, depth: int) -> V:
        """
        Pass the node that begins with an event, and return the result of reading it.
        """
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, depth)
        before = self.weight
        self.weight += 1
        if event.tag is not None:
            self.tagged(event)
        if isinstance(event, yaml.ScalarEvent):
            made = self.scalar(event)
        elif depth >= MAX_DEPTH:
            raise NotJSON(f"JSON nested at most {MAX_DEPTH} levels deep")
        elif isinstance(event, yaml.SequenceStartEvent):
            made = self.sequence(event, depth + 1)
        else:
            made = self.mapping(event, depth + 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = Anchored(event, made, self.weight - before)
        return made

    def alias(self, event: Any, depth: int) -> V:  # noqa: ARG002 - for readers that cannot leave the depth to freezing
        if event.anchor not in self.anchors:
            raise NotJSON("YAML whose aliases stand after their anchors", f"*{event.anchor[:80]}")
        anchored = self.anchors[event.anchor]
        self.weight += anchored.weight
        self._aliased += anchored.weight
        if self._aliased > _MAX_ALIASED:
            raise NotJSON("YAML whose aliases add at most a mebibyte")
        return anchored.made

    def tagged(self, event: Any) -> None:
        """
        Raise `NotJSON` if the reader does not accept the tag of a node. This class accepts all tags.
        """

    def scalar(self, event: Any) -> V:
        raise NotImplementedError

    def sequence(self, event: Any, depth: int) -> V:
        raise NotImplementedError

    def mapping(self, event: Any, depth: int) -> V:
        raise NotImplementedError

    def _located(self, error: NotJSON) -> NotJSON:
        if error.offset is None and self.last is not None:
            mark = self.last.start_mark
            error.place, error.offset = place_of(mark), mark.index
        return error


def _syntax_error(error: Any) -> NotJSON:
    mark = error.problem_mark or error.context_mark
    place = place_of(mark) if mark else None
    offset = mark.index if mark else None
    where = f"at line {place.line} column {place.column}" if place else ""
    if _WORDS_QUOTE:
        return NotJSON("JSON or YAML", f"{error.problem} {where}", place=place, offset=offset)
    return NotJSON(f"JSON or YAML: {error.problem}", where, place=place, offset=offset)


def place_of(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)
