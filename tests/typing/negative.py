"""
What the type checkers must refuse: mypy warns where an ignore below stands for nothing. Never run.
"""

from __future__ import annotations

import datetime

import dflag
from dflag import sources, web

# A misspelt name is one, although names are imported when they are first used.
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

# Options are known, and of the type of the kind.
flags.dyn_int("e", 1, minimum=0)  # type: ignore[call-arg]
flags.dyn_int("f", 1, min="0")  # type: ignore[arg-type]
flags.dyn_string("g", "x", min="a")  # type: ignore[call-arg]
flags.dyn_duration("i", datetime.timedelta(), max=10)  # type: ignore[arg-type]

# A value is set in its own type.
rate.set("5")  # type: ignore[arg-type]
name.set_text(5)  # type: ignore[arg-type]

# Reading gives the type of the flag, in a snapshot too.
text: str = rate.get()  # type: ignore[assignment]
number: int = flags.snapshot()[name]  # type: ignore[assignment]

# A flag's value is set, not assigned; a flag is no value.
rate.dynamic = False  # type: ignore[misc]
total = rate + 1  # type: ignore[operator]

# Callbacks and validators take what the flag holds.
flags.dyn_int("j", 1, validator=str.strip)  # type: ignore[arg-type]
flags.dyn_int("k", 1, on_change=lambda new: None)  # type: ignore[arg-type]

# A static flag is no dynamic one.
dynamic: dflag.DynamicFlag[int] = flags.int("l", 1)  # type: ignore[assignment]

# A mapping's values are of the kind that was named, and it cannot be changed.
flags.dyn_map("m", {"a": "1"}, keys="*", of="int")  # type: ignore[call-overload]
flags.map("n", {}, keys="*").get()["a"] = "1"  # type: ignore[index]

# Raw values are text or bytes.
flags.apply({"rate": 5}, source="here")  # type: ignore[dict-item]

# Who may set is said by a name, and not by a truth; nor by a coroutine.
web.make_wsgi_app(flags, authorize=lambda headers: True)  # type: ignore[arg-type, return-value]
