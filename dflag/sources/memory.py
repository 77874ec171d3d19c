"""
A source whose values the program itself supplies.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from dflag._raw import Unreadable
from dflag.errors import DefinitionError
from dflag.sources._base import Source, Watch

if TYPE_CHECKING:
    from dflag.typing import Raw, Wake


class MemorySource(Source):
    """
    A source that holds its values in memory.

    It is for tests, and for values that the program gets in its own way.

        >>> source = MemorySource({"rate_limit": "60"})
        >>> source.update({"rate_limit": "70"})
        >>> dict(source.read())
        {'rate_limit': '70'}

    Args:
        mapping: The first set of values, which is copied. None means an empty set.
        name: The name of the layer.
        secret: Whether all values are secret.

    Raises:
        DefinitionError: The name is empty or is not a str, or *secret* is not a bool.
        TypeError: A name or a value in the mapping is of a type that a source may not return.

    Thread safety: any thread, lock-free.
    """

    def __init__(self, mapping: Mapping[str, Raw] | None = None, *, name: str = "memory", secret: bool = False) -> None:
        if not name or not isinstance(name, str):
            raise DefinitionError(f"memory source: expected a name, got {name!r}")
        if not isinstance(secret, bool):
            raise DefinitionError(f"memory source {name!r}: expected secret as True or False, got {secret!r}")
        self._name = str.__str__(name)  # a subclass may print as anything
        self._secret = secret
        # The values and their token are in one tuple, so that one assignment replaces both and no lock is needed.
        # Another thread could hold a lock at the moment of a fork.
        self._held = _checked({} if mapping is None else mapping), object()
        self._wakes: dict[_MemoryWatch, Wake] = {}

    @property
    def name(self) -> str:
        """The name given at construction."""
        return self._name

    @property
    def secret(self) -> bool:
        """Whether all values are secret, as given at construction."""
        return self._secret

    def read(self) -> Mapping[str, Raw]:
        """
        Return the current set of values as a read-only mapping.
        """
        return self._held[0]

    def probe(self) -> object:
        """
        Return a token that changes with every `update`.
        """
        return self._held[1]

    def update(self, values: Mapping[str, Raw]) -> None:
        """
        Replace the complete set of values by a copy of *values*, and wake the updaters that watch the source.

        A name that is not in *values* is removed. To change one value, pass all of them:
        ``source.update({**source.read(), ...})``.

        Raises:
            TypeError: A name or a value is of a type that a source may not return. Nothing is replaced.
        """
        self._held = _checked(values), object()
        for wake in list(self._wakes.values()):
            wake()

    def watch(self, wake: Wake) -> Watch:
        """
        Call *wake* after each `update` until the watch is closed.
        """
        watch = _MemoryWatch(self._wakes)
        self._wakes[watch] = wake
        return watch

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self._name!r})"


class _MemoryWatch(Watch):
    mode = "memory"

    def __init__(self, wakes: dict[_MemoryWatch, Wake]) -> None:
        self._wakes = wakes

    def close(self) -> None:
        self._wakes.pop(self, None)


def _checked(values: Mapping[str, Raw]) -> Mapping[str, Raw]:
    if not isinstance(values, Mapping):
        raise TypeError(f"expected a mapping of names to str or bytes, got {type(values).__name__}")
    copied: dict[str, Raw] = {}
    for key, value in dict(values).items():
        if not isinstance(key, str):
            raise TypeError(f"expected names to be str, got {key!r}")
        if not isinstance(value, (str, bytes, Unreadable)):
            # The value itself stays out of the message: it may be a secret.
            raise TypeError(f"{key}: expected str or bytes, got {type(value).__name__}; write a number as its text")
        copied[str.__str__(key)] = value
    return MappingProxyType(copied)
