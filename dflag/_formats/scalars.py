"""
The places in a text at which the characters of a YAML or JSON scalar are written.

Every style is read again here, character by character. The result is compared with the parser's text of the scalar. If
they differ, the exact places are not known, but a place is never wrong.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BREAK: Final = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
_GAP: Final = re.compile(r"[ \t]*+(?P<breaks>(?:(?:\r\n|[\n\r\x85\u2028\u2029])[ \t]*+)*+)")
_HEADER: Final = re.compile(r"[|>]([-+0-9]*)[ \t]*(?:#[^\n\r]*)?(?:\r\n|\n|\r|\Z)")
_ESCAPE: Final = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^xuU])", re.DOTALL)
_HIGH: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")

_ESCAPED: Final = {
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "t": "\t",
    "\t": "\t",
    "n": "\n",
    "v": "\v",
    "f": "\f",
    "r": "\r",
    "e": "\x1b",
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
    "P": "\u2029",
}


class _Written:
    """
    The characters of a scalar that have been read, each with its offset.
    """

    def __init__(self) -> None:
        self.characters: Final[list[str]] = []
        self.offsets: Final[list[int]] = []

    def add(self, text: str, offset: int) -> None:
        self.characters.append(text)
        self.offsets.extend([offset] * len(text))

    def add_all(self, source: str, start: int, end: int) -> None:
        self.characters.append(source[start:end])
        self.offsets.extend(range(start, end))

    def finish(self, end: int, text: str) -> list[int] | None:
        return [*self.offsets, end] if "".join(self.characters) == text else None


def offsets(source: str, start: int, end: int, style: str, text: str) -> Sequence[int] | None:
    """
    Return the offset in *source* of each character of *text*, and of its end; None if they cannot be found.

    Args:
        source: The whole text.
        start: The offset at which the scalar begins, with its quote or its header.
        end: The offset at which it ends.
        style: ``""`` for a plain scalar, or ``"``, ``'``, ``|`` or ``>``.
        text: The parser's text of the scalar.
    """
    blocks = style in ("|", ">")
    for read in _block(source, start, end, text) if blocks else _READERS.get(style, _plain)(source, start, end):
        found = read.finish(end if blocks or not style else end - 1, text)
        if found is not None:
            return found
    return None


def _plain(source: str, start: int, end: int) -> Iterator[_Written]:
    yield _folded(source, start, end, lambda written, at: _read_character(written, source, at))


def _single(source: str, start: int, end: int) -> Iterator[_Written]:
    def read(written: _Written, at: int) -> int:
        _read_character(written, source, at)
        return at + 2 if source.startswith("''", at) else at + 1

    yield _folded(source, start + 1, end - 1, read)


def _double(source: str, start: int, end: int) -> Iterator[_Written]:
    def read(written: _Written, at: int) -> int:
        return _read_escape(written, source, at) if source[at] == "\\" else _read_character(written, source, at)

    yield _folded(source, start + 1, end - 1, read)
    yield _unfolded(start + 1, end - 1, read)  # in JSON, the line separators of YAML are ordinary characters


def _read_character(written: _Written, source: str, at: int) -> int:
    written.add(source[at], at)
    return at + 1


def _read_escape(written: _Written, source: str, at: int) -> int:
    if pair := _HIGH.match(source, at):  # as JSON writes characters beyond the first 65,536
        written.add(pair[0].encode().decode("unicode_escape").encode("utf-16", "surrogatepass").decode("utf-16"), at)
        return pair.end()
    if line_end := _BREAK.match(source, at + 1):
        return _after_escaped_break(written, source, line_end.end())
    found = _ESCAPE.match(source, at)
    if found is None:
        return at + 1
    code = found[0][1:]
    written.add(chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code), at)
    return found.end()


def _after_escaped_break(written: _Written, source: str, at: int) -> int:
    """
    Pass the white space after an escaped line break. Each empty line in it is a line break.
    """
    while True:
        while source[at : at + 1] in (" ", "\t"):
            at += 1
        line_end = _BREAK.match(source, at)
        if line_end is None:
            return at
        written.add("\n", at)
        at = line_end.end()


def _folded(source: str, start: int, end: int, read: Callable[[_Written, int], int]) -> _Written:
    """
    Read text whose lines are folded: a single break becomes a space, and of several, all but the first remain.
    """
    written, at = _Written(), start
    while at < end:
        gap = _GAP.match(source, at, end)
        if gap is None or gap.end() == at:
            at = read(written, at)
            continue
        if gap["breaks"]:
            _fold(written, list(_BREAK.finditer(source, at, gap.end())))
        else:
            written.add_all(source, at, gap.end())  # each character is read once, however long the gap is
        at = gap.end()
    return written


def _fold(written: _Written, breaks: list[re.Match[str]]) -> None:
    for line_end in breaks[1:]:
        written.add("\n", line_end.start())
    if len(breaks) == 1:
        written.add(" ", breaks[0].start())


def _unfolded(start: int, end: int, read: Callable[[_Written, int], int]) -> _Written:
    written = _Written()
    at = start
    while at < end:
        at = read(written, at)
    return written


def _block(source: str, start: int, end: int, text: str) -> Iterator[_Written]:
    """
    Read a block. Its indentation is that of its first line that is not empty. With an indicator, the spaces that *text*
    keeps of that line are not part of it.
    """
    header = _HEADER.match(source, start)
    if header is None:
        return
    indicators = header[1]
    lines = list(_lines(source, header.end(), end))
    width = next((_indent(line) for line, _, _ in lines if line.strip(" ")), None)
    if width is None:
        width = max((len(line) for line, _, _ in lines), default=0)
    elif indicators.strip("-+"):
        width -= next((_indent(line) for line in text.split("\n") if line.strip(" ")), 0)
    yield _block_of(source, lines, width, indicators.strip("0123456789"), folds=source[start] == ">")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _lines(source: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """
    Yield each line with the offsets of its start and of its end.
    """
    while start < end:
        line_end = _BREAK.search(source, start, end)
        stop = line_end.start() if line_end else end
        yield source[start:stop], start, stop
        start = line_end.end() if line_end else end


def _block_of(source: str, lines: list[tuple[str, int, int]], width: int, chomp: str, *, folds: bool) -> _Written:
    written = _Written()
    breaks: list[int] = []  # the line ends since the last line that is not empty
    indented = False
    for line, start, stop in lines:
        if len(line) <= width and not line.strip(" "):
            breaks.append(stop)
            continue
        if _indent(line) < width:
            break  # a comment after the block
        was_indented, indented = indented, line[width : width + 1] in (" ", "\t")
        _join(written, breaks, folds=folds and not was_indented and not indented)
        written.add_all(source, start + width, stop)
        breaks = [stop]
    kept = breaks if chomp == "+" else [] if chomp == "-" or not written.offsets else breaks[:1]
    for offset in kept:
        if offset < len(source):  # the text may end without a line end
            written.add("\n", offset)
    return written


def _join(written: _Written, breaks: list[int], *, folds: bool) -> None:
    """
    Write the line ends between two lines that are not empty.
    """
    if folds and written.offsets:
        if len(breaks) == 1:
            written.add(" ", breaks[0])
        breaks = breaks[1:]
    for offset in breaks:
        written.add("\n", offset)


_READERS: Final = {"": _plain, "'": _single, '"': _double}
