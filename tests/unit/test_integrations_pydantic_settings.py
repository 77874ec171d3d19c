"""
Settings classes of pydantic-settings that are filled from flags, volumes and documents.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

import dflag
from dflag.integrations import pydantic_settings
from dflag.integrations.pydantic_settings import DflagSettingsSource, reloading
from dflag.sources import MemorySource

if TYPE_CHECKING:
    from pathlib import Path

    from dflag.testing import ConfigMapVolume


class Database(BaseModel):
    """A part of the settings."""

    host: str = "localhost"
    port: int = 5432
    options: dict[str, str] = {}


def _settings(source: Any, **config: Any) -> type[BaseSettings]:
    """
    Return a settings class that asks its arguments first, then the source, then the environment.
    """

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="TEST_DFLAG_", **config)

        rate: int = 1
        hosts: list[str] = []
        database: Database = Database()
        token: pydantic.SecretStr = pydantic.SecretStr("")
        blob: bytes = b""
        other: Annotated[str, Field(validation_alias="other-name")] = ""
        either: Annotated[str, Field(validation_alias=AliasChoices("first", AliasPath("second", 0)))] = ""

        @classmethod
        def settings_customise_sources(  # type: ignore[override]  # of the others none is used
            cls, settings_cls: type[BaseSettings], init_settings: Any, env_settings: Any, **_: Any
        ) -> tuple[Any, ...]:
            return init_settings, DflagSettingsSource(settings_cls, source), env_settings

    return Settings


def test_a_registry_fills_the_fields(flags: dflag.FlagRegistry) -> None:
    """
    By name, by alias and, for a model, by what follows its name and a dot.
    """
    flags.dyn_int("rate", 50)
    flags.dyn_string_list("hosts", ("a", "b"))
    flags.dyn_json("database", {"host": "db", "options": {"x": "1"}})
    flags.dyn_int("database.port", 99)
    flags.dyn_string("database.options.y", "2")
    flags.string("token", "hush", secret=True)
    flags.dyn_bytes("blob", b"\x00\xff")
    flags.string("other-name", "other")
    flags.dyn_json("second", ["s"])
    settings = _settings(flags)()

    assert settings.model_dump() == {
        "rate": 50,
        "hosts": ["a", "b"],
        "database": {"host": "db", "port": 99, "options": {"x": "1", "y": "2"}},
        "token": pydantic.SecretStr("hush"),
        "blob": b"\x00\xff",
        "other": "other",
        "either": "s",
    }


def test_the_place_among_the_sources_is_the_rank(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Arguments win over flags, and flags over the environment.
    """
    flags.dyn_int("rate", 50)
    monkeypatch.setenv("TEST_DFLAG_RATE", "70")
    monkeypatch.setenv("TEST_DFLAG_HOSTS", '["e"]')
    settings = _settings(flags)

    assert (settings().rate, settings(rate=60).rate, settings().hosts) == (50, 60, ["e"])  # type: ignore[attr-defined,call-arg]


@pytest.mark.parametrize("form", ["volume", "document", "json", "source"])
def test_texts_are_converted_by_pydantic(form: str, volume: ConfigMapVolume, tmp_path: Path) -> None:
    """
    A volume, a document and a source give the same settings.
    """
    texts = {"rate": "7\n", "hosts": '["a"]', "database": '{"host": "db"}', "database.port": "99", "other-name": "x"}
    native = "{rate: 7, hosts: [a], database: {host: db}, database.port: 99, other-name: x}"
    source: Any
    if form == "volume":
        volume.write(texts)
        source = volume.path
    elif form == "source":
        source = MemorySource(texts)
    else:
        source = tmp_path / f"settings.{'yaml' if form == 'document' else 'json'}"
        quoted = '{"rate": 7, "hosts": ["a"], "database": {"host": "db"}, "database.port": 99, "other-name": "x"}'
        source.write_text(native if form == "document" else quoted, "utf-8")
    found: Any = _settings(source)()

    assert (found.rate, found.hosts, found.database, found.other) == (7, ["a"], Database(host="db", port=99), "x")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"rate": "many"}, "valid integer"),
        ({"hosts": "[a"}, "field 'hosts': expected JSON"),
        ({"other-name": b"\xff"}, "expected UTF-8"),
    ],
)
def test_values_that_are_refused(texts: dict[str, Any], message: str) -> None:
    """
    The error names the field.
    """
    with pytest.raises(ValueError, match=message):
        _settings(MemorySource(texts))()


class Pool(BaseModel):
    """A part that a field may lack."""

    size: int = 5
    hosts: list[str] = []


class Server(BaseModel):
    """A part of which a part is optional."""

    port: int = Field(80, alias="listen")
    pool: Pool | None = None


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"pool": '{"size": 3}'}, {"pool": Pool(size=3)}),
        ({"pool": "null"}, {"pool": None}),
        ({"pool.size": "3", "pool.hosts": '["a", "b"]'}, {"pool": Pool(size=3, hosts=["a", "b"])}),
        ({"pool": '{"size": 3}', "pool.hosts": "[]"}, {"pool": Pool(size=3)}),
        (
            {"server.listen": "8080", "server.pool.hosts": '["a"]'},
            {"server": Server(listen=8080, pool=Pool(hosts=["a"]))},
        ),
        (
            {"server.pool": '{"size": 2}', "server.pool.hosts": '["a"]'},
            {"server": Server(pool=Pool(size=2, hosts=["a"]))},
        ),
        ({"either": '["a"]'}, {"either": ["a"]}),
        ({"either": "5"}, {"either": "5"}),
        ({"either": "[a"}, {"either": "[a"}),
        ({"either": b"a"}, {"either": "a"}),
        ({"blob": b"\xff"}, {"blob": b"\xff"}),
    ],
)
def test_choices_and_parts_of_parts(texts: dict[str, Any], expected: dict[str, Any]) -> None:
    """
    A field that may be something else too takes the same texts, and so do the fields of models at any depth.
    """

    class Settings(BaseSettings):
        pool: Annotated[Pool | None, Field(description="The pool")] = None
        server: Server = Server()
        either: str | list[str] = ""
        blob: bytes | None = None

        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, *_sources: Any, **_others: Any) -> Any:
            return (DflagSettingsSource(settings_cls, MemorySource(texts)),)

    settings = Settings()
    assert {name: getattr(settings, name) for name in expected} == expected


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """
    Settings do not come out of defaults without a word.
    """
    with pytest.raises(dflag.SourceError):
        _settings(tmp_path / "none.yaml")()


@pytest.mark.parametrize("source", [5, None, {"rate": "1"}])
def test_what_is_no_source(source: object) -> None:
    """
    Anything else is refused when settings are made.
    """
    with pytest.raises(dflag.DefinitionError):
        _settings(source)()


def test_reloading_gives_an_instance_for_each_revision(flags: dflag.FlagRegistry) -> None:
    """
    It is frozen, the same until something changes, and made of one revision.
    """
    rate = flags.dyn_int("rate", 1)
    flags.dyn_string_list("hosts", ())
    settings = reloading(_settings(flags))
    first: Any = settings.current()
    assert settings.current() is first
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        first.rate = 5

    flags.apply({"rate": "2", "hosts": "a"}, source="test")
    second: Any = settings.current()
    assert (first.rate, first.hosts, second.rate, second.hosts) == (1, [], 2, ["a"])
    assert settings.current() is second
    rate.set(3)
    assert settings.current().rate == 3  # type: ignore[attr-defined]


def test_reloading_keeps_the_last_good_instance(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    What the class refuses is logged once, without the value, and followed again once it is good.
    """

    class Settings(BaseSettings):
        rate: Annotated[int, Field(le=10)]

        @classmethod
        def settings_customise_sources(  # type: ignore[override]  # of the others none is used
            cls, settings_cls: type[BaseSettings], **_: Any
        ) -> tuple[Any, ...]:
            return (DflagSettingsSource(settings_cls, flags),)

    rate = flags.dyn_int("rate", 1)
    settings = reloading(Settings)
    with caplog.at_level(logging.WARNING, "dflag"):
        for value in (123456, 123456, 123457):
            rate.set(value)
            assert settings.current().rate == 1
            assert settings.current().rate == 1
    assert settings.problem is not None
    assert [each.getMessage() for each in caplog.records] == [
        "Settings: rate: Input should be less than or equal to 10; keeping the last good values"
    ]

    rate.set(2)
    assert settings.current().rate == 2
    assert settings.problem is None


def test_reloading_looks_at_a_path_now_and_then(volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    At most once a second, and reads it only when it has changed; a path that goes keeps the last good values.
    """
    now = [0.0]
    monkeypatch.setattr(pydantic_settings.time, "monotonic", lambda: now[0])
    volume.write({"rate": "1"})
    settings: Any = reloading(_settings(volume.path))
    first = settings.current()

    volume.write({"rate": "2"})
    now[0] += 0.5
    assert settings.current() is first
    now[0] += 1.0
    assert settings.current().rate == 2
    volume.write({"rate": "bad"})
    now[0] += 1.0
    assert settings.current().rate == 2
    assert "valid integer" in settings.problem
    volume.write({"rate": "4"})
    now[0] += 1.0
    assert (settings.current().rate, settings.problem) == (4, None)


def test_reloading_needs_a_source(flags: dflag.FlagRegistry) -> None:
    """
    A class without one would never change.
    """

    class Settings(BaseSettings):
        rate: int = 1

    with pytest.raises(dflag.DefinitionError, match="expected a DflagSettingsSource in Settings"):
        reloading(Settings)


def test_repr_shows_the_place(volume: ConfigMapVolume) -> None:
    """
    Where the values come from.
    """
    assert str(volume.path) in repr(DflagSettingsSource(_settings(volume.path), volume.path))
