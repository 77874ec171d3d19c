"""
Readings of sources, parsed against the flags, and the states after them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

from dflag._batch import declared_since
from dflag.typing import Text

from ._readings import apply_without_commit, parse

if TYPE_CHECKING:
    import dflag


def test_a_text_that_did_not_change_is_not_parsed_again(flags: dflag.FlagRegistry) -> None:
    """An unchanged text is not parsed again, and a reading without a change returns the state it was compared with."""
    parsed: list[str] = []

    def parse_number(text: str) -> int:
        parsed.append(text)
        return int(text)

    flags.dyn_custom("rate", 1, parse=parse_number)
    flags.dyn_int("burst", 1)
    state = apply_without_commit(flags, {"rate": "2", "burst": "2"})[1]
    parsed.clear()
    batch = parse(flags, {"rate": "2", "burst": "3"}, state)
    assert (parsed, batch.is_new, batch.state.entries["burst"].value) == ([], True, 3)
    again = parse(flags, {"rate": "2", "burst": "2"}, state)
    assert (again.is_new, again.state is state) == (False, True)


def test_a_bad_value_keeps_the_last_good_one_and_a_key_that_is_gone_does_not(flags: dflag.FlagRegistry) -> None:
    """A bad value is rejected and keeps the last good one; a key that is gone from the source loses its value."""
    flags.dyn_int("rate", 1)
    burst = flags.dyn_int("burst", 1)
    state = apply_without_commit(flags, {"rate": "2", "burst": "2"})[1]
    batch = parse(flags, {"rate": "many"}, state)
    assert list(batch.state.rejected) == ["rate"]
    assert batch.state.entries["rate"].value == 2
    assert "burst" not in batch.state.entries
    assert batch.has_rejected
    assert (burst, "file", None) not in batch.edits  # nothing was committed, so no layer holds anything


def test_unknown_keys_are_listed_and_not_bad(flags: dflag.FlagRegistry) -> None:
    """Unknown keys are listed in the state, have no edits, and do not make the batch bad."""
    batch = parse(flags, {"rat": "2"})
    assert (batch.state.unknown, batch.edits) == (frozenset({"rat"}), [])
    assert not batch.has_rejected


def test_a_key_of_the_systems_own_that_goes_is_no_news(flags: dflag.FlagRegistry) -> None:
    """A key that begins with a dot, as no flag's name does, makes no new revision when it arrives, changes or goes."""
    flags.dyn_int("rate", 1)
    first = flags.apply({"rate": "2"}, source="file")
    assert flags.apply({"rate": "2", ".timestamp": "1"}, source="file") is first
    assert flags.apply({"rate": "2", ".timestamp": "2"}, source="file") is first
    assert flags.apply({"rate": "2"}, source="file") is first


class Declaring(dict[str, Any]):
    """The flags of a store while another thread declares some: to iterate over them fails without the GIL."""

    def __iter__(self) -> NoReturn:
        raise RuntimeError("dictionary changed size during iteration")

    keys = items = values = __iter__  # type: ignore[assignment]  # as above


def test_flags_that_were_declared_since_are_looked_up_one_by_one(flags: dflag.FlagRegistry) -> None:
    """`declared_since()` looks unknown keys up one by one, even if there are more of them than flags."""
    state = apply_without_commit(flags, {"rate": "2", "burst": "2", "size": "2"})[1]
    store: Any = SimpleNamespace(flags=Declaring(rate=5))
    assert declared_since(store, state) == [5]


def test_documents_values_are_compared_by_meaning(flags: dflag.FlagRegistry) -> None:
    """
    The same text with another native value is a change; the same members in another order are not.
    """
    policy = flags.dyn_json("policy", {})
    first = flags.apply({"policy": Text('{"a":1,"b":2}', {"a": 1, "b": 2})}, source="document")
    again = flags.apply({"policy": Text('{"a":1,"b":2}', {"b": 2, "a": 1})}, source="document")
    assert again is first

    flags.apply({"policy": Text("1", 1)}, source="document")
    flags.apply({"policy": Text("1", "1")}, source="document")
    assert policy.get() == "1"
