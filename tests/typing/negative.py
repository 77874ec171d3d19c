"""
Code that the type checkers must refuse: both report an unused ignore below. Never run.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import datetime

import dflag
from dflag import sources, testing, web

# A misspelt name is an error, although names are imported at their first use.
dflag.dyn_itn  # type: ignore[attr-defined]
sources.MemorySauce  # type: ignore[attr-defined]

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 50)
name = flags.dyn_string("name", "x")

# The default has the type of the kind.
flags.int("a", "1")  # type: ignore[arg-type]
flags.dyn_bool("b", "yes")  # type: ignore[arg-type]
flags.dyn_duration("c", 30)  # type: ignore[arg-type]
flags.dyn_bytes("d", "text")  # type: ignore[arg-type]
flags.enum("d2", "FAST")  # type: ignore[type-var]
dflag.dyn_enum("FAST")  # type: ignore[type-var]

# The options are known, and have the type of the kind.
flags.dyn_int("e", 1, minimum=0)  # type: ignore[call-arg]
flags.dyn_int("f", 1, min="0")  # type: ignore[arg-type]
flags.dyn_string("g", "x", min="a")  # type: ignore[call-arg]
flags.dyn_duration("i", datetime.timedelta(), max=10)  # type: ignore[arg-type]

# The same holds in a library, where the name comes last.
dflag.dyn_int("1")  # type: ignore[arg-type]
dflag.dyn_int(1, minimum=0)  # type: ignore[call-arg]
dflag.int(1, name=5)  # type: ignore[arg-type]
dflag.dyn_int(1, "help", "rate")  # type: ignore[call-arg]
flags.dyn_int("i2", 1, name="rate")  # type: ignore[misc]
dflag.wbe  # type: ignore[attr-defined]

# A value is set in its own type.
rate.set("5")  # type: ignore[arg-type]
name.set_text(5)  # type: ignore[arg-type]

# Reading gives the type of the flag, in a snapshot too.
text: str = rate.get()  # type: ignore[assignment]
rate.for_(5)  # type: ignore[arg-type]
number: int = flags.snapshot()[name]  # type: ignore[assignment]

# A flag's value is set, not assigned; a flag is not its value.
rate.dynamic = False  # type: ignore[misc]
total = rate + 1  # type: ignore[operator]

# The truth of a flag is not its value, and the code after such a test is checked too.


def truth(optional: dflag.Flag[int] | None) -> int:
    if rate:  # type: ignore[truthy-bool]
        return 1
    if not rate:  # type: ignore[truthy-bool]
        return 2
    if flags.bool("switch", False):  # type: ignore[truthy-bool]
        return 3
    if optional is not None and optional:  # type: ignore[truthy-bool]
        return 4
    return "reached"  # type: ignore[return-value]


# Callbacks and validators take values of the flag's type, and as many values as they are called with.
flags.dyn_int("j", 1, validator=str.strip)  # type: ignore[arg-type]
flags.dyn_int("j2", 1, validator=lambda old, new: None)  # type: ignore[arg-type, misc]
flags.dyn_int("k", 1, on_change=lambda new: None)  # type: ignore[arg-type, misc]
dflag.dyn_int(1, on_change=lambda new: None)  # type: ignore[arg-type, misc]
rate.on_change(lambda new: None)  # type: ignore[arg-type, misc]
rate.on_change(5)  # type: ignore[call-overload]
rate.validator(lambda old, new: None)  # type: ignore[arg-type, misc]
rate.validator(str.strip)  # type: ignore[arg-type]
flags.validator(lambda: None)  # type: ignore[type-var]


@rate.on_change  # type: ignore[arg-type]
def one(new: int) -> None: ...


@rate.on_change  # type: ignore[arg-type]
def three(old: int, new: int, reason: str) -> None: ...


@rate.on_change  # type: ignore[arg-type]
async def texts(old: str, new: str) -> None: ...


@rate.validator  # type: ignore[arg-type]
def nothing() -> None: ...


@flags.validator  # type: ignore[type-var]
def pair(old: dflag.Snapshot, new: dflag.Snapshot) -> None: ...


# Every way to make an updater knows each of its options.
dflag.Updater(flags, "", on_missing="rset")  # type: ignore[arg-type]
dflag.Updater.setup(flags, "", on_missing="rset")  # type: ignore[arg-type]
dflag.Updater.setup(flags, "", on_bad_start="ignore")  # type: ignore[arg-type]
dflag.Updater.setup(flags, "", resync="1")  # type: ignore[call-arg]
testing.SteppedUpdater(flags, unknown="warning")  # type: ignore[arg-type]
testing.SteppedUpdater(flags, atomically=True)  # type: ignore[call-arg]
web.start_http_server(0, flags, address="::1")  # type: ignore[call-arg]

# A static flag is not a dynamic flag.
dynamic: dflag.DynamicFlag[int] = flags.int("l", 1)  # type: ignore[assignment]

# The values of a mapping have the given kind, and the mapping cannot be changed.
flags.dyn_map("m", {"a": "1"}, keys="*", of="int")  # type: ignore[call-overload]
flags.map("n", {}, keys="*").get()["a"] = "1"  # type: ignore[index]

# A parser takes a text and returns the flag's value; a format takes the value and returns a text.
flags.custom("o", 1)  # type: ignore[call-arg]
flags.dyn_custom("p", 1, int)  # type: ignore[call-arg, arg-type]
flags.dyn_custom("q", 1, parse=len, format=len)  # type: ignore[arg-type]
flags.dyn_custom("r", 1, parse=lambda: 1)  # type: ignore[arg-type, misc]
flags.dyn_custom("s", datetime.date.min, parse=datetime.date.fromisoformat).set("2030-01-01")  # type: ignore[arg-type]
flags.custom("t", 1, parse=int, min=0)  # type: ignore[call-arg]
dflag.custom(1, parse=int, validator=str.strip)  # type: ignore[arg-type]

# A snapshot never changes.
flags.snapshot().revision = 9  # type: ignore[misc]
flags.snapshot()["rate"] = 5  # type: ignore[index]

# Raw values are text or bytes.
flags.apply({"rate": 5}, source="here")  # type: ignore[dict-item]

# `authorize` returns a name, not a bool, and is not a coroutine function.
web.make_wsgi_app(flags, authorize=lambda headers: True)  # type: ignore[arg-type, return-value]
