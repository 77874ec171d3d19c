"""
The value of a log level flag is a canonical text.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import dflag
from dflag._flags import pipeline_of
from dflag.logging import add_loglevel_flag

LEVELS = st.sampled_from(["debug", "Verbose", "INFO", "warn", "fatal", "notset"]) | st.integers(0, 60).map(str)
LOGGERS = st.text("abz.", min_size=1, max_size=5).filter(lambda name: all(name.split("."))) | st.just("root")


@given(st.dictionaries(LOGGERS, LEVELS), st.sampled_from(["", "app"]))
def test_canonical_text_is_read_as_the_same(levels: dict[str, str], main: str) -> None:
    """Reading a canonical text of levels gives the same text, and the order of the items does not matter."""
    flag = add_loglevel_flag(dflag.FlagRegistry(), logger=main)
    items = [f"{logger}={level}" for logger, level in levels.items()]

    def read(text: str) -> str:
        return pipeline_of(flag).read(flag.name, text, "test")

    value = read(",".join(items))
    assert read(value) == value
    assert read(", ".join(reversed(items))) == value
    assert value.count(",") == max(0, len(items) - 1)
