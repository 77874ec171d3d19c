"""
A plugin for pytest: fixtures that restore overrides and registries, a guard against overrides left behind, a volume.

pytest loads this module by itself if dflag is installed; ``-p no:dflag`` turns it off.
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

# The fixtures import everything else at first use, because pytest loads this module in every test run.

MARKER: Final = (
    "dflag(target, values=None, /, **more): override flags for each test, as dflag.testing.override does: "
    "@pytest.mark.dflag({flag: value}) or @pytest.mark.dflag(registry, name=value)."
)


def pytest_configure(config: pytest.Config) -> None:
    """
    Register the marker.
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
    Save the state of a registry, and restore it at the end of the test: ``dflag_isolated(registry)``.
    """
    from dflag.testing import isolated

    # On one stack with the overrides, so that the last one begun ends first, whatever the order of the fixtures.
    return lambda registry: dflag_override._stack.enter_context(isolated(registry))


@pytest.fixture
def configmap_volume(tmp_path: Path) -> ConfigMapVolume:
    """
    A ConfigMap volume in tmp_path, which publishes values as the kubelet does.
    """
    from dflag.testing import ConfigMapVolume

    return ConfigMapVolume(tmp_path / "configmap")


@pytest.fixture(autouse=True)
def _dflag_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """
    Apply the overrides of the markers, and fail a test that leaves a flag overridden.
    """
    # pytest sets up fixtures of plugins before others of the same scope, and those of wider scopes before them.
    # So this one sees every override that a test and its own fixtures leave, and none that should outlive the test.
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
    Let the overrides of a fixture of a wider scope outlive the test that first requests the fixture.

    If the fixture fails, drop its overrides at once: nothing else ends them, and no test's guard sees them begin.
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
    The flags that are overridden at one moment, in all registries that exist then.

    Args:
        earlier: An earlier moment. The entries of registries that have not changed since are reused: late in a long run
            thousands of registries are alive, and hardly any of them changes.
    """

    def __init__(self, earlier: _Overridden | None) -> None:
        known: Mapping[Store, _Seen] = {} if earlier is None else earlier._seen
        self._seen: Final[dict[Store, _Seen]] = {store: _look(store, known.get(store)) for store in followers(Store)}

    def accept_since(self, earlier: _Overridden) -> None:
        """
        Treat the overrides that were set between *earlier* and now as if they had existed at this moment.
        """
        for store in followers(Store):
            before = self._seen.get(store, _NOTHING)
            self._seen[store] = _Seen(None, {**before.entries, **earlier._new(store)})

    def restore(self) -> list[str]:
        """
        Undo the overrides that were set after this moment, and return descriptions of their flags.
        """
        left = []
        changed = [(store, new) for store in followers(Store) if (new := self._new(store))]
        # A registry that only the test holds may be freed together with its overrides.
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
"""The overrides at the start of the running test. Not in pytest's own stash, which exists only since pytest 7."""


_setting_up: Final[list[_Overridden]] = []
"""For each fixture of a wider scope that is being set up, the overrides at its start; the outermost first."""


class _Seen(NamedTuple):
    """
    The overrides of one registry, and the token of the state in which they were read; None if that is not one state.
    """

    token: Token | None
    entries: Mapping[Flag[Any], Entry]


_NOTHING: Final = _Seen(None, {})


def _look(store: Store, seen: _Seen | None) -> _Seen:
    """
    Return the overrides of a registry; the same object as *seen* if nothing has changed since.
    """
    token = store.token  # first: after a change in the meantime the next call looks again
    if seen is not None and seen.token is token:
        return seen
    with store.lock:
        flags = list(store.flags.values())
        return _Seen(token, {flag: layers_of(flag)[OVERRIDE] for flag in flags if OVERRIDE in layers_of(flag)})


def _held_stores() -> set[object]:
    """
    Return the stores of the registries and flags that modules hold, because other tests may import them too.

    This looks at every name of all modules, a hundred thousand in a large program, so it is called only if needed.
    """
    return {
        _store_of(value)
        for module in list(sys.modules.values())
        for value in list(getattr(module, "__dict__", {}).values())
    }


def _store_of(value: Any) -> object:
    # By type, because isinstance runs code of objects that pretend to be of another class.
    kind = type(value)
    if issubclass(kind, type) and issubclass(value, FlagValues):
        value = getattr(value, "registry", None)
        kind = type(value)
    return value._store if kind in (FlagRegistry, StaticFlag, DynamicFlag) else None


def _described(flag: Flag[Any]) -> str:
    file, line = declared_at(flag)
    return f"flag {flag.name!r} (declared at {file}:{line})"
