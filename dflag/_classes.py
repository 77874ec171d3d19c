"""
Flags as a class: an attribute of the class is a flag, and the same attribute of an instance is its value.

The instances belong to a class that is generated for each `Flags` class. It has a slot for each flag, so reading a
value is reading a slot. One instance is made for each snapshot, on first use. A cell holds the instance in force; a
commit empties it.
"""

from __future__ import annotations

import sys
import time
import warnings
from bisect import bisect_right
from collections import deque
from itertools import repeat
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, Never, NoReturn, Self, cast

from dflag._cells import VALUE, call_with_two
from dflag._flags import (
    LAYERS,
    PIPELINE,
    TABLE,
    UNBOUND,
    Flag,
    FlagValues,
    bind_name_of,
    conceal,
    layers_of,
    make_current,
    pipeline_of,
)
from dflag._layers import Entry
from dflag._pipeline import prefix_keys
from dflag._registry import FlagRegistry, bind_all, checked_name, is_key, registry_of, store_of_registry
from dflag._snapshot import Snapshot, flags_of, innermost_pin, instances_of, store_of, table_of, values_of
from dflag._transaction import same
from dflag.errors import (
    MASK,
    ArgumentError,
    DefinitionError,
    DflagError,
    DuplicateFlagError,
    UnknownFlagError,
    check_argument,
    checked_text,
    did_you_mean,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dflag._cells import Call
    from dflag._registry import RegistryLike
    from dflag._snapshot import Pin
    from dflag._store import Store

_RESERVED: Final = frozenset(
    {"current", "from_snapshot", "mro", "registry", "revision", "_dflag_view", "_dflag_warned"}
)
"""The attributes of every `Flags` class, and ``mro``, which Python calls when it makes a class."""

_DEVELOPING: Final = sys.flags.dev_mode
"""Whether a read of a long outdated instance warns: with ``-X dev`` or ``PYTHONDEVMODE=1``."""

_STALE_SECONDS: Final = 60.0
"""How long an instance may be read without a warning after the next commit: as long as a slow request takes."""

_MAX_COMMITS: Final = 10_000
"""For how many commits a class remembers the times in development mode."""


class Flags(FlagValues):  # noqa: PLW1641 - not hashable, because some values are not
    """
    Base of classes whose attributes are flags.

    Declare the flags in the body as a library does, with ``dflag.dyn_int`` and its siblings. Each flag is bound under
    its ``name=``, or else under the name of its attribute. The class has no constructor: `current` returns its
    instances.

    Args:
        prefix: The prefix of the names of the flags in the body, and of the ``keys=`` of maps.
            None for the prefix of the base class, if any.
        registry: The registry to bind the flags to, or another `Flags` class, for its registry.
            None for the registry of the base class, or without one for a new registry.

    Attributes:
        registry: The registry that the flags are bound to.

    Raises:
        DefinitionError: An attribute or a name is invalid, or the base class has another registry.
        ArgumentError: A class option is unknown or has the wrong type.
        DuplicateFlagError: A name is taken in the registry. After any of these errors, none of the flags is bound.

    Thread safety: any thread.

    >>> import dflag
    >>> class Settings(dflag.Flags, prefix="shop."):
    ...     rate = dflag.dyn_int(50, "Requests per second", min=1)
    >>> cfg = Settings.current()
    >>> Settings.rate.set(60)
    >>> cfg.rate, Settings.current().rate, Settings.rate.name
    (50, 60, 'shop.rate')
    """

    __slots__ = ()

    registry: ClassVar[FlagRegistry]

    if TYPE_CHECKING:

        def __init__(self, no_constructor: Never, /) -> None: ...

    def __init_subclass__(
        cls, *, prefix: str | None = None, registry: RegistryLike | None = None, **options: Never
    ) -> None:
        further = super().__init_subclass__  # of another base class, or of object
        if options and not hasattr(further, "__func__"):
            name = next(iter(options))
            hint = did_you_mean(name, ("prefix", "registry"))
            raise ArgumentError(f"class {cls.__qualname__}: unknown option {name!r}{hint}")
        further(**options)
        _set_up(cls, prefix, registry)

    def __new__(cls, *_: object, **__: object) -> Self:
        raise TypeError(f"{cls.__qualname__} has no constructor: write {cls.__qualname__}.current()")

    @classmethod
    def current(cls) -> Self:
        """
        Return the values of one revision as a frozen instance.

        These are the values of the innermost ``pinned()`` block of this context, or without one the values in force.
        The result is the same object until the next commit. Call this once per request: an instance that is kept does
        not follow changes. It never raises.

        Thread safety: any thread; lock-free except for the first call after a commit.

        >>> import dflag
        >>> class Settings(dflag.Flags):
        ...     rate = dflag.dyn_int(50, "Requests per second", min=1)
        >>> cfg = Settings.current()
        >>> cfg.rate, cfg.revision
        (50, 0)
        >>> Settings.current() is cfg
        True
        """
        return cast("Self", _view_of(cls).current())

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> Self:
        """
        Return the values of a snapshot as a frozen instance, for example in a registry validator.

        Args:
            snapshot: A snapshot of the registry of this class.

        Raises:
            UnknownFlagError: The snapshot is of another registry, or older than a flag of this class.

        Thread safety: any thread, lock-free.

        >>> import dflag
        >>> class Limits(dflag.Flags):
        ...     low = dflag.dyn_int(1)
        ...     high = dflag.dyn_int(9)
        >>> @Limits.registry.validator
        ... def ordered(candidate):
        ...     limits = Limits.from_snapshot(candidate)
        ...     if limits.low > limits.high:
        ...         raise ValueError("low is above high")
        >>> Limits.low.set(10)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        dflag.errors.ValidationError: flag 'low': refused by the registry validator ordered: low is above high...
        """
        check_argument("snapshot", snapshot, Snapshot, "a Snapshot")
        return cast("Self", _view_of(cls).of_snapshot(snapshot))

    @property
    def revision(self) -> int:
        """
        The number of the revision that the values belong to, a cache key. See `Snapshot.revision` for pins with values.
        """
        raise NotImplementedError  # a slot of the generated class

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FlagValues):
            return NotImplemented
        view = _view_of(type(self))
        return view is _view_of(type(other)) and view.are_equal(self, other)

    def __repr__(self) -> str:
        return _view_of(type(self)).describe(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, _view_of(type(self)).state(self)


class _Frozen:
    """
    The first base of the generated classes, whose methods take precedence over those of the program's class.
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """
        Do nothing: end the chain, so that no hook of the program is called for a generated class.
        """

    def __setattr__(self, name: str, value: object) -> NoReturn:
        view = _view_of(type(self))
        hint = f"; to change the flag, write {view.name}.{name}.set(...)" if name in view.attributes else ""
        raise AttributeError(f"an instance of {view.name} never changes: cannot set {name!r}{hint}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an instance of {_view_of(type(self)).name} never changes: cannot delete {name!r}")


class _View:
    """
    The factory of the instances of one `Flags` class.

    Attributes:
        name: The name of the class.
        prefix: The prefix of the names of its flags.
        registry: The registry that its flags are bound to.
        attributes: All flags of the class by attribute; the flags of its bases come first.
        current: The ``current`` function of the class.
    """

    __slots__ = (
        *("_cell", "_commits", "_latest", "_live_class", "_made_class", "_public_class", "_set_revision"),
        *("_setters", "_store", "attributes", "current", "name", "prefix", "registry"),
    )

    def __init__(
        self, cls: type[Flags], registry: FlagRegistry, prefix: str, attributes: Mapping[str, Flag[Any]]
    ) -> None:
        self.name: Final = cls.__qualname__
        self.prefix: Final = prefix
        self.registry: Final = registry
        self.attributes: Final = attributes
        self._public_class: Final = cls
        self._store: Final[Store] = store_of_registry(registry)
        self.current, self._cell = make_current(self)
        # Without the example, which doctest would run as an example of the program's module.
        self.current.__doc__ = (Flags.current.__doc__ or "").partition(">>>")[0].rstrip()
        self.current.__annotations__ = {"return": cls}  # not its name: tools would look that up in this module
        self.current.__module__ = cls.__module__
        self.current.__qualname__ = f"{self.name}.current"
        self._made_class: Final = self._generate(
            cls, {"__slots__": (*attributes, "revision"), "current": staticmethod(self.current)}
        )
        slots = list(map(vars(self._made_class).__getitem__, attributes))
        self._setters: Final[list[Callable[[Any, Any], None]]] = list(map(attrgetter("__set__"), slots))
        self._set_revision: Final = vars(self._made_class)["revision"].__set__
        self._live_class = self._made_class
        self._commits: Final[deque[tuple[int, float]]] = deque(maxlen=_MAX_COMMITS)
        if _DEVELOPING:
            watched = {attribute: _WatchedValue(self, slot) for attribute, slot in zip(attributes, slots, strict=True)}
            self._live_class = self._generate(self._made_class, {"__slots__": ("_dflag_warned",), **watched})
        # Keeps the last instance of the cell alive until the next one is made, so that no step of a commit frees one.
        self._latest: object = None

    def _generate(self, base: type, namespace: dict[str, Any]) -> type:
        cls = self._public_class
        names = {"__module__": cls.__module__, "__qualname__": self.name, "__doc__": cls.__doc__}
        is_generated = issubclass(base, _Frozen)
        bases = (base,) if is_generated else (_Frozen, base)
        metaclass: Any = type(base) if is_generated else self._metaclass()
        made: type = metaclass(base.__name__, bases, {**names, **namespace})
        return made

    def _metaclass(self) -> Any:
        """
        Make the metaclass of the generated classes. It holds the flags, which the slots hide from class methods.
        """
        usual = type(self._public_class)
        flags = {attribute: _FlagOfClass(flag) for attribute, flag in self.attributes.items()}
        return type(usual.__name__, (usual,), flags)

    # --- making instances

    def in_force(self) -> object:
        """
        Return the instance in force, and store it in the cell until the next commit.
        """
        while True:
            base = self._store.base()
            try:
                return self._cell.cell_contents  # another thread was first
            except ValueError:
                pass
            instance = self._instance(self._live_class, base.snapshot)
            changes = ((setattr, self._cell, "cell_contents", instance), (setattr, self, "_latest", instance))
            if self._store.run_if_current(base.token, changes) or self._store.number != base.snapshot.revision:
                return instance

    def pinned(self, pin: Pin) -> object:
        """
        Return the instance for a context whose innermost pin is *pin*, and keep it in the pin. None means the live one.

        An instance with a flag that was declared within the block is not kept: ``get()`` of that flag returns live
        values.
        """
        holder = innermost_pin(self._store)
        if holder is None:
            pin.instances[self] = None  # for good: the outer pins never change, they can only close
            return None
        try:
            instance = self._instance(self._made_class, holder.snapshot)
        except KeyError:
            values = values_of(holder.snapshot)
            return self._make(
                self._made_class,
                (values[flag] if flag in values else holder.beyond(flag) for flag in self.attributes.values()),
                holder.snapshot.revision,
            )
        holder.lend(self, instance, pin)
        return instance

    def of_snapshot(self, snapshot: Snapshot) -> object:
        """
        Return the instance for a snapshot.

        Raises:
            UnknownFlagError: The snapshot is of another registry, or lacks a flag.
        """
        if flags_of(snapshot) is not self._store.flags:
            raise UnknownFlagError(f"{snapshot!r} is of another registry than {self.name}")
        try:
            return self._instance(self._made_class, snapshot)
        except KeyError:
            values = values_of(snapshot)
            name = next(flag.name for flag in self.attributes.values() if flag not in values)
        raise UnknownFlagError(f"flag {name!r} was declared after {snapshot!r} was taken", flag_name=name)

    def _instance(self, cls: type, snapshot: Snapshot) -> object:
        instances = instances_of(snapshot)
        instance = instances.get(cls)
        if instance is None:
            values = map(values_of(snapshot).__getitem__, self.attributes.values())
            instance = instances.setdefault(cls, self._make(cls, values, snapshot.revision))
        return instance

    def _make(self, cls: type, values: Iterable[Any], revision: int) -> object:
        instance: object = object.__new__(cls)
        deque(
            map(call_with_two, self._setters, repeat(instance), values), 0
        )  # 10,000 values in 0.6 ms; setattr would take twice as long
        self._set_revision(instance, revision)
        return instance

    def invalidations(self, number: int) -> list[Call]:
        calls: list[Call] = [(delattr, self._cell, "cell_contents")]
        if _DEVELOPING:
            calls.append((deque.append, self._commits, (number, time.monotonic())))
        return calls

    # --- what instances can do

    def values(self, instance: object) -> list[Any]:
        return [vars(self._made_class)[attribute].__get__(instance) for attribute in self.attributes]

    def are_equal(self, one: object, other: object) -> bool:
        rows = zip(self.attributes.values(), self.values(one), self.values(other), strict=True)
        return all(value is another or same(flag, value, another) for flag, value, another in rows)

    def describe(self, instance: object) -> str:
        rows = zip(self.attributes.items(), self.values(instance), strict=True)
        shown = (f"{attribute}={MASK if flag.secret else repr(value)}" for (attribute, flag), value in rows)
        return f"{self.name}({', '.join(shown)})"

    def state(self, instance: Flags) -> tuple[type[Flags], int, dict[str, Any], tuple[str, ...]]:
        """
        Return the arguments of `_restore`, for pickle.
        """
        secrets = tuple(attribute for attribute, flag in self.attributes.items() if flag.secret)
        values = dict(zip(self.attributes, self.values(instance), strict=True))
        return self._public_class, instance.revision, values, secrets

    def restore(self, revision: int, values: Mapping[str, Any], secrets: Iterable[str]) -> object:
        different = sorted(values.keys() ^ self.attributes.keys())
        if different:
            raise DflagError(f"cannot unpickle an instance of {self.name}: it has other flags, {', '.join(different)}")
        for attribute in secrets:  # a secret source made them secret in the other process
            conceal(self.attributes[attribute])
        return self._make(self._made_class, map(values.__getitem__, self.attributes), revision)

    # --- development mode

    def warn_if_stale(self, instance: Any) -> None:
        """
        Warn once about an instance that is read long after the next commit. Only used in development mode.
        """
        commits = self._commits
        if not commits or commits[-1][0] <= instance.revision or hasattr(instance, "_dflag_warned"):
            return
        known = list(commits)
        seconds = time.monotonic() - known[bisect_right(known, instance.revision, key=itemgetter(0))][1]
        if seconds > _STALE_SECONDS:
            vars(self._live_class)["_dflag_warned"].__set__(instance, True)  # noqa: FBT003 - the setter of a slot
            warnings.warn(
                f"values of {self.name} at revision {instance.revision} are read {seconds:.0f} s after a later one "
                f"was committed: call {self.name}.current() for each request, and do not keep what it returns",
                RuntimeWarning,
                stacklevel=3,
            )


class _FlagOfClass:
    """
    A flag as an attribute of the generated classes: a data descriptor of their metaclass, so it hides their slot.
    """

    __slots__ = ("_flag",)

    def __init__(self, flag: Flag[Any]) -> None:
        self._flag: Final = flag

    def __get__(self, made_class: type, metaclass: type) -> Flag[Any]:
        return self._flag

    def __set__(self, made_class: type, _value: object) -> NoReturn:
        raise AttributeError(f"the class of an instance never changes: cannot replace flag {self._flag.name!r}")


class _WatchedValue:
    """
    A value of an instance in development mode. Reading it warns if the instance is stale.
    """

    __slots__ = ("_slot", "_view")

    def __init__(self, view: _View, slot: Any) -> None:
        self._view: Final = view
        self._slot: Final = slot

    def __get__(self, instance: object, owner: type) -> Any:
        self._view.warn_if_stale(instance)
        return self._slot.__get__(instance, owner)

    def __set__(self, instance: object, _value: object) -> NoReturn:  # so that no attribute of an instance hides it
        raise AttributeError(f"an instance of {self._view.name} never changes")


def _view_of(cls: type) -> _View:
    view = getattr(cls, "_dflag_view", None)
    if not isinstance(view, _View):
        raise DefinitionError(f"{cls.__qualname__} has no flags: derive a class from it")
    return view


def _restore(cls: type[Flags], revision: int, values: Mapping[str, Any], secrets: Iterable[str]) -> object:
    """
    Make an instance from its pickled state.
    """
    return _view_of(cls).restore(revision, values, secrets)


# --- making a class


def _set_up(cls: type[Flags], prefix: str | None, registry: RegistryLike | None) -> None:
    """
    Bind the flags of a class, or raise an error and bind none of them.
    """
    bases = [base for base in cls.__mro__[1:] if "_dflag_view" in vars(base)]
    home = _registry_for(cls, [_view_of(base) for base in bases], registry)
    if prefix is None:
        prefix = _view_of(bases[0]).prefix if bases else ""
    prefix = _checked_prefix(prefix, cls)
    attributes, new = _collect(cls, home)
    if len(set(new.values())) < len(new):
        twice = next(one for one, flag in new.items() if list(new.values()).count(flag) > 1)
        raise DefinitionError(f"attribute {twice!r} of class {cls.__qualname__}: another attribute is the same flag")
    named: dict[str, Flag[Any]] = {}
    changes: list[Call] = []
    for attribute, flag in new.items():
        name = checked_name(prefix + (bind_name_of(flag) or attribute))
        if name in named:
            raise DuplicateFlagError(f"flag {name!r} is declared twice in class {cls.__qualname__}")
        named[name] = flag
    if prefix:
        for name, flag in named.items():
            if pipeline_of(flag).kind.is_map:
                changes += _prefixed(flag, name, prefix)
    view = _View(cls, home, prefix, attributes)
    bind_all(home, named, changes)
    own: dict[str, Any] = {"registry": home, "_dflag_view": view}
    if _has_usual_current(cls):
        own["current"] = view.current  # a plain function: a static or a class method takes 1.5 times as long
    for attribute, value in own.items():
        type.__setattr__(cls, attribute, value)
    store_of_registry(home).add_dependent(view)


def _registry_for(cls: type[Flags], bases: Iterable[_View], given: RegistryLike | None) -> FlagRegistry:
    """
    Return the registry that the flags of a class are bound to.
    """
    registries = {id(view.registry): view.registry for view in bases}
    if given is not None:
        chosen = registry_of(given)
        registries[id(chosen)] = chosen
    if len(registries) > 1:
        named = " and ".join(map(repr, registries.values()))
        raise DefinitionError(f"class {cls.__qualname__}: expected one registry with its bases, got {named}")
    if "registry" in vars(cls) and not isinstance(vars(cls)["registry"], Flag):
        raise DefinitionError(
            f"class {cls.__qualname__}: 'registry' is set in the body; "
            f"pass it with the bases: class {cls.__name__}(dflag.Flags, registry=...)"
        )
    return next(iter(registries.values()), None) or FlagRegistry(cls.__name__)


def _checked_prefix(prefix: str, cls: type) -> str:
    subject = f"class {cls.__qualname__}: "
    prefix = checked_text("prefix", prefix, subject=subject)
    if prefix and (not is_key(prefix) or prefix[0] == "."):
        raise DefinitionError(
            f"{subject}expected prefix as the beginning of names of [-._a-zA-Z0-9], "
            f"which is no dot, got {prefix[:80]!r}"
        )
    return prefix


def _collect(cls: type[Flags], registry: FlagRegistry) -> tuple[dict[str, Flag[Any]], dict[str, Flag[Any]]]:
    """
    Return all flags of a class by attribute, and the flags that must be bound.

    Raises:
        DefinitionError: A flag cannot be an attribute of the class.
    """
    attributes: dict[str, Flag[Any]] = {}
    new: dict[str, Flag[Any]] = {}
    home = store_of_registry(registry)
    for base in reversed(cls.__mro__):
        is_bound = "_dflag_view" in vars(base)
        for attribute, value in vars(base).items():
            if not isinstance(value, Flag):
                attributes.pop(attribute, None)
                new.pop(attribute, None)
                continue
            attributes[attribute] = value
            # Another base class may hold flags too, for one `Flags` class or for several with one registry.
            if is_bound or (base is not cls and store_of(value) is home):
                new.pop(attribute, None)
                continue
            if value.name != UNBOUND or attribute in _RESERVED or attribute.startswith("__"):
                _check_attribute(cls, attribute, value)
            new[attribute] = value
    return attributes, new


def _check_attribute(cls: type[Flags], attribute: str, flag: Flag[Any]) -> None:
    if attribute in _RESERVED or attribute.startswith("__"):  # in a class body Python mangles __a
        raise DefinitionError(
            f"attribute {attribute!r} of class {cls.__qualname__}: this name is reserved; choose another one, "
            f"and give the flag name={attribute!r} if it needs that name"
        )
    if flag.name != UNBOUND:
        raise DefinitionError(
            f"flag {flag.name!r} is already bound and cannot be attribute {attribute!r} of class {cls.__qualname__}"
        )


def _prefixed(flag: Flag[Any], name: str, prefix: str) -> list[Call]:
    """
    Return the calls that add a prefix to the keys of a map: in its pattern, its default and an override.
    """

    def rename(value: Mapping[str, Any], origin: str) -> Any:
        renamed = pipeline.kind.convert(prefix_keys(prefix, value))
        pipeline.recheck(name, renamed, origin)  # without the mutator, which was called before
        return renamed

    pipeline = pipeline_of(flag).prefixed(prefix)
    try:
        default = rename(flag.default, "default")
        layers = {
            layer: Entry(rename(entry.value, layer), entry.reason, entry.deadline)
            for layer, entry in layers_of(flag).items()
        }
    except DflagError as error:
        raise DefinitionError(str(error)) from error
    value = next((entry.value for entry in layers.values()), default)  # an unbound flag has no layer but the override
    table = table_of(flag)
    return [
        (setattr, flag, PIPELINE, pipeline),
        (setattr, flag, "default", default),
        (setattr, flag, LAYERS, layers),
        (setattr, flag, VALUE, value),
        (setattr, flag, TABLE, None if table is None else table.of(value)),
    ]


def _has_usual_current(cls: type[Flags]) -> bool:
    """
    Return whether ``current`` of a class is dflag's function, not a method of the program.
    """
    owner = next(base for base in cls.__mro__ if "current" in vars(base))
    return owner is Flags or ("_dflag_view" in vars(owner) and vars(owner)["current"] is _view_of(owner).current)
