"""
One ConfigMap or Secret as the API server gives it, and which of two of its states is the newer.
"""

from __future__ import annotations

import base64
import binascii
import threading
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from dflag._fork import follow_forks
from dflag.sources._entries import is_key
from dflag.typing import Unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag.typing import Raw

Kind: TypeAlias = Literal["ConfigMap", "Secret"]


@dataclass(frozen=True, slots=True)
class Target:
    """
    Which object is meant.
    """

    kind: Kind
    namespace: str
    name: str

    @property
    def plural(self) -> str:
        return self.kind.lower() + "s"

    def is_named_by(self, item: Mapping[str, Any]) -> bool:
        """
        Tell this object from others: a fake server or a proxy may ignore the field selector.
        """
        metadata = item.get("metadata") or {}
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


State: TypeAlias = Present | Absent


@dataclass(frozen=True, slots=True)
class Trouble:
    """
    Why the API server could not be asked the last time.
    """

    message: str
    unreachable: bool
    absent: bool


class StaleError(Exception):
    """
    A state is older than one that was seen before.
    """


def decode(item: Mapping[str, Any], kind: Kind) -> Present:
    """
    Take the values out of an object; a value that is not base64 where it should be comes as `Unreadable`.

    Keys that no volume would show as flags are left out, so that both have one checksum.

    Raises:
        AttributeError: It has no mapping where one belongs.
        TypeError: A value is no text.
    """
    values: dict[str, Raw] = {}
    for field, encoded in (("data", kind == "Secret"), ("binaryData", True)):
        for key, text in (item.get(field) or {}).items():
            if not isinstance(text, str):
                raise TypeError(f"expected {field} of texts")
            if is_key(key):
                values[key] = _unpack(field, key, text) if encoded else text
    return Present(_version(item), MappingProxyType(values))


def absent_from(item: Mapping[str, Any]) -> Absent:
    """
    Read a list without the object, or the object's last state in the event of its deletion.
    """
    return Absent(_version(item))


def is_older(version: str, than: str) -> bool:
    """
    Compare two versions, where that means anything.

    They are opaque by the old rule, and ordered numbers by that of Kubernetes 1.35, which is how every server has made
    them all along. What is no number compares as equal.
    """
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


class Newest:
    """
    The newest state of the object that anybody here has seen, and the version from which to watch.

    Thread safety: any thread; a lock that is held for a few instructions.
    """

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._state: State | None = None
        self._trouble: Trouble | None = None
        self._cursor: str | None = None
        self._token = object()
        follow_forks(self)

    @property
    def cursor(self) -> str | None:
        """
        The version from which a watch goes on; None when there must be a list first.
        """
        return self._cursor

    @property
    def floor(self) -> str | None:
        """
        The version that no list may be older than, if any is known.
        """
        return self._state.version if self._state is not None else None

    @property
    def token(self) -> object:
        """
        An object that is another one after every change of what `look` gives.
        """
        return self._token

    def look(self) -> tuple[State | None, Trouble | None]:
        """
        Give the state and what is wrong, as they belong together.
        """
        with self._lock:
            return self._state, self._trouble

    def accept(self, state: State, cursor: str) -> bool:
        """
        Take a state in; True when it brings anything new but its version.

        Raises:
            StaleError: It is older than one that was seen; a server that is behind, or a replay.
        """
        with self._lock:
            known = self._state
            if known is not None and is_older(state.version, known.version):
                raise StaleError(f"version {state.version} is older than {known.version}, which was seen before")
            new = self._trouble is not None or known is None or _values(known) != _values(state)
            self._state, self._trouble, self._cursor = state, None, cursor
            if new:
                self._token = object()
            return new

    def advance(self, cursor: str) -> None:
        """
        Note that nothing has changed up to a version.
        """
        if cursor:
            self._cursor = cursor

    def expire(self) -> None:
        """
        Forget the version to watch from.
        """
        self._cursor = None

    def fail(self, trouble: Trouble) -> bool:
        """
        Note that the API server cannot be asked; True when that is news.
        """
        return self._set_trouble(trouble)

    def recover(self) -> bool:
        """
        Note that the API server can be asked again; True when that is news.
        """
        return self._set_trouble(None)

    def _set_trouble(self, trouble: Trouble | None) -> bool:
        with self._lock:
            new = self._trouble != trouble
            self._trouble = trouble
            if new:
                self._token = object()
            return new

    # --- forking

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        self._lock.release()

    def resume_in_child(self) -> None:
        pass


def _values(state: State) -> Mapping[str, Raw] | None:
    return state.values if isinstance(state, Present) else None


def _version(item: Mapping[str, Any]) -> str:
    return str((item.get("metadata") or {}).get("resourceVersion") or "")


def _unpack(field: str, key: str, text: str) -> Raw:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        # Without the cause, which a secret's text would stand in.
        return Unreadable(f"{field} {key!r} is not valid base64")
