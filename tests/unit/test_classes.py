"""
Flags as a class: which flags a class binds, what an instance holds, and which values `current()` returns.
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
    """An enum that a program declares."""

    FAST = "fast"
    SAFE = "safe"


@dataclasses.dataclass(frozen=True)
class Policy:
    """A model that a program declares."""

    mode: str = "allow"
    hosts: tuple[str, ...] = ()


class Meta(type):
    """A metaclass that a program declares, with slots."""

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
    """Restore the settings of this module after each test."""
    with testing.isolated(Settings):
        yield


# --- binding


def test_attributes_are_flags_under_prefixed_names() -> None:
    """
    An attribute of the class is a flag, bound in the class's registry under the prefix and the attribute's name.
    """
    assert Settings.number.name == "shop.number"
    assert Settings.registry["shop.number"] is Settings.number
    assert isinstance(Settings.number, dflag.DynamicFlag)
    assert len(Settings.registry) == 15
    assert Settings.registry.name == "Settings"


def test_an_instance_has_the_values_of_every_kind() -> None:
    """
    An instance has the value that `get()` of each flag returns, for every kind and for static flags.
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
    `name=` gives a flag a name that need not be an identifier, and the prefix is put before it.
    """

    class Named(dflag.Flags, prefix="app-"):
        rate = dflag.dyn_int(5, name="rate-limit", min=1)
        text = dflag.string("x", name="a.b")

    assert [flag.name for flag in Named.registry] == ["app-a.b", "app-rate-limit"]
    Named.registry.apply({"app-rate-limit": "6"}, source="s")
    assert (Named.current().rate, Named.current().text) == (6, "x")


def test_a_prefix_may_be_a_name_that_no_flag_can_have() -> None:
    """
    A prefix is only the beginning of names, so it may be the reserved name `_rules`.
    """

    class Reserved(dflag.Flags, prefix="_rules"):
        limit = dflag.int(1)

    assert Reserved.limit.name == "_ruleslimit"


def test_an_unbound_flag_may_be_given_a_name_and_bound_by_hand(flags: dflag.FlagRegistry) -> None:
    """
    `bind()` of a flag declared with `name=` uses the name given to `bind()`.
    """
    rate = dflag.dyn_int(5, name="rate-limit")
    rate.set(6)
    assert flags.bind("other", rate).name == "other"


def test_a_name_is_a_text() -> None:
    """
    A flag declared with `name=` other than a text raises `DefinitionError` at once.
    """
    with pytest.raises(dflag.DefinitionError, match="expected name as a text, got 5"):
        dflag.dyn_int(5, name=5)  # type: ignore[arg-type]


def test_a_prefix_goes_before_the_keys_of_a_map() -> None:
    """
    The class's prefix is put before the keys of a map: in its pattern, its default and an override set before.
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
    `for_()` of a keyed map in a class with a prefix returns keys with the prefix.
    """

    class Limited(dflag.Flags, prefix="shop."):
        limits = dflag.dyn_map({"a.limit": 1}, keys="*.limit", of="int", by="tenant")

    assert Limited.limits.for_("acme") == {"shop.a.limit": 1}


def test_a_prefix_changes_the_keys_of_a_map_alone() -> None:
    """
    A prefix changes only the keys of a map's default, override and choices; the mutator does not run on them again.
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
    A keyed flag is read by `for_()` of the class's attribute.
    """

    class Keyed(dflag.Flags):
        rate = dflag.dyn_int(50, by="tenant")

    assert (Keyed.rate.for_("acme"), Keyed.current().rate) == (50, 50)


def test_other_attributes_are_left_alone() -> None:
    """
    Methods, properties, constants and nested classes work in instances, which compute a cached property once.
    """
    computed = []

    class Shop(dflag.Flags):
        rate: dflag.DynamicFlag[int] = dflag.dyn_int(5)
        burst = 2
        names: tuple[str, ...] = ("a",)

        class Limits(dflag.Flags):
            low = dflag.dyn_int(1)

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
    assert cfg.Limits is Shop.Limits
    assert Shop.Limits.registry is not Shop.registry
    Shop.rate.set(6)
    assert (Shop.current().square, cfg.square, Shop.now()) == (36, 25, 6)
    assert list(Shop.registry) == [Shop.rate]


@pytest.mark.parametrize("attribute", ["current", "registry", "from_snapshot", "revision", "mro", "__doc__", "__a"])
def test_reserved_attributes_are_refused(attribute: str, flags: dflag.FlagRegistry) -> None:
    """
    A flag cannot be a reserved, special or private attribute of a class, but can have such a name.
    """
    with pytest.raises(dflag.DefinitionError, match=rf"attribute '{attribute}' of class Bad: .* name='{attribute}'"):
        type("Bad", (dflag.Flags,), {"good": dflag.int(1), attribute: dflag.int(2)}, registry=flags)
    assert len(flags) == 0
    good: Any = type("Good", (dflag.Flags,), {"other": dflag.int(2, name=attribute)}, registry=flags)
    assert good.registry[attribute].get() == 2


def test_a_bound_flag_is_refused(flags: dflag.FlagRegistry) -> None:
    """
    A class with a flag that is already bound, by hand or by its base, is refused, and none of its flags is bound.
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
    One flag as two attributes is refused, and so are two flags of one name.
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
    If a name is taken, the registry gets none of the class's flags, and they can be bound by another class.
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
    A bad prefix, registry or flag name raises `DefinitionError` when the class is made.
    """
    with pytest.raises(dflag.DefinitionError, match=message):
        type("Bad", (dflag.Flags,), body, **options)


def test_unknown_options_are_refused() -> None:
    """
    An unknown option of a class is refused with the option that was probably meant.
    """
    with pytest.raises(dflag.DefinitionError, match=r"class Bad: unknown option 'prefx' \(did you mean 'prefix'\?\)"):
        type("Bad", (dflag.Flags,), {}, prefx="shop.")


def test_a_default_that_its_validator_refuses_with_the_prefix_is_refused(flags: dflag.FlagRegistry) -> None:
    """
    A map's default is validated again with prefixed keys; if the validator refuses it, the class is refused.
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
    A class takes the values that sources hold already in one commit, so registry validators see them together.
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
    A flag that becomes an attribute of a class keeps its override with a time limit, and its callbacks.
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
    A subclass inherits flags, registry and prefix; a prefix of its own, even an empty one, is for its new flags.
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
    If `__init_subclass__()` of another base raises, no flag is bound, and the class can be made again.
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
    A subclass may name its base's registry; another registry, or bases with two registries, are refused.
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
    Two classes can share a registry, given as a registry or as a class; a commit is a new revision of both.
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
    A subclass may replace a flag by a flag of another name or by another attribute; the base keeps its flag.
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
    A mixin's flags are bound by the first class that has it; a class with another registry cannot have it too.
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
    The type of an instance is a subclass with the flags, for any metaclass, and its flags cannot be replaced.
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
    A class of flags may be generic or abstract.
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
    `__init_subclass__()` of a program runs once per class that it declares, after the class's flags are bound.
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
    A program's own `current()` gets the instance of the class it is called on from `super().current()`.
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
    `dflag.Flags.current()` raises `DefinitionError`, which says to derive a class.
    """
    with pytest.raises(dflag.DefinitionError, match="Flags has no flags: derive a class from it"):
        dflag.Flags.current()


def test_a_class_without_flags_works() -> None:
    """
    The instance of a class without flags has the revision of the registry.
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
    No attribute of an instance can be set or deleted, and a change of the flag does not change the instance.
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
    An instance refuses to set an attribute even if a mixin defines `__setattr__()`.
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
    Calling a class of flags raises `TypeError`, which says to write `current()`.
    """
    with pytest.raises(TypeError, match=r"Settings has no constructor: write Settings\.current\(\)"):
        Settings()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="has no constructor"):
        type(Settings.current())(number=5)  # type: ignore[call-arg]


def test_it_is_the_same_object_until_the_next_commit() -> None:
    """
    `current()` returns the same object until a commit; a freeze and equal values from a source are not commits.
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
    `current()` returns the same object after another flag or class is declared in the registry.
    """

    class Early(dflag.Flags, registry=flags):
        a = dflag.dyn_int(1)

    cfg = Early.current()
    flags.int("other", 1)
    type("Late", (dflag.Flags,), {"b": dflag.int(1)}, registry=flags)
    assert Early.current() is cfg


def test_instances_compare_by_class_and_values() -> None:
    """
    Instances are equal if class and values are, type-strictly and in any revision, and are not hashable.
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
    `repr()` and `str()` of an instance mask the values of flags declared as secret.
    """
    assert "hunter2" not in repr(Settings.current())
    assert repr(Settings.current()).startswith("Settings(text='x', number=1, ")
    assert ", token=******, port=8080)" in repr(Settings.current())
    assert str(Settings.current()) == repr(Settings.current())


def test_repr_masks_what_a_secret_source_holds() -> None:
    """
    `repr()` of an instance masks a value from a secret source, even if the flag is not declared as secret.
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
    A pickled instance is restored as an equal, frozen instance with the same revision, and masks its secrets.
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
    A pickle with other flags than the class has, as from another version of the program, raises `DflagError`.
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
    Restoring a pickle makes a flag secret whose value came from a secret source, unless declared ``secret=False``.
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
    A copy or a deep copy of an instance is the instance itself.
    """
    cfg = Settings.current()
    assert copy.copy(cfg) is cfg
    assert copy.deepcopy({"cfg": cfg})["cfg"] is cfg


def test_pattern_matching_reads_attributes() -> None:
    """
    A class pattern in `match` reads the attributes of an instance.
    """
    match Settings.current():
        case Settings(number=1, mode=Mode.FAST):
            matched = True
        case _:
            matched = False
    assert matched


def test_dir_and_help_show_each_flag() -> None:
    """
    `dir()` lists the flags of a class, and `help()` shows each with its help text.
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
    `get_type_hints()` and `signature()` resolve what `current()` returns, also for a class in a function.
    """

    class Local(dflag.Flags):
        a = dflag.dyn_int(1)

    for cls in (Settings, Local):
        assert typing.get_type_hints(cls.current) == {"return": cls}
        assert inspect.signature(cls.current, eval_str=True).return_annotation is cls


def test_a_class_that_is_dropped_is_freed() -> None:
    """
    A class without references is freed with its registry and values, even if it has a value set and made an instance.
    """

    class Value:
        pass

    class Gone(dflag.Flags):
        a = dflag.dyn_custom(Value(), parse=lambda _: Value())

    Gone.a.set(Value())
    references: list[weakref.ref[Any]] = [weakref.ref(Gone), weakref.ref(Gone.registry), weakref.ref(Gone.current().a)]
    del Gone
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]


# --- snapshots


def test_an_instance_is_made_of_any_snapshot() -> None:
    """
    `from_snapshot()` makes an instance of an earlier snapshot, of a pin's, and of a candidate in a validator.
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
    `from_snapshot()` refuses a snapshot of another registry or from before a flag, and anything but a snapshot.
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
    Inside pins `current()` returns the values of the innermost one, as `get()` does, and live ones after the block.
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
    Two pins of one snapshot share one instance.
    """
    live = Settings.current()
    with Settings.registry.pinned():
        first = Settings.current()
    with Settings.registry.pinned():
        assert Settings.current() is first
    assert first == live


def test_pins_of_other_registries_do_not_concern_a_class(flags: dflag.FlagRegistry) -> None:
    """
    A pin of another registry, around or inside a pin of the class's own, does not change what `current()` returns.
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
    A pin in one thread does not change what `current()` returns in another.
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
    A task that outlives the pin it started in reads live values, even inside a pin of another registry.
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
    A copied context whose innermost pin is closed reads from the pin around it, and then live values.
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
    Inside a pin a new class reads pinned values of flags that the pin holds, and live ones of its new flags.
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
    A pin keeps no reference to closed pins of other registries inside it.
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
    An instance that a commit outdates while it is made is not returned by the next `current()`.
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
    If a flag is declared while `current()` makes an instance, the instance is still cached.
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
    Threads that call `current()` at the same time get the same instance.
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
    An outdated instance is freed by the next `current()`, so its finaliser never runs in the middle of a commit.
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
    A signal handler may apply values and call `current()` at any moment; no instance mixes two revisions.
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
    """An ASGI app of a program."""


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
    A class of flags is accepted wherever a registry is, and anything else raises `TypeError`.
    """

    class Shop(dflag.Flags):
        rate = dflag.dyn_int(5)

    use(Shop)
    for other in (5, Shop.current(), int, dflag.Flags):
        with pytest.raises(TypeError):
            use(other)


def test_the_page_shows_the_flags_of_a_class() -> None:
    """
    The page of a class lists the flags of its registry.
    """
    with testing.isolated(Settings):
        handler = web.make_wsgi_app(Settings)
        body = b"".join(handler({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: print))
    assert b'"shop.number"' in body


def test_metrics_of_a_class_end_with_it() -> None:
    """
    A collector has samples of a class from `add()` until `remove()` with that class.
    """
    collector = FlagCollector()
    collector.add(Settings)
    assert any(metric.samples for metric in collector.collect())
    collector.remove(Settings)
    assert not any(metric.samples for metric in collector.collect())


def test_overriding_takes_attributes_and_names() -> None:
    """
    `testing.override()` takes attributes of the class and names in its registry, and refuses an unknown one.
    """
    with testing.override(Settings, number=5), testing.override(Settings, {"shop.text": "z"}):
        assert (Settings.current().number, Settings.current().text) == (5, "z")
    assert (Settings.current().number, Settings.current().text) == (1, "x")
    with pytest.raises(dflag.UnknownFlagError, match="no flag named 'nmber'"), testing.override(Settings, nmber=5):
        pass


def test_overriding_prefers_an_attribute_to_a_name(flags: dflag.FlagRegistry) -> None:
    """
    `testing.override()` of a class takes a name for its attribute if both the class and its registry have the name.
    """
    other = flags.dyn_int("rate", 1)

    class Shop(dflag.Flags, prefix="shop.", registry=flags):
        rate = dflag.dyn_int(1)

    with testing.override(Shop, rate=5):
        assert (Shop.rate.get(), other.get()) == (5, 1)


def test_a_stepped_updater_feeds_a_class() -> None:
    """
    A stepped updater sets the flags of a class, and removes its values at the end.
    """
    with testing.SteppedUpdater(Settings, {"shop.number": "5"}) as steps:
        assert Settings.current().number == 5
        steps.write({"shop.number": "6"})
        assert Settings.current().number == 6
    assert Settings.current().number == 1
