"""
One ConfigMap or Secret as the API server returns it, and which of two of its states is newer.
"""

from __future__ import annotations

import base64
import binascii
import threading
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from dflag._fork import ForkFollower, follow_forks, settle
from dflag._log import logger
from dflag._raw import Unreadable
from dflag.errors import one_line
from dflag.sources._entries import is_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag.typing import Raw

BEHIND_LISTS: Final = 3
"""How many lists in a row may be older than the known state before the server is asked for its newest version."""

ObjectKind: TypeAlias = Literal["ConfigMap", "Secret"]


@dataclass(frozen=True, slots=True)
class Target:
    """
    The ConfigMap or Secret to read.
    """

    kind: ObjectKind
    namespace: str
    name: str

    @property
    def plural(self) -> str:
        return self.kind.lower() + "s"

    def is_named_by(self, item: Mapping[str, Any]) -> bool:
        """
        Return whether *item* is this object. A fake server or a proxy may ignore the field selector.
        """
        metadata = metadata_of(item)
        return metadata.get("name") == self.name and metadata.get("namespace", self.namespace) == self.namespace

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Present:
    """
    The object as it was at one version.
    """

    version: str
    values: Mapping[str, Raw]


@dataclass(frozen=True, slots=True)
class Absent:
    """
    The object was not there at one version.
    """

    version: str


ObjectState: TypeAlias = Present | Absent


@dataclass(frozen=True, slots=True)
class Failure:
    """
    Why the last request to the API server failed.
    """

    message: str
    unreachable: bool
    absent: bool


class ApiError(Exception):
    """
    The API server could not be asked, or refused to answer.

    Attributes:
        code: The HTTP status, or 0 if there was none.
        retry_after: How many seconds the server asks its clients to wait, or None.
        unreachable: Whether the server may just be down, as opposed to a wrong configuration.
        absent: Whether the answer means that the object cannot exist.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        retry_after: float | None = None,
        unreachable: bool = False,
        absent: bool = False,
    ) -> None:
        super().__init__(one_line(message))  # it may quote a server, which may send any text
        self.code: Final = code
        self.retry_after: Final = retry_after
        self.unreachable: Final = unreachable
        self.absent: Final = absent


class StaleError(Exception):
    """
    A state is older than one that was seen before.
    """


def decode(item: Mapping[str, Any], kind: ObjectKind) -> Present:
    """
    Return the values of an object. A value that should be base64 and is not becomes an `Unreadable`.

    Keys that would not be flags in a volume are left out, so that the volume and the object have the same checksum.

    Raises:
        AttributeError: A field that should be a mapping is something else.
        TypeError: A value is not a text.
    """
    values: dict[str, Raw] = {}
    for field, encoded in (("data", kind == "Secret"), ("binaryData", True)):
        for key, text in (item.get(field) or {}).items():
            if not isinstance(text, str):
                raise TypeError(f"expected {field} of texts")
            if is_key(key):
                values[key] = _unpack(field, key, text) if encoded else text
    return Present(version_of(item), MappingProxyType(values))


def is_older(version: str, than: str) -> bool:
    """
    Return whether *version* is older than *than*, as far as the two can be compared.

    Before Kubernetes 1.35, versions are opaque by definition. Since then they are ordered numbers, and every server has
    always made them like that. A version that is not a number counts as equal to any other.
    """
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


@dataclass(frozen=True, slots=True)
class Look:
    """
    The content of an `ObjectCache` at one moment.

    Attributes:
        state: The newest state that was seen; None before the first one.
        failure: Why the API server cannot be asked, or None if it can.
        changes: How many times the state has changed.
    """

    state: ObjectState | None
    failure: Failure | None
    changes: int


class ObjectCache(ForkFollower):
    """
    The newest state of the object that this process has seen, and the version from which to watch.

    Thread safety: any thread, takes a lock for a few instructions.
    """

    def __init__(self, target: Target) -> None:
        self._target: Final = target
        self._lock = threading.Lock()
        self._state: ObjectState | None = None
        self._failure: Failure | None = None
        self._cursor: str | None = None
        self._changes = 0
        self._behind = 0  # how many lists in a row were older than the known state
        self._token = object()
        follow_forks(self)

    @property
    def cursor(self) -> str | None:
        """
        The version from which a watch goes on, or None if a list must come first.
        """
        return self._cursor

    @property
    def floor(self) -> str | None:
        """
        The version that a list must not be older than. None asks for the newest version that there is.

        It is also None after several lists were older nevertheless. Then the version that the server calls its newest
        counts.
        """
        return self._state.version if self._state is not None and self._behind < BEHIND_LISTS else None

    @property
    def token(self) -> object:
        """
        An object that is replaced at every change of the result of `look`.
        """
        return self._token

    def look(self) -> Look:
        """
        Return the state, the failure and the number of changes, all of the same moment.
        """
        settle()
        with self._lock:
            return Look(self._state, self._failure, self._changes)

    def accept_list(self, state: ObjectState, cursor: str, asked: ObjectState | None, *, is_latest: bool) -> bool:
        """
        Accept the object's state from a list, and return True if anything but its version is new.

        If the newest version was asked for, the list counts even if it is older than the known state. In that case,
        the API server's database was restored or started again, and the history of the known state no longer exists.

        Args:
            state: The object's state, which may be `Absent`.
            cursor: The version of the list.
            asked: The state that was known when the list was requested. If another state has come since, an older list
                does not replace it.
            is_latest: Whether the server was asked for the newest version that there is.

        Raises:
            StaleError: The list is older than the state *asked*, and the newest version was not asked for.
        """
        settle()
        with self._lock:
            known = self._state
            stale = known is not None and is_older(cursor, known.version)
            if known is not None and stale:
                if known is not asked:
                    return False
                if not is_latest:
                    self._behind += 1
                    raise StaleError(f"version {cursor} is older than {known.version}, which was seen before")
            self._behind = 0
            self._cursor = cursor
            new = self._set_state(state)
        if known is not None and stale:
            logger.warning(
                "%s: the resource version went back from %s to %s, as after a restore of the API server's database; "
                "using the object as it is now",
                self._target,
                known.version,
                cursor,
            )
        return new

    def accept_event(self, state: ObjectState) -> bool:
        """
        Accept the object's state from an event of a watch, and return True if anything but its version is new.

        Raises:
            StaleError: The event is older than the known state, so it is a replay.
        """
        settle()
        with self._lock:
            known = self._state
            if known is not None and is_older(state.version, known.version):
                raise StaleError(f"version {state.version} is older than {known.version}, which was seen before")
            self._cursor = state.version
            return self._set_state(state)

    def _set_state(self, state: ObjectState) -> bool:
        known, self._state = self._state, state
        new = known is None or _values(known) != _values(state)
        if new:
            self._changes += 1
            self._token = object()
        return new

    def advance(self, cursor: str) -> None:
        """
        Note that nothing has changed up to a version.
        """
        self._cursor = cursor

    def expire(self) -> None:
        """
        Forget the version to watch from.
        """
        self._cursor = None

    def fail(self, failure: Failure) -> bool:
        """
        Note that the API server cannot be asked, and return True if this failure is new.
        """
        return self._set_failure(failure)

    def recover(self) -> bool:
        """
        Note that the API server can be asked again, and return True if there was a failure.
        """
        return self._set_failure(None)

    def _set_failure(self, failure: Failure | None) -> bool:
        settle()
        with self._lock:
            new = self._failure != failure
            self._failure = failure
            if new:
                self._token = object()
            return new

    # --- forking

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()


def _values(state: ObjectState) -> Mapping[str, Raw] | None:
    return state.values if isinstance(state, Present) else None


def metadata_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """
    Return the metadata of an item that a server sent; empty if it has none.
    """
    metadata = item.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def version_of(item: Mapping[str, Any]) -> str:
    """
    Return the version of an object, a list or a bookmark; empty if it has none.
    """
    return str(metadata_of(item).get("resourceVersion") or "")


def _unpack(field: str, key: str, text: str) -> Raw:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        # Without the cause, which might hold the text of a secret.
        return Unreadable(f"{field} {key!r} is not valid base64")
