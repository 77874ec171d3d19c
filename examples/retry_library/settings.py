"""
The flags of the program, including those of the library. Importing this module starts nothing.
"""

from __future__ import annotations

import datetime

import dflag
from retry_library import retry


class Settings(dflag.Flags, registry=dflag.FlagRegistry("probe")):
    """The flags that the program itself reads."""

    config = dflag.string("/etc/probe", "Volume to follow")
    port = dflag.int(8080, "Port of /healthz and /metrics", min=0, max=65_535)
    page_port = dflag.int(8081, "Port of the page of flags", min=0, max=65_535)
    target = dflag.dyn_string("127.0.0.1:5432", "Host and port that must answer")
    every = dflag.dyn_duration(datetime.timedelta(seconds=10), "From one probe to the next")


class Retry(dflag.Flags, prefix="retry.", registry=Settings):
    """The flags of the library, with names in this program: ``retry.attempts`` and ``retry.pause``."""

    attempts = retry.attempts
    pause = retry.pause
