"""
The version, where the command finds it without reading metadata.
"""

from typing import Final

__version__: Final = "0.2.0"
