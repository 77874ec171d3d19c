"""
The source whose values the program supplies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dflag.errors import DefinitionError
from dflag.sources import MemorySource, Text, Unreadable

if TYPE_CHECKING:
    from dflag.typing import Raw


def test_gives_what_it_was_given() -> None:
    """
    `read()` returns the values that the source was given, of every type that a source may return.
    """
    values: dict[str, Raw] = {"a": "1", "b": b"2", "c": Text("3", 3), "d": Unreadable("a FIFO")}

    assert values == MemorySource(values).read()


def test_is_empty_without_values() -> None:
    """
    `read()` returns an empty set if the source was given no mapping.
    """
    assert MemorySource().read() == {}


def test_update_replaces_the_complete_set() -> None:
    """
    `update()` replaces the complete set: a name that is not in the update is gone.
    """
    source = MemorySource({"a": "1", "b": "2"})

    source.update({"b": "3"})

    assert source.read() == {"b": "3"}


def test_copies_what_it_is_given() -> None:
    """
    Changing the mapping after the source was made does not change the source.
    """
    values = {"a": "1"}
    source = MemorySource(values)
    values["a"] = "2"

    assert source.read() == {"a": "1"}


def test_values_are_read_only() -> None:
    """
    The mapping that `read()` returns cannot be changed.
    """
    with pytest.raises(TypeError):
        MemorySource({"a": "1"}).read()["a"] = "2"  # type: ignore[index]


def test_probe_changes_with_an_update_only() -> None:
    """
    The token of `probe()` changes only with an update, also one with equal values.
    """
    source = MemorySource({"a": "1"})
    before = source.probe()

    assert before == source.probe()
    assert {before} == {before, source.probe()}

    source.update({"a": "1"})

    assert before != source.probe()


def test_update_wakes_until_the_watch_is_closed() -> None:
    """
    `update()` wakes every open watch once, and no watch that is closed or abandoned.
    """
    woken: list[int] = []
    source = MemorySource()
    first, second = source.watch(lambda: woken.append(1)), source.watch(lambda: woken.append(2))
    source.update({"a": "1"})
    first.close()
    first.close()
    source.update({"a": "2"})
    second.abandon()
    source.update({"a": "3"})

    assert woken == [1, 2, 2]
    assert (first.mode, first.problem, first.fileno()) == ("memory", None, None)


def test_a_bad_update_replaces_nothing() -> None:
    """
    `update()` raises for a value or a name of a wrong type without showing the value, and the old set stays.
    """
    source = MemorySource({"a": "1"})

    with pytest.raises(TypeError, match=r"^b: expected str or bytes, got int; write a number as its text$"):
        source.update({"a": "2", "b": 4711})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="names to be str"):
        source.update({1: "2"})  # type: ignore[dict-item]

    assert source.read() == {"a": "1"}


@pytest.mark.parametrize("values", [0, "", [], "a", [("a", "1")], 5, False], ids=repr)
def test_takes_mappings_alone(values: Any) -> None:
    """
    Anything but a mapping raises TypeError, even if it is empty or could be made into a mapping.
    """
    source = MemorySource({"a": "1"})

    with pytest.raises(TypeError, match="expected a mapping of names to str or bytes"):
        MemorySource(values)
    with pytest.raises(TypeError, match="expected a mapping of names to str or bytes"):
        source.update(values)

    assert source.read() == {"a": "1"}


def test_options_are_checked() -> None:
    """
    A name that is not a text, and a `secret` that is neither True nor False, raise `DefinitionError`.
    """
    with pytest.raises(DefinitionError, match="expected a name, got 5"):
        MemorySource(name=5)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="expected secret as True or False, got 1"):
        MemorySource(secret=1)  # type: ignore[arg-type]


def test_has_a_name() -> None:
    """
    The name is "memory" unless another one, which must not be empty, is given; `locate()` returns it for every key.
    """
    assert MemorySource().name == "memory"
    assert (MemorySource().secret, MemorySource(secret=True).secret) == (False, True)
    assert MemorySource(name="other").locate("a") == "other"
    assert repr(MemorySource({"a": "secret"}, name="other")) == "MemorySource(name='other')"
    with pytest.raises(DefinitionError):
        MemorySource(name="")
