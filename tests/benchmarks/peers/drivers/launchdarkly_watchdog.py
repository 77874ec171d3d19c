"""
LaunchDarkly's file data source with watchdog installed, which it then uses by itself.
"""

from __future__ import annotations

from . import launchdarkly


class Peer(launchdarkly.Peer):
    """
    ``Files.new_data_source(auto_update=True)``.
    """

    title = "LaunchDarkly Files, watchdog"
    polling = False
