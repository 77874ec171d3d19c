"""
Settings classes of pydantic-settings that are filled from flags, volumes and documents.
"""

from __future__ import annotations

import decimal
import logging
import os
import pickle
import signal
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

import dflag
from dflag.integrations import pydantic_settings
from dflag.integrations.pydantic_settings import DflagSettingsSource, reloading
from dflag.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dflag.testing import ConfigMapVolume

_PYDANTIC = tuple(map(int, pydantic.VERSION.split(".")[:2]))


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
        def settings_customise_sources(  # type: ignore[override]  # the others are not used
            cls, settings_cls: type[BaseSettings], init_settings: Any, env_settings: Any, **_: Any
        ) -> tuple[Any, ...]:
            return init_settings, DflagSettingsSource(settings_cls, source), env_settings

    return Settings


def test_a_registry_fills_the_fields(flags: dflag.FlagRegistry) -> None:
    """
    Flags fill the fields of their name or alias, and a flag ``database.port`` fills a part of the field ``database``.
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


def _from(source: Any, base: type[BaseSettings], **config: Any) -> BaseSettings:
    """
    Return settings of a class from the source, above the environment.
    """

    class Settings(base):  # type: ignore[valid-type, misc]
        model_config = SettingsConfigDict(**config)

        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, env_settings: Any, **_: Any) -> Any:
            return (DflagSettingsSource(settings_cls, source), env_settings)

    settings: BaseSettings = Settings()
    return settings


class Choices(BaseSettings):
    """Fields that take several types."""

    text: str | list[int] = ""
    secret: pydantic.SecretStr | dict[str, int] = {}
    numbers: list[int] | None = None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"text": "[1]"}, {"text": "[1]"}),
        ({"text": [1]}, {"text": [1]}),
        ({"secret": '{"a": 1}'}, {"secret": pydantic.SecretStr('{"a": 1}')}),
        ({"numbers": "[1]"}, {"numbers": [1]}),
    ],
)
def test_a_text_of_a_registry_stays_one(
    values: dict[str, Any], expected: dict[str, Any], flags: dflag.FlagRegistry
) -> None:
    """
    A flag's text stays a text if the field accepts one next to a complex type; a text of a source is JSON there.
    """
    for name, value in values.items():
        flags.dyn_json(name, value)
    assert _from(flags, Choices).model_dump(exclude_unset=True) == expected
    assert _from(MemorySource({"text": "[1]"}), Choices).model_dump()["text"] == [1]


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
    A volume, a YAML or JSON document and a source give the same settings.
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


class Renamed(BaseSettings):
    """Fields whose values stand under other names."""

    head: int = Field(0, validation_alias=AliasPath("parts", 0))
    last: bytes = Field(b"", validation_alias=AliasChoices("last", AliasPath("parts", 1, "x")))
    alone: int = Field(0, validation_alias=AliasPath("alone"))
    short: int = Field(0, alias="long")


@pytest.mark.parametrize("form", ["source", "document", "quoted", "registry"])
def test_an_alias_may_be_a_path(form: str, tmp_path: Path, flags: dflag.FlagRegistry) -> None:
    """
    An alias path leads into a list of a document, or into a text that is JSON; a text that is not JSON is refused.
    """
    text = '[5, {"x": "end"}]'
    source: Any = tmp_path / "settings.yaml"
    if form == "registry":
        flags.dyn_string("parts", text)
        flags.dyn_int("alone", 3)
        source = flags
    elif form == "source":
        source = MemorySource({"parts": text.encode(), "alone": "3"})
    else:
        quote = "'" if form == "quoted" else ""
        source.write_text(f"parts: {quote}{text}{quote}\nalone: 3\n", "utf-8")
    assert _from(source, Renamed).model_dump() == {"head": 5, "last": b"end", "alone": 3, "short": 0}
    with pytest.raises(SettingsError, match="field 'parts': expected JSON"):
        _from(MemorySource({"parts": "[5"}), Renamed)


@pytest.mark.parametrize(
    ("config", "texts", "expected"),
    [
        ({"populate_by_name": True}, {"short": "5"}, 5),
        ({"populate_by_name": True}, {"short": "5", "long": "6"}, 6),
        ({"validate_by_name": True}, {"short": "5"}, 5),
        pytest.param(
            {"validate_by_name": True, "validate_by_alias": False},
            {"short": "5", "long": "6"},
            5,
            marks=pytest.mark.skipif(_PYDANTIC < (2, 11), reason="an option of pydantic 2.11"),
        ),
        ({}, {"short": "5"}, 1),
    ],
)
def test_a_name_counts_beside_an_alias(
    config: Any, texts: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A field's name counts next to its alias if the class allows it, and wins over the alias in a lower source.
    """
    if "validate_by_alias" not in config:
        monkeypatch.setenv("LONG", "1")
    assert _from(MemorySource(texts), Renamed, **config).model_dump()["short"] == expected


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
    """A part of the settings that may be None."""

    size: int = 5
    hosts: list[str] = []


class Server(BaseModel):
    """A part of the settings with an optional part."""

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
    A field with a union type takes the same texts as one with a single type, and so do fields of models at any depth.
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
    A path that does not exist raises a SourceError, instead of settings of defaults.
    """
    with pytest.raises(dflag.SourceError):
        _settings(tmp_path / "none.yaml")()


@pytest.mark.parametrize("source", [5, None, {"rate": "1"}])
def test_what_is_no_source(source: object) -> None:
    """
    An object that is neither a registry, a path nor a source is refused when settings are made.
    """
    with pytest.raises(dflag.DefinitionError):
        _settings(source)()


def test_reloading_gives_an_instance_for_each_revision(flags: dflag.FlagRegistry) -> None:
    """
    ``current()`` returns a frozen instance of one revision, and the same one until a flag changes.
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


class Pickled(BaseSettings):
    """Settings at the top level of a module, as pickle needs them."""

    rate: int = 1
    database: Database = Database()
    _note: str = pydantic.PrivateAttr("")

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # the others are not used
        cls, settings_cls: type[BaseSettings], **_: Any
    ) -> tuple[Any, ...]:
        return (DflagSettingsSource(settings_cls, MemorySource({"rate": "5", "database.port": "6"})),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_instance_goes_to_another_process(protocol: int) -> None:
    """
    An instance of reloading settings is unpickled as an instance of the settings class itself.
    """
    settings = reloading(Pickled).current()
    settings._note = "kept"
    found = pickle.loads(pickle.dumps(settings, protocol))  # noqa: S301 - our own
    assert type(found) is Pickled
    assert (found.rate, found.database.port, found._note) == (5, 6, "kept")


def test_reloading_keeps_the_last_good_instance(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    Refused values are logged once, without the values, and the last good instance stays until a value is accepted.
    """

    class Settings(BaseSettings):
        rate: Annotated[int, Field(le=10)]

        @classmethod
        def settings_customise_sources(  # type: ignore[override]  # the others are not used
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


def _checked(flags: dflag.FlagRegistry, check: Callable[[int], object]) -> type[BaseSettings]:
    """
    Return a settings class with a validator of its field.
    """

    class Settings(BaseSettings):
        rate: int

        @pydantic.field_validator("rate")
        @classmethod
        def check_rate(cls, value: int) -> int:
            check(value)
            return value

        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, *_sources: Any, **_others: Any) -> Any:
            return (DflagSettingsSource(settings_cls, flags),)

    return Settings


def test_reloading_outlives_a_fault_of_the_class(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    An exception in the class's code refuses the values; ``problem`` and the log have its type, and not its message.
    """

    def check(value: int) -> None:
        if value == 2:
            raise KeyError("hush")

    rate = flags.dyn_int("rate", 1)
    settings: Any = reloading(_checked(flags, check))
    with caplog.at_level(logging.WARNING, "dflag"):
        rate.set(2)
        assert (settings.current().rate, settings.current().rate) == (1, 1)
    assert settings.problem.startswith(f"its code raised KeyError at {__file__}:")
    assert [each.getMessage() for each in caplog.records] == [
        f"Settings: {settings.problem}; keeping the last good values"
    ]
    rate.set(3)
    assert (settings.current().rate, settings.problem) == (3, None)


def test_reloading_reads_a_source_whose_probe_raises() -> None:
    """
    A source whose ``probe()`` raises is still read, and is not a problem.
    """

    class Moody(MemorySource):
        def probe(self) -> object:
            raise OSError("no answer")

    settings: Any = reloading(_settings(Moody({"rate": "2"})))
    assert (settings.current().rate, settings.problem) == (2, None)


def test_reloading_gives_a_validator_the_instance_in_force(flags: dflag.FlagRegistry) -> None:
    """
    A validator that calls ``current()`` gets the instance in force, and does not wait for itself.
    """
    before = []

    def check(value: int) -> None:
        if value == 2:
            before.append(settings.current().rate)

    rate = flags.dyn_int("rate", 1)
    settings: Any = reloading(_checked(flags, check))
    rate.set(2)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(settings.current()), daemon=True)
    thread.start()
    thread.join(5)
    assert ([each.rate for each in found], before) == ([2], [1])


def test_reloading_tries_what_comes_while_values_are_refused(flags: dflag.FlagRegistry) -> None:
    """
    A commit during a validation that fails is validated by the next ``current()``, and not taken for the refused one.
    """

    def check(value: int) -> None:
        if value == 2:
            rate.set(3)  # as another thread may
            raise ValueError(value)

    rate = flags.dyn_int("rate", 1)
    settings: Any = reloading(_checked(flags, check))
    rate.set(2)
    assert settings.current().rate == 1
    assert settings.problem is not None
    assert (settings.current().rate, settings.problem) == (3, None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_reloading_goes_on_in_a_child(flags: dflag.FlagRegistry) -> None:
    """
    In a forked child ``current()`` works even if another thread of the parent was making an instance.
    """
    parent, begun, end = os.getpid(), threading.Event(), threading.Event()

    def check(value: int) -> None:
        if value == 2 and os.getpid() == parent:
            begun.set()
            end.wait(30)

    rate = flags.dyn_int("rate", 1)
    settings: Any = reloading(_checked(flags, check))
    rate.set(2)
    thread = threading.Thread(target=settings.current)
    thread.start()
    begun.wait(30)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of a fork next to threads
        child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(0 if settings.current().rate == 2 else 1)
    end.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_reloading_looks_at_a_path_now_and_then(volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    ``current()`` looks at a path at most once a second, and the last good values stay while it is bad or missing.
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
    second = settings.current()
    assert second.rate == 2
    now[0] += 1.0
    assert settings.current() is second
    volume.write({"rate": "bad"})
    now[0] += 1.0
    assert settings.current().rate == 2
    assert "valid integer" in settings.problem
    volume.write({"rate": "4"})
    now[0] += 1.0
    assert (settings.current().rate, settings.problem) == (4, None)
    volume.path.rename(volume.path.with_name("elsewhere"))
    now[0] += 1.0
    assert settings.current().rate == 4
    assert "no such" in settings.problem
    volume.path.with_name("elsewhere").rename(volume.path)
    now[0] += 1.0
    assert (settings.current().rate, settings.problem) == (4, None)


def test_reloading_needs_a_source(flags: dflag.FlagRegistry) -> None:
    """
    ``reloading()`` refuses a class without a DflagSettingsSource.
    """

    class Settings(BaseSettings):
        rate: int = 1

    with pytest.raises(dflag.DefinitionError, match="expected a DflagSettingsSource in Settings"):
        reloading(Settings)


def test_repr_shows_the_place(volume: ConfigMapVolume) -> None:
    """
    The repr of a settings source contains the path of its values.
    """
    assert str(volume.path) in repr(DflagSettingsSource(_settings(volume.path), volume.path))


class Credentials(BaseModel):
    """A part of the settings whose keys may contain a secret."""

    tokens: dict[str, int] = {}


def _guarded(source: Any) -> type[BaseSettings]:
    """
    Return a settings class whose validators quote what they refuse.
    """

    class Guarded(BaseSettings):
        pw: Annotated[int, Field(validation_alias=AliasChoices("password", "pw"))] = 0
        credentials: Credentials = Credentials()
        rate: int = 0

        @pydantic.field_validator("pw", mode="before")
        @classmethod
        def _check(cls, value: Any) -> Any:
            if value == "hunter2":
                raise ValueError(f"bad password {value!r}")
            return value

        @pydantic.field_validator("rate")
        @classmethod
        def _check_rate(cls, value: int, info: pydantic.ValidationInfo) -> int:
            if value == 99:
                raise ValueError(f"bad rate beside {info.data['pw']}")
            return value

        @pydantic.model_validator(mode="after")
        def _check_all(self) -> Guarded:
            if self.pw == 4711:
                raise ValueError(f"bad settings {self!r}")
            return self

        @classmethod
        def settings_customise_sources(  # type: ignore[override]  # the others are not used
            cls, settings_cls: type[BaseSettings], **_: Any
        ) -> tuple[Any, ...]:
            return (DflagSettingsSource(settings_cls, source),)

    return Guarded


def _all_texts(error: BaseException) -> str:
    """
    Return all texts that an exception, its cause and its context may show.
    """
    texts = "".join(traceback.format_exception(error))
    if isinstance(error, pydantic.ValidationError):
        texts += repr(error.errors())
    below = [each for each in (error.__cause__, error.__context__) if each is not None]
    return texts + repr(vars(error)) + "".join(map(_all_texts, below))


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("pw", "hunter2", "pw: the value was refused (value_error)"),
        ("password", "hunter2", "password: the value was refused (value_error)"),
        ("pw", "4711", "the value was refused (value_error)"),
        ("credentials", '{"tokens": {"hunter2": "a"}}', "credentials: the value was refused (int_parsing)"),
        ("credentials.tokens", '{"hunter2": "a"}', "credentials: the value was refused (int_parsing)"),
        ("credentials", "[hunter2", "field 'credentials': expected JSON: Expecting value: line 1 column 2 (char 1)"),
        ("pw", b"hunter2\xff", "field 'pw': expected UTF-8, byte 7 is not"),
    ],
)
def test_no_secret_is_in_an_error(
    key: str, text: str | bytes, problem: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The log, ``problem`` and the error at a start show the field and the error's type, and not a secret source's value.
    """
    now = [0.0]
    monkeypatch.setattr(pydantic_settings.time, "monotonic", lambda: now[0])
    source = MemorySource({"rate": "1"}, secret=True)
    settings = reloading(_guarded(source))
    with caplog.at_level(logging.WARNING, "dflag"):
        source.update({key: text, "rate": "2"})
        settings._sources[0].has_changed()
        now[0] += 1.0
        assert settings.current().rate == 1  # type: ignore[attr-defined]
    assert settings.problem == problem
    assert [each.getMessage() for each in caplog.records] == [f"Guarded: {problem}; keeping the last good values"]

    with pytest.raises(ValueError, match=r"refused|expected") as refused:
        reloading(_guarded(source))
    assert not any(secret in _all_texts(refused.value) for secret in ("hunter2", "4711"))


def test_an_error_says_all_of_what_is_no_secret(flags: dflag.FlagRegistry) -> None:
    """
    An error masks the input of a secret flag, and has the input and the message of a plain flag in full.
    """
    flags.dyn_string("pw", "hunter2", secret=True)
    flags.dyn_string("rate", "{many}")
    with pytest.raises(pydantic.ValidationError) as refused:
        reloading(_guarded(flags))
    assert [(each["loc"], each["input"]) for each in refused.value.errors()] == [
        (("pw",), "******"),
        (("rate",), "{many}"),
    ]
    assert "hunter2" not in str(refused.value)
    assert "unable to parse string as an integer" in str(refused.value)


def test_a_validator_that_quotes_the_secret_of_another_field(flags: dflag.FlagRegistry) -> None:
    """
    The message of a validator that quotes the secret of another field is left out.
    """
    flags.dyn_string("pw", "123456", secret=True)
    flags.dyn_int("rate", 99)
    with pytest.raises(pydantic.ValidationError) as refused:
        reloading(_guarded(flags))
    assert [each["msg"] for each in refused.value.errors()] == ["the value was refused (value_error)"]


@pytest.mark.parametrize("by_text", [False, True])
def test_a_validator_that_quotes_a_part_of_the_secret_of_another_field(
    by_text: bool, flags: dflag.FlagRegistry
) -> None:
    """
    The message of a validator that quotes a part of a secret is left out, if the secret came as a mapping or as a text.
    """
    flags.dyn_string("mode", "strict")
    others = dflag.FlagRegistry()
    others.dyn_json("login", {"password": "hunter2"}, secret=True)
    login = MemorySource({"login": '{"password": "hunter2"}'}, secret=True) if by_text else others

    class Settings(BaseSettings):
        login: dict[str, str]
        mode: str

        @pydantic.field_validator("mode")
        @classmethod
        def check(cls, _value: str, info: pydantic.ValidationInfo) -> str:
            raise ValueError(f"it needs a longer password than {info.data['login']['password']}")

        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, *_sources: Any, **_others: Any) -> Any:
            return DflagSettingsSource(settings_cls, login), DflagSettingsSource(settings_cls, flags)

    with pytest.raises(pydantic.ValidationError) as refused:
        reloading(Settings)
    assert [each["msg"] for each in refused.value.errors()] == ["the value was refused (value_error)"]


def test_a_scalar_of_a_document_is_its_text(tmp_path: Path) -> None:
    """
    A field takes a scalar of a document as the text that stands there, as a flag does, and a list as it is.
    """

    class Settings(BaseSettings):
        version: str
        zip: str
        on: str
        flag: bool
        either: str | int
        price: decimal.Decimal
        none: str
        null: int | None = 5
        hosts: list[str]

        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, *_sources: Any, **_others: Any) -> Any:
            return (DflagSettingsSource(settings_cls, path),)

    path = tmp_path / "settings.yaml"
    path.write_text(
        "version: 1.10\nzip: 012\non: true\nflag: true\neither: 012\nprice: 1.10\nnone: ~\nnull: ~\nhosts: [a]\n",
        "utf-8",
    )
    made: Any = Settings
    assert made().model_dump() == {
        "version": "1.10",
        "zip": "012",
        "on": "true",
        "flag": True,
        "either": "012",
        "price": decimal.Decimal("1.10"),
        "none": "~",
        "null": None,
        "hosts": ["a"],
    }
    assert str(made().price) == "1.10"


def test_parts_of_a_document_are_texts_too(tmp_path: Path) -> None:
    """
    A scalar under a dotted key is its text too, even where no model knows its type, and on top of a null.
    """
    path = tmp_path / "settings.yaml"
    path.write_text("database: ~\ndatabase.options.zip: 012\ndatabase.port: 99\n", "utf-8")
    found: Any = _settings(path)()
    assert found.database == Database(port=99, options={"zip": "012"})


def test_null_is_a_value(flags: dflag.FlagRegistry) -> None:
    """
    A JSON flag that is null gives None, and not the default of the field or the value of another alias.
    """

    class Settings(BaseSettings):
        limit: Annotated[int | None, Field(validation_alias=AliasChoices("limit", "max"))] = 5
        pool: Pool | None = Pool()

        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, *_sources: Any, **_others: Any) -> Any:
            return (DflagSettingsSource(settings_cls, flags),)

    flags.dyn_json("limit", None)
    flags.dyn_json("pool", None)
    flags.dyn_int("max", 7)
    assert Settings().model_dump() == {"limit": None, "pool": None}


@pytest.mark.parametrize("key", ["_rules.yaml", "_rules"])
def test_rules_of_a_source_are_ignored_aloud(key: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    Settings ignore the rules of a source, which is logged once for each source.
    """
    settings = _settings(MemorySource({"rate": "7", key: "- {set: {rate: 9}}"}, name=f"with {key}"))
    with caplog.at_level(logging.WARNING, "dflag"):
        assert [settings().rate, settings().rate] == [7, 7]  # type: ignore[attr-defined]
    assert [each.getMessage() for each in caplog.records] == [
        f"ignoring the rules under '{key}' of with {key}: only an Updater follows rules"
    ]
