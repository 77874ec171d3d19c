"""
Code of users with flags as a class, and the resulting types; checked by mypy and pyright, never run.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar, assert_type

import dflag
from dflag import testing, web
from dflag.integrations.asgi import PinMiddleware
from dflag.integrations.celery import pin_tasks
from dflag.integrations.grpc import AioPinInterceptor, PinInterceptor
from dflag.integrations.opentelemetry import export_events, export_metrics
from dflag.integrations.prometheus import FlagCollector, register
from dflag.integrations.wsgi import PinMiddleware as WSGIPinMiddleware
from dflag.logging import add_loglevel_flag


class Mode(enum.Enum):
    """An enumeration of a user."""

    FAST = "fast"
    SAFE = "safe"


@dataclasses.dataclass(frozen=True)
class Policy:
    """A class of a user."""

    mode: str = "allow"


DAY = datetime.date(2030, 1, 1)
SECOND = datetime.timedelta(seconds=1)


class Settings(dflag.Flags, prefix="shop."):
    """A flag of each kind, static and dynamic."""

    text = dflag.string("x", "Help", choices=["x", "y"])
    number = dflag.int(1, min=0, name="other-name")
    share = dflag.float(1.5)
    switch = dflag.bool(default=True)
    wait = dflag.duration(SECOND)
    items = dflag.string_list(["a"])
    tags = dflag.string_set({"a"})
    mode = dflag.enum(Mode.FAST)
    token = dflag.bytes(b"", secret=True)
    policy = dflag.json(Policy(), type=Policy)
    document = dflag.json({"a": 1})
    limits = dflag.map({}, keys="*.limit", of="int")
    day = dflag.custom(DAY, parse=datetime.date.fromisoformat)

    dyn_text = dflag.dyn_string("x", name="text2")
    dyn_number = dflag.dyn_int(1, by="tenant")
    dyn_share = dflag.dyn_float(1.5)
    dyn_switch = dflag.dyn_bool(default=True)
    dyn_wait = dflag.dyn_duration(SECOND)
    dyn_items = dflag.dyn_string_list(["a"])
    dyn_tags = dflag.dyn_string_set({"a"})
    dyn_mode = dflag.dyn_enum(Mode.FAST)
    dyn_token = dflag.dyn_bytes(b"")
    dyn_policy = dflag.dyn_json(Policy(), type=Policy)
    dyn_document = dflag.dyn_json({"a": 1})
    dyn_limits = dflag.dyn_map({}, keys="*.wait", of="duration")
    dyn_day = dflag.dyn_custom(DAY, parse=datetime.date.fromisoformat)

    annotated: dflag.DynamicFlag[int] = dflag.dyn_int(5)
    plain = 5

    def doubled(self) -> int:
        """Use a value with its own type."""
        return self.number * 2

    @property
    def url(self) -> str:
        """Use another value."""
        return f"http://{self.text}"

    @classmethod
    def average(cls) -> float:
        """Use a flag of the class."""
        return assert_type(cls.dyn_share, dflag.DynamicFlag[float]).get()

    def live(self) -> int:
        """Use a flag of the instance's class."""
        return assert_type(type(self).dyn_number, dflag.DynamicFlag[int]).get()


# On the class an attribute is the flag.
assert_type(Settings.text, dflag.StaticFlag[str])
assert_type(Settings.number, dflag.StaticFlag[int])
assert_type(Settings.share, dflag.StaticFlag[float])
assert_type(Settings.switch, dflag.StaticFlag[bool])
assert_type(Settings.wait, dflag.StaticFlag[datetime.timedelta])
assert_type(Settings.items, dflag.StaticFlag[tuple[str, ...]])
assert_type(Settings.tags, dflag.StaticFlag[frozenset[str]])
assert_type(Settings.mode, dflag.StaticFlag[Mode])
assert_type(Settings.token, dflag.StaticFlag[bytes])
assert_type(Settings.policy, dflag.StaticFlag[Policy])
assert_type(Settings.document, dflag.StaticFlag[Any])
assert_type(Settings.limits, dflag.StaticFlag[Mapping[str, int]])
assert_type(Settings.day, dflag.StaticFlag[datetime.date])

assert_type(Settings.dyn_text, dflag.DynamicFlag[str])
assert_type(Settings.dyn_number, dflag.DynamicFlag[int])
assert_type(Settings.dyn_share, dflag.DynamicFlag[float])
assert_type(Settings.dyn_switch, dflag.DynamicFlag[bool])
assert_type(Settings.dyn_wait, dflag.DynamicFlag[datetime.timedelta])
assert_type(Settings.dyn_items, dflag.DynamicFlag[tuple[str, ...]])
assert_type(Settings.dyn_tags, dflag.DynamicFlag[frozenset[str]])
assert_type(Settings.dyn_mode, dflag.DynamicFlag[Mode])
assert_type(Settings.dyn_token, dflag.DynamicFlag[bytes])
assert_type(Settings.dyn_policy, dflag.DynamicFlag[Policy])
assert_type(Settings.dyn_document, dflag.DynamicFlag[Any])
assert_type(Settings.dyn_limits, dflag.DynamicFlag[Mapping[str, datetime.timedelta]])
assert_type(Settings.dyn_day, dflag.DynamicFlag[datetime.date])

assert_type(Settings.annotated, dflag.DynamicFlag[int])
assert_type(Settings.plain, int)
assert_type(Settings.dyn_number.get(), int)
assert_type(Settings.dyn_number.for_("acme"), int)
Settings.dyn_number.on_change(lambda old, new: old + new)


# On an instance it is the value.
cfg = Settings.current()
assert_type(cfg, Settings)
assert_type(cfg.text, str)
assert_type(cfg.number, int)
assert_type(cfg.share, float)
assert_type(cfg.switch, bool)
assert_type(cfg.wait, datetime.timedelta)
assert_type(cfg.items, tuple[str, ...])
assert_type(cfg.tags, frozenset[str])
assert_type(cfg.mode, Mode)
assert_type(cfg.token, bytes)
assert_type(cfg.policy, Policy)
assert_type(cfg.document, Any)
assert_type(cfg.limits, Mapping[str, int])
assert_type(cfg.day, datetime.date)

assert_type(cfg.dyn_text, str)
assert_type(cfg.dyn_number, int)
assert_type(cfg.dyn_share, float)
assert_type(cfg.dyn_switch, bool)
assert_type(cfg.dyn_wait, datetime.timedelta)
assert_type(cfg.dyn_items, tuple[str, ...])
assert_type(cfg.dyn_tags, frozenset[str])
assert_type(cfg.dyn_mode, Mode)
assert_type(cfg.dyn_token, bytes)
assert_type(cfg.dyn_policy, Policy)
assert_type(cfg.dyn_document, Any)
assert_type(cfg.dyn_limits, Mapping[str, datetime.timedelta])
assert_type(cfg.dyn_day, datetime.date)

assert_type(cfg.annotated, int)
assert_type(cfg.plain, int)
assert_type(cfg.doubled(), int)
assert_type(cfg.url, str)
assert_type(cfg.revision, int)
assert_type(cfg.current(), Settings)
assert_type(cfg == Settings.current(), bool)

assert_type(Settings.registry, dflag.FlagRegistry)
assert_type(Settings.from_snapshot(Settings.registry.snapshot()), Settings)


@Settings.registry.validator
def in_order(candidate: dflag.Snapshot) -> None:
    """Validate typed values."""
    values = Settings.from_snapshot(candidate)
    if values.number > values.dyn_number:
        raise ValueError


# A subclass has the attributes of its bases.


class More(Settings, prefix="more."):
    """A subclass with one more flag."""

    extra = dflag.dyn_float(0.5)


assert_type(More.current(), More)
assert_type(More.current().extra, float)
assert_type(More.current().number, int)
assert_type(More.number, dflag.StaticFlag[int])


# A generic function for any class of flags knows which class it is given.
S = TypeVar("S", bound=dflag.Flags)
T = TypeVar("T")


def both(cls: type[S]) -> tuple[S, S]:
    """Take any class of flags."""
    return cls.current(), cls.from_snapshot(cls.registry.snapshot())


assert_type(both(More), tuple[More, More])


class Store(dflag.Flags, Generic[T]):
    """A generic class of flags."""

    size = dflag.dyn_int(5)

    def put(self, item: T) -> T:
        """Use the type parameter."""
        return item


class TextStore(Store[str]):
    """The generic class, for texts."""


assert_type(TextStore.current().put("x"), str)
assert_type(TextStore.current().size, int)


# As an attribute of any other class a flag stays a flag.


@dataclasses.dataclass
class Worker:
    """Annotated, as the field of a dataclass."""

    rate: dflag.DynamicFlag[int]
    size: dflag.Flag[int] = dataclasses.field(kw_only=True)


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenWorker:
    """Annotated, as the field of a frozen dataclass."""

    rate: dflag.DynamicFlag[int]


class Pair(NamedTuple):
    """Annotated, as the field of a named tuple."""

    rate: dflag.DynamicFlag[int]
    name: str


class Plain:
    """Not annotated, on a plain class and its instances."""

    shared = dflag.dyn_int(5)

    def __init__(self, rate: dflag.DynamicFlag[int]) -> None:
        self.rate = rate


rate = dflag.dyn_int(50)
worker = Worker(rate, size=rate)
assert_type(worker.rate, dflag.DynamicFlag[int])
assert_type(worker.size, dflag.Flag[int])
worker.rate = rate
assert_type(FrozenWorker(rate).rate, dflag.DynamicFlag[int])
assert_type(Pair(rate, "x").rate, dflag.DynamicFlag[int])
plain = Plain(rate)
assert_type(plain.rate, dflag.DynamicFlag[int])
assert_type(plain.shared, dflag.DynamicFlag[int])
assert_type(Plain.shared, dflag.DynamicFlag[int])
plain.rate = rate

# A class is accepted wherever a registry is.


class Guest(dflag.Flags, registry=Settings.registry, prefix="guest."):
    """A class with the registry of another class."""


class Guest2(dflag.Flags, registry=Settings):
    """The same, given by the class."""


updater = dflag.Updater.setup(Settings, "/etc/shop")
assert_type(dflag.Updater(Settings, ["/etc/a"]), dflag.Updater)
web.make_wsgi_app(Settings)
web.make_asgi_app(Settings, updater)
web.start_http_server(0, Settings)
register(Settings, updater)
collector = FlagCollector()
collector.add(Settings)
collector.remove(Settings)
export_metrics(Settings)
export_events(Settings)
assert_type(add_loglevel_flag(Settings), dflag.DynamicFlag[str])
testing.isolated(Settings)
testing.override(Settings, rate=5)
testing.override(Settings, {"shop.rate": 5})
testing.SteppedUpdater(Settings, {"shop.rate": "5"})


def middleware(asgi: Any, wsgi: Any, celery: Any, isolate: Callable[[type[Settings]], None]) -> None:
    """One revision for each request, and a fixture of the pytest plugin."""
    PinMiddleware(asgi, Settings)
    WSGIPinMiddleware(wsgi, Settings)
    PinInterceptor(Settings)
    AioPinInterceptor(Settings)
    pin_tasks(celery, Settings)
    isolate(Settings)
