"""
The flags of the command. Importing this module starts nothing.
"""

from __future__ import annotations

import dflag


class Settings(dflag.Flags, registry=dflag.FlagRegistry("copy")):
    """Options of the command line; the dynamic ones also follow a file while the command runs."""

    config = dflag.string("~/.config/copy.yaml", "YAML file of flags to follow, if it is there")
    page_port = dflag.int(-1, "Port of the page of flags; -1 for none", min=-1, max=65_535)
    metrics_port = dflag.int(-1, "Port of the metrics; -1 for none", min=-1, max=65_535)
    chunk_bytes = dflag.dyn_int(65_536, "Bytes to read at once", min=1)
    rate_bytes = dflag.dyn_int(0, "Bytes per second; 0 for no limit", min=0)
