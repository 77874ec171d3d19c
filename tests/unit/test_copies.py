"""
Copies and pickles of flags, registries and updaters, and of what they report.
"""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag.sources import MemorySource

if TYPE_CHECKING:
    from pathlib import Path


def test_a_copy_of_a_flag_is_the_flag(flags: dflag.FlagRegistry) -> None:
    """`copy()` and `deepcopy()` of a flag, bound or not, return the flag itself."""
    rate, unbound = flags.dyn_int("rate", 1), dflag.dyn_int(1)
    assert copy.copy(rate) is copy.deepcopy(rate) is rate
    assert copy.copy(unbound) is copy.deepcopy([unbound])[0] is unbound


def test_a_copy_of_a_dataclass_shares_its_flags(flags: dflag.FlagRegistry) -> None:
    """`deepcopy()` and `dataclasses.asdict()` of a dataclass keep a flag in it, and copy the other fields."""

    @dataclasses.dataclass
    class Pool:
        size: object
        names: list[str]

    pool = Pool(flags.dyn_int("size", 1), ["a"])
    assert dataclasses.asdict(pool) == {"size": flags["size"], "names": ["a"]}
    other = copy.deepcopy(pool)
    assert other.size is flags["size"]
    assert other.names is not pool.names


@pytest.mark.parametrize("name", ["flags.yaml", "flags.json"])
def test_what_is_said_of_a_document_can_be_copied_and_pickled(
    flags: dflag.FlagRegistry, tmp_path: Path, name: str
) -> None:
    """A status and a revision can be pickled and deep-copied, with the errors and document values that they hold."""
    flags.dyn_int("rate", 1)
    flags.dyn_map("weights", {}, keys="w.*", of="int")
    path = tmp_path / name
    path.write_text('{"rate": "many", "weights": {"w.a": 1.50, "w.b": "x"}}')
    updater = dflag.Updater(flags, path, on_bad_start="skip")
    updater.initialize()
    for thing in (updater.status(), updater.refresh()):
        for other in (pickle.loads(pickle.dumps(thing)), copy.deepcopy(thing)):  # noqa: S301 - made here
            assert {key: str(error) for key, error in other.rejected.items()} == {
                key: str(error) for key, error in thing.rejected.items()
            }
            raw, same = thing.rejected["weights"].raw, other.rejected["weights"].raw
            assert (str(same), same.native, same.written) == (str(raw), raw.native, raw.written)


def test_registries_and_updaters_are_not_copied(flags: dflag.FlagRegistry) -> None:
    """`copy()` and `deepcopy()` of a registry or an updater return the object itself."""
    updater = dflag.Updater(flags, MemorySource({}))
    assert copy.copy(flags) is copy.deepcopy(flags) is flags
    assert copy.copy(updater) is copy.deepcopy(updater) is updater


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_with_what_to_do(flags: dflag.FlagRegistry, protocol: int) -> None:
    """Pickling a flag, registry, snapshot or updater raises a TypeError that says what to pickle or make instead."""
    rate = flags.dyn_int("rate", 1)
    for thing, message in (
        (rate, r"cannot pickle <DynamicFlag 'rate': .*>, .*: pickle its name, or the value that get\(\) returns"),
        (dflag.int(1), r"cannot pickle <StaticFlag '\(unbound\)'.*pickle its name"),
        (flags, r"cannot pickle <FlagRegistry .*pickle dict\(flags.snapshot\(\)\)"),
        (flags.snapshot(), r"cannot pickle <Snapshot .*pickle dict\(snapshot\)"),
        (dflag.Updater(flags, MemorySource({})), r"cannot pickle <Updater .*make one in each process"),
    ):
        with pytest.raises(TypeError, match=message):
            pickle.dumps({"thing": thing}, protocol)
