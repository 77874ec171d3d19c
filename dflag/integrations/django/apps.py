"""
The module in which Django looks for the app of a package.
"""

from dflag.integrations.django._app import DflagConfig  # noqa: F401 - Django finds it among the names of this module
