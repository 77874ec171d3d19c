"""
Evaluations of flags for other flag systems: the value, the reason for it, and metadata.

OpenFeature and its remote protocol both use this module, so they give the same result for every flag.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from dflag._flags import layers_of, pipeline_of
from dflag._layers import DEFAULT, OWN_LAYERS, PINNED
from dflag._registry import checksum_of, registry_of, sources_of, store_of_registry
from dflag._snapshot import as_of, innermost_pin, matcher_of, open_pins, values_of
from dflag._transaction import highest_layer
from dflag._updater import check_updater_of, unhealthy_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from dflag._flags import Flag
    from dflag._keyed import KeyedValue
    from dflag._registry import FlagRegistry, RegistryLike
    from dflag._snapshot import Snapshot
    from dflag._updater import Updater

Reason: TypeAlias = Literal["STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "STALE"]

_KEPT_GENERATIONS: Final = 8
"""For how many snapshots to keep evaluations: the one in force, and those that requests have pinned shortly before."""

_CHECKSUM: Final = "checksum"


class Metadata(Mapping[str, "bool | int | float | str"]):
    """
    The metadata of an evaluation. The checksum, over all values, is computed on first use.
    """

    __slots__ = ("_checksum", "_known")

    def __init__(self, known: dict[str, int | str], checksum: Callable[[], str]) -> None:
        self._known: Final = known
        self._checksum: Final = checksum

    def __getitem__(self, name: str) -> int | str:
        return self._checksum() if name == _CHECKSUM else self._known[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._known
        yield _CHECKSUM

    def __len__(self) -> int:
        return len(self._known) + 1

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


class Evaluation(NamedTuple):
    """
    The evaluation of one flag for one key at one moment.

    Attributes:
        flag: The flag.
        value: The value as the flag has it; `dflag._kinds._base.Kind.portable` converts it for other systems.
        reason: The reason for the value, in OpenFeature's words.
        variant: The name of the rule that gives the value, or else of the layer.
        metadata: The metadata.
    """

    flag: Flag[Any]
    value: Any
    reason: Reason
    variant: str
    metadata: Metadata


class Generation:
    """
    The evaluations at one snapshot while the same sources are unhealthy.

    Attributes:
        snapshot: The snapshot.
        unhealthy: The names of the sources that are unhealthy.
        kept: A cache for callers: the results that they derive from evaluations, by keys of their own.

    Thread safety: any thread, lock-free.
    """

    __slots__ = ("_checksums", "_registry", "kept", "snapshot", "unhealthy")

    def __init__(self, registry: FlagRegistry, snapshot: Snapshot, unhealthy: tuple[str, ...]) -> None:
        self._registry: Final = registry
        self.snapshot: Final = snapshot
        self.unhealthy: Final = unhealthy
        self.kept: Final[dict[Any, Any]] = {}
        self._checksums: Final[dict[str, str]] = {}

    def holds(self, flag: Flag[Any]) -> bool:
        """
        Return whether the snapshot has the flag. It lacks flags that were declared later.
        """
        return flag in values_of(self.snapshot)

    def matcher(self, flag: Flag[Any]) -> Callable[[str], KeyedValue | None]:
        """
        Return the function that finds the `KeyedValue` of a keyed flag for a key; it returns None if there is none.
        """
        return matcher_of(self.snapshot, flag)

    def match(self, flag: Flag[Any], key: str | None) -> KeyedValue | None:
        """
        Return the `KeyedValue` of a flag for a key; None if the flag's value without a key applies.
        """
        return None if key is None or flag.by is None else self.matcher(flag)(key)

    def evaluate(self, flag: Flag[Any], match: KeyedValue | None) -> Evaluation:
        """
        Evaluate a flag. The result is valid for all keys with the same `match`.
        """
        if match is None:
            layers = as_of(self.snapshot, flag, layers_of)
            origin = PINNED if PINNED in layers else highest_layer(layers, store_of_registry(self._registry).ranking)
            origins: Collection[str] = (origin,)
            if pipeline_of(flag).kind.is_map and origin not in OWN_LAYERS:
                origins = layers  # the value of a map is merged from several sources
            reason: Reason = "DEFAULT" if origin == DEFAULT else "STATIC"
            value, variant = self.snapshot[flag], layers[origin].rule if origin in layers else None
        else:
            origin, value, variant = match.source, match.value, match.rule
            origins = (origin,)
            if pipeline_of(flag).kind.is_map:
                origins = {origin, *as_of(self.snapshot, flag, layers_of)}
            reason = "SPLIT" if match.is_share else "TARGETING_MATCH"
        if not set(self.unhealthy).isdisjoint(origins):
            reason = "STALE"
        return Evaluation(flag, value, reason, variant or origin, self._metadata(flag, origin))

    def _metadata(self, flag: Flag[Any], origin: str) -> Metadata:
        known: dict[str, int | str] = {"revision": self.snapshot.revision, "origin": origin}
        if flag.owner is not None:
            known["owner"] = flag.owner
        return Metadata(known, lambda: self.checksum(origin))

    def checksum(self, origin: str = DEFAULT) -> str:
        """
        Return the checksum of a source's revision, or of all values if *origin* is not a source or has no revision.
        """
        found = self._checksums.get(origin)
        if found is None:
            state = sources_of(self._registry).state_at(origin, self.snapshot)
            revision = state.results.last_applied or state.revision
            found = checksum_of(self.snapshot) if revision is None else revision.get().checksum
            self._checksums[origin] = found
        return found


class Evaluations:
    """
    Evaluates the flags of a registry.

    Attributes:
        registry: The registry.

    Args:
        given: The registry, or a `dflag.Flags` class.
        updater: The updater whose sources are checked for health; None to check no health.
        secrets: Whether secret flags are shown too.

    Raises:
        DefinitionError: An argument has the wrong type, or the updater feeds another registry.

    Thread safety: any thread, lock-free.
    """

    def __init__(self, given: RegistryLike, updater: Updater | None, *, secrets: bool) -> None:
        registry = registry_of(given)
        self._store: Final = store_of_registry(registry)
        if updater is not None:
            check_updater_of(updater, registry)
        self.registry: Final = registry
        self._updater: Final = updater
        self._secrets: Final = secrets
        self._recent: tuple[Generation, ...] = (Generation(registry, self._store.snapshot(), ()),)

    def current(self) -> Generation:
        """
        Return the generation of the innermost pin that this context sees, or else of the values in force.
        """
        pin = innermost_pin(self._store) if open_pins else None
        snapshot = self._store.snapshot() if pin is None else pin.snapshot
        unhealthy = () if self._updater is None else unhealthy_sources(self._updater)
        generation = self._recent[0]
        if generation.snapshot is snapshot and generation.unhealthy == unhealthy:  # nearly always
            return generation
        return self._at(snapshot, unhealthy)

    def now(self) -> Generation:
        """
        Return the generation of the values in force, regardless of pins.
        """
        return self._at(self._store.snapshot(), () if self._updater is None else unhealthy_sources(self._updater))

    def find(self, name: str) -> Flag[Any] | None:
        """
        Return the flag with this name; None if there is none or it must not be shown.
        """
        flag = self._store.flags.get(name)
        return None if flag is None or not self.shows(flag) else flag

    def shows(self, flag: Flag[Any]) -> bool:
        """
        Return whether a flag may be shown: secret flags only with ``secrets=True``.
        """
        return self._secrets or not flag.secret

    def _at(self, snapshot: Snapshot, unhealthy: tuple[str, ...]) -> Generation:
        recent = self._recent
        for generation in recent:
            if generation.snapshot is snapshot and generation.unhealthy == unhealthy:
                return generation
        generation = Generation(self.registry, snapshot, unhealthy)
        self._recent = (generation, *recent[: _KEPT_GENERATIONS - 1])  # one added by another thread may be lost
        return generation


def key_for(flag: Flag[Any], targeting_key: object, attributes: Mapping[str, object]) -> str | None:
    """
    Return the key for a keyed flag from an evaluation context: the attribute named by `Flag.by`, or the targeting key.

    Returns:
        The key; None for a flag without keys, or if the context has no key or an empty one.

    Raises:
        TypeError: The key is not a text. The message begins with the flag.
    """
    if flag.by is None:
        return None
    key = attributes.get(flag.by)
    name = flag.by
    if key is None:
        key, name = targeting_key, "the targeting key"
    if key is None or isinstance(key, str):
        return key or None
    raise TypeError(f"flag {flag.name!r}: expected {name} as a text, got a value of type {type(key).__name__}")
