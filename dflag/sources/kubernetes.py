"""
A ConfigMap or Secret at the API server as a source.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from dflag.errors import DefinitionError, SourceError, check_seconds
from dflag.sources._base import Source, Watch
from dflag.sources._names import NAMESPACE_NAME, OBJECT_NAME, is_namespace_name, is_object_name
from dflag.sources._objects import ApiError, Failure, ObjectCache, Present, StaleError, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag.sources._api import ApiServer
    from dflag.sources._objects import ObjectKind
    from dflag.sources._reflector import Reflector
    from dflag.typing import Raw, Wake


class KubernetesSource(Source):
    """
    One ConfigMap or Secret, read and watched at the API server, so that a change is in force within milliseconds.

    It needs the permission to list and watch the object, and costs the API server one watch per process. A volume needs
    neither, and shows a change within about a minute. Keys that would not be flags in a volume are left out here too,
    so that both have the same revision checksum.

    The configuration comes from the pod's service account, or from a kubeconfig with tokens, certificates or an exec
    plugin. It is read again for every connection after a failure, from the files that were named when the source was
    made.

    Args:
        name: The object's name.
        namespace: Its namespace. None means the namespace of the context or of the pod.
        kind: ``"ConfigMap"`` or ``"Secret"``.
        kubeconfig: A kubeconfig file. None takes the files in ``KUBECONFIG``, merged as kubectl does it, or else the
            pod's service account, or else ``~/.kube/config``.
        context: A context of the kubeconfig. None means its current context.
        watch_seconds: The longest time in seconds, above 0, that one watch lasts. A silently dropped connection is
            noticed at most 5 seconds after this time.

    Raises:
        DefinitionError: A name is not valid, or an option is out of its range.
        ImportError: The extra is not installed: ``pip install 'dflag[kubernetes]'``.
        SourceError: No namespace was given, and no configuration names one.

    Thread safety: one thread at a time; the watch has a thread of its own.

    ::

        updater = dflag.Updater.setup(flags, KubernetesSource("shop-flags", "shop"))
    """

    def __init__(
        self,
        name: str,
        namespace: str | None = None,
        *,
        kind: ObjectKind = "ConfigMap",
        kubeconfig: str | os.PathLike[str] | None = None,
        context: str | None = None,
        watch_seconds: float = 300.0,
    ) -> None:
        _check_target(kind, name, namespace)
        self._watch_seconds: Final = _check_options(kubeconfig, context, watch_seconds)
        try:
            from dflag.sources import _api, _kubeconfig
        except ImportError as error:
            raise ImportError(f"KubernetesSource needs an extra: pip install 'dflag[kubernetes]' ({error})") from error
        self._where: Final = _kubeconfig.places(None if kubeconfig is None else os.fspath(kubeconfig))
        self._context: Final = context
        if namespace is None:
            try:
                namespace = _kubeconfig.load(self._where, context, _api.SERVICE_ACCOUNT).namespace
            except ApiError as fault:
                raise SourceError(str(fault)) from fault
        if namespace is None:
            raise SourceError(
                "kubernetes source: cannot find the namespace of the pod: "
                f"there is no {_api.SERVICE_ACCOUNT}/namespace and POD_NAMESPACE is not set; pass namespace="
            )
        # Plain str objects: a subclass may print as anything, even in the text of a request.
        self._target: Final = Target(kind, str.__str__(namespace), str.__str__(name))
        self._cache: Final = ObjectCache(self._target)
        self._watch: Reflector | None = None
        self._is_followed = False  # whether the watch goes on from the last read; if not, the next read asks
        self._given = 0  # the `Look.changes` that was read last
        self._partial_reads = 0  # how many reads returned values while the watch was refused; the next read raises

    @property
    def name(self) -> str:
        """The kind, namespace and name of the object, such as ``"configmap/default/web"``."""
        return f"{self._target.kind.lower()}/{self._target.namespace}/{self._target.name}"

    @property
    def secret(self) -> bool:
        """Whether the object is a Secret."""
        return self._target.kind == "Secret"

    def locate(self, key: str) -> str:
        """
        Name the object and the key: ``"configmap default/web [rate_limit]"``.
        """
        return f"{self._target} [{key}]"

    def read(self) -> Mapping[str, Raw]:
        """
        Return the values that a running watch has received, or else ask the API server.

        Raises:
            SourceError: There is no such object (``missing=True``), or the API server does not answer
                (``unreachable=True``) or refuses the request.
        """
        watch = self._watch
        if watch is None or not self._is_followed:
            self._ask(watch)
            self._is_followed = True
        look = self._cache.look()
        if look.failure is not None:
            if look.state is None or self._given == look.changes:
                raise SourceError(
                    look.failure.message, missing=look.failure.absent, unreachable=look.failure.unreachable
                )
            # Values from a list count, even if no watch can be opened, so they are returned now. The new token makes
            # the updater read again, and that read raises the failure.
            self._partial_reads += 1
            if watch is not None:
                watch.wake()
        self._given = look.changes
        if isinstance(look.state, Present):
            return look.state.values
        raise SourceError(f"{self._target}: no such {self._target.kind}", missing=True)

    def probe(self) -> object:
        """
        Return a token that changes with the known state of the object, and with failures.
        """
        return self._cache.token, self._partial_reads

    def invalidate(self) -> None:
        """
        Make the next `read` ask the API server, even while a watch is running.
        """
        self._is_followed = False

    def watch(self, wake: Wake) -> Watch:
        """
        Watch the object on a thread of its own, from the version that was read last.
        """
        from dflag.sources._reflector import Reflector

        watch = Reflector(self._server(), self._target, self._cache, wake, self._watch_seconds, ended=self._end)
        self._watch = watch
        watch.start()
        return watch

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def _end(self, watch: Watch) -> None:
        if self._watch is watch:
            self._watch, self._is_followed = None, False

    def _server(self) -> ApiServer:
        from dflag.sources._api import ApiServer

        return ApiServer(self._target, self._where, self._context)

    def _ask(self, watch: Reflector | None) -> None:
        asked = self._cache.look().state
        try:
            with contextlib.closing(self._server()) as server:
                state, cursor, is_latest = server.list(self._cache.floor)
            if watch is not None:
                watch.touch()
            self._cache.accept_list(state, cursor, asked, is_latest=is_latest)
            if watch is None or not watch.is_refused:
                self._cache.recover()
        except ApiError as fault:
            self._cache.fail(Failure(str(fault), unreachable=fault.unreachable, absent=fault.absent))
        except StaleError as error:
            behind = f"{self._target}: the API server is behind: {error}"
            self._cache.fail(Failure(behind, unreachable=True, absent=False))


def _check_target(kind: object, name: object, namespace: object) -> None:
    if kind not in ("ConfigMap", "Secret"):
        raise DefinitionError(f"kubernetes source: expected kind 'ConfigMap' or 'Secret', got {kind!r}")
    if not isinstance(name, str) or not is_object_name(name):
        raise DefinitionError(f"kubernetes source: expected as name {OBJECT_NAME}, got {name!r:.80}")
    if namespace is not None and not (isinstance(namespace, str) and is_namespace_name(namespace)):
        raise DefinitionError(f"kubernetes source: expected as namespace {NAMESPACE_NAME}, got {namespace!r:.80}")


def _check_options(kubeconfig: object, context: object, watch_seconds: object) -> float:
    if context is not None and not isinstance(context, str):
        raise DefinitionError(f"kubernetes source: expected as context a name or None, got {context!r}")
    if kubeconfig is not None and not isinstance(kubeconfig, (str, os.PathLike)):
        raise DefinitionError(f"kubernetes source: expected as kubeconfig a path or None, got {kubeconfig!r}")
    seconds = check_seconds("watch_seconds", watch_seconds, positive=True, subject="kubernetes source: ")
    if seconds is None:
        raise DefinitionError("kubernetes source: expected watch_seconds above 0 and finite, got None")
    return seconds
