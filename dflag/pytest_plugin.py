"""
For pytest: overrides and registries that end with the test as they began, overrides that should have, and a volume.

pytest loads this module by itself wherever dflag is installed; ``-p no:dflag`` turns it off.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from dflag._flags import DynamicFlag, FlagValues, StaticFlag, declared_at, layers_of
from dflag._fork import followers
from dflag._layers import OVERRIDE
from dflag._registry import FlagRegistry
from dflag._store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from pathlib import Path

    import pluggy

    from dflag._flags import Flag
    from dflag._layers import Entry
    from dflag._registry import RegistryLike
    from dflag._transaction import Token
    from dflag.testing import ConfigMapVolume, Overrides

# What the fixtures need beyond this is imported at first use: pytest starts with every test run of every user.

MARKER: Final = (
    "dflag(target, values=None, /, **more): override flags for each test, as dflag.testing.override does: "
    "@pytest.mark.dflag({flag: value}) or @pytest.mark.dflag(registry, name=value)."
)


def pytest_configure(config: pytest.Config) -> None:
    """
    Make the marker known.
    """
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def dflag_override() -> Iterator[Overrides]:
    """
    Override flags until the end of the test: ``dflag_override({flag: value})`` or ``(registry, name=value)``.
    """
    from dflag.testing import Overrides

    overrides = Overrides()
    yield overrides
    overrides.undo()


@pytest.fixture
def dflag_isolated(dflag_override: Overrides) -> Callable[[RegistryLike], None]:
    """
    Leave a registry as it was before, at the end of the test: ``dflag_isolated(registry)``.
    """
    from dflag.testing import isolated

    # Together with overrides, so that what a test began last ends first, whatever the order of its fixtures.
    return lambda registry: dflag_override._stack.enter_context(isolated(registry))


@pytest.fixture
def configmap_volume(tmp_path: Path) -> ConfigMapVolume:
    """
    A ConfigMap volume in tmp_path, which publishes as the kubelet does.
    """
    from dflag.testing import ConfigMapVolume

    return ConfigMapVolume(tmp_path / "configmap")


@pytest.fixture(autouse=True)
def _dflag_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """
    Do what the markers say, and fail a test that leaves a flag overridden.
    """
    # pytest sets up fixtures of plugins before others of the same scope, and those of wider scopes before them.
    # So this one sees all that a test and its own fixtures leave, and nothing that is to outlive the test.
    _before[request.config] = before = _Overridden(_before.get(request.config))
    markers = list(request.node.iter_markers("dflag"))  # the closest first
    if markers:
        from dflag.testing import Overrides

        overrides = Overrides()
        try:
            for marker in reversed(markers):
                overrides(*marker.args, **marker.kwargs)
            yield
        finally:
            overrides.undo()
    else:
        yield
    left = before.restore()
    if left:
        pytest.fail(f"left overridden by the test: {', '.join(left)}", pytrace=False)


@pytest.hookimpl(hookwrapper=True)  # "wrapper" came with pluggy 1.2; an older one would end every run of every test
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, pluggy.Result[object]]:
    """
    Leave alone what a fixture of a wider scope overrides that is first asked for while a test runs.

    What one overrides that fails goes at once: nothing else ends it, and no guard of a test sees it begin.
    """
    if fixturedef.scope == "function":
        yield
        return
    before = _before.get(request.config)
    now = _Overridden(before)
    _setting_up.append(now)
    outcome = yield
    _setting_up.remove(now)
    if outcome.excinfo is not None:
        now.restore()
        return
    for earlier in (*_setting_up, before):
        if earlier is not None:
            earlier.accept_since(now)


class _Overridden:
    """
    The flags that are overridden at one moment, in all registries that there are then.

    Args:
        earlier: An earlier moment, of which is taken what has not changed: late in a long run thousands of registries
            are alive, and nearly all of them are at rest.
    """

    def __init__(self, earlier: _Overridden | None) -> None:
        known: Mapping[Store, _Seen] = {} if earlier is None else earlier._seen
        self._seen: Final[dict[Store, _Seen]] = {store: _look(store, known.get(store)) for store in followers(Store)}

    def accept_since(self, earlier: _Overridden) -> None:
        """
        Count as overridden at this moment too what was overridden between an earlier one and now.
        """
        for store in followers(Store):
            before = self._seen.get(store, _NOTHING)
            self._seen[store] = _Seen(None, {**before.entries, **earlier._new(store)})

    def restore(self) -> list[str]:
        """
        Bring the overrides of this moment back where others were put since, and describe the flags concerned.
        """
        left = []
        changed = [(store, new) for store in followers(Store) if (new := self._new(store))]
        # A registry that the test made for itself may die with what is set there.
        is_any_new = any(store not in self._seen for store, _ in changed)
        kept = self._seen.keys() | (_held_stores() if is_any_new else ())
        for store, new in changed:
            if store in kept:
                before = self._seen.get(store, _NOTHING).entries
                store.change([(flag, OVERRIDE, before.get(flag)) for flag in new], checked=False)
                left += [_described(flag) for flag in new]
        return sorted(left)

    def _new(self, store: Store) -> dict[Flag[Any], Entry]:
        before = self._seen.get(store, _NOTHING)
        now = _look(store, before)
        if now is before:
            return {}
        return {flag: entry for flag, entry in now.entries.items() if before.entries.get(flag) is not entry}


_before: Final[weakref.WeakKeyDictionary[pytest.Config, _Overridden]] = weakref.WeakKeyDictionary()
"""What was overridden when the running test began; beside pytest's own stash, which came with pytest 7."""


_setting_up: Final[list[_Overridden]] = []
"""What was overridden when each fixture of a wider scope began that is being set up, the outermost first."""


class _Seen(NamedTuple):
    """
    The overrides of one registry, and what stands for the state that they are of; None where they are of several.
    """

    token: Token | None
    entries: Mapping[Flag[Any], Entry]


_NOTHING: Final = _Seen(None, {})


def _look(store: Store, seen: _Seen | None) -> _Seen:
    """
    Return the overrides of a registry; the same object as *seen* if nothing has changed since.
    """
    token = store.token  # first: what changes meanwhile is looked for again
    if seen is not None and seen.token is token:
        return seen
    with store.lock:
        flags = list(store.flags.values())
        return _Seen(token, {flag: layers_of(flag)[OVERRIDE] for flag in flags if OVERRIDE in layers_of(flag)})


def _held_stores() -> set[object]:
    """
    Return the stores of what modules hold, registries and flags that are bound to none: other tests may import it too.

    One look at all modules, which have a hundred thousand names in a large program.
    """
    return {
        _store_of(value)
        for module in list(sys.modules.values())
        for value in list(getattr(module, "__dict__", {}).values())
    }


def _store_of(value: Any) -> object:
    # By type and not isinstance, which wakes objects that pretend to be of another class.
    kind = type(value)
    if issubclass(kind, type) and issubclass(value, FlagValues):
        value = getattr(value, "registry", None)
        kind = type(value)
    return value._store if kind in (FlagRegistry, StaticFlag, DynamicFlag) else None


def _described(flag: Flag[Any]) -> str:
    file, line = declared_at(flag)
    return f"flag {flag.name!r} (declared at {file}:{line})"
