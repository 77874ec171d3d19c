from __future__ import annotations

import collections
import collections.abc
import copy
import dataclasses
import datetime
import decimal
import enum
import json
import subprocess
import sys
from typing import Any, NamedTuple

import pydantic
import pytest
from typing_extensions import TypedDict

import dflag
from dflag._flags import pipeline_of


class Colour(enum.Enum):
    """An enumeration of a user."""

    RED = "red"
    BLUE = "blue"


class Db(pydantic.BaseModel):
    """A model whose dump hides some fields and rounds one."""

    host: str = "localhost"
    password: pydantic.SecretStr = pydantic.SecretStr("dev")
    key: pydantic.SecretBytes = pydantic.SecretBytes(b"dev")
    token: str = pydantic.Field("dev", exclude=True)
    timeout: float = 1.0
    tags: set[str] = {"a", "b", "c"}
    colour: Colour = Colour.RED
    at: datetime.datetime | None = None
    price: decimal.Decimal = decimal.Decimal(1)
    size: int = pydantic.Field(1, alias="the_size")

    @pydantic.field_serializer("timeout")
    def _rounded(self, timeout: float) -> float:
        return round(timeout, 1)


class Open(pydantic.BaseModel, extra="allow"):
    """A model that keeps unknown fields."""

    _seen: int = 0


class Counted(pydantic.BaseModel):
    """A model that keeps what it is given only in a private attribute."""

    given: dict[str, float] = pydantic.Field(default_factory=dict, exclude=True)
    _total: float = 0

    def model_post_init(self, _context: object) -> None:
        self._total = sum(self.given.values())
        self.given.clear()


@dataclasses.dataclass(frozen=True)
class Quiet:
    """A dataclass whose instances are all equal."""

    name: str = dataclasses.field(default="a", compare=False)


class Hidden(pydantic.BaseModel):
    """A model whose dump leaves out every field."""

    x: float = pydantic.Field(0, exclude=True)


class Pair(NamedTuple):
    """A named tuple."""

    left: pydantic.SecretStr
    right: int


class Shape(TypedDict):
    """A typed dict."""

    secret: pydantic.SecretStr


Root = pydantic.RootModel[list[pydantic.SecretStr]]


def _flag(default: object, type_: Any) -> tuple[dflag.FlagRegistry, dflag.DynamicFlag[Any]]:
    flags = dflag.FlagRegistry()
    return flags, flags.dyn_json("db", default, type=type_)


CHANGES = [
    (Db, Db(), '{"password": "prod"}'),
    (Db, Db(), '{"key": "prod"}'),
    (Db, Db(), '{"token": "prod"}'),
    (Db, Db(), '{"timeout": 1.04}'),
    (Db, Db(), '{"tags": ["a", "b"]}'),
    (Db, Db(), '{"colour": "blue"}'),
    (Db, Db(), '{"at": "2030-01-01T00:00:00Z"}'),
    (Db, Db(), '{"the_size": 2}'),
    (Open, Open(), '{"more": 1}'),
    (Open, Open.model_validate({"more": 1}), '{"more": true}'),
    (Counted, Counted(), '{"given": {"a": 5}}'),
    (Quiet, Quiet(), '{"name": "b"}'),
    (frozenset[Quiet], frozenset({Quiet()}), '[{"name": "b"}]'),
    (Pair, ("dev", 1), '["prod", 1]'),
    (Shape, {"secret": "dev"}, '{"secret": "prod"}'),
    (Root, Root([pydantic.SecretStr("dev")]), '["prod"]'),
    (dict[str, pydantic.SecretStr], {"a": "dev"}, '{"a": "prod"}'),
    (list[pydantic.SecretStr], ["dev"], '["prod"]'),
    (set[bool | int], {1}, "[true]"),
    (dict[int | bool, int], {1: 1}, '{"true": 1}'),
    (tuple[float | int, ...], (1,), "[1.0]"),
]


@pytest.mark.parametrize(("type_", "default", "text"), CHANGES)
def test_a_change_is_judged_on_the_values(type_: Any, default: Any, text: str) -> None:
    """A change of a part that a dump hides or rounds, or ``==`` ignores, runs the callback and changes the checksum."""
    flags, flag = _flag(default, type_)
    calls: list[tuple[object, object]] = []
    flag.on_change(lambda old, new: calls.append((old, new)))
    before, checksum = flag.get(), flags.checksum()

    revision = flags.apply({"db": text}, source="s")

    assert (revision.changed, revision.rejected) == (("db",), {})
    assert flags.flush(5)
    assert len(calls) == 1
    assert calls[0][0] is before
    assert calls[0][1] is flag.get() is not before
    assert flags.checksum() != checksum
    assert flags.apply({"db": text + " "}, source="s").changed == ()


def test_a_secret_that_changes_is_read() -> None:
    """The new value of a secret field can be read, and neither the history nor the layers show it."""
    flags, flag = _flag(Db(), Db)
    flags.apply({"db": '{"password": "prod"}'}, source="s")

    assert flag.get().password.get_secret_value() == "prod"
    assert "prod" not in repr(flags.history()) + repr(flags.explain("db"))


@pytest.mark.parametrize(
    ("type_", "one", "other"),
    [
        (Db, '{"tags": ["a", "b"]}', '{"tags": ["b", "a", "a"]}'),
        (Db, "{}", '{"host": "localhost"}'),
        (Db, '{"price": "1.0"}', '{"price": "1.00"}'),
        (Db, '{"at": "2030-01-01T12:00:00Z"}', '{"at": "2030-01-01T14:00:00+02:00"}'),
        (Db, '{"timeout": 0.0}', '{"timeout": -0.0}'),
        (dict[str, float], '{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
        (Hidden, '{"x": "nan"}', '{"x": "NaN"}'),
        (set[str], '["a", "b", "c"]', '["c", "b", "a"]'),
        (Open, '{"a": 1, "b": [2]}', '{"b": [2], "a": 1}'),
    ],
)
def test_the_same_value_written_in_another_way_is_no_change(type_: Any, one: str, other: str) -> None:
    """Sets in another order, defaults written out and other spellings of a value are no change and run no callback."""
    flags = dflag.FlagRegistry()
    flag = flags.dyn_json("db", json.loads(one), type=type_)
    flag.on_change(lambda old, new: pytest.fail("no change"))
    flags.apply({"db": one}, source="s")
    flags.flush(5)

    assert flags.apply({"db": other}, source="s").changed == ()
    assert flags.flush(5)
    assert flags.explain("db")[0].value is flag.get() is flags.snapshot()["db"]
    assert flags.explain("db")[0].text == pipeline_of(flag).kind.format(flag.get())


class Unlimited(pydantic.BaseModel, frozen=True):
    """A model with a number that JSON cannot express."""

    limit: float = float("inf")


def test_what_cannot_be_printed_is_refused_however_it_is_given() -> None:
    """A value that JSON cannot express is refused as an object, as JSON, as a text and from a source."""
    flags = dflag.FlagRegistry()
    flag: dflag.DynamicFlag[Any] = flags.dyn_json("model", {"limit": 1}, type=Unlimited)
    for give in (lambda: flag.set(Unlimited()), lambda: flag.set({}), lambda: flag.set_text("{}")):
        with pytest.raises(dflag.FlagValueError, match="which has neither infinity nor NaN"):
            give()
    assert list(flags.apply({"model": "{}"}, source="s").rejected) == ["model"]
    assert [layer.text for layer in flags.explain("model")] == ['{"limit":1.0}']


class Renamed(pydantic.BaseModel, frozen=True):
    """A model whose fields are read under other names than those under which they are printed."""

    host: str = pydantic.Field("localhost", validation_alias="DB_HOST")
    port: int = pydantic.Field(1, validation_alias=pydantic.AliasChoices("DB_PORT", "PORT"), serialization_alias="p")
    name: str = "a"


class Group(pydantic.BaseModel, frozen=True):
    """A model that holds such models in a set and a dict."""

    members: frozenset[Renamed]
    by_number: dict[int, Renamed]


def test_an_editor_begins_with_a_text_that_reads_as_the_value() -> None:
    """The draft for an editor has the aliases for reading, so that saving it unchanged keeps the value."""
    one = {"DB_HOST": "db-1", "DB_PORT": 5}
    flag = dflag.FlagRegistry().dyn_json("group", {"members": [one], "by_number": {"1": one}}, type=Group)
    value = flag.get()
    draft = pipeline_of(flag).kind.draft(value)
    assert json.loads(draft)["members"] == [{"DB_HOST": "db-1", "DB_PORT": 5, "name": "a"}]
    flag.set_text(draft)
    assert flag.get() == value


@pytest.mark.parametrize("bad", [{float("inf")}, {1.0, float("nan")}, {10**5000}])
def test_a_set_that_cannot_be_printed_is_refused_in_words_of_json(bad: set[float]) -> None:
    """A set of numbers that JSON cannot express is refused with an error that says that JSON was expected."""
    flag: dflag.DynamicFlag[Any] = dflag.FlagRegistry().dyn_json("numbers", [1], type=set[float | int])
    with pytest.raises(dflag.ValidationError, match="flag 'numbers': expected JSON"):
        flag.set(bad)


def test_sets_print_alike_in_every_process() -> None:
    """Values with sets have the same checksum and text in processes whose sets have different orders."""
    program = """
import dflag, pydantic
class Inner(pydantic.BaseModel, frozen=True):
    name: str
class Outer(pydantic.BaseModel):
    tags: set[str] = pydantic.Field(alias="all_tags")
    inner: dict[str, list[frozenset[Inner]]]
    hidden: pydantic.SecretStr = pydantic.SecretStr("x")
class Root(pydantic.RootModel[set[str]]):
    pass
text = '{"all_tags": ["d","c","b","a"], "inner": {"x": [[{"name": "q"}, {"name": "p"}, {"name": "r"}]]}}'
flags = dflag.FlagRegistry()
flag = flags.dyn_json("x", __import__("json").loads(text), type=Outer)
letters = ["a", "b", "c", "d"]
flags.dyn_json("nested", [letters], type=set[frozenset[str]])
flags.dyn_json("root", letters, type=Root)
flags.dyn_json("numbered", {"1": letters}, type=dict[int, set[str]])
print(flags.checksum(), *(flags.explain(flag.name)[0].text for flag in flags))
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(printed) == 1
    assert printed.pop().count('["a","b","c","d"]') == 4


def test_the_asterisks_of_a_secret_are_no_secret() -> None:
    """A printed value, with asterisks for its secrets, is refused as a text; other fields may hold asterisks."""
    flags, flag = _flag(Db(), Db)
    shown = flags.explain("db")[0].text
    assert '"password":"**********"' in shown

    with pytest.raises(dflag.FlagValueError, match="with its secrets, which are printed as asterisks"):
        flag.set_text(shown)
    assert flag.get().password.get_secret_value() == "dev"
    flag.set_text('{"host": "**********"}')
    assert flag.get().host == "**********"


def test_a_secret_is_compared_with_a_text_or_bytes_as_it_is_one() -> None:
    """Under ``python -bb`` asterisks are accepted in a plain field, and refused in a text secret and a bytes secret."""
    program = """
import dflag, pydantic
class Db(pydantic.BaseModel):
    host: str = ""
    password: pydantic.SecretStr = pydantic.SecretStr("a")
    key: pydantic.SecretBytes = pydantic.SecretBytes(b"a")
flag = dflag.dyn_json(Db(), type=Db)
flag.set_text('{"host": "**********"}')
print(flag.get().host)
for bad in '{"password": "**********"}', '{"key": "**********"}':
    try:
        flag.set_text(bad)
    except dflag.FlagValueError as error:
        print("printed as asterisks" in str(error))
"""
    shown = subprocess.run([sys.executable, "-bb", "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["**********", "True", "True"]


def test_a_schema_holds_for_the_value_itself() -> None:
    """A value that `set()` takes must fit the schema also in the fields that its dump hides."""
    flags = dflag.FlagRegistry()
    schema = {"properties": {"password": {"maxLength": 5}}}
    flag = flags.dyn_json("db", Db(), type=Db, schema=schema)
    flag.set(Db(password=pydantic.SecretStr("12345")))
    with pytest.raises(dflag.ValidationError, match="at most 5 characters"):
        flag.set(Db(password=pydantic.SecretStr("123456")))


def test_a_checksum_of_ordinary_values_is_that_of_their_text() -> None:
    """A typed value whose dump hides nothing has the same checksum as the same value of a flag without a type."""
    typed, _ = _flag({"a": 1}, dict[str, int])
    plain = dflag.FlagRegistry()
    plain.dyn_json("db", {"a": 1})
    assert typed.checksum() == plain.checksum()


def test_all_of_a_value_is_written_whatever_it_holds() -> None:
    """The exact text of a value, which checksums use, has its parts of every type, also those that a dump hides."""

    @dataclasses.dataclass
    class Part:
        a: bytes = b"a"
        made: int = dataclasses.field(default=1, init=False)

    class Thing:
        pass

    class All(pydantic.BaseModel, arbitrary_types_allowed=True):
        hidden: pydantic.Secret[int] = pydantic.Secret[int](5)
        part: Part = Part()
        colours: dict[Colour, set[Colour]] = {Colour.RED: set(Colour)}
        keyed: dict[int, list[tuple[bytes, ...]]] = {1: [(b"a",)]}
        queue: collections.deque[int] = collections.deque([1])
        at: datetime.date = datetime.date(2030, 1, 1)
        price: decimal.Decimal = decimal.Decimal("1.50")
        root: Root = Root([pydantic.SecretStr("r")])
        odd: object = pydantic.Field((Thing(), b"\xff", float("inf"), 1j), exclude=True)
        read_as: int = pydantic.Field(1, validation_alias="readAs", serialization_alias="writtenAs")

    _, flag = _flag(All(), All)
    assert json.loads(pipeline_of(flag).kind.exact(flag.get())) == {
        "hidden": 5,
        "part": {"a": "a"},
        "colours": {"red": ["blue", "red"]},
        "keyed": {"1": [["a"]]},
        "queue": [1],
        "at": "2030-01-01",
        "price": "1.50",
        "root": ["r"],
        "odd": [Thing.__qualname__, "/w==", "inf", "1j"],
        "readAs": 1,
    }
    _, more = _flag(Open.model_validate({"more": None}), Open)
    assert more._pipeline.kind.exact(more.get()) == '{"more":null}'


class Window(TypedDict):
    """A type with parts that JSON does not have."""

    until: datetime.datetime
    tags: frozenset[str]


NEW_YEAR = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("type_", "default"),
    [
        (Window, {"until": NEW_YEAR, "tags": frozenset({"a"})}),
        (list[datetime.datetime], [NEW_YEAR]),
        (collections.abc.Sequence[datetime.datetime], [NEW_YEAR]),
        (dict[int, int], {1: 2}),
    ],
)
def test_a_flag_takes_its_own_value(type_: Any, default: Any) -> None:
    """A value that `get()` returned can be set, pinned and overridden again, and a mutator may return it."""
    flags = dflag.FlagRegistry()
    flag = flags.dyn_json("flag", default, type=type_, mutator=lambda value: value)
    flag.set(flag.get())
    with flags.pinned({flag: flag.get()}), flags.override({flag: flag.get()}):
        assert flag.get() == default
    flag.set_text(pipeline_of(flag).kind.exact(default))

    assert flag.get() == flag.default == default
    with pytest.raises(TypeError, match="read-only"):
        flag.get().clear()


class Tagged(TypedDict):
    """A type with mutable parts."""

    tags: set[str]
    counted: Counted


def test_a_deep_copy_shares_nothing_with_the_flag() -> None:
    """A deep copy shares no models or sets with the flag's value, and copies an object that is in it twice once."""
    flags = dflag.FlagRegistry()
    tagged = flags.dyn_json("tagged", {"tags": ["a"], "counted": {}}, type=Tagged)
    copied = copy.deepcopy(tagged.get())
    copied["tags"].add("b")
    copied["counted"].given["x"] = 1
    copied.pop("counted")
    assert tagged.get() == tagged.default == {"tags": {"a"}, "counted": Counted()}

    one = Counted()
    listed = flags.dyn_json("listed", [one, one], type=list[Counted])
    first, second = copy.deepcopy(listed.get())
    assert first is second
    assert first is not listed.get()[0]
