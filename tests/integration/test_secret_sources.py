"""
A flag that has its value from a Secret is a secret, unless it was declared with ``secret=False``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from dflag import UpdateError, Updater
from dflag.sources import MemorySource, Source

from ._waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag import FlagRegistry
    from dflag.typing import Raw


def _refuse_long(value: str) -> None:
    if len(value) > 10:
        raise ValueError(f"{value} is too long")


def _source(values: Mapping[str, str]) -> MemorySource:
    return MemorySource(values, secret=True)


def test_what_it_feeds_stands_nowhere(flags: FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    No value of a secret source, old, new or refused, is in the log, in the status, in errors or in the history.
    """
    password = flags.dyn_string("password", "", validator=_refuse_long)
    tokens = flags.dyn_map("tokens", {}, keys="*.token", of="int")
    source = _source({"password": "hunter1", "a.token": "1"})
    with caplog.at_level(logging.DEBUG), Updater.setup(flags, source) as updater:
        assert (password.get(), tokens.get()) == ("hunter1", {"a.token": 1})
        assert (password.secret, tokens.secret) == (True, True)
        source.update({"password": "hunter3-too-long", "a.token": "hunter4"})
        assert eventually(lambda: len(updater.status().rejected) == 2)
        errors = updater.status().rejected.values()
        texts = [repr(updater.status()), *map(repr, errors), *map(str, errors)]
        texts += [repr(error.__cause__) + repr(error.__context__) for error in errors]
        texts += [repr(flags.history()), repr(flags.explain("password")), repr(password)]

    assert "hunter" not in "".join(texts)
    assert "hunter" not in caplog.text
    assert flags.explain("password")[0].text == "******"


def test_a_refused_first_value_is_a_secret_too(flags: FlagRegistry) -> None:
    """
    The error of a failed start does not quote a value of a secret source, although no value was ever applied.
    """
    flags.dyn_int("pin", 0)
    with pytest.raises(UpdateError) as caught:
        Updater.setup(flags, _source({"pin": "hunter2"}))

    assert "hunter2" not in str(caught.value)
    assert "expected an int" in str(caught.value)


def test_a_declaration_overrules_the_source(flags: FlagRegistry) -> None:
    """
    A flag with ``secret=False`` shows its value, and a flag that the secret source has no value for is not secret.
    """
    user = flags.dyn_string("user", "", secret=False)
    other = flags.dyn_string("other", "")
    with Updater.setup(flags, _source({"user": "admin"})):
        assert flags.explain("user")[0].text == "admin"
    assert (user.secret, other.secret) == (False, False)


def test_it_stays_a_secret(flags: FlagRegistry) -> None:
    """
    When a secret source drops a value, the flag has its default and stays secret, and the history hides the old value.
    """
    password = flags.dyn_string("password", "none")
    source = _source({"password": "hunter2", "more": "1"})
    with Updater.setup(flags, source) as updater:
        source.update({"more": "1"})
        assert updater.wait_for(lambda snapshot: snapshot[password] == "none", 10)

    assert password.secret
    assert "hunter2" not in repr(flags.history())


def test_flags_of_one_kind_share_no_secrecy(flags: FlagRegistry) -> None:
    """
    A flag that becomes secret leaves other flags of its kind as they are, and stays secret when a validator is added.
    """
    password, user = flags.dyn_string("password", ""), flags.dyn_string("user", "")
    with Updater.setup(flags, _source({"password": "hunter2"})):
        password.validator(_refuse_long)

    assert (password.secret, user.secret) == (True, False)


def test_a_flag_declared_late_is_a_secret_too(flags: FlagRegistry) -> None:
    """
    A flag declared while the source already holds a value for it counts as secret from the start.
    """
    with Updater.setup(flags, _source({"password": "hunter2"}), unknown="ignore"):
        password = flags.dyn_string("password", "")

    assert (password.get(), password.secret) == ("hunter2", True)


def test_a_source_that_newly_secret_hides_what_it_holds_already(flags: FlagRegistry) -> None:
    """
    When a source becomes secret, its plain values, members of maps and values of rules are secret without a new text.
    The next `refresh()` makes no revision.
    """
    named = [flags.dyn_string("plain", ""), flags.dyn_map("map", {}, keys="*.key", of="string")]
    ruled = flags.dyn_string("ruled", "")

    class Turning(Source):
        name = "turning"
        is_secret = False

        @property
        def secret(self) -> bool:
            return self.is_secret

        def read(self) -> Mapping[str, Raw]:
            return {"plain": "open", "a.key": "open", "_rules.yaml": "- {name: one, set: {ruled: open}}"}

    source = Turning()
    updater = Updater(flags, source)
    updater.initialize()
    assert not any(flag.secret for flag in (*named, ruled))
    source.is_secret = True
    revision = updater.refresh()
    assert all(flag.secret for flag in (*named, ruled))
    assert {layer.text for flag in (*named, ruled) for layer in flags.explain(flag.name)[:1]} == {"******"}
    assert updater.refresh() is revision


class Changeable(Source):
    """A source whose values and secrecy may change."""

    name = "changeable"

    def __init__(self, values: Mapping[str, Raw]) -> None:
        self.values = values
        self.is_secret = False

    @property
    def secret(self) -> bool:
        return self.is_secret

    def read(self) -> Mapping[str, Raw]:
        return dict(self.values)


def test_rules_that_cannot_be_read_stay_when_their_source_newly_secret(flags: FlagRegistry) -> None:
    """
    When a source whose rules cannot be read becomes secret, its last good rules stay in force and become secret.
    """
    rate = flags.dyn_int("rate", 0)
    source = Changeable({"_rules.yaml": "- {name: one, set: {rate: 70}}"})
    updater = Updater(flags, source)
    updater.initialize()
    source.values = {"_rules.yaml": "- {name: ["}
    updater.refresh()
    source.is_secret = True
    updater.refresh()
    assert (rate.get(), rate.secret) == (70, True)


def test_a_source_that_is_secret_no_longer_is_at_rest(flags: FlagRegistry) -> None:
    """
    When a source is no longer secret, its values count as in force, so that the periodic check parses nothing.
    """
    flags.dyn_int("rate", 0)
    source = Changeable({"rate": "1"})
    updater = Updater(flags, source)
    updater.initialize()
    for source.is_secret in (True, False):
        revision = updater.refresh()
        assert all(feed.is_in_force() for feed in updater._feeds)
        assert updater.refresh() is revision
