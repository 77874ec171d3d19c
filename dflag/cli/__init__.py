"""
The command ``dflag``, with one module for each of its commands.
"""

from dflag.cli._main import main

__all__ = ["main"]
