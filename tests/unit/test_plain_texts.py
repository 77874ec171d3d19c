"""
Names and texts that are members of a ``str`` enumeration, which do not print as the text that they hold.
"""

from __future__ import annotations

import enum
from typing import Any

import pytest

import dflag
from dflag.sources import DirectorySource, KubernetesSource, MemorySource


class Name(str, enum.Enum):  # noqa: UP042 - a StrEnum prints as what it holds
    """Names of a program's flags, and other texts."""

    PORT = "port"
    TEXT = "a text"
    KEYS = "*.url"


def _is_plain(*texts: object) -> bool:
    return all(type(text) is str for text in texts)


def test_a_flag_is_read_from_the_variable_of_its_name(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag named by a member, declared, bound or in a class, is read from the variable of the member's text."""

    class Settings(dflag.Flags, prefix=Name.PORT):
        port = dflag.int(1, name=Name.PORT)

    monkeypatch.setenv("APP_PORT", "9")
    monkeypatch.setenv("PORT_PORTPORT", "9")
    declared = flags.int(Name.PORT, 8080)
    other = dflag.FlagRegistry(Name.TEXT)
    bound = other.bind(Name.PORT, dflag.int(8080))
    flags.parse_args([], env_prefix="APP")
    other.parse_args([], env_prefix="APP")
    Settings.registry.parse_args([], env_prefix=Name.PORT)
    assert (declared.get(), bound.get(), Settings.port.get()) == (9, 9, 9)
    assert _is_plain(declared.name, bound.name, other.name, Settings.port.name)
    with pytest.raises(dflag.ParseError, match=r"^flag 'port': expected an int, got 'x'"):
        declared.set_text("x")


def test_texts_of_a_declaration_are_plain(flags: dflag.FlagRegistry) -> None:
    """The help, owner, deprecation and ``by`` of a flag are plain texts, and a member works as the pattern of a map."""
    flag = flags.dyn_int("rate", 1, Name.TEXT, owner=Name.TEXT, deprecated=Name.TEXT, by=Name.PORT)
    urls = flags.dyn_map("urls", {}, keys=Name.KEYS)
    flags.apply({"eu.url": "x"}, source="s")
    assert _is_plain(flag.help, flag.owner, flag.deprecated, flag.by)
    assert urls.get() == {"eu.url": "x"}


@pytest.mark.parametrize(
    "declare",
    [
        lambda flags: flags.int(Name.PORT, "x"),
        lambda flags: flags.enum(Name.PORT, 5),
        lambda flags: flags.map(Name.PORT, {}, keys=5),
        lambda flags: flags.map(Name.PORT, {}, keys="*", of="x"),
        lambda flags: flags.custom(Name.PORT, 1, parse=5),
        lambda flags: flags.json(Name.PORT, 1, yaml=5),
        lambda flags: flags.json(Name.PORT, 1, schema={"type": 5}),
        lambda flags: flags.retired(Name.PORT, since=5),
        lambda flags: flags.bind(Name.PORT, 5),
    ],
)
def test_a_declaration_that_is_refused_names_the_flag(flags: dflag.FlagRegistry, declare: Any) -> None:
    """The error for a declaration whose name is a member begins with the text of the member."""
    with pytest.raises(dflag.DefinitionError, match=r"^flag 'port': "):
        declare(flags)


@pytest.mark.parametrize("declare", ["int", "enum", "map", "custom", "json"])
def test_a_name_that_is_no_text_is_refused(flags: dflag.FlagRegistry, declare: str) -> None:
    """A name that is not a text is refused for every kind, also when another option is wrong too."""
    options: dict[str, Any] = {"map": {"keys": 5}, "custom": {"parse": 5}, "json": {"yaml": 5}}.get(declare, {})
    with pytest.raises(dflag.DefinitionError, match=r"^flag 5: expected"):
        getattr(flags, declare)(5, "x", **options)


def test_sources_and_keys_are_plain(flags: dflag.FlagRegistry) -> None:
    """Origins, sources of revisions, unknown keys, and the name and keys of a `MemorySource` are plain texts."""
    rate = flags.dyn_int("rate", 1)
    revision = flags.apply({"rate": "5", Name.PORT: "6"}, source=Name.TEXT)
    assert _is_plain(rate.origin, revision.source, *revision.unknown)
    source = MemorySource({Name.PORT: "5"}, name=Name.TEXT)
    assert _is_plain(source.name, *source.read())


def test_keys_of_a_map_are_plain(flags: dflag.FlagRegistry) -> None:
    """The keys in the default of a map are plain texts, also behind the prefix of a class."""

    class Settings(dflag.Flags, prefix="shop.", registry=flags):
        ports = dflag.dyn_map({Name.PORT: 1}, keys="*", of="int")

    assert Settings.ports.get() == {"shop.port": 1}
    assert _is_plain(*flags.dyn_map("urls", {Name.PORT: "x"}, keys="*").get())


def test_a_source_asks_for_the_object_that_is_meant() -> None:
    """The names of sources that are made with members are made of the texts of the members."""
    source = KubernetesSource(Name.PORT, Name.PORT)
    assert source.name == "configmap/port/port"
    assert _is_plain(DirectorySource(Name.PORT).name)
