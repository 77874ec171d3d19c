"""
Checks for the formats of JSON Schema.

jsonschema checks many formats only if another package is installed, so that one pod would accept what another
refuses. The checks here need only the standard library, and each takes time in proportion to the length of its text.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("idn-email", "idn-hostname"),
        "which host names are valid depends on the version of Unicode, so two machines could disagree;"
        " use 'pattern', or 'hostname' and 'email' with the ASCII form",
    ),
    **dict.fromkeys(("color", "phone", "style", "utc-millisec"), "it has no exact grammar; use 'pattern' or limits"),
}
"""The formats that no check here can decide, each with the reason."""

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME: Final = re.compile(
    r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.\d+)?(?:[zZ]|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)
_OLD_TIME: Final = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d", re.ASCII)

# RFC 3339, appendix A: a unit may only be followed by the next smaller one.
_DURATION_TIME: Final = r"T(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)"
_DURATION_DATE: Final = r"(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)"
_DURATION: Final = re.compile(rf"P(?:\d+W|{_DURATION_DATE}(?:{_DURATION_TIME})?|{_DURATION_TIME})", re.ASCII)

_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_LOCAL_PART: Final = re.compile(rf'{_ATOM}(?:\.{_ATOM})*|"(?:[ !#-\[\]-~]|\\[ -~])*"')
_MAX_LOCAL_CHARACTERS: Final = 64  # RFC 5321, section 4.5.3.1.1

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_JSON_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*+)*+")
_INDEX: Final = r"(?:0|[1-9][0-9]*)"
_RELATIVE_POINTER: Final = re.compile(rf"{_INDEX}(?:[+-]{_INDEX})?(?:#|{_JSON_POINTER.pattern})")

_PERCENT: Final = r"%[0-9A-Fa-f]{2}"
_UCS: Final = (
    "\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef"
    + "".join(f"{chr(plane << 16)}-{chr((plane << 16) + 0xFFFD)}" for plane in range(1, 14))
    + "\U000e1000-\U000efffd"
)
"""The characters beyond ASCII that an IRI may hold (RFC 3987, section 2.2)."""
_PRIVATE: Final = "\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"


def _uri_pattern(*, beyond: str = "", private: str = "", relative: bool) -> re.Pattern[str]:
    """
    Return a pattern for the grammar of RFC 3986, or with *beyond* for that of RFC 3987.

    Args:
        beyond: The characters beyond ASCII that are allowed.
        private: More characters, which are allowed only in a query.
        relative: Whether a reference without a scheme is allowed.
    """
    plain = rf"\-A-Za-z0-9._~!$&'()*+,;={beyond}"
    segment = rf"(?:[{plain}:@]|{_PERCENT})"
    host = rf"(?:\[(?:(?P<ipv6>[0-9A-Fa-f:.]+)|[vV][0-9A-Fa-f]+\.[{plain}:]+)\]|(?:[{plain}]|{_PERCENT})*+)"
    authority = rf"//(?:(?:[{plain}:]|{_PERCENT})*+@)?{host}(?::[0-9]*)?(?:/{segment}*+)*+"
    rest = rf"(?:\?(?:[{plain}:@/?{private}]|{_PERCENT})*+)?(?:#(?:[{plain}:@/?]|{_PERCENT})*+)?"
    rooted = rf"/(?:{segment}++(?:/{segment}*+)*+)?"
    scheme = rf"[A-Za-z][A-Za-z0-9+.-]*:(?:{authority}|{rooted}|{segment}++(?:/{segment}*+)*+)?"
    if not relative:
        return re.compile(scheme + rest)
    # The first segment of a relative path has no colon, because it would be read as a scheme.
    first = rf"(?:[{plain}@]|{_PERCENT})++"
    # The name of a group must be unique in a pattern, so the second host has another name.
    without = rf"(?:{authority.replace('P<ipv6>', 'P<ipv6_relative>')}|{rooted}|{first}(?:/{segment}*+)*+)?"
    return re.compile(rf"(?:{scheme}|{without}){rest}")


_URI: Final = _uri_pattern(relative=False)
_URI_REFERENCE: Final = _uri_pattern(relative=True)
_IRI: Final = _uri_pattern(beyond=_UCS, private=_PRIVATE, relative=False)
_IRI_REFERENCE: Final = _uri_pattern(beyond=_UCS, private=_PRIVATE, relative=True)

_VARIABLE: Final = rf"(?:[A-Za-z0-9_]|{_PERCENT})+(?:\.(?:[A-Za-z0-9_]|{_PERCENT})+)*(?:\*|:[1-9][0-9]{{0,3}})?"
_URI_TEMPLATE: Final = re.compile(
    rf"(?:[!#$&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~{_UCS}{_PRIVATE}]|{_PERCENT}"
    rf"|\{{[+#./;?&=,!@|]?{_VARIABLE}(?:,{_VARIABLE})*\}})*+"
)

_EXPRESSION_TOKEN: Final = re.compile(
    r"(?P<open>\((?:\?(?:[:=!]|<[=!]|<(?P<group>[A-Za-z_$][A-Za-z0-9_$]*)>))?)"
    r"|(?P<close>\))"
    r"|(?P<repeat>[*+?]\??|\{(?P<least>\d+)(?:(?P<comma>,)(?P<most>\d*))?\}\??)"
    r"|(?P<escape>\\(?:[dDwWsSbBfnrtv^$\\.*+?()\[\]{}|/-]|0(?!\d)|[1-9]\d*|c[A-Za-z]|x[0-9A-Fa-f]{2}"
    r"|u[0-9A-Fa-f]{4}|u\{0*(?:[0-9A-Fa-f]{1,5}|10[0-9A-Fa-f]{4})\}"
    r"|[pP]\{[A-Za-z0-9_]+(?:=[A-Za-z0-9_]+)?\}|k<[A-Za-z_$][A-Za-z0-9_$]*>))"
    r"|(?P<set>\[\^?(?:[^\]\\]|\\.)*+\])"
    r"|(?P<assertion>[\^$])"
    r"|(?P<alternative>\|)"
    r"|(?P<atom>[^\\()\[\]{}*+?|^$])",
    re.ASCII | re.DOTALL,
)
"""A token of a regular expression of ECMA-262 with the flag ``u``, as JSON Schema requires."""

_SET_ITEM: Final = re.compile(
    r"\\(?P<class>[dDwWsS]|[pP]\{[A-Za-z0-9_]+(?:=[A-Za-z0-9_]+)?\})"
    r"|\\(?:[bfnrtv^$\\.*+?()\[\]{}|/-]|0(?!\d)|c[A-Za-z]|x(?P<hex>[0-9A-Fa-f]{2})|u(?P<code>[0-9A-Fa-f]{4})"
    r"|u\{(?P<point>0*(?:[0-9A-Fa-f]{1,5}|10[0-9A-Fa-f]{4}))\})"
    r"|[^\\]",
    re.ASCII | re.DOTALL,
)

_MAX_EXPRESSION_CHARACTERS: Final = 10_000
"""The longest expression: a program that receives one compiles it, which takes far longer than this check."""

_CONTROLS: Final = {"b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "0": 0}


def _is_date(text: str) -> bool:
    """
    Return whether a text is a full date of RFC 3339.
    """
    if _DATE.fullmatch(text) is None:
        return False
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return text.startswith("0000-") and _is_date("2000" + text[4:])  # Python's dates have no year 0
    return True


def _is_time(text: str) -> bool:
    found = _TIME.fullmatch(text)
    if found is None:
        return False
    hour, minute, second, sign, off_hour, off_minute = found.groups()
    if second != "60":
        return True
    # A leap second is the last second of a day in UTC.
    offset = int(off_hour or 0) * 60 + int(off_minute or 0)
    utc = int(hour) * 60 + int(minute) + (offset if sign == "-" else -offset)
    return utc % (24 * 60) == 24 * 60 - 1


def _is_date_time(text: str) -> bool:
    return text[10:11] in ("T", "t") and _is_date(text[:10]) and _is_time(text[11:])


def _is_hostname(text: str) -> bool:
    return 0 < len(text) <= 253 and all(map(_is_label, text.split(".")))


def _is_label(label: str) -> bool:
    if _LABEL.fullmatch(label) is None:
        return False
    if label[2:4] != "--":
        return True
    # RFC 5890, section 2.3.1: such a label is reserved, unless it is the ASCII form of a Unicode label.
    if label[:2].lower() != "xn":
        return False
    try:
        decoded = label[4:].encode().decode("punycode")
    except UnicodeError:
        return False
    return not decoded.isascii() and decoded[2:4] != "--" and not decoded.startswith("-") and not decoded.endswith("-")


def _is_email(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    if not at or len(local) > _MAX_LOCAL_CHARACTERS or _LOCAL_PART.fullmatch(local) is None:
        return False
    if domain.startswith("[") and domain.endswith("]"):
        address = domain[1:-1]
        return _is_ipv6(address[5:]) if address[:5].lower() == "ipv6:" else _is_ipv4(address)
    return _is_hostname(domain)


def _is_ipv4(text: str) -> bool:
    return text.isascii() and _is_address(ipaddress.IPv4Address, text)


def _is_ipv6(text: str) -> bool:
    return text.isascii() and "%" not in text and _is_address(ipaddress.IPv6Address, text)  # no zone


def _is_address(cls: Callable[[str], object], text: str) -> bool:
    try:
        cls(text)
    except ValueError:
        return False
    return True


def _resource_identifier(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        found = pattern.fullmatch(text)
        return found is not None and all(
            _is_ipv6(address) for name, address in found.groupdict().items() if address is not None
        )

    return check


def _is_expression(text: str) -> bool:
    """
    Return whether a text is a regular expression of ECMA-262. The text is parsed, but never compiled.
    """
    return len(text) <= _MAX_EXPRESSION_CHARACTERS and _Expression(text).is_valid()


class _Expression:
    """
    A parser that reads a regular expression once, from its start to its end.
    """

    def __init__(self, text: str) -> None:
        self._text: Final = text
        self._open: Final[list[bool]] = []  # for each open group, whether it may be repeated
        self._names: Final[set[str]] = set()
        self._named_references: Final[set[str]] = set()
        self._groups = 0
        self._highest_reference = 0
        self._repeatable = False

    def is_valid(self) -> bool:
        at = 0
        while at < len(self._text):
            found = _EXPRESSION_TOKEN.match(self._text, at)
            if found is None or not self._takes(found):
                return False
            at = found.end()
        return not self._open and self._named_references <= self._names and self._highest_reference <= self._groups

    def _takes(self, found: re.Match[str]) -> bool:
        token = found[0]
        if found["open"]:
            return self._opens(token, found["group"])
        if found["close"]:
            if not self._open:
                return False
            self._repeatable = self._open.pop()
        elif found["repeat"]:
            least, most = found["least"], found["most"]
            if not self._repeatable or (most and _is_less(most, least)):
                return False
            self._repeatable = False
        elif found["escape"]:
            self._refers(token)
            self._repeatable = token not in ("\\b", "\\B")
        else:
            self._repeatable = not (found["assertion"] or found["alternative"])
            return not found["set"] or _is_set(token)
        return True

    def _opens(self, token: str, name: str | None) -> bool:
        self._open.append(token not in ("(?=", "(?!", "(?<=", "(?<!"))
        self._repeatable = False
        self._groups += token == "(" or name is not None  # noqa: S105 - a bracket
        if name is None:
            return True
        new = name not in self._names
        self._names.add(name)
        return new

    def _refers(self, token: str) -> None:
        if token[1] == "k":
            self._named_references.add(token[3:-1])
        elif token[1] in "123456789":
            # A longer number exceeds any count of groups, because an expression has fewer characters.
            number = int(token[1:]) if len(token) < 12 else len(self._text) + 1
            self._highest_reference = max(self._highest_reference, number)


def _is_less(one: str, other: str) -> bool:
    """
    Return whether *one* is the smaller number. The numbers are texts, as they may be too long to convert.
    """
    one, other = one.lstrip("0"), other.lstrip("0")
    return (len(one), one) < (len(other), other)


def _is_set(token: str) -> bool:
    """
    Return whether a set of characters is valid: no range ends before it begins.
    """
    inner = token[2:-1] if token.startswith("[^") else token[1:-1]
    points: list[int | None] = []  # None for a class, which cannot begin or end a range
    dashes: set[int] = set()  # the indices of unescaped dashes
    at = 0
    while at < len(inner):
        found = _SET_ITEM.match(inner, at)
        if found is None:
            return False
        if found[0] == "-":
            dashes.add(len(points))
        points.append(_point(found))
        at = found.end()
    at = 0
    while at + 2 < len(points):
        if at + 1 not in dashes:
            at += 1
            continue
        low, high = points[at], points[at + 2]
        if low is None or high is None or low > high:
            return False
        at += 3
    return True


def _point(found: re.Match[str]) -> int | None:
    if found["class"]:
        return None
    digits = found["hex"] or found["code"] or found["point"]
    if digits:
        return int(digits, 16)
    text = found[0]
    if not text.startswith("\\"):
        return ord(text)
    if text[1] == "c":
        return ord(text[2]) % 32
    return _CONTROLS.get(text[1], ord(text[1]))


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "date": _is_date,
    "date-time": _is_date_time,
    "duration": _matches(_DURATION),
    "email": _is_email,
    "host-name": _is_hostname,  # the name in draft 3
    "hostname": _is_hostname,
    "ip-address": _is_ipv4,  # the name in draft 3
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "iri": _resource_identifier(_IRI),
    "iri-reference": _resource_identifier(_IRI_REFERENCE),
    "json-pointer": _matches(_JSON_POINTER),
    "regex": _is_expression,
    "relative-json-pointer": _matches(_RELATIVE_POINTER),
    "time": _is_time,
    "uri": _resource_identifier(_URI),
    "uri-reference": _resource_identifier(_URI_REFERENCE),
    "uri-template": _matches(_URI_TEMPLATE),
    "uuid": _matches(_UUID),
}
"""The check of each format, by the name of the format."""

DRAFT_3_CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {"time": _matches(_OLD_TIME)}
"""The checks that differ in draft 3, where a time has neither fractions nor an offset."""
