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

    This applies to tasks that a worker runs, in any pool, and to ``apply()``. A direct call, ``task()``, is a plain
    function call and has the pin of its caller, if there is one. A retry is pinned to the revision at its own start.

    Call this function before tasks are declared, so that no task can run without a pin. A second call for the same app
    and registry does nothing.

    Args:
        app: The app, or ``celery.current_app``.
        registry: The registry, or a `dflag.Flags` class.
        revision_header: Whether ``self.request.headers`` of a running task contains the number of its revision, as
            ``X-Config-Revision``. The task itself and handlers of Celery's signals can read it.

    Raises:
        ArgumentError: An argument has the wrong type.

    Thread safety: any thread.
    """
    check_argument("app", app, Celery, "a Celery app")
    store = store_to_pin(registry)
    check_switch("revision_header", revision_header)
    _stores.setdefault(_behind_proxy(app), {}).setdefault(store, revision_header)
    task_prerun.connect(_begin, weak=False)
    task_postrun.connect(_end, weak=False)


_stores: Final[weakref.WeakKeyDictionary[Celery, dict[Store, bool]]] = weakref.WeakKeyDictionary()
"""The stores that the tasks of each app are pinned to, each with the option *revision_header*."""

_running: Final[weakref.WeakKeyDictionary[Any, ExitStack]] = weakref.WeakKeyDictionary()
"""
The pins to close when a task ends, by the request of the task.

If the second signal is missing, for instance because another handler ends the thread, the pins end with the request.
"""


# Celery sends signals for every way to run a task, whatever the class of the task does in ``__call__``.
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
    Return the app itself. A task that was given no app has the proxy ``celery.current_app``.
    """
    found: Celery = getattr(app, "_get_current_object", lambda: app)()
    return found


def _end(task: Any, **_signal: object) -> None:
    stack = _running.pop(task.request, None)
    if stack is not None:
        stack.close()
