"""
Code of users, and the resulting types; checked by mypy and pyright, never run.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, assert_type

from celery import Celery

import dflag
from dflag import testing, web
from dflag.integrations import asgi, celery, django, grpc, wsgi
from dflag.integrations.opentelemetry import Export, export_events, export_metrics
from dflag.integrations.prometheus import FlagCollector, register
from dflag.logging import add_loglevel_flag
from dflag.sources import MemorySource

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication


class Mode(enum.Enum):
    """An enumeration of a user."""

    FAST = "fast"
    SAFE = "safe"


def mode_changed(old: Mode, new: Mode) -> None:
    """A callback of a user."""
    assert old is not new


@dataclasses.dataclass(frozen=True)
class Policy:
    """A class of a user."""

    mode: str = "allow"


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A type that a user's own functions parse and print."""

    bytes: int

    @classmethod
    def parse(cls, text: str) -> Quantity:
        return cls(len(text))

    def text(self) -> str:
        return str(self.bytes)

    def rounded(self) -> Quantity:
        return self


def read_size(text: str) -> int:
    """A parser of a user."""
    return len(text)


DAY = datetime.date(2030, 1, 1)
SECOND = datetime.timedelta(seconds=1)

flags = dflag.FlagRegistry()

# Static flags of every kind.
assert_type(flags.string("s", "x"), dflag.StaticFlag[str])
assert_type(flags.int("i", 1, "help", min=0, max=9), dflag.StaticFlag[int])
assert_type(flags.float("f", 1.5), dflag.StaticFlag[float])
assert_type(flags.bool("b", default=True), dflag.StaticFlag[bool])
assert_type(flags.duration("d", SECOND, max=SECOND), dflag.StaticFlag[datetime.timedelta])
assert_type(flags.string_list("l", ["a"]), dflag.StaticFlag[tuple[str, ...]])
assert_type(flags.string_set("t", {"a"}), dflag.StaticFlag[frozenset[str]])
assert_type(flags.enum("e", Mode.FAST), dflag.StaticFlag[Mode])
assert_type(flags.bytes("y", b""), dflag.StaticFlag[bytes])
assert_type(flags.json("j", {"a": 1}), dflag.StaticFlag[Any])
assert_type(flags.json("p", Policy(), type=Policy), dflag.StaticFlag[Policy])

assert_type(flags.map("m", {}, keys="*"), dflag.StaticFlag[Mapping[str, str]])
assert_type(flags.map("mi", {"a": 1}, keys="*", of="int", validator=len), dflag.StaticFlag[Mapping[str, int]])

assert_type(flags.custom("c", DAY, parse=datetime.date.fromisoformat), dflag.StaticFlag[datetime.date])
assert_type(flags.custom("ci", 1, parse=int), dflag.StaticFlag[int])
assert_type(flags.custom("cf", 1, parse=read_size, format=hex), dflag.StaticFlag[int])
assert_type(
    flags.custom("cg", DAY, parse=datetime.date.fromisoformat, format=datetime.date.isoformat).get(), datetime.date
)

# Dynamic flags of every kind.
text = flags.dyn_string("ds", "x")
rate = flags.dyn_int("di", 50, "Requests per second", min=1, max=10_000)
keyed = flags.dyn_int("dk", 50, by="tenant")
assert_type(keyed.for_("acme"), int)
assert_type(flags.snapshot().for_(keyed, "acme"), int)
assert_type(flags.snapshot().for_("dk", "acme"), Any)
share = flags.dyn_float("df", 0.5, min=0, max=1)
verbose = flags.dyn_bool("db", False)
timeout = flags.dyn_duration("dd", SECOND)
hosts = flags.dyn_string_list("dl", ())
names = flags.dyn_string_set("dt", ())
assert_type(flags.dyn_map("dm", {}, keys="*.x", of="duration"), dflag.DynamicFlag[Mapping[str, datetime.timedelta]])
assert_type(flags.dyn_map("dma", {}, keys="*.y", of="json"), dflag.DynamicFlag[Mapping[str, Any]])
mode = flags.dyn_enum("de", Mode.FAST)
key = flags.dyn_bytes("dy", b"", secret=True)
free = flags.dyn_json("dj", {"mode": "allow"}, schema={"type": "object"})
policy = flags.dyn_json("dp", {"mode": "allow"}, "Admission policy", type=Policy)

# A function as an option makes the flag neither a flag of Any nor a flag of the default member only.
assert_type(flags.dyn_enum("de1", Mode.FAST, validator=lambda value: value.name), dflag.DynamicFlag[Mode])
assert_type(flags.dyn_enum("de2", Mode.FAST, on_change=mode_changed), dflag.DynamicFlag[Mode])
assert_type(flags.enum("de3", Mode.FAST, validator=dflag.validators.one_of(*Mode)), dflag.StaticFlag[Mode])
assert_type(dflag.dyn_enum(Mode.FAST, on_change=lambda old, new: old.name), dflag.DynamicFlag[Mode])
assert_type(dflag.enum(Mode.FAST, validator=print, mutator=lambda value: value), dflag.StaticFlag[Mode])
assert_type(flags.dyn_custom("dn1", 5, parse=int, on_change=lambda old, new: None), dflag.DynamicFlag[int])
assert_type(flags.custom("dn2", 5, parse=int, validator=lambda value: None), dflag.StaticFlag[int])
assert_type(dflag.dyn_custom("", parse=lambda text: text.upper(), format=lambda value: value), dflag.DynamicFlag[str])
assert_type(dflag.custom(Mode.FAST, parse=Mode, validator=[print]), dflag.StaticFlag[Mode])
assert_type(flags.dyn_json("dp1", {}, type=Policy, validator=lambda value: value.mode), dflag.DynamicFlag[Policy])

day = flags.dyn_custom("dc", DAY, "Cut-off", parse=datetime.date.fromisoformat, choices=[DAY], secret=True)
quantity = flags.dyn_custom("dq", Quantity(1), parse=Quantity.parse, format=Quantity.text, mutator=Quantity.rounded)

assert_type(day, dflag.DynamicFlag[datetime.date])
assert_type(quantity, dflag.DynamicFlag[Quantity])
assert_type(quantity.get().bytes, int)
assert_type(dflag.custom(DAY, parse=datetime.date.fromisoformat), dflag.StaticFlag[datetime.date])
assert_type(dflag.dyn_custom(Quantity(1), parse=Quantity.parse), dflag.DynamicFlag[Quantity])
assert_type(flags.bind("bound.day", dflag.dyn_custom(DAY, parse=datetime.date.fromisoformat)).get(), datetime.date)
assert_type(text, dflag.DynamicFlag[str])
assert_type(rate, dflag.DynamicFlag[int])
assert_type(share, dflag.DynamicFlag[float])
assert_type(verbose, dflag.DynamicFlag[bool])
assert_type(timeout, dflag.DynamicFlag[datetime.timedelta])
assert_type(hosts, dflag.DynamicFlag[tuple[str, ...]])
assert_type(names, dflag.DynamicFlag[frozenset[str]])
assert_type(mode, dflag.DynamicFlag[Mode])
assert_type(key, dflag.DynamicFlag[bytes])
assert_type(free, dflag.DynamicFlag[Any])
assert_type(policy, dflag.DynamicFlag[Policy])

# Reading.
assert_type(rate.get(), int)
assert_type(policy.get(), Policy)
assert_type(policy.get().mode, str)
assert_type(rate.default, int)
assert_type(rate.name, str)
assert_type(rate.dynamic, bool)
assert_type(rate.origin, str)

# Setting.
rate.set(5, ttl_seconds=60, reason="because")
policy.set(Policy("deny"))
mode.set(Mode.SAFE)  # not only the member that is the default
rate.set_text("5")
rate.reset()

# Snapshots: a value by flag has the flag's type, a value by name has none.
snapshot = flags.snapshot()
assert_type(snapshot, dflag.Snapshot)
assert_type(snapshot[rate], int)
assert_type(snapshot[policy], Policy)
assert_type(snapshot["di"], Any)
assert_type(snapshot.revision, int)
assert_type(dict(snapshot), dict[str, Any])
assert_type(snapshot.get(rate), int | None)
assert_type(snapshot.get(rate, 5), int)
assert_type(snapshot.get("di"), Any)
mapping: Mapping[str, object] = snapshot

# Overrides and pins: literals and variables, of one kind and of several, by flag and by name.
by_flag = {rate: 5}
by_name = {"di": 5}
with flags.override({rate: 5}):
    pass
with flags.override({rate: 5, policy: Policy()}):
    pass
with flags.override({"di": 5, "ds": "x"}):
    pass
with flags.override(by_flag), flags.override(by_name):
    pass
with flags.pinned() as pin:
    assert_type(pin, dflag.Snapshot)
with flags.pinned({rate: 5}) as pin, flags.pinned(by_flag), flags.pinned(by_name):
    assert_type(pin[rate], int)


# Validators and callbacks, as decorators and as options. A decorated function keeps its type.
@rate.validator
def even(value: int) -> None: ...


@rate.on_change
def changed(old: int, new: int) -> None: ...


@policy.on_change
async def changed_later(old: Policy, new: Policy) -> None: ...


@flags.validator
def ordered(candidate: dflag.Snapshot) -> None: ...


@text.on_change
@rate.on_change
def logged(old: object, new: object, *, loudly: bool = False) -> None: ...


even(2)
changed(1, 2)
logged(old=1, new="2", loudly=True)
ordered(candidate=snapshot)
rate.on_change(lambda old, new: old + new)
rate.on_change(print)
rate.validator(print)
text.validator(json.loads)

flags.dyn_int("checked", 1, validator=even, on_change=changed)
flags.dyn_int("checked_twice", 1, validator=[even, even], on_change=(changed, changed))
flags.dyn_string("functions_of_c", "{}", validator=[json.loads, int], input_mutator=str.strip, mutator=str.lower)
flags.dyn_string("chosen", "a", choices=("a", "b"), deprecated="use it not", owner="us", expires=datetime.date.max)

# Flags of a library, and their names in a program.
library_rate = dflag.dyn_int(50, "Requests per second", min=1)
assert_type(library_rate, dflag.DynamicFlag[int])
assert_type(dflag.string("x"), dflag.StaticFlag[str])
assert_type(dflag.dyn_string_list(()), dflag.DynamicFlag[tuple[str, ...]])
assert_type(dflag.dyn_enum(Mode.FAST), dflag.DynamicFlag[Mode])
assert_type(dflag.dyn_map({}, keys="*", of="float"), dflag.DynamicFlag[Mapping[str, float]])
assert_type(dflag.map({}, keys="*"), dflag.StaticFlag[Mapping[str, str]])
assert_type(dflag.dyn_json({}), dflag.DynamicFlag[Any])
assert_type(dflag.json({}, type=Policy), dflag.StaticFlag[Policy])
assert_type(dflag.dyn_int(50, "Requests per second", name="rate-limit", min=1), dflag.DynamicFlag[int])
assert_type(dflag.dyn_enum(Mode.FAST, name="mode"), dflag.DynamicFlag[Mode])
assert_type(dflag.dyn_json({}, name="policy", type=Policy), dflag.DynamicFlag[Policy])
assert_type(flags.bind("library.rate", library_rate), dflag.DynamicFlag[int])

# The registry.
assert_type(flags.lookup("di"), dflag.Flag[Any])
assert_type(flags["di"].get(), Any)
assert_type(flags.parse_args(["--di=5"]), list[str])
assert_type(flags.checksum(dynamic=True), str)
revision = flags.apply({"di": "5", "dy": b"\0"}, source="here", atomic=True)
assert_type(revision, dflag.Revision)
assert_type(revision.number, int)
assert_type(revision.changed, tuple[str, ...])
rejected: Mapping[str, dflag.FlagValueError] = revision.rejected

# A function that takes a flag of either kind.


def read(flag: dflag.Flag[int]) -> int:
    return flag.get()


read(rate)
read(flags.int("either", 1))


async def follow() -> None:
    assert_type(await changed_later(Policy(), Policy()), None)
    async for old, new in rate.changes():
        assert_type(old, int)
        assert_type(new, int)


# The updater.
updater = dflag.Updater.setup(
    flags, "/etc/dflag", atomic=True, on_missing="reset", on_bad_start="skip", below_arguments=True
)
assert_type(updater, dflag.Updater)
assert_type(updater.refresh(), dflag.Revision)
assert_type(updater.wait_for(lambda seen: seen[rate] > 1, timeout=1.0), bool)
assert_type(updater.status(), dflag.Status)
with dflag.Updater(flags, ["/etc/a", "/etc/b"]) as running:
    assert_type(running, dflag.Updater)

assert_type(testing.SteppedUpdater(flags, {"di": "5"}, name="steps", atomic=True), testing.SteppedUpdater)

# Public modules are attributes of the package.
assert_type(dflag.sources.MemorySource({}), MemorySource)
dflag.web.make_wsgi_app(flags)
dflag.testing.SteppedUpdater(flags)
dflag.logging.add_loglevel_flag(flags)
dflag.validators.not_empty()
dflag.Updater(flags, "/etc/dflag", facts=dflag.facts.kubernetes())

# The page.


def by_header(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-user")


web.make_wsgi_app(flags, updater, authorize=by_header)
web.make_asgi_app(flags, authorize=web.bearer_token("t0ken", "alice"), title="Shop")
with web.start_http_server(0, flags, updater, addr="::1") as server:
    assert_type(server.port, int)

# Requests.


async def asgi_app(scope: MutableMapping[str, Any], receive: asgi.Receive, send: asgi.Send) -> None:
    await send(await receive())


def wsgi_app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [])
    return [b""]


pinned_asgi: asgi.App = asgi.PinMiddleware(asgi_app, flags, updater=updater, websockets=False, revision_header=True)
asgi.PinMiddleware(web.make_asgi_app(flags), flags)
pinned_wsgi: WSGIApplication = wsgi.PinMiddleware(wsgi_app, flags, revision_header=True)
wsgi.PinMiddleware(web.make_wsgi_app(flags), flags)

celery.pin_tasks(Celery("shop"), flags, revision_header=True)
grpc.PinInterceptor(flags, revision_header=True)
grpc.AioPinInterceptor(flags)
assert_type(django.start(), dflag.Updater | None)
assert_type(django.updater(), dflag.Updater | None)

# Integrations.
assert_type(add_loglevel_flag(flags), dflag.DynamicFlag[str])
assert_type(register(flags, dflag.Updater(flags, "config"), name="main"), FlagCollector)
assert_type(export_metrics(flags), Export)
with export_events(flags, values=True) as export:
    assert_type(export, Export)
