"""
``dflag expired``: list the flags that are past their date, by owner.
"""

from __future__ import annotations

import datetime
import os
from typing import TYPE_CHECKING, TextIO

from dflag._flags import declared_at
from dflag._formats.base import Place
from dflag.cli._findings import Finding
from dflag.cli._registry import load
from dflag.cli._reports import FORMATS, is_ok
from dflag.errors import one_line

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from dflag._flags import Flag


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the findings, and return 1 if a flag has expired.
    """
    today = datetime.date.today()  # noqa: DTZ011 - a day has no zone here
    last = today + datetime.timedelta(days=min(options.within, (datetime.date.max - today).days))
    flags = [flag for flag in load(options.registry) if flag.expires is not None and flag.expires <= last]
    flags.sort(key=lambda flag: (not flag.owner, flag.owner or "", flag.expires, flag.name))
    findings = [_finding(flag, today) for flag in flags]
    out.write(FORMATS[options.format](findings))
    return 0 if is_ok(findings) else 1


def _finding(flag: Flag[Any], today: datetime.date) -> Finding:
    file, line = declared_at(flag)
    expires = flag.expires or today
    days = (today - expires).days
    words = f"expired on {expires}, {_days(days)} ago" if days > 0 else f"expires on {expires}, in {_days(-days)}"
    message = one_line(f"{flag.owner or 'nobody'}: flag {flag.name!r} {words}")
    return Finding(
        _shown(file), Place(line, 1), "expired-flag", "error" if days > 0 else "warning", flag.name, message, "certain"
    )


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _shown(file: str) -> str:
    here = os.getcwd() + os.sep
    return file.removeprefix(here)
