"""
Strategies for the values and texts of every kind.
"""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

LIMIT_MICROSECONDS = (2**63 - 1) // 1000

ints = st.integers(min_value=-(2**63), max_value=2**63 - 1)
floats = st.floats(allow_nan=False)
durations = st.integers(-LIMIT_MICROSECONDS, LIMIT_MICROSECONDS).map(lambda n: timedelta(microseconds=n))
texts = st.text() | st.text(st.sampled_from(' ,[]"{}\\:-+_.019xeobhmswdtfnN\u00b5\n'), max_size=40)
items = st.text(st.characters(exclude_categories=["Cs"])) | st.text(st.sampled_from(' ,[]"a\ufeff\n'), max_size=5)
string_lists = st.lists(items, max_size=5).map(tuple)
string_sets = st.frozensets(items, max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
printable = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co", "Zl", "Zp"]))
printable_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | printable,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(printable, inner, max_size=4),
    max_leaves=20,
)
