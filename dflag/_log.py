"""
The library's one logger.

A module of its own, since importing logging takes a third of the time in which the command could say its help.
"""

from __future__ import annotations

import logging
from typing import Final

logger: Final = logging.getLogger("dflag")

# Quiet in a program that has set up no logging, which would else print our warnings.
logger.addHandler(logging.NullHandler())
