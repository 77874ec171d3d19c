"""
Flags whose values are maps: every key that fits a pattern.
"""

from __future__ import annotations

import datetime
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag import DefinitionError, DynamicFlag, FlagValueError, ValidationError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

    from dflag import FlagRegistry

A, B, C = "a.endpoint", "b.endpoint", "c.endpoint"


@pytest.fixture(name="clusters")
def _clusters(flags: FlagRegistry) -> DynamicFlag[Mapping[str, str]]:
    return flags.dyn_map("clusters", {}, "Endpoint per cluster", keys="*.endpoint", of="string")


@pytest.fixture(name="limits")
def _limits(flags: FlagRegistry) -> DynamicFlag[Mapping[str, int]]:
    return flags.dyn_map("limits", {"x.limit": 1}, keys="*.limit", of="int")


def test_it_holds_every_key_that_fits(flags: FlagRegistry, clusters: DynamicFlag[Mapping[str, str]]) -> None:
    """
    Keys that fit the pattern are members of the map and not unknown; other keys are unknown.
    """
    revision = flags.apply({A: "one", B: " two\n", "b.endpoints": "no", "target": "a"}, source="config")

    assert clusters.get() == {A: "one", B: "two"}
    assert clusters.origin == "config"
    assert revision.changed == ("clusters",)
    assert revision.unknown == ("b.endpoints", "target")


def test_additions_changes_and_removals_are_single_changes(
    flags: FlagRegistry, clusters: DynamicFlag[Mapping[str, str]]
) -> None:
    """
    A revision that adds, changes or removes members runs the callback once, with the mappings before and after.
    """
    calls: list[tuple[Any, Any]] = []
    clusters.on_change(lambda old, new: calls.append((old, new)))
    for values in ({A: "1"}, {A: "1", B: "2"}, {A: "3", C: "4"}, {A: "3", C: "4"}, {}):
        flags.apply(values, source="config")
    assert flags.flush(10)

    assert calls == [
        ({}, {A: "1"}),
        ({A: "1"}, {A: "1", B: "2"}),
        ({A: "1", B: "2"}, {A: "3", C: "4"}),
        ({A: "3", C: "4"}, {}),
    ]
    assert clusters.origin == "default"


def test_only_what_changed_is_parsed(flags: FlagRegistry) -> None:
    """
    Members whose text stayed the same are not parsed again.
    """
    parsed: list[str] = []

    def note(text: str) -> str:
        parsed.append(text)
        return text

    flags.dyn_map("clusters", {}, keys="*.endpoint", of="string", input_mutator=note)
    flags.apply({A: "1", B: "2"}, source="config")
    flags.apply({A: "1", B: "3", "other": "x"}, source="config")

    assert parsed == ["1", "2", "3"]


def test_a_declared_flag_keeps_its_own_key(flags: FlagRegistry, clusters: DynamicFlag[Mapping[str, str]]) -> None:
    """
    A key that is the name of a flag is not a member of a map, whether the flag is declared before the values or after.
    """
    early = flags.dyn_string(A, "")
    flags.apply({A: "1", B: "2", C: "3"}, source="config")
    assert (early.get(), clusters.get()) == ("1", {B: "2", C: "3"})

    late = flags.dyn_string(B, "")
    assert (late.get(), clusters.get()) == ("2", {C: "3"})


def test_a_map_declared_late_has_the_keys_that_are_there(flags: FlagRegistry) -> None:
    """
    Unknown keys become members of a map that is declared later, and are no longer unknown.
    """
    assert flags.apply({A: "1"}, source="config").unknown == (A,)
    clusters = flags.dyn_map("clusters", {}, keys="*.endpoint")

    assert clusters.get() == {A: "1"}
    assert flags.apply({A: "1", B: "2"}, source="config").unknown == ()


def test_a_key_may_belong_to_several_maps(flags: FlagRegistry) -> None:
    """
    A key that fits the patterns of several maps is a member of each, parsed as the kind of that map.
    """
    texts = flags.dyn_map("texts", {}, keys="*")
    numbers = flags.dyn_map("numbers", {}, keys="n*", of="int")
    revision = flags.apply({"n1": "0x10", "m": "x"}, source="config")

    assert texts.get() == {"n1": "0x10", "m": "x"}
    assert numbers.get() == {"n1": 16}
    assert revision.unknown == ()


def test_patterns_are_case_sensitive(flags: FlagRegistry, clusters: DynamicFlag[Mapping[str, str]]) -> None:
    """
    A key that fits a pattern only in another case is unknown.
    """
    assert flags.apply({"a.ENDPOINT": "1"}, source="config").unknown == ("a.ENDPOINT",)


def test_a_bad_member_keeps_its_last_good_value(
    flags: FlagRegistry, limits: DynamicFlag[Mapping[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    """
    A bad member keeps its last good value, or is left out if it has none; the error names flag and key, and the other
    members apply.
    """
    flags.apply({"a.limit": "1", "b.limit": "2"}, source="config")
    revision = flags.apply({"a.limit": "x", "b.limit": "3", "c.limit": "y"}, source="config")

    assert limits.get() == {"a.limit": 1, "b.limit": 3}
    assert sorted(revision.rejected) == ["a.limit", "c.limit"]
    assert str(revision.rejected["a.limit"]) == "flag 'limits': at 'a.limit': expected an int, got 'x' (config)"
    assert revision.rejected["a.limit"].flag_name == "limits"
    assert len(caplog.records) == 2

    revision = flags.apply({"a.limit": "x", "b.limit": "4"}, source="config")
    assert limits.get() == {"a.limit": 1, "b.limit": 4}
    assert list(revision.rejected) == ["a.limit"]
    assert len(caplog.records) == 2
    assert flags.apply({"b.limit": "4"}, source="config").rejected == {}
    assert limits.get() == {"b.limit": 4}


def test_atomic_takes_all_members_or_none(flags: FlagRegistry, limits: DynamicFlag[Mapping[str, int]]) -> None:
    """
    With ``atomic`` one bad member refuses the whole revision.
    """
    flags.apply({"a.limit": "1"}, source="config")
    flags.apply({"a.limit": "2", "b.limit": "x"}, source="config", atomic=True)

    assert limits.get() == {"a.limit": 1}


def test_a_validator_sees_the_whole_mapping(flags: FlagRegistry) -> None:
    """
    When a validator refuses a mapping, the last good mapping stays as a whole, and the flag's name is rejected.
    """

    def few(mapping: Mapping[str, int]) -> None:
        if len(mapping) > 2:
            raise ValueError("expected two at most")

    limits = flags.dyn_map("limits", {}, keys="*.limit", of="int", validator=few)
    flags.apply({"a.limit": "1"}, source="config")
    many = {"a.limit": "2", "b.limit": "2", "c.limit": "2"}
    revision = flags.apply(many, source="config")

    assert limits.get() == {"a.limit": 1}
    assert list(revision.rejected) == ["limits"]
    assert "expected two at most" in str(revision.rejected["limits"])
    assert flags.apply({**many, "other": "1"}, source="config").rejected == revision.rejected

    del many["a.limit"]
    assert flags.apply(many, source="config").rejected == {}
    assert limits.get() == {"b.limit": 2, "c.limit": 2}


def test_several_sources_are_put_together(flags: FlagRegistry, clusters: DynamicFlag[Mapping[str, str]]) -> None:
    """
    The members of a later source win; when it drops one, that of the earlier source is in force again.
    """
    flags.apply({A: "base", B: "base"}, source="base")
    flags.apply({B: "team", C: "team"}, source="team")
    assert clusters.get() == {A: "base", B: "team", C: "team"}
    assert clusters.origin == "team"
    assert [(layer.origin, layer.value) for layer in flags.explain("clusters")] == [
        ("team", {B: "team", C: "team"}),
        ("base", {A: "base", B: "base"}),
        ("default", {}),
    ]

    flags.apply({C: "team"}, source="team")
    assert clusters.get() == {A: "base", B: "base", C: "team"}
    flags.apply({}, source="team")
    assert clusters.get() == {A: "base", B: "base"}
    assert clusters.origin == "base"


def test_what_sources_make_up_together_is_validated(flags: FlagRegistry) -> None:
    """
    A revision is refused as a whole if the mappings of two sources pass the validator alone and not together.
    """
    limits = flags.dyn_map("limits", {}, keys="*.limit", of="int")
    rate = flags.dyn_int("rate", 0)

    @limits.validator
    def _few(mapping: Mapping[str, int]) -> None:
        if len(mapping) > 2:
            raise ValueError("expected two at most")

    flags.apply({"a.limit": "1", "b.limit": "1"}, source="base")
    revision = flags.apply({"c.limit": "1", "rate": "5"}, source="team")

    assert "expected two at most" in str(revision.error)
    assert (limits.get(), rate.get()) == ({"a.limit": 1, "b.limit": 1}, 0)
    assert flags.apply({"b.limit": "7", "rate": "5"}, source="team").error is None
    assert (limits.get(), rate.get()) == ({"a.limit": 1, "b.limit": 7}, 5)


def test_its_own_name_holds_a_whole_mapping(flags: FlagRegistry, limits: DynamicFlag[Mapping[str, int]]) -> None:
    """
    A JSON object under the flag's own name is a whole mapping, and single keys replace its members.
    """
    flags.apply({"limits": '{"a.limit": 1, "b.limit": "2"}', "b.limit": "3"}, source="config")
    assert limits.get() == {"a.limit": 1, "b.limit": 3}

    flags.apply({"limits": '{"a.limit": 1, "b.limit": "2"}'}, source="config")
    assert limits.get() == {"a.limit": 1, "b.limit": 2}


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 1}', '{"a.limit": "x"}', '{"a.limit": 1.5}', "", "a.limit=1"])
def test_a_bad_whole_keeps_the_last_good_mapping(
    flags: FlagRegistry, limits: DynamicFlag[Mapping[str, int]], text: str
) -> None:
    """
    A bad text for the whole mapping is refused under the flag's name until it is gone; the last good mapping stays.
    """
    flags.apply({"limits": '{"a.limit": 1}'}, source="config")
    revision = flags.apply({"limits": text, "b.limit": "3"}, source="config")
    assert list(revision.rejected) == ["limits"]
    assert "a mapping of names like '*.limit'" in str(revision.rejected["limits"])
    assert limits.get() == {"a.limit": 1}

    revision = flags.apply({"limits": text, "b.limit": "4"}, source="config")
    assert list(revision.rejected) == ["limits"]
    assert flags.apply({"b.limit": "4"}, source="config").rejected == {}
    assert limits.get() == {"b.limit": 4}


def test_an_override_is_the_whole_mapping(flags: FlagRegistry, limits: DynamicFlag[Mapping[str, int]]) -> None:
    """
    An override hides the whole mapping of the sources, and is refused if its names or values do not fit.
    """
    flags.apply({"a.limit": "1"}, source="config")
    limits.set({"b.limit": 2})
    assert limits.get() == {"b.limit": 2}
    limits.set_text('{"c.limit": "3"}')
    assert limits.get() == {"c.limit": 3}
    limits.reset()
    assert limits.get() == {"a.limit": 1}
    with pytest.raises(ValidationError, match="the name 'b' does not match"):
        limits.set({"b": 2})
    with pytest.raises(ValidationError, match=r"at 'b\.limit': expected an int"):
        limits.set({"b.limit": "2"})  # type: ignore[dict-item]


def test_command_line_and_environment_give_json(
    flags: FlagRegistry, limits: DynamicFlag[Mapping[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The environment and the command line give a map as a JSON object, which a source hides.
    """
    monkeypatch.setenv("APP_LIMITS", '{"e.limit": 4}')
    flags.parse_args([], env_prefix="APP")
    assert (limits.get(), limits.origin) == ({"e.limit": 4}, "environment")
    flags.parse_args(["--limits", '{"a.limit": 5}'], env_prefix="APP")
    assert (limits.get(), limits.origin) == ({"a.limit": 5}, "command line")
    flags.apply({"b.limit": "1"}, source="config")
    assert limits.get() == {"b.limit": 1}


def test_a_frozen_static_map_waits_for_a_restart(flags: FlagRegistry) -> None:
    """
    A member that a frozen static map gets is pending until a restart, and no longer when the source drops it.
    """
    clusters = flags.map("clusters", {}, keys="*.endpoint")
    flags.apply({A: "1"}, source="config")
    flags.freeze()

    assert flags.apply({A: "1", B: "2"}, source="config").pending_restart == ("clusters",)
    assert clusters.get() == {A: "1"}
    assert flags.apply({A: "1"}, source="config").pending_restart == ()


def test_the_mapping_is_read_only(clusters: DynamicFlag[Mapping[str, str]], flags: FlagRegistry) -> None:
    """
    The mapping that `get()` returns cannot be changed, and can be pickled.
    """
    flags.apply({A: "1"}, source="config")
    value: Any = clusters.get()

    with pytest.raises(TypeError, match="read-only"):
        value[B] = "2"
    assert pickle.loads(pickle.dumps(value)) == {A: "1"}  # noqa: S301 - made here


@pytest.mark.parametrize(
    ("of", "text", "value"),
    [
        ("string", "no", "no"),
        ("int", "0x10", 16),
        ("float", "1e3", 1000.0),
        ("bool", "yes", True),
        ("duration", "1m30s", datetime.timedelta(seconds=90)),
        ("string_list", "a,b", ("a", "b")),
        ("string_set", "b,a", frozenset("ab")),
        ("bytes", " \x00", b" \x00"),
        ("json", '{"x": [1]}', {"x": [1]}),
        ("json", '"12"', "12"),
    ],
)
def test_members_are_of_any_kind(flags: FlagRegistry, of: str, text: str, value: object) -> None:
    """
    Members are parsed as their kind, and the printed mapping reads back as the same.
    """
    endpoints = flags.dyn_map("endpoints", {}, keys="*", of=of)
    flags.apply({"key": text}, source="config")
    assert endpoints.get() == {"key": value}
    printed = flags.explain("endpoints")[0].text
    endpoints.set_text(printed)

    assert endpoints.get() == {"key": value}
    assert flags.explain("endpoints")[0].text == printed


@pytest.mark.parametrize(
    "options",
    [
        {"keys": "", "of": "string"},
        {"keys": "*", "of": "enum"},
        {"keys": "*", "of": "map"},
        {"keys": "*", "of": "string", "default": {"a": 1}},
        {"keys": "*.x", "of": "string", "default": {"a": "1"}},
        {"keys": "*.x", "of": "string", "default": []},
    ],
)
def test_a_declaration_that_cannot_work_is_refused(flags: FlagRegistry, options: dict[str, Any]) -> None:
    """
    Patterns, kinds and defaults are checked when the flag is declared, and the error names it.
    """
    with pytest.raises(DefinitionError, match="flag 'endpoints': expected"):
        flags.dyn_map("endpoints", **{"default": {}, **options})
    assert "endpoints" not in flags


def test_a_secret_member_stands_nowhere(flags: FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    The error and the log line about a bad member of a secret map have nothing of its text.
    """
    flags.dyn_map("tokens", {}, keys="*.token", of="int", secret=True)
    revision = flags.apply({"a.token": "hunter2"}, source="config")
    error: FlagValueError | None = revision.rejected["a.token"]

    assert "hunter2" not in f"{error} {error!r} {caplog.text}"
    assert str(error) == "flag 'tokens': at 'a.token': expected an int (config)"
    assert error is not None
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_librarys_map_has_keys_once_it_is_bound(flags: FlagRegistry) -> None:
    """
    An unbound map has its default, and when it is bound it has the keys that a source already holds.
    """
    endpoints = dflag.dyn_map({}, keys="*.endpoint", of="string")
    assert endpoints.get() == {}
    flags.apply({A: "1"}, source="config")
    flags.bind("clusters", endpoints)

    assert endpoints.get() == {A: "1"}


def test_a_map_of_other_values_than_json_is_no_json(flags: FlagRegistry) -> None:
    """
    A JSON flag refuses the value of a map whose values are not JSON, as it refuses a copy of it.
    """
    waits = flags.dyn_map("waits", {"a.wait": datetime.timedelta(1)}, keys="*.wait", of="duration")
    free = flags.dyn_json("free", {})
    for given in (waits.get(), {"nested": waits.get()}, dict(waits.get())):
        with pytest.raises(ValidationError, match="it holds a timedelta"):
            free.set(given)
    limits = flags.dyn_map("limits", {"a.limit": 1}, keys="*.limit", of="int")
    free.set(limits.get())

    assert free.get() == {"a.limit": 1}
    assert flags.explain("free")[0].text == '{"a.limit":1}'
    assert pickle.loads(pickle.dumps(waits.get())) == waits.get()  # noqa: S301 - made here


_WHOLE = """\
zones: {x.zone: no, y.zone: 012, z.zone: &short 1.50, alias.zone: *short, null.zone: ~, quoted.zone: " 7 "}
sizes: {a.size: 0x10, b.size: " 7 "}
lists: {a.list: [a, b], b.list: "a, b"}
texts: '{"a.text": 1.50}'
"""


@pytest.mark.parametrize("text", [_WHOLE, _WHOLE.replace("{x.zone", "&all {x.zone") + "copy: *all\n"])
def test_a_mapping_in_a_document_holds_texts_as_single_keys_do(
    flags: FlagRegistry, tmp_path: pathlib.Path, text: str
) -> None:
    """The parser gets the scalars of a mapping as they are written, stripped, as it gets those of single keys."""
    path = tmp_path / "app.yaml"
    path.write_text(text)
    zones = flags.map("zones", {}, keys="*.zone", of="string")
    copy = flags.map("copy", {}, keys="*.zone", of="string")
    sizes = flags.map("sizes", {}, keys="*.size", of="int")
    lists = flags.map("lists", {}, keys="*.list", of="string_list")
    texts = flags.map("texts", {}, keys="*.text", of="string")
    dflag.Updater(flags, path).initialize()

    expected = {"x": "no", "y": "012", "z": "1.50", "alias": "1.50", "null": "~", "quoted": "7"}
    assert {key.removesuffix(".zone"): value for key, value in zones.get().items()} == expected
    assert copy.get() == (zones.get() if "copy" in text else {})
    assert sizes.get() == {"a.size": 16, "b.size": 7}
    assert lists.get() == {"a.list": ("a", "b"), "b.list": ("a", "b")}
    assert texts.get() == {"a.text": "1.50"}


def test_another_way_to_write_a_number_in_a_mapping_is_a_change(flags: FlagRegistry, tmp_path: pathlib.Path) -> None:
    """A map of texts follows a document in which only the spelling of a number changes, and a JSON flag stays."""
    path = tmp_path / "app.yaml"
    zones = flags.dyn_map("zones", {}, keys="*.zone", of="string")
    flags.dyn_json("sizes", {"a": 1.5})
    updater = dflag.Updater(flags, path, required=False)
    updater.initialize()
    seen = []
    for scalar in ("12", "012", "1.5", "1.50"):
        path.write_text(f"zones: {{a.zone: {scalar}}}\nsizes: {{a: {scalar}}}")
        revision = flags.apply(dflag.sources.FileSource(path, settle_seconds=0).read(), source="document")
        seen.append(zones.get()["a.zone"])

    assert seen == ["12", "012", "1.5", "1.50"]
    assert revision.changed == ("zones",)


def test_a_mapping_in_a_rule_holds_texts_too(flags: FlagRegistry) -> None:
    """A map that a rule sets has scalars as they are written, and follows a change of only their spelling."""
    zones = flags.dyn_map("zones", {}, keys="*.zone", of="string")
    source = dflag.sources.MemorySource({})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    for scalar in ("12", "012", "1.50"):
        source.update({"_rules.yaml": f"- set: {{zones: {{a.zone: {scalar}, b.zone: x}}}}"})
        updater.refresh()
        assert zones.get() == {"a.zone": scalar, "b.zone": "x"}


def test_an_input_mutator_gets_the_text_of_each_value(flags: FlagRegistry) -> None:
    """An input mutator gets the text of each single key, and of each value in an object under the flag's own name."""
    seen: list[str] = []

    def note(text: str) -> str:
        seen.append(text)
        return text.removesuffix("k")

    limits = flags.dyn_map("limits", {}, keys="*.limit", of="int", input_mutator=note)
    flags.apply({"a.limit": "1k", "limits": '{"b.limit": " 2k ", "c.limit": 3}'}, source="config")
    assert limits.get() == {"a.limit": 1, "b.limit": 2, "c.limit": 3}
    limits.set_text('{"d.limit": "4k"}')
    assert limits.get() == {"d.limit": 4}

    assert sorted(seen) == ["1k", "2k", "3", "4k"]
    with pytest.raises(FlagValueError, match=r"\(at 'd\.limit': expected an int\)"):
        limits.set_text('{"d.limit": "4m"}')
