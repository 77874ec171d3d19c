"""
An OpenFeature provider, through which code that uses OpenFeature reads the flags of a registry.

>>> import dflag
>>> from openfeature import api
>>> from dflag.integrations.openfeature import DflagProvider
>>> flags = dflag.FlagRegistry()
>>> rate = flags.dyn_int("rate_limit", 50)
>>> api.set_provider_and_wait(DflagProvider(flags), domain="shop")
>>> client = api.get_client("shop")
>>> client.get_integer_value("rate_limit", 10)
50
>>> client.get_integer_details("rate_limit", 10).variant
'default'
>>> api.clear_providers()
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode, FlagNotFoundError, InvalidContextError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import FeatureProvider, Metadata

from dflag._evaluation import Evaluations, key_for
from dflag._flags import pipeline_of
from dflag._kinds._base import Problem
from dflag._registry import store_of_registry
from dflag._updater import add_look_listener, refused_sources, remove_look_listener, unhealthy_sources
from dflag.errors import UpdaterStateError, check_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import CoroutineType, FrameType

    from openfeature.evaluation_context import EvaluationContext
    from openfeature.flag_evaluation import FlagValueType
    from openfeature.hook import Hook

    from dflag import Updater
    from dflag._evaluation import Evaluation, Generation
    from dflag._keyed import KeyedValue
    from dflag._registry import RegistryLike

    Emit = Callable[[FeatureProvider, ProviderEvent, ProviderEventDetails], None]

    class AbstractProvider:
        """
        The used part of the SDK's class. pyright cannot verify a type with a base class from a namespace package.
        """

        resolve_boolean_details_async: Callable[..., CoroutineType[Any, Any, FlagResolutionDetails[bool]]]
        resolve_string_details_async: Callable[..., CoroutineType[Any, Any, FlagResolutionDetails[str]]]
        resolve_integer_details_async: Callable[..., CoroutineType[Any, Any, FlagResolutionDetails[int]]]
        resolve_float_details_async: Callable[..., CoroutineType[Any, Any, FlagResolutionDetails[float]]]
        resolve_object_details_async: Callable[
            ..., CoroutineType[Any, Any, FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]]
        ]
        track: Callable[..., None]
else:
    from openfeature.provider import AbstractProvider

__all__ = ["DflagProvider"]


def __dir__() -> list[str]:
    return __all__


T = TypeVar("T")

_METADATA: Final = Metadata(name="dflag")


class _Type:
    """
    A type that a client asks for.

    The check is exact: neither ``True`` nor ``2.0`` is an integer. An integer is a float, as in other languages.
    """

    __slots__ = ("_classes", "name")

    def __init__(self, name: str, *classes: type) -> None:
        self.name: Final = name
        self._classes: Final = classes

    def take(self, evaluation: Evaluation) -> Any:
        """
        Return the value as this type.

        Raises:
            TypeMismatchError: The value is of another type.
        """
        flag = evaluation.flag
        kind = pipeline_of(flag).kind
        value = None
        with suppress(Problem):
            value = kind.portable(evaluation.value)
        if isinstance(value, self._classes) and (self is _BOOLEAN or not isinstance(value, bool)):
            return value
        if self is _FLOAT and type(value) is int:
            with suppress(OverflowError):
                return float(value)
        if self is _STRING and kind.speaks_text:
            return kind.format(evaluation.value)
        raise TypeMismatchError(f"flag {flag.name!r}: its kind is {flag.type_name}, not {self.name}")


_BOOLEAN: Final = _Type("boolean", bool)
_STRING: Final = _Type("string", str)
_INTEGER: Final = _Type("integer", int)
_FLOAT: Final = _Type("float", float)
_OBJECT: Final = _Type("object", dict, list)


_MOST_ANSWERS: Final = 1000
"""How many answers are cached for one keyed flag. Rules that add to a map make a value for each combination."""


class _Keyed:
    """
    The cached answers for a keyed flag.

    Attributes:
        by: The name of the attribute that holds the key.
        match: A function that returns the `KeyedValue` that gives a key its value, or None if no rule gives one.
        answers: The details for each `KeyedValue`, and under None those for all other keys; at most `_MOST_ANSWERS`.
    """

    __slots__ = ("answers", "by", "match")

    def __init__(self, by: str, match: Callable[[str], KeyedValue | None]) -> None:
        self.by: Final = by
        self.match: Final = match
        self.answers: Final[dict[KeyedValue | None, FlagResolutionDetails[Any]]] = {}

    def keep(self, match: KeyedValue | None, details: FlagResolutionDetails[Any]) -> None:
        if len(self.answers) >= _MOST_ANSWERS:
            self.answers.clear()
        self.answers[match] = details


class _Users:
    """
    The providers that use one updater. The last provider stops the updater, if a provider has started it.

    The SDK shuts a provider down only after it has initialized its replacement.
    """

    __slots__ = ("_has_started", "_providers")

    def __init__(self) -> None:
        self._providers: Final[WeakSet[DflagProvider]] = WeakSet()
        self._has_started = False

    def enter(self, provider: DflagProvider, updater: Updater) -> None:
        self._providers.add(provider)  # before `_run`: the last other provider may be about to stop the updater
        try:
            self._run(updater)
        except BaseException:
            self._providers.discard(provider)
            raise

    def leave(self, provider: DflagProvider, updater: Updater) -> None:
        self._providers.discard(provider)
        if self._has_started and not self._providers:
            self._has_started = False
            updater.stop()
            if self._providers:  # a provider that came meanwhile found the updater running
                self._run(updater)

    def _run(self, updater: Updater) -> None:
        state = updater.status().state
        if state == "running":
            return
        with suppress(UpdaterStateError):  # another thread has started it meanwhile
            if state == "new":
                updater.initialize()
            updater.start()
            self._has_started = True


_users: Final[WeakKeyDictionary[Updater, _Users]] = WeakKeyDictionary()


class DflagProvider(AbstractProvider):
    """
    A provider that evaluates OpenFeature's flags from a registry.

    Flag keys are the names of flags. A flag declared with ``by=`` is evaluated for the attribute of the evaluation
    context that ``by`` names, or for the targeting key if there is no such attribute. Within ``registry.pinned()`` each
    evaluation uses the pinned revision. Types that OpenFeature lacks are converted: an enum to its text; a list, set,
    map or model to an object; a duration to its seconds as a float, or to its text as a string. Bytes cannot be
    evaluated.

    Each evaluation returns the reason, the variant (the rule or the layer that the value comes from) and the metadata
    ``revision``, ``checksum``, ``origin``, and ``owner`` if the flag has one.

    Args:
        registry: The registry, or a `dflag.Flags` class.
        updater: The updater of the registry, or None. With an updater, a value from a source that cannot be read has
            the reason ``STALE``, clients are notified of staleness and recovery, and `initialize` starts the updater
            unless it already runs.
        secrets: Whether secret flags can be read. If not, they are reported as not found.

    Raises:
        DefinitionError: An argument has the wrong type, or the updater feeds another registry.

    Thread safety: any thread, lock-free; events are emitted on the registry's notifier thread.
    """

    def __init__(self, registry: RegistryLike, updater: Updater | None = None, *, secrets: bool = False) -> None:
        check_argument("secrets", secrets, bool, "True or False")
        self._evaluations: Final = Evaluations(registry, updater, secrets=secrets)
        self._store: Final = store_of_registry(self._evaluations.registry)
        self._updater: Final = updater
        self._emit: Emit | None = None
        self._is_ready = False
        self._health = ProviderEvent.PROVIDER_READY

    # --- life cycle

    def attach(self, on_emit: Emit) -> None:
        self._emit = on_emit

    def detach(self) -> None:
        self._emit = None

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002 - nothing is evaluated yet
        """
        Start the updater, unless it already runs, and start emitting events. Idempotent.

        Raises:
            UpdateError: As `Updater.initialize`.
            SourceError: As `Updater.initialize`.
        """
        sdk_emits = _emits_ready(sys._getframe(1))
        if not self._is_ready:
            try:
                self._start()
            except BaseException as error:
                if not sdk_emits:
                    details = ProviderEventDetails(message=str(error), error_code=ErrorCode.GENERAL)
                    self.emit(ProviderEvent.PROVIDER_ERROR, details)
                raise
        if not sdk_emits:
            self.emit(ProviderEvent.PROVIDER_READY, ProviderEventDetails())

    def _start(self) -> None:
        updater = self._updater
        if updater is not None:
            _users.setdefault(updater, _Users()).enter(self, updater)
        self._is_ready = True
        self._health = ProviderEvent.PROVIDER_READY
        self._store.add_commit_listener(self._on_commit)
        if updater is not None:
            add_look_listener(updater, self._on_look)

    def shutdown(self) -> None:
        """
        Stop emitting events. Stop the updater if a provider has started it and no other uses it. Idempotent.
        """
        self._is_ready = False
        self._store.remove_commit_listener(self._on_commit)
        if self._updater is not None:
            remove_look_listener(self._updater, self._on_look)
            _users.setdefault(self._updater, _Users()).leave(self, self._updater)

    def get_metadata(self) -> Metadata:
        return _METADATA

    def get_provider_hooks(self) -> list[Hook]:
        return []

    # --- events

    def emit(self, event: ProviderEvent, details: ProviderEventDetails) -> None:
        emit = self._emit
        if emit is not None:
            emit(self, event, details)

    def _on_commit(self, names: tuple[str, ...]) -> None:
        shown = [name for name in names if self._evaluations.find(name) is not None]
        if shown:
            details = ProviderEventDetails(flags_changed=shown)
            self._emit_while_ready(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, details)

    def _on_look(self) -> None:
        """
        Emit an event if the health of the sources has changed. Evaluations call this too, in case a look never ends.
        """
        event, details = self._describe_health()
        if event is not self._health:
            self._health = event
            self._store.deliver(partial(self._emit_while_ready, event, details), "the OpenFeature provider")

    def _emit_while_ready(self, event: ProviderEvent, details: ProviderEventDetails) -> None:
        if self._is_ready:
            self.emit(event, details)

    def _describe_health(self) -> tuple[ProviderEvent, ProviderEventDetails]:
        updater = self._updater
        if updater is None:
            return ProviderEvent.PROVIDER_READY, ProviderEventDetails()
        if unhealthy := unhealthy_sources(updater):
            return ProviderEvent.PROVIDER_STALE, ProviderEventDetails(message=f"cannot read {', '.join(unhealthy)}")
        if refused := refused_sources(updater):
            message = f"refused whole: {', '.join(refused)}"
            return ProviderEvent.PROVIDER_ERROR, ProviderEventDetails(message=message, error_code=ErrorCode.GENERAL)
        return ProviderEvent.PROVIDER_READY, ProviderEventDetails()

    # --- evaluating; each method is written in full, because another call would add a third to its cost

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: ARG002, FBT001 - the interface; the client falls back to it
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        generation = self._evaluations.current()
        kept = generation.kept.get((_BOOLEAN, flag_key))
        if type(kept) is FlagResolutionDetails:
            return kept
        return self._evaluate(generation, _BOOLEAN, flag_key, evaluation_context, kept)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,  # noqa: ARG002 - as above
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        generation = self._evaluations.current()
        kept = generation.kept.get((_STRING, flag_key))
        if type(kept) is FlagResolutionDetails:
            return kept
        return self._evaluate(generation, _STRING, flag_key, evaluation_context, kept)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,  # noqa: ARG002 - as above
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        generation = self._evaluations.current()
        kept = generation.kept.get((_INTEGER, flag_key))
        if type(kept) is FlagResolutionDetails:
            return kept
        return self._evaluate(generation, _INTEGER, flag_key, evaluation_context, kept)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,  # noqa: ARG002 - as above
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        generation = self._evaluations.current()
        kept = generation.kept.get((_FLOAT, flag_key))
        if type(kept) is FlagResolutionDetails:
            return kept
        return self._evaluate(generation, _FLOAT, flag_key, evaluation_context, kept)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],  # noqa: ARG002 - as above
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        generation = self._evaluations.current()
        kept = generation.kept.get((_OBJECT, flag_key))
        if type(kept) is FlagResolutionDetails:
            return kept
        return self._evaluate(generation, _OBJECT, flag_key, evaluation_context, kept)

    def _evaluate(
        self,
        generation: Generation,
        wanted: _Type,
        flag_key: str,
        context: EvaluationContext | None,
        kept: _Keyed | None,
    ) -> FlagResolutionDetails[Any]:
        if kept is not None and context is not None:
            key = context.attributes.get(kept.by)  # like `key_for`, whose call would add a third to the cost
            if key is None:
                key = context.targeting_key
            if key is None or type(key) is str:
                found = kept.answers.get(kept.match(key) if key else None)
                if found is not None:
                    return found
        return self._make(generation, wanted, flag_key, context)

    def _make(
        self, generation: Generation, wanted: _Type, flag_key: str, context: EvaluationContext | None
    ) -> FlagResolutionDetails[Any]:
        """
        Evaluate a flag and cache the result. One result of a keyed flag serves all keys of one rule, or of no rule.
        """
        flag = self._evaluations.find(flag_key)
        if flag is None:
            raise FlagNotFoundError(f"no flag named {flag_key!r:.253}")
        if not generation.holds(flag):
            generation = self._evaluations.now()
        if generation.unhealthy:
            self._on_look()
        try:
            key = None if context is None else key_for(flag, context.targeting_key, context.attributes)
        except TypeError as error:
            raise InvalidContextError(str(error)) from None
        match = generation.match(flag, key)
        evaluation = generation.evaluate(flag, match)
        found: FlagResolutionDetails[Any] = FlagResolutionDetails(
            value=wanted.take(evaluation),
            reason=Reason(evaluation.reason),
            variant=evaluation.variant,
            flag_metadata=evaluation.metadata,
        )
        if flag.by is None:
            generation.kept[wanted, flag_key] = found
        else:
            keyed = generation.kept.setdefault((wanted, flag_key), _Keyed(flag.by, generation.matcher(flag)))
            keyed.keep(match, found)
        return found


def _emits_ready(frame: FrameType | None) -> bool:
    """
    Return whether the SDK that calls `DflagProvider.initialize` emits READY afterwards.

    OpenFeature 0.9 expects the provider to do so; SDKs for earlier versions emit READY themselves. Handlers must run
    only once with either. The names in the calling code are the only way to tell the SDKs apart.
    """
    while frame is not None and not frame.f_globals.get("__name__", "").startswith("openfeature."):
        frame = frame.f_back
    return frame is not None and "PROVIDER_READY" in frame.f_code.co_names
