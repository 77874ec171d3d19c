"""
One revision for a whole task of Celery; the extra ``dflag[celery]``.

Call `pin_tasks` once, where the app is made:

>>> import celery, dflag
>>> flags = dflag.FlagRegistry()
>>> rate = flags.dyn_int("rate", 50)
>>> app = celery.Celery("shop", set_as_current=False)
>>> pin_tasks(app, flags)
>>> @app.task
... def read_twice():
...     before = rate.get()
...     rate.set(60)  # as an updater would, meanwhile
...     return before, rate.get()
>>> read_twice.apply().get(), rate.get()
((50, 50), 60)
"""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from celery import Celery
from celery.signals import task_postrun, task_prerun

from dflag.errors import check_argument
from dflag.integrations._pins import REVISION_HEADER, RequestPin, check_switch, store_to_pin

if TYPE_CHECKING:
    from dflag._registry import RegistryLike
    from dflag._store import Store

__all__ = ["pin_tasks"]


def __dir__() -> list[str]:
    return __all__


def pin_tasks(app: Celery, registry: RegistryLike, *, revision_header: bool = False) -> None:
    """
    Pin each task of a Celery app to one revision, from ``before_start`` to ``after_return``.

    It holds for tasks that a worker runs, in any pool, and for ``apply()``. A direct call, ``task()``, is a call of a
    function, and has the pin of its caller, if any. A retry is pinned to the revision of its own start.

    Call it before tasks are declared, so that none can run unpinned. Repeated for the same app and registry, it does
    nothing.

    Args:
        app: The app, also as ``celery.current_app``.
        registry: The flags, or a `dflag.Flags` class.
        revision_header: Whether ``self.request.headers`` of a running task holds the number of its revision, as
            ``X-Config-Revision``, for the task itself and for handlers of Celery's signals.

    Raises:
        ArgumentError: An argument is of another type.

    Thread safety: any thread.
    """
    check_argument("app", app, Celery, "a Celery app")
    store = store_to_pin(registry)
    check_switch("revision_header", revision_header)
    _stores.setdefault(_behind_proxy(app), {}).setdefault(store, revision_header)
    task_prerun.connect(_begin, weak=False)
    task_postrun.connect(_end, weak=False)


_stores: Final[weakref.WeakKeyDictionary[Celery, dict[Store, bool]]] = weakref.WeakKeyDictionary()
"""What the tasks of each app are pinned to, and whether their requests say so."""

_running: Final[weakref.WeakKeyDictionary[Any, ExitStack]] = weakref.WeakKeyDictionary()
"""
What ends with a task, by its request.

Were the second signal missing, as when another handler ends the thread, the pins would end with the request.
"""


# Signals come for every way to run a task, whatever its class does when it is called.
def _begin(task: Any, **_signal: object) -> None:
    request = task.request
    for store, revision_header in _stores.get(_behind_proxy(task.app), {}).items():
        pin = RequestPin(store)
        stack = _running.setdefault(request, ExitStack())
        stack.callback(pin.close)
        stack.enter_context(pin)
        if revision_header:
            request.headers = {**(request.headers or {}), REVISION_HEADER: str(pin.revision)}


def _behind_proxy(app: Any) -> Celery:
    """
    Return the app that may be behind ``celery.current_app``, which a task that no app was given has.
    """
    found: Celery = getattr(app, "_get_current_object", lambda: app)()
    return found


def _end(task: Any, **_signal: object) -> None:
    stack = _running.pop(task.request, None)
    if stack is not None:
        stack.close()
