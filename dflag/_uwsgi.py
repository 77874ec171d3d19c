"""
Forks of uWSGI, whose master is a C program: it forks its workers without running Python's hooks.

uWSGI has a hook of its own, ``uwsgi.post_fork_hook``, which ``uwsgidecorators`` sets to a chain of functions.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def call_after_forks(function: Callable[[], object]) -> None:
    """
    Make uWSGI call *function* in every worker that it forks from now on; without uWSGI do nothing.

    The function is called once in each worker, even if this is called several times. If the program imports
    ``uwsgidecorators`` later, that replaces the hook.
    """
    uwsgi: Any = sys.modules.get("uwsgi")  # only in a process of uWSGI, and there from the start
    if uwsgi is None:
        return
    decorators: Any = sys.modules.get("uwsgidecorators")
    if decorators is not None:
        if function not in decorators.postfork_chain:
            decorators.postfork_chain.append(function)
        return
    before = getattr(uwsgi, "post_fork_hook", None)
    if getattr(before, "args", ())[:1] != (function,):
        uwsgi.post_fork_hook = functools.partial(_call, function, before)


def _call(function: Callable[[], object], before: Callable[[], object] | None) -> None:
    function()
    if before is not None:
        before()
