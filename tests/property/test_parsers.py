from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import strategies
from .oracles import ORACLES, REFUSED, SEEDS, go_duration

COUNTS = st.integers(0, 10**6).map(str) | st.from_regex(r"[0-9]{0,20}\.[0-9]{1,12}", fullmatch=True)
TERMS = st.tuples(COUNTS, st.sampled_from(["", " "]), st.sampled_from(["ns", "us", "\u00b5s", "ms", *"smhdw"])).map(
    "".join
)
DURATIONS = st.builds(
    "{}{}".format, st.sampled_from(["", "+", "-"]), st.lists(TERMS, min_size=1, max_size=4).map("".join)
)
EVENTS = st.builds(
    lambda watch, mask, name: (
        watch.to_bytes(4, "little") + mask.to_bytes(8, "little") + len(name).to_bytes(4, "little") + name
    ),
    st.integers(0, 9),
    st.integers(0, 2**31),
    st.binary(max_size=20),
)
OPTIONS = st.sampled_from(
    ["--", "-", "--int", "--int=", "--bool", "--no-bool", "--string", "--json=", "--string-list", "-h"]
)
GRAMMAR: dict[str, st.SearchStrategy[bytes]] = {
    "int": st.integers().map(lambda n: b"%#x" % n) | st.integers().map(lambda n: b"%d" % n),
    "float": st.floats().map(lambda n: repr(n).encode()),
    "bool": st.sampled_from([b"TRUE", b"f", b"Off", b"yES"]),
    "duration": DURATIONS.map(str.encode),
    "enum": st.sampled_from([b"red", b"Green", b"G", b"BLUE", b"2"]),
    "inotify": st.lists(EVENTS, max_size=4).map(b"".join),
    "arguments": st.lists(OPTIONS | strategies.texts, max_size=5).map(
        lambda texts: "\0".join(texts).encode("utf-8", "replace")
    ),
    "environment": st.builds(
        lambda name, text: b"%s=%s" % (name, text.encode()), st.binary(max_size=12), st.text(max_size=9)
    ),
}
"""Inputs that a parser is likely to accept, which random texts seldom are."""


@st.composite
def _cut(draw: st.DrawFn, inputs: st.SearchStrategy[bytes]) -> bytes:
    """Draw a prefix of an input, most often the whole input."""
    data = draw(inputs)
    return data[: draw(st.integers(0, len(data)) | st.just(len(data)))]


@pytest.mark.parametrize("name", ORACLES)
@given(data=st.data())
def test_any_input_is_read_or_refused(name: str, data: st.DataObject) -> None:
    """
    A parser raises only its own errors, is deterministic, reads what it prints, and agrees with its reference.
    """
    inputs = st.binary(max_size=200) | strategies.texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    inputs |= strategies.json_values.map(lambda value: json.dumps(value).encode())
    inputs |= st.sampled_from(SEEDS[name])
    if name in GRAMMAR:
        inputs = GRAMMAR[name] | inputs
    ORACLES[name](data.draw(_cut(inputs)))


@pytest.mark.parametrize("name", ORACLES)
def test_every_seed_holds(name: str) -> None:
    """
    The seeds of the fuzzers pass the checks of their parser.
    """
    for seed in SEEDS[name]:
        ORACLES[name](seed)


def test_the_reference_reads_durations_of_go() -> None:
    """
    The reference for durations reads the examples of Go's documentation and refuses malformed texts.
    """
    hour = datetime.timedelta(hours=1)
    assert go_duration("1h15m30.918s") == hour + datetime.timedelta(minutes=15, seconds=30.918)
    assert go_duration("-1.5h") == -1.5 * hour
    assert go_duration("1w2d") == 9 * 24 * hour
    assert go_duration("0") == go_duration("+0.0") == datetime.timedelta()
    for text in ("", "90", "1", "h", "1y", ".h", "1..5h", "1h ", "1h-1m", "999ns", "300000w", "- "):
        assert go_duration(text) is REFUSED
