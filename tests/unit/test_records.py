"""
The records that a registry returns.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag.sources import FileSource, MemorySource
from dflag.typing import Text, Unreadable

if TYPE_CHECKING:
    from pathlib import Path

    from dflag.testing import ConfigMapVolume
    from dflag.typing import Raw


def _expected(*pairs: tuple[bytes, bytes]) -> str:
    """
    Return the documented checksum of pairs of keys and values.
    """
    digest = hashlib.sha256()
    for part in (part for pair in pairs for part in pair):
        digest.update(str(len(part)).encode() + b":" + part)
    return digest.hexdigest()[:12]


def test_a_checksum_is_over_the_lengths_and_bytes_of_sorted_keys_and_values(flags: dflag.FlagRegistry) -> None:
    """
    A checksum covers the lengths and bytes of keys and values, sorted by key, also of keys that no flag has.
    """
    flags.dyn_int("rate", 1)
    revision = flags.apply({"rate": " 5\n", "Zeta": b"\xff\0", "name": "caf\u00e9"}, source="s")

    assert revision.checksum == _expected((b"Zeta", b"\xff\0"), (b"name", "café".encode()), (b"rate", b" 5\n"))
    assert flags.apply({}, source="other").checksum == _expected()


def test_no_two_sets_run_into_each_other(flags: dflag.FlagRegistry) -> None:
    """
    Different sets have different checksums, even if their keys and values make the same text when joined.
    """
    given: list[dict[str, Raw]] = [{"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}, {"a": "", "b": "c"}, {"a": "1:b1:c"}]
    checksums = {flags.apply(values, source="s").checksum for values in given}

    assert len(checksums) == len(given)


def test_what_is_no_flags_is_left_out(flags: dflag.FlagRegistry) -> None:
    """
    A checksum leaves out keys that begin with a dot, ignored keys, and values that cannot be read.
    """
    values: dict[str, Raw] = {"rate": "5", ".dot": "x", "_example": "x", "doc.txt": "x", "bad": Unreadable("a FIFO")}
    updater = dflag.Updater(
        flags, MemorySource(values), ignore=("_example", "doc.*"), on_bad_start="skip", unknown="ignore"
    )
    updater.initialize()

    assert updater.status().sources[0].checksum == _expected((b"rate", b"5"))


def test_a_text_that_is_no_unicode_has_a_checksum_too(flags: dflag.FlagRegistry) -> None:
    """
    A text with a lone surrogate, as JSON can spell it, is a rejected value, and its revision has a checksum.
    """
    flags.dyn_int("rate", 1)
    revision = flags.apply({"rate": "\ud800"}, source="s")

    assert list(revision.rejected) == ["rate"]
    assert revision.checksum == _expected((b"rate", b"\xed\xa0\x80"))


@pytest.mark.parametrize("as_text", [True, False])
def test_a_volume_and_its_values_have_one_checksum(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, as_text: bool
) -> None:
    """
    A volume has the same checksum as an object with the same values, given as texts or as bytes.
    """
    data = {"rate": "5", "name": "café"}
    volume.write(data)
    updater = dflag.Updater(flags, volume.path)
    updater.initialize()
    values: dict[str, Raw] = {key: text if as_text else text.encode() for key, text in data.items()}

    assert updater.refresh().checksum == flags.apply(values, source="object").checksum


def test_a_document_has_the_checksum_of_its_texts(flags: dflag.FlagRegistry, tmp_path: Path) -> None:
    """
    The checksum of a document covers keys and the texts of values, not comments, order, spacing or native values.
    """
    path = tmp_path / "app.yaml"
    path.write_text("# later\nrate:   5\nname: no\n", encoding="utf-8")
    updater = dflag.Updater(flags, FileSource(path, settle_seconds=0))
    updater.initialize()

    assert updater.refresh().checksum == flags.apply({"name": "no", "rate": Text("5", 5)}, source="s").checksum


@pytest.fixture(name="records")
def _records(flags: dflag.FlagRegistry) -> list[Any]:
    """Return one record of each class, made from values of which one is secret."""
    flags.dyn_string("token", "", secret=True)
    hosts = flags.dyn_string_list("hosts", ["a"])
    source = MemorySource({"token": "hush", "hosts": "b", "_rules.yaml": "- {name: new, set: {hosts: c}}"})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    revision, status = updater.refresh(), updater.status()
    hosts.set(("d",))
    return [revision, status, status.sources[0], status.rules[0], flags.explain("hosts")[0], flags.history()[-1]]


def test_every_record_can_be_copied_pickled_and_hashed(records: list[Any]) -> None:
    """A copied or unpickled record equals the original and has its hash; `replace()` and `asdict()` work too."""
    for record in records:
        for other in (copy.copy(record), copy.deepcopy(record), pickle.loads(pickle.dumps(record))):  # noqa: S301 - ours
            assert other == record
            assert hash(other) == hash(record)
        assert dataclasses.replace(record) == record
        assert dataclasses.asdict(record).keys() == {field.name for field in dataclasses.fields(record)}


def test_a_mapping_of_a_record_says_that_it_is_read_only(flags: dflag.FlagRegistry) -> None:
    """Changing a record's mapping raises an error that names `copy.deepcopy()`, and the deep copy can be changed."""
    flags.dyn_int("rate", 1)
    rejected: Any = flags.apply({"rate": "many"}, source="s").rejected

    with pytest.raises(TypeError, match=r"^the dict is read-only: change a copy.deepcopy\(\) of it$"):
        rejected.clear()
    copied = copy.deepcopy(rejected)
    copied.clear()
    assert list(rejected) == ["rate"]


def test_a_copied_revision_has_its_checksum_and_no_values(records: list[Any]) -> None:
    """A copied or pickled revision keeps its checksum; the pickle and `asdict()` do not hold secret raw values."""
    revision = records[0]
    pickled = pickle.dumps(revision)
    assert b"hush" not in pickled
    assert "hush" not in repr(dataclasses.asdict(revision))
    for other in (pickle.loads(pickled), copy.deepcopy(revision), dataclasses.replace(revision, number=9)):  # noqa: S301 - ours
        assert other.checksum == revision.checksum


def test_a_refusal_is_pickled_with_its_revision(flags: dflag.FlagRegistry) -> None:
    """An unpickled revision has the same message for a rejected value, and the same hash."""
    flags.dyn_int("rate", 1)
    revision = flags.apply({"rate": "many"}, source="s")
    other = pickle.loads(pickle.dumps(revision))  # noqa: S301 - made here
    assert str(other.rejected["rate"]) == str(revision.rejected["rate"])
    assert hash(other) == hash(revision)
