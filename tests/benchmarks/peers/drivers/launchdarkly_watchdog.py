"""
LaunchDarkly's file data source with watchdog, which it uses automatically if it is installed.
"""

from __future__ import annotations

from . import launchdarkly


class Peer(launchdarkly.Peer):
    """
    ``Files.new_data_source(auto_update=True)``.
    """

    title = "LaunchDarkly Files, watchdog"
    polling = False
