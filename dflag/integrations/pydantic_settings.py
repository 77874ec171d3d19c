"""
Settings classes of pydantic-settings with values from flags, a volume or a document.

Needs the extra ``dflag[pydantic-settings]``.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeVar, Union, final, get_args, get_origin

from pydantic import AliasChoices, AliasPath, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from dflag._faults import is_interrupt, place_of, text_of
from dflag._fork import ForkFollower, follow_forks, settle
from dflag._layers import RULES_KEYS
from dflag._log import logger
from dflag._quotes import may_quote
from dflag._raw import Text, Unreadable
from dflag._registry import FlagRegistry, registry_of
from dflag.errors import MASK, ArgumentError, DflagError, SourceError, one_line
from dflag.sources import Source
from dflag.sources._given import as_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from pydantic_core import ErrorDetails, InitErrorDetails

    from dflag._registry import RegistryLike

    FlagsOrSource: TypeAlias = "RegistryLike | str | os.PathLike[str] | Source"

__all__ = ["DflagSettingsSource", "Reloading", "reloading"]


def __dir__() -> list[str]:
    return __all__


S = TypeVar("S", bound=BaseSettings)

_LOOK_SECONDS: Final = 1.0
"""The shortest time between two checks of a path for changes. Each check takes two system calls."""

_MISSING: Final = object()
"""Stands for a missing value, because None is a value of a JSON flag."""

_with_rules: Final[set[str]] = set()
"""The sources whose rules have been logged as ignored."""

_made: Final[ContextVar[list[DflagSettingsSource] | None]] = ContextVar("dflag_settings_sources", default=None)
"""The list that collects the sources of the settings object that is being made."""


class DflagSettingsSource(PydanticBaseSettingsSource):
    """
    A source of values for a settings class. Its rank is its position among the sources of the class.

    A field takes the value of its alias. It takes the value of its name if it has no alias, or if the alias has no
    value and the class sets ``populate_by_name``. The path of an `AliasPath` leads into a list or mapping, or into a
    text that is JSON. A field that is a model takes a mapping. Keys that begin with the field's name and a dot, such as
    ``database.host``, replace parts of that mapping.

    From a registry a field gets the effective value, even if that is a default. From a path or a `dflag.sources.Source`
    it gets a text, which pydantic converts. The text of a complex field must be JSON, also for fields of models. In a
    union with one complex choice, a text that is not JSON stays a text, and so does any text of a registry. From a
    document a field gets mappings and lists as they are, and any other value as its text, like a flag: ``1.10`` stays
    ``"1.10"``. A null becomes None if the field accepts None. Rules are ignored, which is logged once.

    Args:
        settings_cls: The settings class, as `settings_customise_sources` receives it.
        source: A `FlagRegistry`, a class of flags, a path as for `Updater`, or a source.

    Raises:
        ArgumentError: *source* is none of these.
        SourceError: The path or one of its values cannot be read. Raised when settings are made.
        pydantic_settings.SettingsError: The text of a complex field is not JSON, or bytes are not UTF-8. Raised when
            settings are made.

    Thread safety: any thread.

    >>> import dflag
    >>> from pydantic_settings import BaseSettings
    >>> flags = dflag.FlagRegistry()
    >>> rate = flags.dyn_int("rate", 50)
    >>> class Settings(BaseSettings):
    ...     rate: int
    ...
    ...     @classmethod
    ...     def settings_customise_sources(cls, settings_cls, init_settings, env_settings, **others):
    ...         return init_settings, DflagSettingsSource(settings_cls, flags), env_settings
    >>> Settings().rate
    50
    """

    def __init__(self, settings_cls: type[BaseSettings], source: FlagsOrSource) -> None:
        super().__init__(settings_cls)
        self._origin: Final = _origin_of(source)
        self._values: Mapping[str, Any] = {}
        self._token: object = None
        made = _made.get()
        if made is not None:
            made.append(self)

    def has_changed(self) -> bool:
        """
        Return whether the values may have changed since they were read.
        """
        return self._origin.token() != self._token

    def marker(self) -> Callable[[], None]:
        """
        Return a function that marks the values at the time of this call as read.
        """
        return partial(setattr, self, "_token", self._origin.token())

    def __call__(self) -> dict[str, Any]:
        self._token, self._values = self._origin.read()
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key = self._find(field, name)
            if value is not _MISSING:
                found[key] = self.prepare_field_value(name, field, value, self._is_complex(field))
        return found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """
        Return the value of a field, its key, and whether the field is complex. The value is None if there is none.
        """
        value, key = self._find(field, field_name)
        return None if value is _MISSING else value, key, self._is_complex(field)

    def prepare_field_value(self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool) -> Any:  # noqa: FBT001 - the signature is the library's
        if isinstance(value, Unreadable):
            raise SourceError(f"field {field_name!r}: cannot be read: {value.reason}")
        choices = list(_choices_of(field.annotation))
        if isinstance(value, Text):
            value = _native(value, with_null=NoneType in choices)
        if isinstance(value, bytes) and bytes in choices and str not in choices:
            return value
        if isinstance(value, bytes):
            value = _decoded(field_name, value)
        if not value_is_complex or not isinstance(value, str):
            return value
        try:
            decoded = _loads(field_name, value, partial(self.decode_complex_value, field_name, field))
        except SettingsError:
            if len(choices) > 1:
                return value
            raise
        # A scalar is meant for a simple choice, for which pydantic converts the text itself.
        return value if len(choices) > 1 and isinstance(decoded, (str, int, float)) else decoded

    def _is_complex(self, field: FieldInfo) -> bool:
        """
        Return whether the text of a field may be JSON. In a union one complex choice is enough, but not for a registry.
        """
        choices = list(_choices_of(field.annotation))
        if len(choices) == 1:
            return self.field_is_complex(field)
        complex_ones = [self.field_is_complex(FieldInfo.from_annotation(one)) for one in choices if one is not NoneType]
        # A flag's value already has its type, so a simple choice takes a text as it is.
        return all(complex_ones) if isinstance(self._origin, _FromRegistry) else any(complex_ones)

    def _find(self, field: FieldInfo, field_name: str) -> tuple[Any, str]:
        """
        Return the value of a field, and the key by which pydantic finds it.
        """
        model = _model_of(field)
        aliases = {} if self.config.get("validate_by_alias") is False else _aliases_of(field)
        for name, has_path in aliases.items():
            value = self._value_at(name, model)
            if value is not _MISSING:
                return _parsed(name, value) if has_path else value, name
        # The key is an alias if there is one: pydantic prefers an alias to the name, whatever the ranks of the sources.
        key = next((name for name, has_path in aliases.items() if not has_path), field_name)
        by_name = not aliases or self.config.get("populate_by_name") or self.config.get("validate_by_name")
        return self._value_at(field_name, model) if by_name else _MISSING, key

    def _value_at(self, name: str, model: type[BaseModel] | None) -> Any:
        value = self._values.get(name, _MISSING)
        if model is None:
            return value
        parts = {key[len(name) + 1 :]: part for key, part in self._values.items() if key.startswith(f"{name}.")}
        if not parts:
            return value
        return self._nested({} if value is _MISSING else _as_mapping(name, value), parts, model)

    def _nested(self, whole: dict[str, Any], parts: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
        """
        Put the values of dotted keys into nested mappings.
        """
        for key, value in sorted(parts.items()):
            *path, last = key.split(".")
            place = whole
            for name in path:
                below = place.get(name)
                place[name] = dict(below) if isinstance(below, Mapping) else {}
                place = place[name]
            field = _field_at(model, [*path, last])
            if field is None:
                place[last] = _plain(key, value)
            else:
                place[last] = self.prepare_field_value(key, field, value, self._is_complex(field))
        return whole

    def _is_secret(self, name: str) -> bool:
        """
        Return whether a value is secret: that of a key, or of any key that begins with its name and a dot.
        """
        keys = [key for key in self._values if key == name or key.startswith(f"{name}.")]
        return any(map(self._origin.is_secret, keys))

    def _may_quote_secret(self, message: str) -> bool:
        """
        Return whether a message quotes or might quote a secret value. The validator of another field may quote one.
        """
        secrets = [value for key, value in self._values.items() if self._origin.is_secret(key)]
        return may_quote([message], (form for value in secrets for form in _forms(value)))

    def __repr__(self) -> str:
        return f"DflagSettingsSource({self._origin.label})"


class _FromRegistry:
    """
    The effective values of flags.
    """

    def __init__(self, registry: FlagRegistry) -> None:
        self._registry: Final = registry
        self.label: Final = repr(self._registry)

    def token(self) -> object:
        return self._registry.snapshot().revision

    def read(self) -> tuple[object, Mapping[str, Any]]:
        snapshot = self._registry.snapshot()
        return snapshot.revision, dict(snapshot)

    def is_secret(self, key: str) -> bool:
        return self._registry[key].secret


class _FromSource:
    """
    The raw values of a path, or of a source that the program made.
    """

    def __init__(self, source: str | os.PathLike[str] | Source) -> None:
        (self._source,) = as_sources(source)
        self.label: Final = repr(self._source.name)
        self._looked_at = float("-inf")
        self._token: object = None

    def token(self) -> object:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at, self._token = now, self._probe()
        return self._token

    def _probe(self) -> object:
        """
        Return the token of the source. If the source raises, return a new token, so that the source is read.
        """
        try:
            return self._source.probe()
        except BaseException as error:
            if is_interrupt(error):
                raise
            return object()

    def read(self) -> tuple[object, Mapping[str, Any]]:
        token = self._token = self._probe()  # before: a change in the meantime is read again
        values = {key: value for key, value in self._source.read().items() if not key.startswith(".")}
        for key in RULES_KEYS:
            if values.pop(key, None) is not None:
                _log_rules(key, self._source.name)
        return token, values

    def is_secret(self, key: str) -> bool:  # noqa: ARG002 - all values of a source, or none
        return self._source.secret


@final
class _Renewal(ForkFollower):
    """
    The lock under which one thread at a time makes a new instance.

    Attributes:
        lock: The lock.
        going_on: Whether an instance is being made. A validator of the class then gets the instance in force.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.going_on = False
        follow_forks(self)

    def after_fork_in_child(self) -> None:
        # A fork does not wait for the lock, because a validation may take long.
        self.lock = threading.RLock()
        self.going_on = False


class Reloading(Generic[S]):
    """
    A settings class that has a new instance after each change of its values. `reloading` makes this object.

    Thread safety: any thread.
    """

    def __init__(self, settings_cls: type[S]) -> None:
        self._frozen: Final = _frozen(settings_cls)
        self._renewal: Final = _Renewal()
        self._problem: str | None = None
        self._sources, self._instance = self._make()

    @property
    def problem(self) -> str | None:
        """
        The reason why the current values of the source are not in force; None if they are.
        """
        return self._problem

    def current(self) -> S:
        """
        Return the instance with the current values. It is the same object until the registry or the source changes.

        If the class refuses the values, the last good instance stays. The error is logged once, and `problem` holds it
        while it lasts. For fields of secret flags and sources, both have only the names and the types of the errors.
        For any other exception of the class's code, both have only the type and the line. Each call compares the
        revision of a registry; a path is checked at most once a second. A validator of the class gets the instance in
        force.
        """
        if self._has_changed():
            settle()
            with self._renewal.lock:
                if not self._renewal.going_on and self._has_changed():
                    self._renew()
        return self._instance

    def _has_changed(self) -> bool:
        return any(source.has_changed() for source in self._sources)

    def _renew(self) -> None:
        markers = [source.marker() for source in self._sources]  # before: a change in the meantime is tried too
        self._renewal.going_on = True
        try:
            self._sources, self._instance = self._make()
        except Exception as error:  # the class's own code may raise any type
            for mark in markers:
                mark()  # so that the same values are not tried at each call
            problem = one_line(_summary(error))
            if problem != self._problem:
                logger.warning("%s: %s; keeping the last good values", self._frozen.__name__, problem)
            self._problem = problem
        else:
            self._problem = None
        finally:
            self._renewal.going_on = False

    def _make(self) -> tuple[tuple[DflagSettingsSource, ...], S]:
        made: list[DflagSettingsSource] = []
        instance = self._instantiate(made)
        if not made:
            name = self._frozen.__name__
            raise ArgumentError(f"expected a DflagSettingsSource in {name}.settings_customise_sources, got none")
        return tuple(made), instance

    def _instantiate(self, made: list[DflagSettingsSource]) -> S:
        token = _made.set(made)
        try:
            return self._frozen()
        except ValidationError as error:
            refusal = _without_secrets(error, self._frozen, made)
            if refusal is error:
                raise
        finally:
            _made.reset(token)
        raise refusal  # outside of the handler: the error there contains the values


def reloading(settings_cls: type[S]) -> Reloading[S]:
    """
    Make the instances of a settings class follow its `DflagSettingsSource`.

    Each revision is validated as a whole and gets a new frozen instance, so that no reader sees half of a revision. A
    pickled instance unpickles to an instance of *settings_cls* itself, which is not frozen.

    Raises:
        ArgumentError: The class has no `DflagSettingsSource` among its sources.
        pydantic.ValidationError: The class refuses the values at the start.
        SourceError: A path cannot be read at the start.
        pydantic_settings.SettingsError: As `DflagSettingsSource`, at the start.

    >>> import dflag
    >>> from pydantic_settings import BaseSettings
    >>> flags = dflag.FlagRegistry()
    >>> rate = flags.dyn_int("rate", 50)
    >>> class Settings(BaseSettings):
    ...     rate: int
    ...
    ...     @classmethod
    ...     def settings_customise_sources(cls, settings_cls, init_settings, env_settings, **others):
    ...         return init_settings, DflagSettingsSource(settings_cls, flags)
    >>> settings = reloading(Settings)
    >>> rate.set(60)
    >>> settings.current().rate
    60
    """
    return Reloading(settings_cls)


def _origin_of(source: FlagsOrSource) -> _FromRegistry | _FromSource:
    if isinstance(source, (str, os.PathLike, Source)):
        return _FromSource(source)
    given: Any = source
    if isinstance(given, (FlagRegistry, type)):
        return _FromRegistry(registry_of(given, "source"))
    raise ArgumentError(f"expected source as a FlagRegistry, a Flags class, a path or a Source, got {given!r}")


def _choices_of(annotation: Any) -> Iterator[Any]:
    """
    Iterate over the types of a union. Any other type is its own only choice.
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _choices_of(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for choice in get_args(annotation):
            yield from _choices_of(choice)
    else:
        yield annotation


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    """
    Return the model that is the type of a field or a choice of its union; None if there is none.
    """
    choices = _choices_of(field.annotation)
    return next((each for each in choices if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _field_at(model: type[BaseModel] | None, path: Iterable[str]) -> FieldInfo | None:
    """
    Return the field that a path of names leads to; None if the path leads out of the models.
    """
    field = None
    for part in path:
        known = {} if model is None else model.model_fields
        field = next((each for name, each in known.items() if part in (name, *_aliases_of(each))), None)
        model = None if field is None else _model_of(field)
    return field


def _aliases_of(field: FieldInfo) -> dict[str, bool]:
    """
    Return the aliases of a field, the first choice first, and for each whether a path into its value follows.
    """
    alias = field.validation_alias
    found: dict[str, bool] = {}
    for choice in alias.choices if isinstance(alias, AliasChoices) else [] if alias is None else [alias]:
        name, *path = choice.path if isinstance(choice, AliasPath) else [choice]
        found.setdefault(str(name), bool(path))
    return found


def _as_mapping(name: str, value: object) -> dict[str, Any]:
    """
    Return a copy of the mapping that a key holds; an empty one if its value is not a mapping.
    """
    value = _parsed(name, value)
    return dict(value) if isinstance(value, Mapping) else {}


def _parsed(name: str, value: object) -> object:
    """
    Return the value of a key in a form that has parts: a text is parsed as JSON.
    """
    value = _plain(name, value)
    return _loads(name, value, json.loads) if isinstance(value, str) else value


def _plain(name: str, value: object) -> object:
    if isinstance(value, Unreadable):
        raise SourceError(f"key {name!r}: cannot be read: {value.reason}")
    if isinstance(value, bytes):
        return _decoded(name, value)
    return _native(value, with_null=True) if isinstance(value, Text) else value


def _native(value: Text, *, with_null: bool) -> object:
    """
    Return a mapping or list of a document, and with *with_null* a null, as it is; any other value as its text.
    """
    if isinstance(value.native, (Mapping, list)) or (value.native is None and with_null):
        return value.native
    return str(value)


def _forms(value: Any) -> Iterator[Any]:
    """
    Iterate over the forms of a value: the value, its text, and what the text means in a document or as JSON.
    """
    yield value
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    if isinstance(value, Text):
        yield value.native
    elif isinstance(text, str):
        yield text
        with contextlib.suppress(ValueError):
            yield json.loads(text)


def _decoded(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        place = error.start
    # Outside of the handler, here and below: the error there contains the value, which may be a secret.
    raise SettingsError(f"field {name!r}: expected UTF-8, byte {place} is not")


def _loads(name: str, text: str, loads: Callable[[str], Any]) -> Any:
    try:
        return loads(text)
    except ValueError as error:
        problem = text_of(error)
    raise SettingsError(f"field {name!r}: expected JSON: {problem}")


def _log_rules(key: str, source: str) -> None:
    if source not in _with_rules:
        _with_rules.add(source)
        logger.warning("ignoring the rules under %r of %s: only an Updater follows rules", key, one_line(source))


def _frozen(settings_cls: type[S]) -> type[S]:
    metaclass: Any = type(settings_cls)

    def reduce(instance: S) -> tuple[Any, ...]:
        return object.__new__, (settings_cls,), instance.__getstate__()

    namespace = {
        "__module__": settings_cls.__module__,
        "model_config": SettingsConfigDict(frozen=True),
        "__reduce__": reduce,  # under the name of this class, pickle would find *settings_cls*
    }
    made: type[S] = metaclass(settings_cls.__name__, (settings_cls,), namespace)
    return made


def _without_secrets(
    error: ValidationError, settings_cls: type[BaseSettings], sources: Sequence[DflagSettingsSource]
) -> ValidationError:
    """
    Return an error without anything that may hold a secret: values, their parts, and messages of validators.
    """
    shown: set[int | str] = set()
    secret: set[int | str] = set()
    for name, field in settings_cls.model_fields.items():
        names = {name, *_aliases_of(field)}
        is_secret = any(source._is_secret(each) for source in sources for each in names)
        (secret if is_secret else shown).update(names)
    if not secret:
        return error

    def is_shown(fault: ErrorDetails) -> bool:
        is_of_shown = shown.intersection(fault["loc"][:1]) - secret  # a fault without a field may be about any field
        return bool(is_of_shown) and not any(source._may_quote_secret(fault["msg"]) for source in sources)

    faults = [fault if is_shown(fault) else _masked(fault) for fault in error.errors(include_url=False)]
    return ValidationError.from_exception_data(error.title, [_fault_of(fault) for fault in faults])


def _masked(fault: ErrorDetails) -> ErrorDetails:
    message = f"the value was refused ({fault['type']})"
    return {"type": fault["type"], "loc": fault["loc"][:1], "msg": message, "input": MASK}


def _fault_of(fault: ErrorDetails) -> InitErrorDetails:
    kind: Any = PydanticCustomError  # type checkers want literals as its arguments
    return {"type": kind(fault["type"], fault["msg"]), "loc": fault["loc"], "input": fault["input"]}


def _summary(error: Exception) -> str:
    """
    Return a description of an error without the values, because a value may be a secret.
    """
    if isinstance(error, (DflagError, SettingsError)):
        return text_of(error)
    if not isinstance(error, ValidationError):
        return f"its code raised {place_of(error)}"
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    named = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in faults]
    return "; ".join(f"{name}: {message}" if name else message for name, message in named)
