"""
Properties of every parser that hold for every input, made by Hypothesis or by a fuzzer.

Each oracle takes any bytes. If a property does not hold, it raises `AssertionError`, or the exception that a parser
should not have raised. If there is another parser for the same grammar, both must agree.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import enum
import io
import json
import math
import os
import re
import struct
import tempfile
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import jsonschema
import yaml

import dflag
from dflag._flags import pipeline_of
from dflag.errors import ParseError, ValidationError
from dflag.sources import _entries, _native

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED: Final = object()
"""The placeholder for the value of a refused text."""


class Colour(enum.Enum):
    """
    An enum for the tests.
    """

    RED = 1
    GREEN = "g"
    BLUE = "Blue"


def registry() -> dflag.FlagRegistry:
    """
    Return a registry with one flag of each kind; the name of each flag is its kind.
    """
    flags = dflag.FlagRegistry()
    flags.dyn_string("string", "")
    flags.dyn_int("int", 0)
    flags.dyn_float("float", 0.0)
    flags.dyn_bool("bool", default=False)
    flags.dyn_duration("duration", datetime.timedelta())
    flags.dyn_string_list("string_list", ())
    flags.dyn_string_set("string_set", frozenset())
    flags.dyn_enum("enum", Colour.RED)
    flags.dyn_bytes("bytes", b"")
    flags.dyn_json("json", None)
    flags.dyn_json("yaml", None, yaml=True)
    return flags


_registry: Final = cache(registry)


def read(name: str, raw: bytes | str, source: str = "source") -> Any:
    """
    Apply a raw value, and return the flag's value; check the error and return `REFUSED` if the raw value is refused.
    """
    flags = _registry()
    flags.apply({}, source=source)
    revision = flags.apply({name: raw}, source=source)
    assert (revision.error, revision.unknown) == (None, ())
    value = flags[name].get() if not revision.rejected else REFUSED
    for flag_name, error in revision.rejected.items():
        assert flag_name == name
        assert type(error) in (ParseError, ValidationError)
        assert str(error).isprintable()
        assert len(str(error)) < 2500
    flags.apply({}, source=source)
    return value


def agreed(name: str, data: bytes) -> tuple[str, Any]:
    """
    Check that bytes (twice), the same text as str, and the printed value all give the same value.

    Returns:
        The stripped text and the value.
    """
    flag = _registry()[name]
    same = pipeline_of(flag).kind.same
    value = read(name, data)
    again = read(name, data)
    assert value is again is REFUSED or same(value, again)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        assert value is REFUSED or name == "bytes"
        return "", value
    as_text = read(name, text)
    assert value is as_text is REFUSED or same(value, as_text)
    if value is not REFUSED:
        flag.set_text(pipeline_of(flag).kind.format(value))
        assert same(value, flag.get())
        flag.reset()
    return _strip(text), value


def string(data: bytes) -> None:
    """
    The value of a string flag is the text without outer white space.
    """
    text, value = agreed("string", data)
    assert value is REFUSED or value == text


def int_(data: bytes) -> None:
    """
    Ints agree with Python's ``int(text, 0)`` where this agrees with Go's base 0.
    """
    text, value = agreed("int", data)
    expected: object = REFUSED
    # Python also accepts other digits, other white space, and 00.
    if text.isascii() and text == text.strip() and len(text) <= 1000 and not re.fullmatch("[+-]?0[0-9_]+", text):
        with contextlib.suppress(ValueError):
            expected = int(text, 0)
    if expected is not REFUSED and not -(2**63) <= int(str(expected)) < 2**63:
        expected = REFUSED
    assert value == expected


def float_(data: bytes) -> None:
    """
    Floats agree with Python's ``float``, except that non-ASCII digits, NaN and overflow are refused.
    """
    text, value = agreed("float", data)
    expected: object = REFUSED
    if text.isascii() and text == text.strip() and len(text) <= 1000:
        with contextlib.suppress(ValueError):
            expected = float(text)
    if isinstance(expected, float) and (math.isnan(expected) or (math.isinf(expected) and "n" not in text.lower())):
        expected = REFUSED
    assert value == expected


def bool_(data: bytes) -> None:
    """
    Only these words are bools.
    """
    text, value = agreed("bool", data)
    expected: object = REFUSED
    if re.fullmatch("true|t|yes|y|on|1", text, re.IGNORECASE | re.ASCII):
        expected = True
    elif re.fullmatch("false|f|no|n|off|0", text, re.IGNORECASE | re.ASCII):
        expected = False
    assert value is expected


def duration(data: bytes) -> None:
    """
    Durations agree with a parser that is written, character by character, from Go's description.
    """
    text, value = agreed("duration", data)
    assert value == (REFUSED if len(text) > 1000 else go_duration(text))


def string_list(data: bytes) -> None:
    """
    A list is written as items between commas, or as a JSON array of strings.
    """
    text, value = agreed("string_list", data)
    assert value == (REFUSED if _undecodable(data) else _items(text))


def string_set(data: bytes) -> None:
    """
    A set has the items of the list with the same text.
    """
    text, value = agreed("string_set", data)
    items = REFUSED if _undecodable(data) else _items(text)
    assert value == (frozenset(items) if isinstance(items, tuple) else items)


def enum_(data: bytes) -> None:
    """
    A member of an enum is written as its name or its value, in any case.
    """
    text, value = agreed("enum", data)
    words = {"red": Colour.RED, "1": Colour.RED, "green": Colour.GREEN, "g": Colour.GREEN, "blue": Colour.BLUE}
    assert value == words.get(text.casefold(), REFUSED)


def bytes_(data: bytes) -> None:
    """
    Bytes from a source are the value itself; as a text they are base64, as the standard library decodes it.
    """
    _, value = agreed("bytes", data)
    assert value == data
    flag = _registry()["bytes"]
    text = data.decode("latin-1")
    expected: object = REFUSED
    with contextlib.suppress(ValueError):
        expected = base64.b64decode(_strip(text), validate=True)
    try:
        flag.set_text(text)
    except ParseError:
        # dflag is stricter: it also refuses text after the padding, and padding bits that are not zero.
        assert expected is REFUSED or base64.b64encode(expected).decode() != _strip(text)  # type: ignore[arg-type]
    else:
        assert flag.get() == expected
        flag.reset()


def json_(data: bytes) -> None:
    """
    JSON agrees with the standard library, without the parts that docs/flags.md excludes.
    """
    text, value = agreed("json", data)
    assert value is REFUSED if _undecodable(data) else _same(value, strict_json(text))


def yaml_(data: bytes) -> None:
    """
    YAML has the same shape and texts as with PyYAML's base loader, which loads only texts; all JSON is YAML.
    """
    text, value = agreed("yaml", data)
    as_json = REFUSED if _undecodable(data) else strict_json(text)
    if as_json is not REFUSED:
        assert _same(value, as_json)
    elif value is not REFUSED:
        # PyYAML refuses a second anchor with the same name, which YAML 1.2 allows (section 3.2.2.2).
        with contextlib.suppress(yaml.composer.ComposerError):
            assert _fits(value, yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader)))  # noqa: S506 - texts


def unique_items(data: bytes) -> None:
    """
    The ``uniqueItems`` check of dflag agrees with that of jsonschema.
    """
    from dflag._kinds import Problem
    from dflag._kinds._schema import SchemaCheck

    value = strict_json(data.decode("latin-1"))
    if value is REFUSED:
        return
    try:
        SchemaCheck({"uniqueItems": True})(value)
        ours = True
    except Problem:
        ours = False
    assert ours == jsonschema.Draft202012Validator({"uniqueItems": True}).is_valid(value)


def key(data: bytes) -> None:
    """
    The names that a flag can have are the keys of a ConfigMap that do not begin with a dot.
    """
    name = data.decode("utf-8", "surrogateescape")
    letters = set("-._0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    expected = 0 < len(name) <= 253 and name[0] != "." and set(name) <= letters
    assert bool(_entries.is_key(name)) == expected


def entry(data: bytes) -> None:
    """
    The bytes of a file are the raw value.
    """
    with tempfile.TemporaryDirectory() as path:
        with open(os.path.join(path, "x"), "wb") as file:
            file.write(data)
        directory = os.open(path, os.O_RDONLY)
        try:
            assert _entries.read_file(directory, "x") == data
            assert _entries.read_other(directory, "x") == data
            assert _entries.read_stable(directory, "x", os.stat(file.name))[0] == data
        finally:
            os.close(directory)


def inotify(data: bytes) -> None:
    """
    For any buffer, the reader yields each complete event once, and ends.
    """
    events = list(_native._parse(data))
    assert len(events) <= len(data) // 16
    position = 0
    for watch, mask, name in events:
        found = struct.unpack_from("iIII", data, position)
        assert (watch, mask) == found[:2]
        assert name == data[position + 16 : position + 16 + found[3]]
        position += 16 + found[3]
    assert position > len(data) - 16


def arguments(data: bytes) -> None:
    """
    Any command line is parsed, or ends the program: with status 2 and a message, or with help and status 0.
    """
    flags = registry()
    texts = [part.decode("utf-8", "surrogateescape") for part in data.split(b"\0")]
    with mock.patch("sys.stdout", io.StringIO()), mock.patch("sys.stderr", io.StringIO()) as stderr:
        try:
            rest = flags.parse_args(texts)
        except SystemExit as end:
            rest, status = [], end.code
        else:
            status = None
    assert set(rest) <= set(texts)
    if status is None:
        assert not stderr.getvalue()
    else:
        assert status == (2 if "error: " in stderr.getvalue() else 0)
        assert {flag.origin for flag in flags} == {"default"}


def environment(data: bytes) -> None:
    """
    Any environment is parsed, or ends the program; a variable gives its flag the same value as a source does.
    """
    name, _, raw = data.partition(b"=")
    names = [flag.name for flag in _registry() if flag.name != "bytes"]
    flag_name = names[len(name) % len(names)]
    raw = raw.replace(b"\0", b"")
    flags = registry()
    variables = {f"FUZZ_{flag_name.upper()}": os.fsdecode(raw)}
    with mock.patch.dict(os.environ, variables, clear=True), mock.patch("sys.stderr", io.StringIO()):
        try:
            flags.parse_args([], env_prefix="FUZZ")
            value = flags[flag_name].get()
        except SystemExit:
            value = REFUSED
    expected = read(flag_name, raw)
    assert value is expected is REFUSED or flags[flag_name]._pipeline.kind.same(value, expected)


ORACLES: Final[dict[str, Callable[[bytes], None]]] = {
    "string": string,
    "int": int_,
    "float": float_,
    "bool": bool_,
    "duration": duration,
    "string_list": string_list,
    "string_set": string_set,
    "enum": enum_,
    "bytes": bytes_,
    "json": json_,
    "yaml": yaml_,
    "unique_items": unique_items,
    "key": key,
    "entry": entry,
    "inotify": inotify,
    "arguments": arguments,
    "environment": environment,
}

SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    "string": (b" a\n", b"\xef\xbb\xbfa", b"\x1c \xc2\xa0"),
    "int": (b"-0x_1F", b"0b101", b"1_000", b"017", b"9223372036854775808"),
    "float": (b"1e308", b".5", b"+Inf", b"nan", b"1_0.0", b"1e-400"),
    "bool": (b"Yes", b"off", b"\xe2\x84\xaa"),
    "duration": (b"1h30m", b"-1.5 h .5us", b"1w2d", b"0", b"+0.0", b"292y", b"\xc2\xb5s", b"106751d23h47m16s854775us"),
    "string_list": (b"a, b,", b'["a", "\\ud83d\\ude00"]', b"[1]"),
    "string_set": (b"a,a", b'["b","a"]'),
    "enum": (b"RED", b"g", b"blue", b"1"),
    "bytes": (b"QUJD", b"QQ==", b"QR==", b"Q Q=="),
    "json": (b'{"a":[1,-0.5e3,null,true,"\\u00e9\\n"]}', b'{"a":1,"a":2}', b"NaN", b"[[[[]]]]", b'"\\ud800"'),
    "yaml": (
        b"a: &x [1, 0o7, ~]\nb: *x\n",
        b"- |\n  x\n- >-\n  y\n",
        b"? a\n: 'b'\n",
        b"!!str a",
        b'"\\x41": .5',
        b"%YAML 1.2\n---\n{a: b,}",
    ),
    "unique_items": (b"[1, 1.0, true]", b'[{"a": 1}, {"a": 1.0}]', b"[[0], [-0.0], [false]]"),
    "key": (b"rate_limit", b".hidden", b"a/b", b"-", b"a" * 253, b"a" * 254, b"-" * 253, b"-" * 254, b"\xc3\xa9"),
    "entry": (b"", b"60\n"),
    "inotify": (struct.pack("iIII", 1, 128, 0, 16) + b"..data".ljust(16, b"\0"), struct.pack("iIII", -1, 2**14, 0, 0)),
    "arguments": (
        b"--int=5\0--no-bool\0x",
        b"--string\0-\0--\0--int",
        b"--float\0-.5\0--json={}\0--help",
        b"--bool=no\0--string_list_path=x",
    ),
    "environment": (b"a=1", b"aa=true", b"=\xff"),
}


def go_duration(text: str) -> Any:
    """
    Parse a duration as Go describes it for ``time.ParseDuration``, extended by days, weeks and inner blanks.

    The result is rounded to microseconds.
    """
    rest = text[1:] if text[:1] in ("+", "-") else text
    total = Decimal(0)
    context = Context(prec=5000)
    terms = 0
    while rest:
        rest = rest.lstrip(" \t")
        number, rest = _take(rest, "0123456789.")
        if number.count(".") > 1 or not number.strip("."):
            return REFUSED
        blanks = len(rest) - len(rest.lstrip(" \t"))
        unit, rest = _take(rest[blanks:], "nsuµμmhdw")
        if not unit and not rest and not terms and not blanks and not number.strip("0."):
            return datetime.timedelta() if text.lstrip("+-") == number else REFUSED
        if unit not in _NANOSECONDS:
            return REFUSED
        total = context.add(total, context.multiply(Decimal(number), Decimal(_NANOSECONDS[unit])))
        terms += 1
    if not terms or 0 < total < 1000:
        return REFUSED
    microseconds = int(context.divide(total, Decimal(1000)).quantize(Decimal(1), ROUND_HALF_EVEN, context))
    if microseconds > (2**63 - 1) // 1000:
        return REFUSED
    return datetime.timedelta(microseconds=-microseconds if text[0] == "-" else microseconds)


_NANOSECONDS: Final = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 24 * 3600 * 10**9,
    "w": 7 * 24 * 3600 * 10**9,
}


def strict_json(text: str) -> Any:
    """
    Parse JSON with the standard library, and refuse texts that RFC 8259 warns about or that exceed dflag's limits.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
        printed = json.dumps(value, allow_nan=False, ensure_ascii=False)
        printed.encode()
    except (ValueError, RecursionError):
        return REFUSED
    return REFUSED if _depth(value) > 100 or re.search(r"\d{641}", re.sub(r'"(\\.|[^"\\])*"', "", printed)) else value


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _take(text: str, letters: str) -> tuple[str, str]:
    rest = text.lstrip(letters)
    return text[: len(text) - len(rest)], rest


def _strip(text: str) -> str:
    """
    Trim like Go's ``strings.TrimSpace``: remove Unicode white space, which excludes the information separators.
    """
    text = text.removeprefix("\ufeff")
    blank = [character.isspace() and not "\x1c" <= character <= "\x1f" for character in text]
    if all(blank):
        return ""
    return text[blank.index(False) : len(text) - blank[::-1].index(False)]


def _undecodable(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


def _items(text: str) -> Any:
    if not text.startswith("["):
        return tuple(item.strip() for item in text.split(",")) if text else ()
    value = strict_json(text)
    return tuple(value) if value is not REFUSED and all(isinstance(item, str) for item in value) else REFUSED


def _same(one: Any, other: Any) -> bool:
    """
    Compare two JSON values, including their types.
    """
    if one is REFUSED or other is REFUSED:
        return one is other
    return json.dumps(one) == json.dumps(other)


def _fits(value: Any, texts: Any) -> bool:
    """
    Return whether a value has the same shape as the same document with all scalars read as texts.
    """
    if isinstance(texts, dict):
        return value.keys() == texts.keys() and all(_fits(value[name], item) for name, item in texts.items())
    if isinstance(texts, list):
        return len(value) == len(texts) and all(map(_fits, value, texts))
    if isinstance(value, str):
        return bool(value == texts)
    if value is None:
        return texts in ("", "~", "null", "Null", "NULL")
    if isinstance(value, bool):
        return bool(texts.lower() == str(value).lower())
    return float(int(texts, 0) if texts[:2] in ("0x", "0o") else float(texts)) == float(value)
