"""
The tests of the tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import dflag
from celery_shop.settings import Settings
from celery_shop.tasks import send_mail

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag.testing import ConfigMapVolume, Overrides


@pytest.fixture
def updater(dflag_isolated: Callable[[type[Settings]], None], configmap_volume: ConfigMapVolume) -> dflag.Updater:
    """Follow a volume, as a worker does; after the test the updater is stopped and the flags are restored."""
    dflag_isolated(Settings)
    configmap_volume.write({"sender": "test@example.com", "batch": "2"})
    return dflag.Updater.setup(Settings, configmap_volume.path)


def test_one_task(updater: dflag.Updater, configmap_volume: ConfigMapVolume) -> None:
    """A task uses the revision that is the newest when it begins."""
    assert send_mail.apply([["ann", "bob", "eve"]]).get() == ["test@example.com to ann", "test@example.com to bob"]
    configmap_volume.update(batch="1")
    updater.refresh()
    assert send_mail.apply([["ann", "bob", "eve"]]).get() == ["test@example.com to ann"]


def test_no_mail(dflag_override: Overrides) -> None:
    """Operators can stop all mail."""
    dflag_override({Settings.mail: False})
    assert send_mail.apply([["ann"]]).get() == []
