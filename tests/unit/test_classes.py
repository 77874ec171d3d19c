"""
Flags as a class: what is bound, what an instance is, and whose values `current` returns.
"""

from __future__ import annotations

import abc
import asyncio
import contextvars
import copy
import dataclasses
import datetime
import enum
import functools
import gc
import inspect
import itertools
import pickle
import pydoc
import signal
import threading
import typing
import weakref
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest
from celery import Celery

import dflag
from dflag import logging as dflag_logging
from dflag import testing, web
from dflag.integrations.asgi import PinMiddleware
from dflag.integrations.celery import pin_tasks
from dflag.integrations.grpc import AioPinInterceptor, PinInterceptor
from dflag.integrations.opentelemetry import export_events, export_metrics
from dflag.integrations.prometheus import FlagCollector
from dflag.integrations.wsgi import PinMiddleware as WSGIPinMiddleware
from dflag.sources import MemorySource

from ..integration._waiting import eventually  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Mapping

DEADLINE_SECONDS = 10.0
T = TypeVar("T")


class Mode(enum.Enum):
    """An enumeration of a user."""

    FAST = "fast"
    SAFE = "safe"


@dataclasses.dataclass(frozen=True)
class Policy:
    """A model of a user."""

    mode: str = "allow"
    hosts: tuple[str, ...] = ()


class Meta(type):
    """A metaclass of a user, with slots."""

    __slots__ = ()


SECOND = datetime.timedelta(seconds=1)
DAY = datetime.date(2030, 1, 1)


class Settings(dflag.Flags, prefix="shop."):
    """Settings of a shop, at the top of a module, where pickle finds them."""

    text = dflag.dyn_string("x", "A text")
    number = dflag.dyn_int(1, "A number", min=0)
    share = dflag.dyn_float(1.5)
    switch = dflag.dyn_bool(default=False)
    wait = dflag.dyn_duration(SECOND)
    items = dflag.dyn_string_list(["a"])
    tags = dflag.dyn_string_set({"a"})
    mode = dflag.dyn_enum(Mode.FAST)
    blob = dflag.dyn_bytes(b"a")
    policy = dflag.dyn_json(Policy(), type=Policy)
    document = dflag.dyn_json({"a": [1]})
    limits = dflag.dyn_map({}, keys="*.limit", of="int")
    day = dflag.dyn_custom(DAY, parse=datetime.date.fromisoformat)
    token = dflag.dyn_string("hunter2", secret=True)
    port = dflag.int(8080, "Port to listen on")


TEXTS = {
    "text": ("y", "y"),
    "number": ("0x10", 16),
    "share": ("2.5", 2.5),
    "switch": ("on", True),
    "wait": ("2s", 2 * SECOND),
    "items": ("b, c", ("b", "c")),
    "tags": ("b, c", frozenset({"b", "c"})),
    "mode": ("safe", Mode.SAFE),
    "blob": ("b", b"b"),
    "policy": ('{"mode": "deny", "hosts": ["h"]}', Policy("deny", ("h",))),
    "document": ('{"a": [2]}', {"a": [2]}),
    "day": ("2031-06-30", datetime.date(2031, 6, 30)),
    "token": ("other", "other"),
    "port": ("80", 80),
}


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    """Leave the settings of this module as they were."""
    with testing.isolated(Settings):
        yield


# --- binding


def test_attributes_are_flags_under_prefixed_names() -> None:
    """
    On the class an attribute is the flag, bound in the registry of the class.
    """
    assert Settings.number.name == "shop.number"
    assert Settings.registry["shop.number"] is Settings.number
    assert isinstance(Settings.number, dflag.DynamicFlag)
    assert len(Settings.registry) == 15
    assert Settings.registry.name == "Settings"


def test_an_instance_has_the_values_of_every_kind() -> None:
    """
    Those that the flags would return, static ones too.
    """
    cfg = Settings.current()
    for flag in Settings.registry:
        attribute = flag.name.removeprefix("shop.")
        assert getattr(cfg, attribute) == flag.get() == flag.default
    values: dict[str, str | bytes] = {f"shop.{attribute}": text for attribute, (text, _) in TEXTS.items()}
    revision = Settings.registry.apply({**values, "shop.acme.limit": "5"}, source="config")
    assert dict(revision.rejected) == {}
    cfg = Settings.current()
    assert {attribute: getattr(cfg, attribute) for attribute in TEXTS} == {
        attribute: value for attribute, (_, value) in TEXTS.items()
    }
    assert cfg.limits == {"shop.acme.limit": 5}
    assert cfg.revision == Settings.registry.snapshot().revision


def test_names_are_given_beside_the_default() -> None:
    """
    For keys that are no identifiers; the prefix goes before them too.
    """

    class Named(dflag.Flags, prefix="app-"):
        rate = dflag.dyn_int(5, name="rate-limit", min=1)
        text = dflag.string("x", name="a.b")

    assert [flag.name for flag in Named.registry] == ["app-a.b", "app-rate-limit"]
    Named.registry.apply({"app-rate-limit": "6"}, source="s")
    assert (Named.current().rate, Named.current().text) == (6, "x")


def test_an_unbound_flag_may_be_given_a_name_and_bound_by_hand(flags: dflag.FlagRegistry) -> None:
    """
    The name of the binding counts then.
    """
    rate = dflag.dyn_int(5, name="rate-limit")
    rate.set(6)
    assert flags.bind("other", rate).name == "other"


def test_a_name_is_a_text() -> None:
    """
    Anything else is refused where it stands.
    """
    with pytest.raises(dflag.DefinitionError, match="expected name as a text, got 5"):
        dflag.dyn_int(5, name=5)  # type: ignore[arg-type]


def test_a_prefix_goes_before_the_keys_of_a_map() -> None:
    """
    In its pattern, its default and an override that it brings; the values keep their whole keys.
    """
    limits = dflag.dyn_map({"a.limit": 1}, keys="*.limit", of="int", validator=len)
    limits.set({"b.limit": 2})

    class Limited(dflag.Flags, prefix="shop."):
        by_tenant = limits

    assert limits.default == {"shop.a.limit": 1}
    assert Limited.current().by_tenant == limits.get() == {"shop.b.limit": 2}
    limits.reset()
    assert Limited.current().by_tenant == {"shop.a.limit": 1}
    revision = Limited.registry.apply({"shop.c.limit": "3", "c.limit": "4"}, source="s")
    assert Limited.current().by_tenant == {"shop.c.limit": 3}
    assert revision.unknown == ("c.limit",)


def test_a_keyed_map_is_prefixed_too() -> None:
    """
    Also what it returns for a key.
    """

    class Limited(dflag.Flags, prefix="shop."):
        limits = dflag.dyn_map({"a.limit": 1}, keys="*.limit", of="int", by="tenant")

    assert Limited.limits.for_("acme") == {"shop.a.limit": 1}


def test_a_prefix_changes_the_keys_of_a_map_alone() -> None:
    """
    The mutator has made the default and an override, and makes no more of them; choices have the prefix too.
    """

    def doubled(value: Mapping[str, int]) -> Mapping[str, int]:
        return {key: 2 * item for key, item in value.items()}

    choices = [{"a.limit": item} for item in (2, 10, 14)]
    limits = dflag.dyn_map({"a.limit": 1}, keys="*.limit", of="int", mutator=doubled, choices=choices)
    limits.set({"a.limit": 5})

    class Limited(dflag.Flags, prefix="shop."):
        by_tenant = limits

    assert (limits.default, limits.get()) == ({"shop.a.limit": 2}, {"shop.a.limit": 10})
    limits.set({"shop.a.limit": 7})
    assert Limited.current().by_tenant == {"shop.a.limit": 14}
    with pytest.raises(dflag.ValidationError, match="expected one of"):
        limits.set({"shop.a.limit": 8})


def test_keyed_flags_are_read_through_the_class() -> None:
    """
    The attribute of the class is the flag.
    """

    class Keyed(dflag.Flags):
        rate = dflag.dyn_int(50, by="tenant")

    assert (Keyed.rate.for_("acme"), Keyed.current().rate) == (50, 50)


def test_other_attributes_are_left_alone() -> None:
    """
    Methods, properties, constants, nested classes, and cached properties, which are computed once for an instance.
    """
    computed = []

    class Shop(dflag.Flags):
        rate: dflag.DynamicFlag[int] = dflag.dyn_int(5)
        burst = 2
        names: tuple[str, ...] = ("a",)

        def most(self) -> int:
            return self.rate * self.burst

        @property
        def least(self) -> int:
            return self.rate // self.burst

        @functools.cached_property
        def square(self) -> int:
            computed.append(self.rate)
            return self.rate**2

        @classmethod
        def now(cls) -> int:
            return cls.current().rate

        @staticmethod
        def five() -> int:
            return 5

    cfg = Shop.current()
    assert (cfg.most(), cfg.least, cfg.burst, cfg.names, cfg.now(), cfg.five()) == (10, 2, 2, ("a",), 5, 5)
    assert (cfg.square, cfg.square, computed) == (25, 25, [5])
    Shop.rate.set(6)
    assert (Shop.current().square, cfg.square, Shop.now()) == (36, 25, 6)
    assert list(Shop.registry) == [Shop.rate]


@pytest.mark.parametrize("attribute", ["current", "registry", "from_snapshot", "revision", "mro", "__doc__", "__a"])
def test_reserved_attributes_are_refused(attribute: str, flags: dflag.FlagRegistry) -> None:
    """
    Those that the class has itself, and special and private ones; the flag may have such a name.
    """
    with pytest.raises(dflag.DefinitionError, match=rf"attribute '{attribute}' of class Bad: .* name='{attribute}'"):
        type("Bad", (dflag.Flags,), {"good": dflag.int(1), attribute: dflag.int(2)}, registry=flags)
    assert len(flags) == 0
    good: Any = type("Good", (dflag.Flags,), {"other": dflag.int(2, name=attribute)}, registry=flags)
    assert good.registry[attribute].get() == 2


def test_a_bound_flag_is_refused(flags: dflag.FlagRegistry) -> None:
    """
    Bound by hand, by another class, or by this one's base; nothing of the class is bound then.
    """
    taken = flags.dyn_int("taken", 5)
    with pytest.raises(dflag.DefinitionError, match="flag 'taken' is already bound and cannot be attribute 'b' of"):

        class Bound(dflag.Flags, registry=flags):
            a = dflag.int(1)
            b = taken

    assert list(flags) == [taken]
    with pytest.raises(dflag.DefinitionError, match=r"flag 'shop\.number' is already bound"):

        class Again(Settings):
            also = Settings.number


def test_one_flag_is_one_attribute(flags: dflag.FlagRegistry) -> None:
    """
    The same flag under two names is refused, and so are two flags under one name.
    """
    with pytest.raises(
        dflag.DefinitionError, match=r"attribute 'a' of class .*Same: another attribute is the same flag"
    ):

        class Same(dflag.Flags, registry=flags):
            a = b = dflag.int(1)

    with pytest.raises(dflag.DuplicateFlagError, match="flag 'x' is declared twice in class"):

        class Twice(dflag.Flags, registry=flags):
            a = dflag.int(1, name="x")
            x = dflag.int(2)

    assert len(flags) == 0


def test_a_taken_name_leaves_no_flag_behind(flags: dflag.FlagRegistry) -> None:
    """
    The registry has none of the class, and the same flags may be bound again.
    """
    flags.int("taken", 1)
    rate, taken = dflag.dyn_int(5), dflag.dyn_map({"k": "v"}, keys="*")
    rate.set(6)
    with pytest.raises(dflag.DuplicateFlagError, match=r"flag 'taken' is already declared at .*test_classes\.py:\d+"):
        type("Clash", (dflag.Flags,), {"rate": rate, "taken": taken}, registry=flags)
    assert (len(flags), rate.name, rate.get(), taken.get()) == (1, "(unbound)", 6, {"k": "v"})
    free: Any = type("Free", (dflag.Flags,), {"rate": rate, "taken": taken}, registry=flags, prefix="free.")
    assert (free.current().rate, free.current().taken) == (6, {"free.k": "v"})


@pytest.mark.parametrize(
    ("options", "body", "message"),
    [
        ({"prefix": 5}, {}, "class Bad: expected prefix as a text, got 5"),
        ({"prefix": "a b"}, {}, r"class Bad: expected prefix as the beginning of names of \[-._a-zA-Z0-9\].*got 'a b'"),
        ({"prefix": ".a"}, {}, "class Bad: expected prefix as the beginning of names"),
        ({"registry": "shop"}, {}, "expected registry as a FlagRegistry or a Flags class, got 'shop'"),
        ({"registry": dflag.Flags}, {}, "expected registry as a FlagRegistry or a Flags class, got <class"),
        ({}, {"größe": dflag.int(1)}, "flag 'größe': expected a name of 1 to 253 characters"),
        ({}, {"a": dflag.int(1, name=".a")}, "flag '.a': expected a name of 1 to 253 characters"),
        ({"prefix": "p" * 250}, {"abcd": dflag.int(1)}, "expected a name of 1 to 253 characters"),
        ({}, {"registry": dflag.FlagRegistry()}, r"'registry' is set in the body; pass it with the bases"),
    ],
)
def test_what_cannot_work_is_a_definition_error(options: Any, body: dict[str, Any], message: str) -> None:
    """
    When the class is made.
    """
    with pytest.raises(dflag.DefinitionError, match=message):
        type("Bad", (dflag.Flags,), body, **options)


def test_unknown_options_are_refused() -> None:
    """
    When the class is made, with the option that was meant.
    """
    with pytest.raises(dflag.DefinitionError, match=r"class Bad: unknown option 'prefx' \(did you mean 'prefix'\?\)"):
        type("Bad", (dflag.Flags,), {}, prefx="shop.")


def test_a_default_that_its_validator_refuses_with_the_prefix_is_refused(flags: dflag.FlagRegistry) -> None:
    """
    A map's default is validated again with the keys that it gets.
    """

    def short(value: Any) -> None:
        if any(len(key) > 5 for key in value):
            raise ValueError("too long")

    with pytest.raises(dflag.DefinitionError, match=r"flag 'shop\.m': too long"):
        type(
            "Bad",
            (dflag.Flags,),
            {"m": dflag.map({"k": ""}, keys="*", validator=short)},
            prefix="shop.",
            registry=flags,
        )
    assert len(flags) == 0


def test_a_class_finds_what_sources_hold_for_it(flags: dflag.FlagRegistry) -> None:
    """
    In one commit for all of its flags, so that a check across them sees them together.
    """
    flags.apply({"low": "5", "high": "9", "bad": "x"}, source="s")
    number = flags.snapshot().revision
    seen = []
    flags.validator(lambda snapshot: seen.append((snapshot.get("low"), snapshot.get("high"))))

    class Limits(dflag.Flags, registry=flags):
        low = dflag.dyn_int(1)
        high = dflag.dyn_int(2)
        bad = dflag.dyn_int(3)

    assert (Limits.current().low, Limits.current().high, Limits.current().bad) == (5, 9, 3)
    assert (flags.snapshot().revision, seen) == (number + 1, [(5, 9)])


def test_an_override_from_before_stays() -> None:
    """
    Also one with a time limit, and callbacks and validators from before the class.
    """
    rate = dflag.dyn_int(1)
    calls: list[tuple[int, int]] = []
    rate.on_change(lambda old, new: calls.append((old, new)))
    rate.set(5, ttl_seconds=0.05)

    class Late(dflag.Flags):
        limit = rate

    assert eventually(lambda: Late.current().limit == 1)  # not 5 before: the time may be over already
    assert Late.registry.flush(DEADLINE_SECONDS)
    assert calls == [(1, 5), (5, 1)]


# --- inheriting


def test_a_subclass_has_the_flags_registry_and_prefix_of_its_base() -> None:
    """
    A prefix of its own is for its new flags, and an empty one is one.
    """

    class Base(dflag.Flags, prefix="base."):
        a = dflag.dyn_int(1)

    class Same(Base):
        b = dflag.dyn_int(2)

    class Other(Same, prefix="other."):
        c = dflag.dyn_int(3)

    class Bare(Other, prefix=""):
        d = dflag.dyn_int(4)

    assert Base.registry is Same.registry is Other.registry is Bare.registry
    assert [flag.name for flag in Bare.registry] == ["base.a", "base.b", "d", "other.c"]
    assert Bare.a is Base.a
    cfg = Bare.current()
    assert (cfg.a, cfg.b, cfg.c, cfg.d) == (1, 2, 3, 4)
    assert isinstance(cfg, Other)
    assert not hasattr(Base.current(), "b")
    Base.a.set(9)
    assert (Bare.current().a, Same.current().a, Base.current().a) == (9, 9, 9)
    assert Bare.current() != Base.current()


def test_a_class_behind_the_flags_that_raises_binds_none(flags: dflag.FlagRegistry) -> None:
    """
    Its hook runs before the flags are bound, so that the class can be made again.
    """

    class Checked:
        refuses = True

        def __init_subclass__(cls) -> None:
            if Checked.refuses:
                raise ValueError("not yet")

    def declare() -> type[dflag.Flags]:
        class Settings(dflag.Flags, Checked, registry=flags):
            rate = dflag.dyn_int(1)

        return Settings

    with pytest.raises(ValueError, match="not yet"):
        declare()
    assert len(flags) == 0
    Checked.refuses = False
    assert declare().registry is flags
    assert [flag.name for flag in flags] == ["rate"]


def test_another_registry_than_the_base_has_is_refused(flags: dflag.FlagRegistry) -> None:
    """
    The base's own may be named; two bases have one.
    """

    class Base(dflag.Flags, registry=flags):
        a = dflag.int(1)

    class Named(Base, registry=flags):
        b = dflag.int(1)

    with pytest.raises(dflag.DefinitionError, match=r"class .*Other: expected one registry with its bases, got <Flag"):

        class Other(Base, registry=dflag.FlagRegistry("other")):
            c = dflag.int(1)

    with pytest.raises(dflag.DefinitionError, match=r"class .*Both: expected one registry with its bases"):

        class Both(Base, Settings):
            c = dflag.int(1)

    assert {flag.name for flag in flags} == {"a", "b"}


def test_two_classes_share_a_registry(flags: dflag.FlagRegistry) -> None:
    """
    Given as a registry or as a class; each has its own attributes, and one commit is one for both.
    """

    class One(dflag.Flags, registry=flags, prefix="one."):
        a = dflag.dyn_int(1)

    class Two(dflag.Flags, registry=One, prefix="two."):
        a = dflag.dyn_int(2)

    one, two = One.current(), Two.current()
    flags.apply({"one.a": "5"}, source="s")
    assert (One.current().a, Two.current().a) == (5, 2)
    assert One.current().revision == Two.current().revision == one.revision + 1
    assert Two.current() is not two
    assert Two.current() == two


def test_a_subclass_may_hide_a_flag() -> None:
    """
    With another flag under another name, or with something else; the base keeps its own.
    """

    class Base(dflag.Flags):
        a = dflag.dyn_int(1)
        b = dflag.dyn_int(2)

    class Sub(Base):
        a = dflag.dyn_int(3, name="a2")
        b = 7

    assert (Sub.current().a, Sub.current().b, Base.current().a, Base.current().b) == (3, 7, 1, 2)
    with pytest.raises(dflag.DuplicateFlagError, match="flag 'a' is already declared"):
        type("Clash", (Base,), {"a": dflag.dyn_int(3)})


def test_a_class_beside_the_bases_may_hold_flags() -> None:
    """
    They are bound with the first class that has them; one of another registry cannot have them too.
    """

    class Mixin:
        rate = dflag.dyn_int(5)

        def double(self) -> int:
            return getattr(self, "rate", 0) * 2

    class Shop(Mixin, dflag.Flags):
        pass

    class Sub(Shop):
        pass

    assert (Shop.current().double(), Sub.current().double(), Mixin.rate.name) == (10, 10, "rate")

    class Beside(Mixin, dflag.Flags, registry=Shop):
        pass

    assert Beside.current().double() == 10
    with pytest.raises(dflag.DefinitionError, match="flag 'rate' is already bound"):

        class Elsewhere(Mixin, dflag.Flags):
            pass


@pytest.mark.parametrize("metaclass", [type, abc.ABCMeta, Meta])
def test_the_class_of_an_instance_has_the_flags(metaclass: Any) -> None:
    """
    For class methods and ``type(self)``, whatever the metaclass. It is derived from the class, whose flags nobody
    replaces there.
    """

    class Base(dflag.Flags, metaclass=metaclass):
        rate = dflag.dyn_int(1)

        @classmethod
        def next_rate(cls) -> int:
            return cls.rate.get() + 1

        def classes(self) -> tuple[Any, ...]:
            return type(self), self.__class__

    class Shop(Base):
        burst = dflag.dyn_int(3)

    cfg = Shop.current()
    assert cfg.next_rate() == Shop.next_rate() == 2
    for cls in (*cfg.classes(), type(Shop.from_snapshot(Shop.registry.snapshot()))):
        assert cls.rate is Base.rate
        assert cls.burst is Shop.burst
        assert issubclass(cls, Shop)
        with pytest.raises(AttributeError, match="never changes: cannot replace flag 'rate'"):
            cls.rate = 5
        with pytest.raises(AttributeError):
            del cls.rate
    assert (cfg.rate, cfg.burst) == (1, 3)
    with pytest.raises(AttributeError, match="never changes"):
        cfg.rate = 5  # type: ignore[assignment]


def test_generic_and_abstract_classes_work() -> None:
    """
    As bases beside it.
    """

    class Base(dflag.Flags, Generic[T]):
        size = dflag.dyn_int(5)

        def put(self, item: T) -> tuple[T, int]:
            return item, self.size

    class Texts(Base[str]):
        pass

    class Abstract(dflag.Flags, abc.ABC):
        size = dflag.dyn_int(6)

        @abc.abstractmethod
        def get(self) -> int: ...

    class Concrete(Abstract):
        def get(self) -> int:
            return self.size

    assert Texts.current().put("x") == ("x", 5)
    assert Base[int].current().size == 5
    assert Concrete.current().get() == 6


def test_hooks_of_a_program_see_its_classes_alone() -> None:
    """
    And each with its flags bound; the class that is generated for instances is none of the program's business.
    """
    seen = []

    class Base(dflag.Flags):
        def __init_subclass__(cls, *, label: str, **options: Any) -> None:
            super().__init_subclass__(**options)
            seen.append((cls.__name__, label, [flag.name for flag in cls.registry]))

    class Sub(Base, label="x", prefix="p."):
        a = dflag.dyn_int(1)

    Sub.a.set(2)
    assert Sub.current().a == 2
    assert seen == [("Sub", "x", ["p.a"])]


def test_a_program_may_have_its_own_current() -> None:
    """
    It reaches the usual one by super(), for each class that inherits it.
    """

    class Base(dflag.Flags):
        a = dflag.dyn_int(1)

        @classmethod
        def current(cls) -> Any:
            return ("mine", super().current())

    class Sub(Base):
        b = dflag.dyn_int(2)

    assert Base.current()[1].a == 1
    mine, cfg = Sub.current()
    assert (mine, cfg.a, cfg.b, type(cfg).__name__) == ("mine", 1, 2, "Sub")
    assert Sub.current()[1] is cfg


def test_flags_itself_has_no_instance() -> None:
    """
    It is there to derive from.
    """
    with pytest.raises(dflag.DefinitionError, match="Flags has no flags: derive a class from it"):
        dflag.Flags.current()


def test_a_class_without_flags_works() -> None:
    """
    Its revision follows the registry.
    """

    class Empty(dflag.Flags):
        pass

    late = Empty.registry.dyn_int("late", 1)
    cfg = Empty.current()
    late.set(2)
    assert (cfg.revision, Empty.current().revision, repr(cfg)) == (0, 1, f"{Empty.__qualname__}()")
    assert Empty.current() == cfg


# --- instances


def test_an_instance_never_changes() -> None:
    """
    Neither a value nor anything else is set or deleted, and a flag that changes leaves it as it is.
    """
    cfg = Settings.current()
    with pytest.raises(AttributeError, match=r"cannot set 'number'; to change the flag, write Settings\.number\.set"):
        cfg.number = 5  # type: ignore[assignment]
    with pytest.raises(AttributeError, match=r"an instance of Settings never changes: cannot set 'other'$"):
        cfg.other = 5  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"cannot delete 'number'"):
        del cfg.number
    with pytest.raises(AttributeError, match="cannot set 'revision'"):
        cfg.revision = 5  # type: ignore[misc]
    Settings.number.set(7)
    assert (cfg.number, Settings.current().number) == (1, 7)


def test_a_mixin_that_sets_attributes_changes_nothing() -> None:
    """
    What instances refuse stands before whatever a program's class has.
    """

    class Open:
        def __setattr__(self, name: str, value: object) -> None:
            object.__setattr__(self, name, value)

    class Shop(Open, dflag.Flags):
        rate = dflag.dyn_int(5)

    with pytest.raises(AttributeError, match="never changes"):
        Shop.current().rate = 6  # type: ignore[assignment]


def test_there_is_no_constructor() -> None:
    """
    The error says what to write.
    """
    with pytest.raises(TypeError, match=r"Settings has no constructor: write Settings\.current\(\)"):
        Settings()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="has no constructor"):
        type(Settings.current())(number=5)  # type: ignore[call-arg]


def test_it_is_the_same_object_until_the_next_commit() -> None:
    """
    Declaring a flag is no commit, nor is a set of equal values that a source gives again; a commit of anything is.
    """
    cfg = Settings.current()
    assert Settings.current() is cfg
    Settings.registry.freeze()
    assert Settings.current() is cfg
    Settings.number.set(2)
    changed = Settings.current()
    assert changed is not cfg
    assert changed.revision == cfg.revision + 1
    assert Settings.current() is changed
    assert cfg.current() is changed
    revision = Settings.registry.apply({"shop.text": "y"}, source="s")
    assert Settings.registry.apply({"shop.text": "y"}, source="s") is revision
    assert Settings.current() is Settings.current()


def test_declaring_elsewhere_keeps_the_object(flags: dflag.FlagRegistry) -> None:
    """
    A flag or a class that comes into the registry later is no commit.
    """

    class Early(dflag.Flags, registry=flags):
        a = dflag.dyn_int(1)

    cfg = Early.current()
    flags.int("other", 1)
    type("Late", (dflag.Flags,), {"b": dflag.int(1)}, registry=flags)
    assert Early.current() is cfg


def test_instances_compare_by_class_and_values() -> None:
    """
    Whatever the revision; type-strictly, as flags judge whether a value changed. They are not hashable.
    """
    cfg = Settings.current()
    Settings.number.set(2)
    other = Settings.current()
    assert cfg != other
    Settings.number.reset()
    again = Settings.current()
    assert again is not cfg
    assert again == cfg
    Settings.document.set({"a": [True]})
    strict = Settings.current()
    assert strict.document == cfg.document
    assert strict != cfg
    assert (cfg == 5, cfg == None, cfg != object()) == (False, False, True)  # noqa: E711 - the comparison is what is tried
    with pytest.raises(TypeError, match="unhashable"):
        hash(cfg)


def test_repr_masks_secrets() -> None:
    """
    Those that were declared so, and those that a secret source has made one.
    """
    assert "hunter2" not in repr(Settings.current())
    assert repr(Settings.current()).startswith("Settings(text='x', number=1, ")
    assert ", token=******, port=8080)" in repr(Settings.current())
    assert str(Settings.current()) == repr(Settings.current())


def test_repr_masks_what_a_secret_source_holds() -> None:
    """
    Nothing in the declaration says so.
    """

    class Plain(dflag.Flags):
        password = dflag.dyn_string("")

    with dflag.Updater(Plain, MemorySource({"password": "hunter2"}, secret=True)):
        cfg = Plain.current()
        assert cfg.password == "hunter2"  # noqa: S105 - made up
        assert repr(cfg) == f"{Plain.__qualname__}(password=******)"
        assert cfg.__reduce__()[1][3] == ("password",)


def test_an_instance_is_pickled_with_its_values() -> None:
    """
    An equal frozen instance comes of it, of the class and not of the one that is generated.
    """
    values: dict[str, str | bytes] = {f"shop.{attribute}": text for attribute, (text, _) in TEXTS.items()}
    Settings.registry.apply({**values, "shop.acme.limit": "5"}, source="config")
    cfg = Settings.current()
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        other = pickle.loads(pickle.dumps(cfg, protocol))  # noqa: S301 - made here
        assert other == cfg
        assert other is not cfg
        assert (other.revision, other.token, other.policy) == (cfg.revision, "other", Policy("deny", ("h",)))
        with pytest.raises(AttributeError, match="never changes"):
            other.number = 5
        with pytest.raises(TypeError):
            other.document["a"] = 1
        assert "******" in repr(other)


def test_a_pickle_of_other_flags_is_refused() -> None:
    """
    As from another version of the program.
    """
    restore, (cls, revision, values, secrets) = Settings.current().__reduce__()
    values = {**values, "gone": 1}
    del values["number"]
    with pytest.raises(
        dflag.DflagError, match="cannot unpickle an instance of Settings: it has other flags, gone, num"
    ):
        restore(cls, revision, values, secrets)


def test_a_pickle_brings_what_is_secret() -> None:
    """
    A flag whose value came from a secret source is a secret where the pickle is read.
    """

    class Plain(dflag.Flags):
        password = dflag.dyn_string("")
        shown = dflag.dyn_string("", secret=False)

    restore, (cls, _, _, _) = Plain.current().__reduce__()
    other = restore(cls, 3, {"password": "hunter2", "shown": "x"}, ("password", "shown"))
    assert repr(other) == f"{Plain.__qualname__}(password=******, shown='x')"
    assert (Plain.password.secret, Plain.shown.secret) == (True, False)


def test_copies_are_the_same_object() -> None:
    """
    What never changes needs no copy.
    """
    cfg = Settings.current()
    assert copy.copy(cfg) is cfg
    assert copy.deepcopy({"cfg": cfg})["cfg"] is cfg


def test_pattern_matching_reads_attributes() -> None:
    """
    As of any class.
    """
    match Settings.current():
        case Settings(number=1, mode=Mode.FAST):
            matched = True
        case _:
            matched = False
    assert matched


def test_dir_and_help_show_each_flag() -> None:
    """
    With what it is for.
    """
    assert {"number", "port", "current", "registry"} <= set(dir(Settings)) & set(dir(Settings.current()))
    text = pydoc.plain(pydoc.render_doc(Settings))
    assert "number = <DynamicFlag 'shop.number': dynamic int from default>\n |      A number" in text
    assert "port = <StaticFlag 'shop.port': static int from default>\n |      Port to listen on" in text
    assert inspect.getdoc(Settings.number) == "A number"
    assert (inspect.getdoc(dflag.DynamicFlag) or "").startswith("A flag that follows its sources")
    assert (Settings.current.__doc__ or "").strip().startswith("Return the values of one revision")
    assert ">>>" not in (Settings.current.__doc__ or ""), "an example of ours is none of the module of the class"
    assert type(Settings.current()).__doc__ == Settings.__doc__


def test_tools_find_what_current_returns() -> None:
    """
    A framework that injects dependencies evaluates the annotations of what it calls, also for a class in a function.
    """

    class Local(dflag.Flags):
        a = dflag.dyn_int(1)

    for cls in (Settings, Local):
        assert typing.get_type_hints(cls.current) == {"return": cls}
        assert inspect.signature(cls.current, eval_str=True).return_annotation is cls


def test_a_class_that_is_dropped_is_freed() -> None:
    """
    With its registry and its instances.
    """

    class Gone(dflag.Flags):
        a = dflag.dyn_int(1)

    Gone.a.set(2)
    Gone.current()
    reference = weakref.ref(Gone)
    del Gone
    gc.collect()
    assert reference() is None


# --- snapshots


def test_an_instance_is_made_of_any_snapshot() -> None:
    """
    Of an earlier one, of that of a pin, and of a candidate that is being judged.
    """
    before = Settings.registry.snapshot()
    Settings.number.set(2)
    assert Settings.from_snapshot(before).number == 1
    assert Settings.from_snapshot(before).revision == before.revision
    with Settings.registry.pinned({Settings.number: 3}) as pinned:
        assert Settings.from_snapshot(pinned).number == 3
    assert Settings.from_snapshot(Settings.registry.snapshot()) == Settings.current()

    @Settings.registry.validator
    def even(candidate: dflag.Snapshot) -> None:
        if Settings.from_snapshot(candidate).number % 2:
            raise ValueError("odd")

    with pytest.raises(dflag.ValidationError, match="odd"):
        Settings.number.set(5)
    assert Settings.current().number == 2


def test_a_snapshot_of_others_is_refused(flags: dflag.FlagRegistry) -> None:
    """
    Of another registry, or older than a flag of the class; anything else is no snapshot.
    """
    with pytest.raises(dflag.UnknownFlagError, match="is of another registry than Settings"):
        Settings.from_snapshot(flags.snapshot())
    early = flags.snapshot()

    class Late(dflag.Flags, registry=flags):
        a = dflag.int(1)

    with pytest.raises(dflag.UnknownFlagError, match=r"flag 'a' was declared after <Snapshot of 0 flags"):
        Late.from_snapshot(early)
    with pytest.raises(dflag.DefinitionError, match="expected snapshot as a Snapshot, got 5"):
        Late.from_snapshot(5)  # type: ignore[arg-type]


# --- pins


def test_current_answers_from_the_innermost_pin() -> None:
    """
    As `get` does: nested, with values on top, and live again after the block.
    """
    live = Settings.current()
    with Settings.registry.pinned():
        Settings.number.set(2)
        assert Settings.current().number == Settings.number.get() == 1
        assert Settings.current() is Settings.current()
        with Settings.registry.pinned({Settings.number: 9}):
            assert Settings.current().number == Settings.number.get() == 9
        assert Settings.current().number == 1
        assert Settings.current() == live
    assert Settings.current().number == 2


def test_requests_with_one_snapshot_share_an_instance() -> None:
    """
    None is made anew for each pin.
    """
    live = Settings.current()
    with Settings.registry.pinned():
        first = Settings.current()
    with Settings.registry.pinned():
        assert Settings.current() is first
    assert first == live


def test_pins_of_other_registries_do_not_concern_a_class(flags: dflag.FlagRegistry) -> None:
    """
    Whether it is inside or outside of one that does.
    """
    with flags.pinned():
        assert Settings.current().number == 1
        Settings.number.set(2)
        assert Settings.current().number == 2
        with Settings.registry.pinned(), flags.pinned():
            assert Settings.current().number == 2
            Settings.number.set(3)
            assert Settings.current().number == Settings.number.get() == 2
        assert Settings.current().number == 3


def test_pins_of_other_contexts_do_not_concern_this_one() -> None:
    """
    A thread with a pin and one without see each its own.
    """
    pinned, over = threading.Event(), threading.Event()
    seen = []

    def hold() -> None:
        with Settings.registry.pinned():
            pinned.set()
            over.wait(DEADLINE_SECONDS)
            seen.append(Settings.current().number)

    thread = threading.Thread(target=hold)
    thread.start()
    assert pinned.wait(DEADLINE_SECONDS)
    Settings.number.set(2)
    assert Settings.current().number == 2
    over.set()
    thread.join()
    assert seen == [1]


def test_a_task_that_outlives_the_block_sees_live_values(flags: dflag.FlagRegistry) -> None:
    """
    Also one with a pin of another registry of its own, which had borrowed from the block's.
    """

    async def main() -> list[int]:
        seen = []
        over, read = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            with flags.pinned():
                seen.append(Settings.current().number)
                read.set()
                await over.wait()
                seen.append(Settings.current().number)
                seen.append(Settings.number.get())

        with Settings.registry.pinned():
            task = asyncio.create_task(work())
            await read.wait()
            Settings.number.set(2)
        over.set()
        await task
        return seen

    assert asyncio.run(main()) == [1, 2, 2]


def test_a_context_that_outlives_the_block_sees_live_values() -> None:
    """
    Where the closed pin is the innermost one.
    """
    with Settings.registry.pinned():
        context = contextvars.copy_context()
        assert context.run(Settings.current).number == 1
        Settings.number.set(2)
        with Settings.registry.pinned({Settings.number: 9}):
            inner = contextvars.copy_context()
            assert inner.run(Settings.current).number == 9
        assert inner.run(Settings.current).number == 1
    assert context.run(Settings.current).number == 2
    with Settings.registry.pinned():  # so that reads look for pins
        assert context.run(Settings.current).number == inner.run(Settings.current).number == 2


def test_a_class_that_is_made_inside_of_a_pin_answers(flags: dflag.FlagRegistry) -> None:
    """
    With the pinned values of the flags that the pin holds, and what the others would return.
    """

    class Base(dflag.Flags, registry=flags):
        a = dflag.dyn_int(1)

    with flags.pinned():
        Base.a.set(5)

        class Late(Base):
            b = dflag.dyn_int(2)

        Late.b.set(6)
        cfg = Late.current()
        assert (cfg.a, cfg.b) == (Late.a.get(), Late.b.get()) == (1, 6)
        Late.b.set(7)
        assert (Late.current().a, Late.current().b) == (Late.a.get(), Late.b.get()) == (1, 7)
        assert cfg.b == 6
    assert (Late.current().a, Late.current().b) == (5, 7)


def test_pins_do_not_collect_in_the_one_around_them(flags: dflag.FlagRegistry) -> None:
    """
    A long block keeps nothing of the short ones inside.
    """
    with Settings.registry.pinned():
        pin = Settings.registry._store
        for _ in range(10):
            with flags.pinned():
                assert Settings.current().number == 1
        outer = next(each for each in dflag._snapshot.open_pins if each.owner is pin)
        assert outer._lent == set()


# --- commits and races


def test_a_late_instance_is_never_kept() -> None:
    """
    One that is made of a snapshot which a commit has outdated meanwhile is not what the next call returns.
    """

    class Slow(dflag.Flags):
        a = dflag.dyn_int(0)

    view = vars(Slow)["_dflag_view"]
    make = type(view)._make
    commits = iter(range(1, 3))

    def commit_first(self: Any, *arguments: Any) -> object:
        instance = make(self, *arguments)
        if (number := next(commits, None)) is not None:
            Slow.a.set(number)
        return instance

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(view), "_make", commit_first)
        first = Slow.current()
        second = Slow.current()
        third = Slow.current()
    assert (first.a, second.a, third.a) == (0, 1, 2)
    assert Slow.current() is third


def test_a_declaration_meanwhile_makes_it_look_again(flags: dflag.FlagRegistry) -> None:
    """
    It is no commit: what is returned is kept.
    """

    class Slow(dflag.Flags, registry=flags):
        a = dflag.dyn_int(0)

    view = vars(Slow)["_dflag_view"]
    make = type(view)._make
    names = iter(["b", "c"])

    def declare_first(self: Any, *arguments: Any) -> object:
        instance = make(self, *arguments)
        if (name := next(names, None)) is not None:
            flags.int(name, 1)
        return instance

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(view), "_make", declare_first)
        first = Slow.current()
    assert Slow.current() is first
    assert next(names, None) is None


def test_threads_share_the_instance_of_a_revision() -> None:
    """
    Whichever of them makes it.
    """
    barrier = threading.Barrier(4)
    for number in range(20):
        Settings.number.set(number)
        got: list[Settings] = []

        def read(got: list[Settings] = got) -> None:
            barrier.wait(DEADLINE_SECONDS)
            got.append(Settings.current())

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(each) for each in got}) == 1
        assert got[0].number == number


def test_a_finaliser_of_a_program_never_runs_within_a_commit() -> None:
    """
    An instance that a commit outdates lives until another one is made, so that its end commits nothing amid a commit.
    """
    ended = []

    class Final(dflag.Flags):
        a = dflag.dyn_int(0)
        b = dflag.dyn_int(0)

        def __del__(self) -> None:
            ended.append((Final.a.get(), Final.b.get()))

    Final.current()
    Final.registry.apply({"a": "1", "b": "1"}, source="s")
    assert ended == []
    Final.current()
    gc.collect()
    assert ended == [(1, 1)]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers for signals")
def test_a_signal_handler_may_read_and_set() -> None:
    """
    At any moment: an instance never mixes two revisions.
    """

    class Pair(dflag.Flags):
        a = dflag.dyn_int(0)
        b = dflag.dyn_int(0)

    numbers = itertools.count(1)
    handled = []

    def handle(*_: object) -> None:
        text = str(next(numbers))
        Pair.registry.apply({"a": text, "b": text}, source="s")
        cfg = Pair.current()
        handled.append((cfg.a, cfg.b))

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        wrong = []
        while len(handled) < 100:
            cfg = Pair.current()
            if cfg.a != cfg.b:
                wrong.append(cfg)
            handle()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert wrong == []
    assert all(one == other for one, other in handled)
    assert (Pair.current().a, Pair.current().b) == (Pair.a.get(), Pair.b.get())


# --- wherever a registry is


def _enter(block: contextlib.AbstractContextManager[None]) -> None:
    """Enter a block and leave it."""
    with block:
        pass


async def _app(*_: object) -> None:
    """An app of a user."""


@pytest.mark.parametrize(
    "use",
    [
        lambda cls: dflag.Updater(cls, MemorySource({})),
        web.make_wsgi_app,
        web.make_asgi_app,
        lambda cls: web.start_http_server(0, cls).close(),
        lambda cls: FlagCollector().add(cls),
        lambda cls: export_metrics(cls, name="classes").close(),
        lambda cls: export_events(cls).close(),
        lambda cls: PinMiddleware(_app, cls),
        lambda cls: WSGIPinMiddleware(lambda *_: [], cls),
        PinInterceptor,
        AioPinInterceptor,
        lambda cls: pin_tasks(Celery(), cls),
        lambda cls: testing.SteppedUpdater(cls).close(),
        testing.isolated,
        lambda cls: _enter(testing.override(cls, rate=5)),
        lambda cls: dflag_logging.add_loglevel_flag(cls, logger="dflag.tests.classes"),
    ],
    ids=[
        *("Updater", "wsgi app", "asgi app", "server", "prometheus", "metrics", "events", "asgi pin", "wsgi pin"),
        *("grpc pin", "grpc.aio pin", "celery pins"),
        *("stepped", "isolated", "override", "loglevel"),
    ],
)
def test_a_class_is_taken_wherever_a_registry_is(use: Callable[[Any], object]) -> None:
    """
    And what is neither is refused.
    """

    class Shop(dflag.Flags):
        rate = dflag.dyn_int(5)

    use(Shop)
    for other in (5, Shop.current(), int, dflag.Flags):
        with pytest.raises(TypeError):
            use(other)


def test_the_page_shows_the_flags_of_a_class() -> None:
    """
    Under the name of the class.
    """
    with testing.isolated(Settings):
        handler = web.make_wsgi_app(Settings)
        body = b"".join(handler({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: print))
    assert b'"shop.number"' in body


def test_metrics_of_a_class_end_with_it() -> None:
    """
    It is removed as it was added.
    """
    collector = FlagCollector()
    collector.add(Settings)
    assert any(metric.samples for metric in collector.collect())
    collector.remove(Settings)
    assert not any(metric.samples for metric in collector.collect())


def test_overriding_takes_attributes_and_names() -> None:
    """
    An attribute of the class comes before a name in its registry.
    """
    with testing.override(Settings, number=5), testing.override(Settings, {"shop.text": "z"}):
        assert (Settings.current().number, Settings.current().text) == (5, "z")
    assert (Settings.current().number, Settings.current().text) == (1, "x")
    with pytest.raises(dflag.UnknownFlagError, match="no flag named 'nmber'"), testing.override(Settings, nmber=5):
        pass


def test_a_stepped_updater_feeds_a_class() -> None:
    """
    As it feeds a registry.
    """
    with testing.SteppedUpdater(Settings, {"shop.number": "5"}) as steps:
        assert Settings.current().number == 5
        steps.write({"shop.number": "6"})
        assert Settings.current().number == 6
    assert Settings.current().number == 1
